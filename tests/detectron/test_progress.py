import logging
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from detectron2.utils.events import EventStorage

from sartorius.detectron.progress import LINE_EVERY_S, BarWriter, LineWriter


@pytest.fixture
def bar() -> Iterator[BarWriter]:
    writer = BarWriter(3)
    yield writer
    writer.close()


def shown(bar: BarWriter) -> dict[str, tuple[float, float | None]]:
    return {task.description: (task.completed, task.total) for task in bar._bar.tasks}


def test_the_bar_is_full_after_the_last_step_and_never_fuller(bar: BarWriter) -> None:
    with EventStorage(2) as storage:
        bar.write()
        assert shown(bar) == {"training": (3, 3)}
        storage.step()
        bar.write()
    assert shown(bar) == {"training": (3, 3)}


def test_a_validation_has_a_bar_of_its_own_while_it_lasts(bar: BarWriter) -> None:
    bar.validated(1, 2)
    assert shown(bar) == {"training": (0, 3), "validate": (1, 2)}
    bar.validated(2, 2)
    assert shown(bar) == {"training": (0, 3)}
    bar.close()
    bar.validated(1, 1)  # of the mean of the last checkpoints, after the training
    assert not bar._bar.live.is_started


def test_lines_tell_of_a_long_validation_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = iter([0, 1, 2, 1.5 * LINE_EVERY_S, 1.6 * LINE_EVERY_S, 3 * LINE_EVERY_S])
    clock = SimpleNamespace(monotonic=lambda: next(now))  # other threads ask the real one
    monkeypatch.setattr("sartorius.detectron.progress.time", clock)
    lines = LineWriter(3)
    with caplog.at_level(logging.INFO, "sartorius"):
        for image in range(1, 7):
            lines.validated(image, 6)
    assert caplog.messages == ["validate: 4/6"]
