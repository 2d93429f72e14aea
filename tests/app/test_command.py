"""`sartorius app` given what it cannot use, and told to end."""

import signal
import socket
from pathlib import Path

import pytest
from bright_cells import written_ensemble
from command_line import run

from sartorius.app.server import temporary_folder, told_to_end


def refusal(monkeypatch, capsys, *arguments: object) -> str:
    """What the command says before it ends with status 2."""
    assert run(monkeypatch, "app", *arguments) == 2
    return capsys.readouterr().err


def test_a_missing_ensemble_is_named(monkeypatch, capsys, tmp_path):
    said = refusal(monkeypatch, capsys, tmp_path / "none.yaml")
    assert f"{tmp_path}/none.yaml" in said
    assert "Traceback" not in said


def test_a_folder_without_ensembles_is_named(monkeypatch, capsys, tmp_path):
    said = refusal(monkeypatch, capsys, "--ensembles", tmp_path)
    assert str(tmp_path) in said
    assert "found none of 0" in said


def test_a_folder_that_does_not_exist_is_named(monkeypatch, capsys, tmp_path):
    assert f"{tmp_path}/nowhere" in refusal(monkeypatch, capsys, "--ensembles", tmp_path / "nowhere")


def test_a_port_that_is_taken_is_refused_before_any_model_is_loaded(monkeypatch, capsys, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refusal(monkeypatch, capsys, written_ensemble(tmp_path), "--port", port)
    assert f"http://127.0.0.1:{port}: expected a free address" in said
    assert "choose another --port or --host" in said


@pytest.mark.parametrize("host", ["203.0.113.7", "no such host"])
def test_an_address_of_another_machine_is_refused(monkeypatch, capsys, tmp_path, host):
    said = refusal(monkeypatch, capsys, written_ensemble(tmp_path), "--host", host, "--port", 0)
    assert f"http://{host}:0: expected a free address of this machine" in said
    assert "lets everyone in" in said


def images_until_told(number: int, kept: list[Path]) -> None:
    """A page's folder with an image, until the signal comes."""
    with told_to_end(), temporary_folder() as folder:
        kept.append(folder / "image.png")
        kept[0].write_bytes(b"secret")
        signal.raise_signal(number)


@pytest.fixture
def on_signal():
    """Says what a signal does at the start of a test, however the tests were started, and undoes it afterwards."""
    before = {}

    def set_to(number, handler):
        before[number] = signal.signal(number, handler)

    yield set_to
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_nothing_stays_on_the_disk_when_the_process_or_its_terminal_is_ended(on_signal, number):
    on_signal(number, signal.SIG_DFL)
    kept: list[Path] = []
    with pytest.raises(SystemExit) as ended:
        images_until_told(number, kept)
    assert not kept[0].parent.exists()
    assert ended.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(number) == signal.SIG_DFL


def test_a_page_started_by_nohup_outlives_its_terminal(on_signal):
    on_signal(signal.SIGHUP, signal.SIG_IGN)
    kept: list[Path] = []
    images_until_told(signal.SIGHUP, kept)
    assert kept
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
