"""Training on detectron2's `DefaultTrainer`, validated by the competition's own metric."""

import json
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.engine import DefaultTrainer, hooks
from detectron2.engine.train_loop import TrainerBase
from detectron2.modeling import build_model
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from detectron2.utils.events import EventStorage, EventWriter, JSONWriter, TensorboardXWriter

from sartorius.config import ModelSettings
from sartorius.detectron.allocation import keep_freed_memory
from sartorius.detectron.averaging import AverageHook, WeightAverage, average_of, last_checkpoints
from sartorius.detectron.calibration import ranges_of, ranges_on
from sartorius.detectron.checkpoints import LastCheckpoints
from sartorius.detectron.curves import LossTable
from sartorius.detectron.detection_head import new_head_weights
from sartorius.detectron.detection_memory import PICTURES
from sartorius.detectron.graphs import replayed
from sartorius.detectron.initial_weights import RANDOM, load_initial
from sartorius.detectron.int8 import int8_works, to_int8
from sartorius.detectron.logs import logging_into
from sartorius.detectron.optimizers import LRScheduler, build_optimizer
from sartorius.detectron.precision import computing_in
from sartorius.detectron.processes import Machines, bare_model, run_on, shared_model
from sartorius.detectron.progress import progress_writer
from sartorius.detectron.requirements import Plan, require_possible
from sartorius.detectron.settings import detectron_config
from sartorius.detectron.stepping import Stepper
from sartorius.detectron.stream import Division, PartSampler, Pictures, on_device
from sartorius.detectron.training_data import TrainingData, type_repeats
from sartorius.detectron.validation import Judge
from sartorius.detectron.weights import BEST, LAST_AVERAGE, CellCheckpointer, export
from sartorius.errors import UserError
from sartorius.experiment import last_checkpoint


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
    resume: go on from the folder's last checkpoint, if there is one, instead of starting anew.
    The folder gets checkpoints, `metrics.json`, `metrics.csv`, `curves.png`, TensorBoard events, `log.txt`, the best
    checkpoint by validation metric and its export; without validation images the mean of the last checkpoints
    (`swa_checkpoints`) or the last one.
    Raises UserError when there is nothing to train on, or weights, settings or device cannot work.
    """
    resume = resume and last_checkpoint(folder) is not None
    require_possible(Plan(settings, initial_weights, resume, machines, validates=bool(data.validation)))
    if not data.training:
        raise UserError("no training images are left")
    run_on(machines, _train_on_one, settings, data, folder, initial_weights, machines.gpus > 0, seed, resume)
    weights = folder / "model.safetensors"
    if machines.first:
        pixels = [image.pixels for image in data.training]
        int8 = settings.cpu_convolutions == "int8"
        export(folder, weights, "float32", partial(ranges_on, pixels, settings) if int8 else None)
    return weights


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
    seed_all_rng(seed)
    cfg = detectron_config(settings, "cuda" if on_gpu else "cpu").clone()
    cfg.defrost()
    cfg.OUTPUT_DIR = str(folder)
    cfg.SEED = seed
    cfg.freeze()
    with logging_into(folder, comm.get_rank()):
        trainer = CellTrainer(cfg, settings, data)
        trainer.start(initial_weights, resume)
        with closing(trainer.progress):  # a bar hides the cursor until it ends, also an interrupted one
            trainer.train()


class CellTrainer(DefaultTrainer):
    """detectron2's trainer with cells as data, the competition metric as judge and the best checkpoint kept."""

    def __init__(self, cfg: Any, settings: ModelSettings, data: TrainingData) -> None:
        TrainerBase.__init__(self)
        self.cfg = cfg
        self.max_iter = cfg.SOLVER.MAX_ITER
        self._settings = settings
        self._data = data
        self._stopped = False
        if cfg.MODEL.DEVICE == "cpu":
            keep_freed_memory()
        self._division = Division(
            settings.batch_size, settings.accumulation, comm.get_world_size(), comm.get_rank()
        )
        self.progress = progress_writer(self.max_iter)
        self._judge = Judge(settings, data, Path(cfg.OUTPUT_DIR), self.progress.validated)
        model = build_model(cfg)
        if cfg.MODEL.DEVICE != "cpu":
            model.to(memory_format=torch.channels_last)  # as `CellRCNN` lays out its pictures there
        optimizer = self.build_optimizer(cfg, model)
        self._trainer = Stepper(shared_model(model), optimizer, settings.accumulation, settings.precision)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.register_hooks(self.build_hooks())

    def start(self, initial_weights: Path | str | None, resume: bool) -> None:
        """Load the last checkpoint, or the weights to start from."""
        if resume:
            self.resume_or_load(resume=True)
        elif initial_weights != RANDOM:
            source = load_initial(
                self._bare_model,
                self._settings.backbone,
                initial_weights and Path(initial_weights),
                new_head_weights(self._settings.train_only) if self._settings.train_only else None,
            )
            logging.getLogger("sartorius").info("starting from %s", source)
        if self._settings.train_only and self._settings.cpu_convolutions == "int8":
            self._predict_in_bytes()

    def _predict_in_bytes(self) -> None:
        """On a CPU, let the layers that stay as they are compute as they will when the heads are used, and as fast."""
        if self.cfg.MODEL.DEVICE == "cpu" and int8_works():
            pixels = [image.pixels for image in self._data.training]
            to_int8(self._bare_model, ranges_of(self._bare_model, pixels, self._settings))

    def train(self) -> None:
        """Take the steps that are left, fewer when the score no longer rises; then the mean of the last weights.

        A run that goes on after it was stopped so has none left.
        Raises UserError when the loss is no longer a number.
        """
        had_stopped = self.start_iter > 0 and self._judge.is_exhausted("this run had stopped early")
        try:
            with self._backbone_replayed():
                if not had_stopped:
                    self._trainer.feed(self._pictures())
                    self._take_steps()
        except FloatingPointError as error:
            raise UserError(
                f"{str(error).splitlines()[0]} Start again with a lower base_lr ({self._settings.base_lr}) or set "
                "clip_gradient_norm"
            ) from None
        if self.start_iter >= self.max_iter and not (Path(self.cfg.OUTPUT_DIR) / "model_final.pth").is_file():
            self.checkpointer.save(
                "model_final", iteration=self.max_iter - 1
            )  # the run had ended just before
        if self._settings.swa_checkpoints and comm.is_main_process():
            self._keep_average_of_last()

    def _backbone_replayed(self) -> AbstractContextManager[None]:
        settings, division = self._settings, self._division
        if not settings.cuda_graphs:
            return nullcontext()
        assert settings.crop_px
        assert division.processes == 1
        pictures = division.batch // division.parts
        return replayed(self._bare_model.backbone, pictures, settings.crop_px, settings.precision)

    def _take_steps(self) -> None:
        logging.getLogger("sartorius").info("Starting training from iteration %d", self.start_iter)
        self.iter = self.start_iter
        with EventStorage(self.start_iter) as self.storage:
            try:
                self.before_train()
                while self.iter < self.max_iter:
                    self.before_step()
                    self.run_step()
                    self.after_step()
                    if self._stopped:
                        self.checkpointer.save(f"model_{self.iter:07d}", iteration=self.iter)
                        break
                    self.iter += 1
            finally:
                self.after_train()

    def _pictures(self) -> Any:
        """Endless lists of training pictures from the step on with which this run starts.

        A resumed run of heads alone first sees what the heads remembered when it was stopped.
        """
        images = list(self._data.training)
        evenly = np.ones(len(images), dtype=np.float32)
        repeats = type_repeats(images) if self._settings.sampling == "types" else evenly
        remembers = "box_refinement_head" in self._settings.train_only
        before = min(self.start_iter, -(-PICTURES // self._division.of_process)) if remembers else 0
        sampler = PartSampler(repeats, self.cfg.SEED, self._division, self.start_iter - before)
        pictures = Pictures(images, self._settings, self.cfg.SEED)
        device = next(self._bare_model.parameters()).device
        stream = on_device(pictures, sampler, self.cfg.DATALOADER.NUM_WORKERS, device)
        for part in islice(stream, before * self._division.parts):
            with computing_in(self._settings.precision, device):
                self._bare_model.remember(part)
        return stream

    @classmethod
    def build_optimizer(cls, cfg: Any, model: torch.nn.Module) -> torch.optim.Optimizer:
        """The optimiser that the settings ask for."""
        return build_optimizer(cfg, model)

    def build_hooks(self) -> list[hooks.HookBase | None]:
        """detectron2's timing, schedule and checkpoints; our averaged weights, validation, table and progress."""
        folder, period = Path(self.cfg.OUTPUT_DIR), self.cfg.SOLVER.CHECKPOINT_PERIOD
        decay = self._settings.average_decay
        self._average = WeightAverage(self._bare_model, decay) if decay else None
        kept = {"average": self._average} if self._average else {}
        self.checkpointer = CellCheckpointer(self.model, str(folder), trainer=self, **kept)
        built: list[hooks.HookBase | None] = [hooks.IterationTimer(), LRScheduler()]
        if self._average:
            built.append(AverageHook(self._average))
        if self._data.validation:
            built.append(hooks.EvalHook(self.cfg.TEST.EVAL_PERIOD, self._validate))
        if comm.is_main_process():
            built.append(LossTable(folder, period))
            # after the evaluation and its row: a run that goes on from a checkpoint has both behind it
            keep = max(3, self._settings.swa_checkpoints)
            built.append(LastCheckpoints(self.checkpointer, period, max_to_keep=keep))
            built.append(hooks.PeriodicWriter(self.build_writers(), period=20))
        return built

    def build_writers(self) -> list[EventWriter]:
        """Progress on the screen, `metrics.json`, TensorBoard."""
        folder = self.cfg.OUTPUT_DIR
        return [self.progress, JSONWriter(f"{folder}/metrics.json"), TensorboardXWriter(folder)]

    def _validate(self) -> dict[str, float]:
        """The competition metric on the validation images; keeps the best checkpoint, and stops when told to."""
        results: dict[str, float] = {}
        if comm.is_main_process():
            with self._average.in_place() if self._average else nullcontext():
                results = self._judge.scores(self._bare_model)
            self._keep_if_best(results, self.checkpointer, self._judge.keep_best)
        self._stopped = self._judge.is_exhausted("stopping early")
        return results

    def _keep_if_best(
        self, results: dict[str, float], checkpointer: CellCheckpointer, keep: Callable[..., None]
    ) -> None:
        iteration = self._last_iteration() + 1
        logging.getLogger("sartorius").info("iteration %d: %s", iteration, json.dumps(results))
        keep(results["validation/mAP"], iteration, lambda: checkpointer.save(BEST))

    def _keep_average_of_last(self) -> None:
        """Write the mean of the last checkpoints, and keep it as the best one if it scores higher."""
        folder = Path(self.cfg.OUTPUT_DIR)
        paths = last_checkpoints(folder, self._settings.swa_checkpoints)
        logging.getLogger("sartorius").info("mean of the last %d checkpoints", len(paths))
        self._bare_model.load_state_dict(average_of(paths))
        plain = CellCheckpointer(self._bare_model, str(folder))
        plain.save(LAST_AVERAGE)
        if self._data.validation:
            self._keep_if_best(self._judge.scores(self._bare_model), plain, self._judge.keep_mean)

    @property
    def _bare_model(self) -> torch.nn.Module:
        return bare_model(self.model)

    def state_dict(self) -> dict[str, Any]:
        """The hooks' states, the optimiser's and the last finished iteration, after which a resumed run starts."""
        return super().state_dict() | {
            "iteration": self._last_iteration(),
            "optimizer": self._trainer.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint; one without the optimiser's state starts its momentum anew."""
        super().load_state_dict(state)
        if "optimizer" in state:
            self._trainer.optimizer.load_state_dict(state["optimizer"])

    def _last_iteration(self) -> int:
        """Number of the last finished iteration, from 0; after the last step detectron2 counts one further."""
        return min(self.iter, self.max_iter - 1)
