"""One trained model as a callable: an image and a view in, `Cells` in the image's own frame out."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from numpy.typing import NDArray
from torch import nn

from sartorius import views
from sartorius.cells import Cells
from sartorius.config import ModelSettings, load_model_settings
from sartorius.config.members import ViewSettings
from sartorius.detectron.allocation import keep_freed_memory
from sartorius.detectron.int8 import int8_works, to_int8
from sartorius.detectron.joining import join_for_inference
from sartorius.detectron.memory import MemorySteps, Step, placed
from sartorius.detectron.precision import GPU_DTYPES, predicting_in, require_bfloat16
from sartorius.detectron.settings import detectron_config, refusals_told
from sartorius.detectron.transfer import Answer, Output, one_plane
from sartorius.detectron.weight_types import require_types
from sartorius.detectron.weights import load_trained, read_ranges
from sartorius.errors import UserError
from sartorius.soft_masks import binarised

_say = logging.getLogger("sartorius")

#: A soft mask is cell where the mask head is surer than this, as in detectron2.
MASK_THRESHOLD = 0.5

#: Boxes in pixels of the image with the class of each.
Given = tuple[NDArray[np.float32], torch.Tensor]


class Predictor:
    """Finds the cells of one image with one model.

    settings: the model's settings.
    weights_sha256: SHA-256 of the weights file, or "" for a model that is being trained.
    """

    def __init__(self, model: nn.Module, settings: ModelSettings, weights_sha256: str = "") -> None:
        self._model = model
        on_gpu = any(parameter.is_cuda for parameter in model.parameters())
        if not on_gpu:
            keep_freed_memory()
        self._memory = MemorySteps(on_gpu)
        self.settings = settings
        self.weights_sha256 = weights_sha256

    @property
    def config(self) -> dict[str, object]:
        """The model's settings as plain values, for manifests."""
        return self.settings.model_dump(mode="json")

    @property
    def mask_side(self) -> int:
        """Side of the soft masks' grid."""
        return self.settings.mask_grid_px

    def __call__(self, image: NDArray[np.uint8], image_id: str, view: ViewSettings) -> Cells:
        """The cells found in one view, in the frame of the image that is given.

        image: (H, W) uint8 grey.
        Returns cells by falling score with their soft masks; sources are the view's name.
        """
        return self.of_views(image, image_id, [view])[0]

    def of_views(self, image: NDArray[np.uint8], image_id: str, seen: Sequence[ViewSettings]) -> list[Cells]:
        """The cells found in each view by itself, as if it were called alone; a GPU is given several views at once."""
        return self.look(image, image_id, seen)()

    def look(
        self, image: NDArray[np.uint8], image_id: str, seen: Sequence[ViewSettings]
    ) -> Callable[[], list[Cells]]:
        """`of_views` with the network's part done: what is returned does the rest, on any thread and without torch."""
        size_hw = (image.shape[0], image.shape[1])
        outputs = self._inference(image, image_id, seen, None)
        return lambda: [
            self._cells(image_id, size_hw, view, output()) for view, output in zip(seen, outputs, strict=True)
        ]

    def _cells(self, image_id: str, size_hw: tuple[int, int], view: ViewSettings, found: Output) -> Cells:
        """What the network found in a view, as cells of the image."""
        boxes = views.backward_boxes(found.boxes_xyxy, view, size_hw, found.network_hw)
        soft = views.backward_soft_masks(found.masks, view)
        cells = Cells(
            image_id=image_id,
            size_hw=size_hw,
            masks=binarised(soft, boxes, size_hw, MASK_THRESHOLD),
            scores=np.clip(found.scores, 0, 1),
            cell_types=np.array(self.settings.cell_types)[found.classes].astype(np.str_),
            sources=np.full(len(boxes), view.name),
            soft_masks=soft,
            soft_boxes_xyxy=boxes,
        )
        return cells[cells.areas_px > 0]

    def probabilities_on(
        self,
        image: NDArray[np.uint8],
        view: ViewSettings,
        boxes_xyxy: NDArray[np.float32],
        cell_types: NDArray[np.str_],
    ) -> NDArray[np.float32]:
        """What the mask head says about boxes that are given, for their cell types.

        image: (H, W) uint8 grey. boxes_xyxy: (N, 4) in its pixels. cell_types: (N,), all known to the model.
        Returns (N, S, S) float32 probabilities on the boxes' own grids, in the frame of the image.
        """
        number = {name: index for index, name in enumerate(self.settings.cell_types)}
        classes = torch.tensor([number[name] for name in cell_types.tolist()], dtype=torch.int64)
        (found,) = self._inference(image, "fused boxes", [view], (boxes_xyxy, classes))
        return views.backward_soft_masks(found().masks, view)

    def _inference(
        self,
        image: NDArray[np.uint8],
        image_id: str,
        seen: Sequence[ViewSettings],
        given: Given | None,
    ) -> list[Answer]:
        """What the network finds in each view, or thinks of given boxes; what is left to do without torch is done at the call.

        Where a GPU's memory does not last, fewer views at once, fewer pixels and then the CPU are tried.
        """

        def work(step: Step) -> list[Answer]:
            with placed(self._model, step.on_cpu):
                return [
                    output
                    for batch in _batches(seen, step.views_at_once)
                    for output in self._through_network(image, batch, given, step.side)
                ]

        return self._memory.run(image_id, len(seen), work)

    def _through_network(
        self, image: NDArray[np.uint8], seen: Sequence[ViewSettings], given: Given | None, side: float
    ) -> list[Answer]:
        """The network run once on views of one size, the image's side times `side`."""
        scale = self.settings.input_scale * side
        pixels = [views.forward(image, view, scale) for view in seen]
        inputs = [{"image": one_plane(picture)} for picture in pixels]
        boxes = None if given is None else [self._instances(image, view, scale, given) for view in seen]
        device = next(self._model.parameters()).device
        training = self._model.training
        self._model.eval()
        try:
            with torch.inference_mode(), predicting_in(self.settings.gpu_precision, device):
                answers: list[Answer] = self._model.answers(inputs, boxes)
                return answers
        finally:
            self._model.train(training)

    def _instances(
        self, image: NDArray[np.uint8], view: ViewSettings, scale: float, given: Given
    ) -> Instances:
        """Given boxes as the network's own for this view."""
        boxes_xyxy, classes = given
        size_hw = (image.shape[0], image.shape[1])
        network_hw = views.network_size_hw(size_hw, view, scale)
        instances = Instances(network_hw)
        instances.pred_boxes = Boxes(
            torch.from_numpy(views.forward_boxes(boxes_xyxy, view, size_hw, network_hw))
        )
        instances.pred_classes = classes
        return instances


