"""One trained model as a callable: an image and a view in, `Cells` in the image's own frame out."""

import hashlib
from pathlib import Path

import numpy as np
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from numpy.typing import NDArray
from torch import nn

from sartorius import views
from sartorius.cells import Cells
from sartorius.config import EnsembleSettings, ModelSettings, load_model_settings
from sartorius.config.ensemble import ViewSettings
from sartorius.detectron.settings import detectron_config
from sartorius.detectron.weights import load_trained
from sartorius.errors import UserError
from sartorius.soft_masks import binarised

#: A soft mask is cell where the mask head is surer than this, as in detectron2.
MASK_THRESHOLD = 0.5


class Predictor:
    """Finds the cells of one image with one model.

    settings: the model's settings.
    weights_sha256: SHA-256 of the weights file, or "" for a model that is being trained.
    """

    def __init__(self, model: nn.Module, settings: ModelSettings, weights_sha256: str = "") -> None:
        self._model = model
        self.settings = settings
        self.weights_sha256 = weights_sha256

    @property
    def config(self) -> dict[str, object]:
        """The model's settings as plain values, for manifests."""
        return self.settings.model_dump(mode="json")

    @property
    def mask_side(self) -> int:
        """Side of the soft masks' grid."""
        return 2 * int(self._model.roi_heads.mask_pooler.output_size[0])

    def __call__(self, image: NDArray[np.uint8], image_id: str, view: ViewSettings) -> Cells:
        """The cells found in one view, in the frame of the image that is given.

        image: (H, W) uint8 grey.
        Returns cells by falling score with their soft masks; sources are the view's name.
        """
        size_hw = (image.shape[0], image.shape[1])
        found, network_hw = self._inference(image, view, None)
        boxes = views.backward_boxes(found.pred_boxes.tensor.numpy(), view, size_hw, network_hw)
        probabilities = np.rint(found.pred_masks[:, 0].numpy() * 255)
        soft = views.backward_soft_masks(probabilities.astype(np.uint8), view)
        cells = Cells(
            image_id=image_id,
            size_hw=size_hw,
            masks=binarised(soft, boxes, size_hw, MASK_THRESHOLD),
            scores=np.clip(found.scores.numpy(), 0, 1).astype(np.float32),
            cell_types=np.array(self.settings.cell_types)[found.pred_classes.numpy()].astype(np.str_),
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
        size_hw = (image.shape[0], image.shape[1])
        network_hw = views.network_size_hw(size_hw, view, self.settings.input_scale)
        number = {name: index for index, name in enumerate(self.settings.cell_types)}
        given = Instances(network_hw)
        given.pred_boxes = Boxes(torch.from_numpy(views.forward_boxes(boxes_xyxy, view, size_hw, network_hw)))
        given.pred_classes = torch.tensor([number[name] for name in cell_types.tolist()], dtype=torch.int64)
        found, _ = self._inference(image, view, given)
        return views.backward_soft_masks(found.pred_masks[:, 0].numpy().astype(np.float32), view)

    def _inference(
        self, image: NDArray[np.uint8], view: ViewSettings, given: Instances | None
    ) -> tuple[Instances, tuple[int, int]]:
        """What the network finds, or thinks of given boxes, in pixels of its input; and that input's size."""
        pixels = views.forward(image, view, self.settings.input_scale)
        tensor = torch.from_numpy(np.repeat(pixels[None].astype(np.float32), 3, axis=0))
        training = self._model.training
        self._model.eval()
        try:
            with torch.inference_mode():
                found = self._model.inference(
                    [{"image": tensor}], None if given is None else [given], do_postprocess=False
                )
        finally:
            self._model.train(training)
        return found[0].to("cpu"), (pixels.shape[0], pixels.shape[1])


def load_predictor(model_settings: Path, weights: Path, device: str) -> Predictor:
    """The predictor of a settings file and its trained weights.

    Raises UserError when a file is missing, wrong, or the device is not there.
    """
    settings = load_model_settings(model_settings)
    require_device(device)
    model = build_model(detectron_config(settings, device))
    load_trained(model, weights)
    return Predictor(model.eval(), settings, hashlib.sha256(weights.read_bytes()).hexdigest())


def load_members(ensemble: Path, settings: EnsembleSettings, device: str) -> dict[str, Predictor]:
    """The predictor of each member by its name, paths taken relative to the ensemble file."""
    folder = ensemble.parent
    return {
        member.name: load_predictor(
            (folder / member.model).resolve(), (folder / member.weights).resolve(), device
        )
        for member in settings.members
    }


def require_device(device: str) -> None:
    """Raises UserError unless torch can compute on the device."""
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"--device {device}: torch cannot use it here: {str(error).splitlines()[0]}"
        ) from None
