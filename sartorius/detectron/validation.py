"""The competition's metric on the validation images during training, and which checkpoint was best by it."""

import json
from collections.abc import Callable
from pathlib import Path

from torch import nn

from sartorius.config import ModelSettings
from sartorius.config.ensemble import ViewSettings
from sartorius.config.fusion import PostprocessSettings
from sartorius.detectron.predictor import Predictor
from sartorius.detectron.training_data import TrainingData
from sartorius.files import atomic_path
from sartorius.metrics.competition import evaluate
from sartorius.postprocess import clean


class Judge:
    """Scores a model and remembers, in the run folder's `best.json`, which score was best."""

    def __init__(self, settings: ModelSettings, data: TrainingData, folder: Path) -> None:
        self._settings = settings.model_copy(
            update={"gpu_precision": "float32"}
        )  # no number that is trained overflows
        self._data = data
        self._record = folder / "best.json"

    def scores(self, model: nn.Module) -> dict[str, float]:
        """`validation/mAP`, after overlap removal, and the same for each cell type."""
        predictor = Predictor(model, self._settings)
        cleaning = PostprocessSettings(score_threshold=self._settings.validation_score)
        found = {
            image.image_id: clean(predictor(image.pixels, image.image_id, ViewSettings()), cleaning)
            for image in self._data.validation
        }
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

    @property
    def exhausted(self) -> bool:
        """Whether the last `patience` evaluations were all no better than the best one."""
        return 0 < self._settings.patience <= self._best()["evaluations_since"]

    def _best(self) -> dict[str, float]:
        none = {"mAP": -1.0, "iteration": 0, "evaluations_since": 0}
        kept = json.loads(self._record.read_text(encoding="utf-8")) if self._record.exists() else {}
        known = none | kept
        return {"latest": known["iteration"]} | known

    def _write(self, facts: dict[str, float]) -> None:
        with atomic_path(self._record) as path:
            path.write_text(json.dumps(facts) + "\n", encoding="utf-8")
