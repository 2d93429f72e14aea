import os
import traceback
from collections.abc import Callable

import pytest
from torch.multiprocessing import ProcessRaisedException

from sartorius.detectron.processes import Machines, run_on
from sartorius.errors import UserError


def fails(text: str) -> None:
    raise UserError(text)


@pytest.mark.parametrize(
    "given",
    [{"gpus": 0, "url": "tcp://a:1"}, {"gpus": 2}, {"gpus": 2, "url": "tcp://a:1", "rank": 2}],
)
def test_several_machines_need_gpus_an_address_and_numbers(given: dict[str, object]) -> None:
    with pytest.raises(UserError, match="2 machines need --gpus N, --dist-url"):
        Machines(**{"count": 2} | given)


@pytest.mark.parametrize("given", [{"rank": 1}, {"url": "nonsense"}])
def test_one_machine_has_neither_number_nor_address(
    given: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="one machine needs neither --machine-rank nor --dist-url"):
        Machines(**given)
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "2")
    Machines(**given)  # torchrun tells both itself


def test_the_first_process_of_the_first_machine_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Machines().first
    assert not Machines(gpus=1, count=2, rank=1, url="tcp://a:1").first
    for name in ("LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "2")
    monkeypatch.setenv("RANK", "1")
    assert not Machines().first
    assert Machines(gpus=1).processes == 2


def test_processes_are_counted() -> None:
    assert "WORLD_SIZE" not in os.environ
    assert Machines().processes == 1
    assert Machines(gpus=4).processes == 4
    assert Machines(gpus=4, count=2, url="tcp://a:1").processes == 8


def test_a_mistake_that_a_started_process_finds_is_told_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def launched(work: Callable[[str], None], *rest: object, args: tuple[str], **more: object) -> None:
        try:
            work(*args)
        except Exception:  # as torch.multiprocessing tells it
            text = f"\n\n-- Process 1 terminated with the following error:\n{traceback.format_exc()}"
            raise ProcessRaisedException(text, 1, 4711) from None

    monkeypatch.setattr("sartorius.detectron.processes.launch", launched)
    with pytest.raises(UserError, match=r"^these weights cannot be read$"):
        run_on(Machines(gpus=2), fails, "these weights cannot be read")
    with pytest.raises(ProcessRaisedException, match="invalid literal"):
        run_on(Machines(gpus=2), int, "no number")