def _batches(seen: Sequence[ViewSettings], views_at_once: int) -> list[Sequence[ViewSettings]]:
    """Neighbouring views of one scale together, at most so many: a network's inputs are padded to the largest."""
    of_scale = [list(group) for _, group in groupby(seen, key=lambda view: view.scale)]
    return [
        group[at : at + views_at_once] for group in of_scale for at in range(0, len(group), views_at_once)
    ]


def load_predictor(model_settings: Path, weights: Path, device: str) -> Predictor:
    """The predictor of a settings file and its trained weights.

    Raises UserError when a file is missing, wrong, or the device is not there.
    """
    settings = load_model_settings(model_settings)
    require_device(device)
    return predictor_of(settings, weights, device)


def predictor_of(settings: ModelSettings, weights: Path, device: str) -> Predictor:
    """The predictor of settings and trained weights, computing on a CPU as `cpu_convolutions` names and on a GPU as
    `gpu_precision` does.

    Where torch has no convolutions in bytes for this processor, it says so and computes in float32, as `config` then tells.
    Raises UserError when the weights are missing, wrong, for other cell types, or not calibrated for the convolutions that are
    asked for, the GPU has no bfloat16, or detectron2 refuses a value of its own keys.
    """
    cfg = detectron_config(settings, "cpu")  # so that a GPU's own errors are not taken for a wrong value's
    with refusals_told(settings):
        model = build_model(cfg).eval()
    load_trained(model.to(device), weights)
    require_types(weights, settings.cell_types)
    kind = torch.device(device).type
    if kind == "cuda":
        if settings.gpu_precision == "bfloat16":
            require_bfloat16(torch.device(device), "gpu_precision")
        join_for_inference(model, GPU_DTYPES[settings.gpu_precision])
    if kind == "cpu" and settings.cpu_convolutions == "int8":
        ranges = read_ranges(weights)
        if int8_works():
            to_int8(model, ranges)
        else:
            _say.warning("torch has no 8-bit convolutions for this processor; computing in float32")
            settings = settings.model_copy(update={"cpu_convolutions": "float32"})
    return Predictor(model, settings, hashlib.sha256(weights.read_bytes()).hexdigest())


def require_device(device: str) -> None:
    """Raises UserError unless torch can compute on the device."""
    if reason := why_unusable(device):
        raise UserError(f"--device {device}: torch cannot use it here: {reason}")


def why_unusable(device: str) -> str | None:
    """Why torch cannot compute on the device, in its own words; None if it can."""
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        return str(error).splitlines()[0]
    return None
