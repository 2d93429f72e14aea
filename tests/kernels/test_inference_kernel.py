"""The inference kernel on a machine like Kaggle's: a new environment, the image's packages, no network."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import run as run_command
from kaggle_machine import told_the_token, without_network
from kaggle_runs import (
    SAMPLE_ONLY,
    SMALL_HW,
    add_test_images,
    competition,
    kaggle_tree,
    kill_after,
    problems,
    run_kernel,
    start_kernel,
)

from sartorius.submission import read_submission

pytestmark = pytest.mark.slow

#: More images than there is time for in any of these tests.
MANY = 3000


@pytest.fixture(scope="module")
def first_run(machine, tmp_path_factory):
    """Two whole images, and one cut short."""
    kaggle = add_test_images(kaggle_tree(tmp_path_factory.mktemp("run") / "kaggle", machine.bundle), 3)
    broken = competition(kaggle) / "test" / "image0001.png"
    content = broken.read_bytes()
    broken.unlink()  # the others are the same file
    broken.write_bytes(content[:1000])
    return kaggle, run_kernel(machine, kaggle, "inference")


def test_a_broken_image_costs_its_own_rows(first_run):
    kaggle, done = first_run
    assert done.returncode == 0, done.stdout + done.stderr
    assert problems(kaggle) == []
    sizes = dict.fromkeys(["image0000", "image0001", "image0002", SAMPLE_ONLY], SMALL_HW)
    found = read_submission(kaggle / "working" / "submission.csv", sizes)
    assert len(found["image0000"]) == len(found["image0002"]) > 5
    assert len(found["image0001"]) == len(found[SAMPLE_ONLY]) == 0


def test_it_says_what_it_did_and_what_became_of_the_broken_images(first_run):
    _, done = first_run
    assert "4 images" in done.stdout
    assert re.search(r"\d+ files checked in .* s, 1\d wheels installed in .* s", done.stdout)
    assert re.search(r"cells in 2 of 4 images, checked\n\d+\.\d\d s an image", done.stdout)
    assert "could not be done: 2: image0001 (" in done.stdout
    assert f"{SAMPLE_ONLY} (" in done.stdout
    assert "image image0001 is left without cells" in done.stderr
    assert "warning" not in done.stdout


def test_it_had_no_network(machine):
    if not without_network():
        pytest.skip("network namespaces are not permitted here: the kernel ran without being cut off")
    reach = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=2)"
    tried = subprocess.run(
        [*without_network(), machine.python, "-c", reach], capture_output=True, text=True, check=False
    )
    assert "Network is unreachable" in tried.stderr


def test_the_submission_is_that_of_the_submit_command(machine, first_run, tmp_path, monkeypatch, capsys):
    kaggle, _ = first_run
    out = tmp_path / "here.csv"
    images = competition(kaggle) / "test"
    ensemble = machine.bundle / "ensemble.yaml"
    assert (
        run_command(monkeypatch, "submit", ensemble, "--images", images, "--out", out) == 1
    )  # one is broken
    assert "left without cells: image0001" in capsys.readouterr().out
    assert (kaggle / "working" / "submission.csv").read_text() == out.read_text() + f"{SAMPLE_ONLY},\n"


def test_nothing_but_the_submission_is_left_and_the_environment_is_as_it_was(machine, first_run):
    kaggle, _ = first_run
    assert [path.name for path in (kaggle / "working").iterdir()] == ["submission.csv"]
    assert (kaggle / "site" / "detectron2").is_dir()
    site_packages = machine.python.parent.parent / "lib"
    assert not list(site_packages.glob("*/site-packages/*sartorius*"))


def test_no_token_is_printed_or_kept_by_bundle_and_kernel(machine, first_run):
    kaggle, done = first_run
    printed = [machine.printed, done.stdout, done.stderr]
    assert told_the_token(printed, machine.bundle, kaggle / "working", kaggle / "site") == []
    assert told_the_token([], machine.home) == [str(machine.home / ".kaggle" / "kaggle.json")]


def test_a_damaged_bundle_is_named_in_one_message_and_leaves_a_valid_submission(machine, tmp_path):
    kaggle = add_test_images(kaggle_tree(tmp_path, machine.bundle), 2)
    damaged = next(kaggle.glob("input/datasets/*/*/weights_second.safetensors"))
    content = damaged.read_bytes()
    damaged.unlink()
    damaged.write_bytes(content[:-1] + b"?")
    done = run_kernel(machine, kaggle, "inference")
    assert done.returncode == 1
    assert re.fullmatch(
        r".*: 1 of \d+ files are missing or damaged: weights_second.safetensors; "
        r"make the bundle again and upload it as a new version\n",
        done.stderr,
    )
    assert problems(kaggle) == []


#: What a kill waits for, and at most how long after that it comes.
KILLS: dict[str, tuple[Callable[[Path], bool], float]] = {
    "installing": (lambda kaggle: (kaggle / "working" / "submission.csv").exists(), 1.0),
    "loading": (lambda kaggle: (kaggle / "site" / "sartorius").exists(), 4.0),
}


@pytest.mark.parametrize(("seed", "moment"), list(enumerate(KILLS)))
def test_killed_at_a_random_moment_it_leaves_a_valid_submission(machine, tmp_path, seed, moment):
    happened, within_s = KILLS[moment]
    kaggle = add_test_images(kaggle_tree(tmp_path, machine.bundle), MANY)
    running = start_kernel(machine, kaggle, "inference")
    kill_after(running, lambda: happened(kaggle), np.random.default_rng(seed).uniform(0, within_s))
    assert problems(kaggle) == []


def being_replaced(kaggle: Path) -> bool:
    """Whether a version of the submission with cells is there and the next one is being written."""
    submission = kaggle / "working" / "submission.csv"
    empty = len("id,predicted\n") + MANY * len("image0000,\n") + len(f"{SAMPLE_ONLY},\n")
    return (
        submission.exists()
        and submission.stat().st_size > empty
        and len(list(submission.parent.iterdir())) > 1
    )


def test_a_budget_too_small_drops_views_then_models_and_a_kill_while_writing_leaves_a_valid_submission(
    machine, first_run, tmp_path
):
    started_s = int(re.search(r"(\d+) s after the start", first_run[1].stdout)[1])
    kaggle = add_test_images(kaggle_tree(tmp_path, machine.bundle), MANY)
    running = start_kernel(machine, kaggle, "inference", "--budget", f"{3 * started_s + 60}s")
    log = kaggle / "log.txt"
    delay_s = np.random.default_rng(len(KILLS)).uniform(0, 0.003)
    kill_after(running, lambda: being_replaced(kaggle) and "dropped" in log.read_text(), delay_s)
    assert re.search(
        r"time budget: \d+ images left would take .*, .* are left; dropped \(least gain per minute first\): "
        r"view horizontal \(worth \+0\.0020 mAP\), model second \(worth \+0\.1000 mAP\); now ",
        log.read_text(),
    ), log.read_text()
    assert problems(kaggle) == []
