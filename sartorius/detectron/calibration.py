"""The ranges of a trained network's layers, seen on images that it was trained on, for its convolutions in bytes."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

import numpy as np
from detectron2.modeling import build_model
from numpy.typing import NDArray
from torch import Tensor, nn

from sartorius.config import ModelSettings, load_model_settings
from sartorius.config.members import ViewSettings
from sartorius.data.images import read_image
from sartorius.data.leakage import TRAINED_ON, read_trained_on
from sartorius.detectron.int8 import Ranges, byte_layers, byte_makers
from sartorius.detectron.predictor import Predictor
from sartorius.detectron.settings import detectron_config
from sartorius.detectron.weights import load_trained
from sartorius.errors import UserError
from sartorius.pipeline import choose_images

Image = TypeVar("Image")

#: Images that are looked at.
IMAGES = 16
#: Share of a layer's values left out of its range at either end: rare ones would make the steps of all others coarse.
LEFT_OUT = 1e-5
#: Only each seventh value is looked at, of every channel in turn.
EACH = 7


def ranges_of_run(data: Path, checkpoint: Path) -> Ranges:
    """The ranges of a checkpoint's layers on images of a data set that it was trained on.

    data: the competition's folder. checkpoint: a .pth file in its run's folder.
    Raises UserError if the run's settings are missing, none of its images is in `data`, or its network has layers that
    cannot compute in bytes.
    """
    settings = load_model_settings(checkpoint.parent / "config.yaml")
    known, seen = choose_images(data, "train"), read_trained_on(checkpoint)
    images = [known[name] for name in sorted(known.keys() & seen.keys())]
    if not images:
        raise UserError(
            f"{data}: expected images that the run was trained on, found none of the {len(seen)} that "
            f"{checkpoint.parent / TRAINED_ON} names"
        )
    return ranges_on([read_image(path) for path in _spread(images)], settings, checkpoint)


def ranges_on(images: Sequence[NDArray[np.uint8]], settings: ModelSettings, checkpoint: Path) -> Ranges:
    """The ranges of a checkpoint's layers on `IMAGES` of the images, evenly spread over their order.

    images: each (H, W) uint8 grey. checkpoint: a .pth file with the weights of such a network.
    Raises UserError if the weights are another network's, or it has layers that cannot compute in bytes.
    """
    network = build_model(detectron_config(settings, "cpu")).eval()
    load_trained(network, checkpoint)
    return ranges_of(network, images, settings)


def ranges_of(network: nn.Module, images: Sequence[NDArray[np.uint8]], settings: ModelSettings) -> Ranges:
    """The ranges of a network's layers on `IMAGES` of the images, evenly spread; the network is left as it was.

    images: each (H, W) uint8 grey. Raises UserError if the network has layers that cannot compute in bytes.
    """
    predictor = Predictor(network, settings)
    of_images: dict[str, list[tuple[float, float]]] = defaultdict(list)
    with _watched(network) as seen:
        for image in _spread(images):
            seen.clear()
            predictor(image, "calibration", ViewSettings())
            for name, found in seen.items():
                of_images[name].append(found)
    return {
        name: (fmean(low for low, _ in found), fmean(high for _, high in found))
        for name, found in of_images.items()
    }


def _spread(images: Sequence[Image]) -> Sequence[Image]:
    return images[:: -(-len(images) // IMAGES)]


@contextmanager
def _watched(network: nn.Module) -> Iterator[dict[str, tuple[float, float]]]:
    """Fills itself with the ranges of what passes through the network, over all pyramid levels where there are several."""
    makers = set(byte_makers(network))
    seen: dict[str, tuple[float, float]] = {}

    def note(name: str, x: Tensor) -> None:
        low, high = _range(x)
        before = seen.get(name, (low, high))
        seen[name] = min(low, before[0]), max(high, before[1])

    def result_hook(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        return lambda layer, given, result: note(name, result)

    def given_hook(name: str) -> Callable[[nn.Module, tuple[Tensor]], None]:
        return lambda layer, given: note(name, given[0])

    hooks = [
        layer.register_forward_pre_hook(given_hook(name))
        if layer in makers
        else layer.register_forward_hook(result_hook(name))
        for name, layer in byte_layers(network).items()
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _range(x: Tensor) -> tuple[float, float]:
    """The values between which all but `LEFT_OUT` at either end lie."""
    values = x.flatten()[::EACH]
    count = max(round(len(values) * LEFT_OUT), 1)
    lowest, highest = values.topk(count, largest=False).values, values.topk(count).values
    return float(lowest[-1]), float(highest[-1])
