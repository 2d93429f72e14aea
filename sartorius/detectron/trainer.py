"""Training on detectron2's `DefaultTrainer`, validated by the competition's own metric."""

import json
import logging
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from detectron2.data import build_detection_train_loader
from detectron2.data.samplers import RepeatFactorTrainingSampler
from detectron2.engine import DefaultTrainer, hooks, launch
from detectron2.modeling import build_model
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from detectron2.utils.events import EventWriter, JSONWriter, TensorboardXWriter

from sartorius.config import ModelSettings
from sartorius.config.ensemble import ViewSettings
from sartorius.config.fusion import PostprocessSettings
from sartorius.detectron.averaging import AverageHook, WeightAverage
from sartorius.detectron.initial_weights import load_initial
from sartorius.detectron.logs import logging_into
from sartorius.detectron.mapper import TrainingMapper
from sartorius.detectron.predictor import Predictor, require_device
from sartorius.detectron.progress import progress_writer
from sartorius.detectron.settings import detectron_config
from sartorius.detectron.training_data import TrainingData, type_repeats
from sartorius.detectron.weights import CellCheckpointer, export
from sartorius.errors import UserError
from sartorius.files import atomic_path
from sartorius.metrics.competition import evaluate
from sartorius.postprocess import clean

BEST = "model_best"
#: Given in place of initial weights to start from nothing.
RANDOM = "random"


@dataclass(frozen=True)
class Machines:
    """Where a run computes; handed to detectron2's `launch`.

    gpus: GPUs of this machine, 0 trains on the CPU. count, rank, url: number of machines, this one's number, and the
    address (`tcp://host:port`, or "auto" on one machine) where they meet.
    """

    gpus: int = 0
    count: int = 1
    rank: int = 0
    url: str = "auto"


def train(
    settings: ModelSettings,
    data: TrainingData,
    folder: Path,
    initial_weights: Path | str | None,
    machines: Machines,
    seed: int = 0,
    resume: bool = False,
) -> Path:
    """Train one model in its run folder and return the exported weights, `model.safetensors`.

    initial_weights: a file, "random" for none, or None for the backbone's ImageNet weights from the model zoo.
    resume: go on from the folder's last checkpoint instead of starting anew.
    The folder gets checkpoints, `metrics.json`, TensorBoard events, `log.txt`, the best checkpoint by validation
    metric (the last one without validation images) and its export.
    Raises UserError when there is nothing to train on, or weights, settings or device cannot work.
    """
    if not data.training:
        raise UserError("no training images are left: every image is in the validation fold")
    if initial_weights == RANDOM:
        _require_trainable_norm(settings)
    require_device("cuda" if machines.gpus else "cpu")
    launch(
        _train_on_one,
        machines.gpus,
        num_machines=machines.count,
        machine_rank=machines.rank,
        dist_url=machines.url,
        args=(settings, data, folder, initial_weights, machines.gpus > 0, seed, resume),
    )
    weights = folder / "model.safetensors"
    export(folder, weights, "float32")
    return weights


def _require_trainable_norm(settings: ModelSettings) -> None:
    """Frozen batch norm on random weights diverges within a few steps (tried)."""
    norm = detectron_config(settings, "cpu").MODEL.RESNETS.NORM
    if norm == "FrozenBN" or settings.freeze_stages > 0:
        raise UserError(
            "--weights random needs layers that train: set `freeze_stages: 0` and "
            f"`detectron: {{MODEL.RESNETS.NORM: GN}}`, got freeze_stages {settings.freeze_stages} and norm {norm}"
        )


def _train_on_one(
    settings: ModelSettings,
    data: TrainingData,
    folder: Path,
    initial_weights: Path | str | None,
    on_gpu: bool,
    seed: int,
    resume: bool,
) -> None:
    """One process of a run: all of it, or what one GPU does."""
    folder.mkdir(parents=True, exist_ok=True)
    seed_all_rng(seed + comm.get_rank())
    cfg = detectron_config(settings, "cuda" if on_gpu else "cpu").clone()
    cfg.defrost()
    cfg.OUTPUT_DIR = str(folder)
    cfg.SEED = seed
    cfg.freeze()
    with logging_into(folder, comm.get_rank()):
        trainer = CellTrainer(cfg, settings, data)
        trainer.start(initial_weights, resume)
        trainer.train()


