"""The exit statuses and messages that every command shares."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest
import typer
from command_line import run
from typer.testing import CliRunner, Result

from sartorius import __version__, cli
from sartorius.__main__ import main as entry
from sartorius.cli.exits import INTERRUPTED, Commands, interrupted_with, message_of
from sartorius.cli.progress import shown_progress
from sartorius.errors import UserError

#: What makes `sartorius --help` slow; a command imports these when it runs.
HEAVY = (
    "numpy",
    "pandas",
    "pydantic",
    "cv2",
    "numba",
    "scipy",
    "skimage",
    "matplotlib",
    "torch",
    "detectron2",
)


def ending(raised: BaseException, *options: str) -> Result:
    """What is left of `sartorius [options] work` when `work` raises."""
    app = typer.Typer(cls=Commands)
    app.callback()(cli.options)

    @app.command()
    def work() -> None:
        raise raised

    return CliRunner().invoke(app, [*options, "work"])


def sartorius(*arguments: str, **how: object) -> subprocess.CompletedProcess[str]:
    code = "from sartorius.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *arguments], text=True, stderr=subprocess.PIPE, **how)


def test_ctrl_c_before_a_command_has_begun_ends_without_a_traceback(monkeypatch):
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "build_app", interrupted)
    with pytest.raises(SystemExit) as ended:
        entry()
    assert ended.value.code == INTERRUPTED


def printing_into(
    output: IO[str], unbuffered: str, printing: str = "print"
) -> subprocess.CompletedProcess[str]:
    """A process whose command prints a few lines; they are buffered until it ends unless `unbuffered` is "1"."""
    code = (
        "import rich, typer\n"
        "from sartorius.cli.exits import Commands\n"
        "app = typer.Typer(cls=Commands)\n"
        "app.callback()(lambda: None)\n"
        f"app.command('work')(lambda: {printing}('a line of a table\\n' * 5))\n"
        "app()\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code, "work"],
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_bad_input_is_one_message_and_status_2() -> None:
    result = ending(UserError("cells.csv, line 3: expected two columns, got one; add `predicted`"))
    assert result.exit_code == 2
    assert result.stderr == "sartorius: cells.csv, line 3: expected two columns, got one; add `predicted`\n"
    assert result.stdout == ""


def test_debug_shows_the_traceback_as_well() -> None:
    result = ending(UserError("no such thing"), "--debug")
    assert result.exit_code == 2
    assert result.stderr.startswith("Traceback")
    assert result.stderr.endswith("sartorius: no such thing\n")


def test_an_error_of_the_system_names_the_file() -> None:
    error = PermissionError(errno.EACCES, "Permission denied", "/data/train.csv")
    assert ending(error).stderr == "sartorius: /data/train.csv: Permission denied\n"
    assert ending(error).exit_code == 2


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_with_its_file_and_a_remedy(number: int) -> None:
    message = message_of(OSError(number, os.strerror(number), "out/image.npz"))
    assert message.startswith("out/image.npz: the disk is full")
    assert "make room" in message


def test_a_full_disk_without_a_file_name_is_still_readable() -> None:
    assert message_of(OSError(errno.ENOSPC, "No space left on device")).startswith("the disk is full")


def test_an_error_of_the_system_without_number_keeps_its_text() -> None:
    assert message_of(OSError("cannot identify image file 'x.png'")) == "cannot identify image file 'x.png'"


def test_an_interrupted_command_that_keeps_nothing_does_not_say_that_it_goes_on() -> None:
    result = ending(KeyboardInterrupt())
    assert result.exit_code == 130
    assert result.stderr == "sartorius: interrupted; the same command starts from the beginning\n"


def test_an_interrupted_command_that_keeps_its_work_says_how_to_go_on() -> None:
    with pytest.raises(KeyboardInterrupt) as interrupt, interrupted_with("images are kept, run it again"):
        raise KeyboardInterrupt
    result = ending(interrupt.value)
    assert result.exit_code == 130
    assert result.stderr == "sartorius: interrupted; images are kept, run it again\n"


def test_a_fault_of_ours_is_not_mistaken_for_a_failed_check() -> None:
    result = ending(KeyError("astro"))
    assert result.exit_code == 70
    assert "KeyError: 'astro'" in result.stderr
    assert result.stderr.endswith("please report the text above\n")


def test_a_failed_check_keeps_status_1() -> None:
    result = ending(typer.Exit(1))
    assert (result.exit_code, result.stderr) == (1, "")


def test_wrong_usage_inside_a_command_keeps_its_own_message() -> None:
    result = ending(typer.BadParameter("expected a number"))
    assert result.exit_code == 2
    assert "expected a number" in result.stderr
    assert "fault" not in result.stderr


def test_an_unknown_command_is_answered_with_the_nearest() -> None:
    done = sartorius("evaluat", stdout=subprocess.DEVNULL)
    assert done.returncode == 2
    assert "Did you mean 'evaluate'" in done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("printing", ["print", "rich.print"])
def test_a_reader_that_goes_away_is_no_error(unbuffered: str, printing: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", encoding="utf-8") as closed_at_the_other_end:
        done = printing_into(closed_at_the_other_end, unbuffered, printing)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_command_started_with_a_stream_closed_works_as_ever(
    stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = typer.Typer(cls=Commands)
    app.callback()(cli.options)

    @app.command()
    def work() -> None:
        with shown_progress() as report:
            report("count", 1, 1)
        print("counted")

    monkeypatch.setattr(cli, "build_app", lambda: app)
    monkeypatch.setattr(sys, stream, None)
    assert run(monkeypatch, "work") == 0
    getattr(sys, stream).close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_under_the_printed_result_is_told(unbuffered: str) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = printing_into(full, unbuffered)
    assert done.returncode == 2
    assert done.stderr.startswith("sartorius: the disk is full")
    assert done.stderr.count("\n") == 1


def test_the_version_is_the_package_s() -> None:
    assert CliRunner().invoke(cli.build_app(), ["--version"]).stdout == f"sartorius {__version__}\n"


def test_help_lists_every_command_and_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from sartorius.cli import build_app\n"
        "print(CliRunner().invoke(build_app(), ['--help']).stdout)\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True)
    shown, loaded = done.stdout.rsplit("\n", 2)[0], done.stdout.strip().rsplit("\n", 1)[1]
    assert loaded == "[]"
    commands = ("demo", "data", "train", "predict", "fuse", "submit", "check", "evaluate")
    assert [name for name in commands if f"│ {name} " not in shown] == []


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_what_options_of_all_commands_print_ends_as_what_commands_print(option: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "sartorius", option]
    with open(writer, "w", encoding="utf-8") as closed:
        done = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_the_version_is_told() -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        command = [sys.executable, "-m", "sartorius", "--version"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def printed_in(encoding: str, *arguments: str) -> str:
    """What a command prints into a pipe of an encoding, as of Windows."""
    done = subprocess.run(
        [sys.executable, "-m", "sartorius", *arguments],
        env=os.environ | {"PYTHONIOENCODING": encoding},
        stdout=subprocess.PIPE,
        check=True,
    )
    return done.stdout.decode(encoding)


def test_signs_that_a_stream_cannot_hold_are_escaped() -> None:
    assert "\\u2026" in printed_in("latin-1", "predict", "--help")
    project = Path(__file__).parents[2]
    dry_run = ("ablate", str(project / "configs" / "ablations" / "fusion"), "--dry-run", "--json")
    rows = json.loads(printed_in("cp1252", *dry_run))["rows"]
    assert any("→" in row["changes"] for row in rows)
