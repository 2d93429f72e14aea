"""One trained model as a callable: an image and a view in, `Cells` in the image's own frame out."""

import hashlib
from pathlib import Path

import numpy as np
import torch
from detectron2.modeling import build_model
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

    def __call__(self, image: NDArray[np.uint8], image_id: str, view: ViewSettings) -> Cells:
        """The cells found in one view, in the frame of the image that is given.

        image: (H, W) uint8 grey.
        Returns cells by falling score with their soft masks; sources are the view's name.
        Raises UserError when the model's output is not finite, as after a diverged training.
        """
        pixels = views.forward(image, view, self.settings.input_scale)
        tensor = torch.from_numpy(np.repeat(pixels[None].astype(np.float32), 3, axis=0))
        training = self._model.training
        self._model.eval()
        try:
            with torch.inference_mode():
                found = self._model.inference([{"image": tensor}], do_postprocess=False)[0].to("cpu")
        finally:
            self._model.train(training)
        size_hw = (image.shape[0], image.shape[1])
        boxes = views.backward_boxes(
            found.pred_boxes.tensor.numpy(), view, size_hw, (pixels.shape[0], pixels.shape[1])
        )
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


def load_predictor(model_settings: Path, weights: Path, device: str) -> Predictor:
    """The predictor of a settings file and its trained weights.

    Raises UserError when a file is missing, wrong, or the device is not there.
    """
    settings = load_model_settings(model_settings)
    require_device(device)
    model = build_model(detectron_config(settings, device))
    load_trained(model, weights)
    return Predictor(model.eval(), settings, hashlib.sha256(weights.read_bytes()).hexdigest())


def load_predictors(ensemble: Path, settings: EnsembleSettings, device: str) -> dict[str, Predictor]:
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
