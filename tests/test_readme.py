"""What the README shows works as printed."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.main import get_command

from sartorius.cli import build_app
from sartorius.config import load_ensemble_settings, load_model_settings

PROJECT = Path(__file__).resolve().parent.parent
README = (PROJECT / "README.md").read_text(encoding="utf-8")
PAGES = [PROJECT / name for name in ("README.md", "CONTRIBUTING.md", *sorted(PROJECT.glob("docs/*.md")))]


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """The arguments of every `sartorius` call, without what runs it."""
    lines = [line for block in blocks("console") for line in block.splitlines()]
    calls = [line.split("sartorius ", 1)[1] for line in lines if "uv run sartorius " in line]
    return [*calls, *(line.split(" sartorius ", 1)[1] for line in lines if line.startswith("docker run"))]


def commands_of_docs() -> list[str]:
    """The arguments of every `sartorius` call in docs/, where `uv run` is left out."""
    texts = [
        path.read_text(encoding="utf-8").replace("\\\n", " ") for path in PAGES if path.parent.name == "docs"
    ]
    lines = [line for text in texts for block in blocks("console", text) for line in block.splitlines()]
    return [line.split("sartorius ", 1)[1] for line in lines]


@pytest.mark.parametrize("call", [*commands(), *commands_of_docs()])
def test_a_command_takes_its_arguments(call):
    command, arguments = get_command(build_app()), shlex.split(call)
    context = command.make_context("sartorius", arguments)
    while hasattr(command, "commands"):
        arguments = [*context._protected_args, *context.args]
        name, command, rest = command.resolve_command(context, arguments)
        context = command.make_context(name, rest, parent=context)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"configs/\w+/\w+\.yaml", " ".join(commands())))))
def test_a_settings_file_in_a_command_exists(name):
    assert (PROJECT / name).is_file() or name.startswith("configs/models/my_model")


@pytest.mark.parametrize("block", blocks("yaml"), ids=lambda block: block.splitlines()[0].lstrip("# "))
def test_an_example_of_settings_loads(block, tmp_path):
    for example in blocks("yaml"):
        path = tmp_path / example.splitlines()[0].removeprefix("# ")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(example, encoding="utf-8")
    path = tmp_path / block.splitlines()[0].removeprefix("# ")
    (load_ensemble_settings if path.parent.name == "ensembles" else load_model_settings)(path)


def test_the_python_example_finds_the_one_cell_that_both_detectors_saw(tmp_path):
    example = blocks("python")[1]
    done = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1 astro [")


def test_the_three_lines_from_a_picture_to_a_table_run(tmp_path):
    pytest.importorskip("torch")
    cv2.imwrite(
        str(tmp_path / "picture.tif"), np.random.default_rng(0).integers(0, 255, (64, 80), dtype=np.uint8)
    )
    for name in ("configs", "models"):
        (tmp_path / name).symlink_to(PROJECT / name)
    example = blocks("python")[0] + "print(table.columns.tolist())"
    done = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "'area_um2'" in done.stdout


def leads_somewhere(page: Path, file: str, heading: str) -> bool:
    """Whether a page's link meets a file and, if it names one, a heading there: in small letters, with - for spaces."""
    target = page.parent / file if file else page
    if not heading:
        return target.exists()
    headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
    return heading in {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_and_pictures_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", text) if not target.startswith("http")]
    assert [target for target in targets if not leads_somewhere(page, *target.partition("#")[::2])] == []


@pytest.mark.parametrize("command", ["pip install uv && uv run sartorius demo", "uv run pytest"])
def test_the_two_set_up_commands_stand_alone(command):
    assert any(block.strip() == command for block in blocks("console"))


def test_continuous_integration_ends_with_the_test_command():
    script = (PROJECT / ".ci" / "run").read_text(encoding="utf-8")
    assert script.splitlines()[-1] == "uv run pytest"


def executable(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([f"#!{shutil.which('bash')}", *lines, ""]))
    path.chmod(0o755)


def test_continuous_integration_finds_uv_where_pip_puts_it_for_a_user_without_root(tmp_path):
    commands, scripts = tmp_path / "bin", tmp_path / "home" / "bin"
    executable(commands / "python3", "[ $1 = -m ] && exit", f'exec {sys.executable} "$@"')
    executable(scripts / "uv", 'echo "$@"')
    (commands / "dirname").symlink_to(shutil.which("dirname"))
    (tmp_path / "uv.py").write_text(f"def find_uv_bin(): return {str(scripts / 'uv')!r}\n")
    done = subprocess.run(
        [shutil.which("bash"), PROJECT / ".ci" / "run"],
        env={"PATH": str(commands), "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["run pytest"]), done.stderr
