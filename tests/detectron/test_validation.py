from functools import partial
from pathlib import Path

import numpy as np
import pytest
from detectron2.utils import comm
from tiny_models import TINY, write_tiny_data
from torch import nn

from sartorius.cells import Cells, no_cells
from sartorius.config import ModelSettings
from sartorius.config.members import ViewSettings
from sartorius.detectron.training_data import TrainingData, read_training_data
from sartorius.detectron.validation import BestScore, Judge, best_score
from sartorius.errors import UserError


class Blind:
    def __init__(self, model: nn.Module, settings: ModelSettings) -> None:
        pass

    def __call__(self, pixels: np.ndarray, image_id: str, view: ViewSettings) -> Cells:
        return no_cells(image_id, pixels.shape)


def test_each_image_that_is_validated_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sartorius.detectron.validation.Predictor", Blind)
    data = read_training_data([write_tiny_data(tmp_path / "data", images=3)], TINY.cell_types, None, None)
    reported: list[tuple[int, int]] = []
    looked_at = TrainingData([], data.training, dict(data.training_truth))
    judge = Judge(TINY, looked_at, tmp_path, lambda done, total: reported.append((done, total)))
    judge.scores(nn.Module())
    assert reported == [(1, 3), (2, 3), (3, 3)]


def test_the_best_score_is_known_with_its_iteration_and_no_worse_one_is_kept(tmp_path: Path) -> None:
    judge = Judge(TINY, TrainingData([], [], {}), tmp_path)
    saved: list[int] = []
    for score, iteration in ((0.1, 2), (0.3, 4), (0.2, 6)):
        judge.keep_best(score, iteration, partial(saved.append, iteration))
    assert best_score(tmp_path) == BestScore(0.3, 4)
    assert saved == [2, 4]


def test_a_better_mean_of_the_last_weights_does_not_undo_an_early_stop(tmp_path: Path) -> None:
    judge = Judge(TINY.model_copy(update={"patience": 2}), TrainingData([], [], {}), tmp_path)
    for score, iteration in ((0.3, 2), (0.2, 4), (0.1, 6)):
        judge.keep_best(score, iteration, lambda: None)
    saved: list[float] = []
    for score in (0.2, 0.9):
        judge.keep_mean(score, 6, partial(saved.append, score))
    assert saved == [0.9]
    assert best_score(tmp_path) == BestScore(0.9, 6)
    assert judge.is_exhausted("this run had stopped early")


def test_processes_wait_for_the_one_that_validates_before_they_hear_of_its_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    monkeypatch.setattr(comm, "synchronize", lambda: done.append("waited"))
    monkeypatch.setattr(comm, "all_gather", lambda value: done.append("heard") or [value])
    assert not Judge(TINY, TrainingData([], [], {}), tmp_path).is_exhausted("stopping early")
    assert done == ["waited", "heard"]


@pytest.mark.parametrize("text", ["", "[]", '{"mAP": 0.3}'])
def test_a_damaged_best_score_is_told_in_one_message(text: str, tmp_path: Path) -> None:
    (tmp_path / "best.json").write_text(text)
    with pytest.raises(UserError, match=r"best\.json: expected"):
        best_score(tmp_path)