class CellTrainer(DefaultTrainer):
    """detectron2's trainer with cells as data, the competition metric as judge and the best checkpoint kept."""

    def __init__(self, cfg: Any, settings: ModelSettings, data: TrainingData) -> None:
        self._settings = settings
        self._data = data
        super().__init__(cfg)

    @classmethod
    def build_model(cls, cfg: Any) -> torch.nn.Module:
        """The model, without printing it."""
        return build_model(cfg)

    def build_train_loader(self, cfg: Any) -> Any:
        """Endless random batches of the training images."""
        images = list(self._data.training)
        sampler = None
        if self._settings.sampling == "types":
            sampler = RepeatFactorTrainingSampler(torch.from_numpy(type_repeats(images)))
        return build_detection_train_loader(
            images,
            sampler=sampler,
            mapper=TrainingMapper(self._settings),
            total_batch_size=cfg.SOLVER.IMS_PER_BATCH,
            aspect_ratio_grouping=False,
            num_workers=cfg.DATALOADER.NUM_WORKERS,
        )

    def start(self, initial_weights: Path | str | None, resume: bool) -> None:
        """Load the last checkpoint, or the weights to start from."""
        if resume and self.checkpointer.has_checkpoint():
            self.resume_or_load(resume=True)
            return
        if initial_weights == RANDOM:
            return
        source = load_initial(
            self._bare_model, self._settings.backbone, initial_weights and Path(initial_weights)
        )
        logging.getLogger("sartorius").info("starting from %s", source)

    def build_hooks(self) -> list[hooks.HookBase | None]:
        """detectron2's timing, schedule and checkpoints; our averaged weights, validation and progress."""
        period = self.cfg.TEST.EVAL_PERIOD
        self._average = (
            WeightAverage(self._bare_model, self._settings.average_decay)
            if self._settings.average_decay
            else None
        )
        kept = {"average": self._average} if self._average else {}
        self.checkpointer = CellCheckpointer(self.model, self.cfg.OUTPUT_DIR, trainer=self, **kept)
        built: list[hooks.HookBase | None] = [hooks.IterationTimer(), hooks.LRScheduler()]
        if self._average:
            built.append(AverageHook(self._average))
        if comm.is_main_process():
            built.append(
                hooks.PeriodicCheckpointer(
                    self.checkpointer, self.cfg.SOLVER.CHECKPOINT_PERIOD, max_to_keep=3
                )
            )
        if self._data.validation:
            built.append(hooks.EvalHook(period, self._validate))
        if comm.is_main_process():
            built.append(hooks.PeriodicWriter(self.build_writers(), period=20))
        return built

    def build_writers(self) -> list[EventWriter]:
        """Progress on the screen, `metrics.json`, TensorBoard."""
        folder = self.cfg.OUTPUT_DIR
        return [
            progress_writer(self.max_iter),
            JSONWriter(f"{folder}/metrics.json"),
            TensorboardXWriter(folder),
        ]

    def _validate(self) -> dict[str, float]:
        """The competition metric after overlap removal on the validation images; keeps the best checkpoint."""
        results: dict[str, float] = {}
        if comm.is_main_process():
            with self._average.in_place() if self._average else nullcontext():
                score = self._validation_score()
            results = {"validation/mAP": score.total} | {
                f"validation/mAP_{name}": value for name, value in score.per_type.items()
            }
            logging.getLogger("sartorius").info(
                "iteration %d: %s", self._last_iteration() + 1, json.dumps(results)
            )
            self._keep_best(score.total)
        comm.synchronize()
        return results

    def _validation_score(self) -> Any:
        predictor = Predictor(self._bare_model, self._settings)
        cleaning = PostprocessSettings(score_threshold=self._settings.validation_score)
        found = {
            image.image_id: clean(predictor(image.pixels, image.image_id, ViewSettings()), cleaning)
            for image in self._data.validation
        }
        return evaluate(found, {name: self._data.validation_truth[name] for name in found})

    def _keep_best(self, score: float) -> None:
        record = Path(self.cfg.OUTPUT_DIR) / "best.json"
        best = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {"mAP": -1.0}
        if score <= best["mAP"]:
            return
        self.checkpointer.save(BEST)
        with atomic_path(record) as path:
            facts = {"mAP": score, "iteration": self._last_iteration() + 1}
            path.write_text(json.dumps(facts) + "\n", encoding="utf-8")

    @property
    def _bare_model(self) -> torch.nn.Module:
        """The model without the wrapper that several GPUs need."""
        return self.model.module if hasattr(self.model, "module") else self.model

    def state_dict(self) -> dict[str, Any]:
        """The hooks' states and the last finished iteration, after which a resumed run starts."""
        return super().state_dict() | {"iteration": self._last_iteration()}

    def _last_iteration(self) -> int:
        """Number of the last finished iteration, from 0; after the loop detectron2 counts one further."""
        return min(self.iter, self.max_iter - 1)
