"""The competition's metric on the validation images during training, and which checkpoint was best by it."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from detectron2.utils import comm
from torch import nn

from sartorius.config import ModelSettings
from sartorius.config.fusion import PostprocessSettings
from sartorius.config.members import ViewSettings
from sartorius.detectron.predictor import Predictor
from sartorius.detectron.training_data import TrainingData
from sartorius.errors import UserError
from sartorius.files import atomic_path
from sartorius.formats.json_files import read_json
from sartorius.metrics.competition import evaluate
from sartorius.postprocess import clean

BEST_SCORE = "best.json"
_say = logging.getLogger("sartorius")


class BestScore(NamedTuple):
    """The best competition mAP of a run's validations, and the iteration after which it was reached."""

    score: float
    iteration: int


def best_score(folder: Path) -> BestScore:
    """The best score of a run that was validated; raises UserError if its `best.json` cannot be read."""
    path = folder / BEST_SCORE
    kept = read_json(path)
    if not isinstance(kept, dict) or not {"mAP", "iteration"} <= kept.keys():
        raise UserError(
            f"{path}: expected the best score of a run, its mAP and iteration; move the folder away"
        )
    return BestScore(kept["mAP"], kept["iteration"])


class Judge:
    """Scores a model and remembers, in the run folder's `best.json`, which score was best.

    report: called with the number of images done and of all of them after each one.
    """

    def __init__(
        self,
        settings: ModelSettings,
        data: TrainingData,
        folder: Path,
        report: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        self._settings = settings.model_copy(
            update={"gpu_precision": "float32"}
        )  # no number that is trained overflows
        self._data = data
        self._record = folder / BEST_SCORE
        self._report = report

    def scores(self, model: nn.Module) -> dict[str, float]:
        """`validation/mAP`, after overlap removal, and the same for each cell type."""
        predictor = Predictor(model, self._settings)
        cleaning = PostprocessSettings(score_threshold=self._settings.validation_score)
        found = {}
        for done, image in enumerate(self._data.validation, start=1):
            seen = predictor(image.pixels, image.image_id, ViewSettings())
            found[image.image_id] = clean(seen, cleaning)
            self._report(done, len(self._data.validation))
        score = evaluate(found, {name: self._data.validation_truth[name] for name in found})
        return {"validation/mAP": score.total} | {
            f"validation/mAP_{name}": value for name, value in score.per_type.items()
        }

    def keep_best(self, score: float, iteration: int, save: Callable[[], None]) -> None:
        """Call `save` and write down the score if it is the best so far; otherwise count the evaluation."""
        best = self._best()
        if score > best["mAP"]:
            save()
            self._write({"mAP": score, "iteration": iteration, "evaluations_since": 0})
        elif iteration > best["latest"]:
            self._write(best | {"evaluations_since": best["evaluations_since"] + 1, "latest": iteration})

    def keep_mean(self, score: float, iteration: int, save: Callable[[], None]) -> None:
        """`keep_best` for the mean of the last weights: no evaluation on the way, so it does not undo an early stop."""
        best = self._best()
        if score > best["mAP"]:
            save()
            self._write(best | {"mAP": score, "iteration": iteration})

    def is_exhausted(self, what_stopped: str) -> bool:
        """Whether the last `patience` evaluations were all no better than the best one, as the first process knows.

        what_stopped: goes before the reason in the log, where that is so.
        """
        patience = self._settings.patience
        comm.synchronize()  # which waits as long as the first process validates; gathering may not
        exhausted = comm.all_gather(0 < patience <= self._best()["evaluations_since"])[0]
        if exhausted:
            _say.info("%s: no better score in the last %d evaluations", what_stopped, patience)
        return exhausted

    def _best(self) -> dict[str, float]:
        none = {"mAP": -1.0, "iteration": 0, "evaluations_since": 0}
        known = none | (read_json(self._record) if self._record.exists() else {})
        return {"latest": known["iteration"]} | known

    def _write(self, facts: dict[str, float]) -> None:
        with atomic_path(self._record) as path:
            path.write_text(json.dumps(facts) + "\n", encoding="utf-8")
