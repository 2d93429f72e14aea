"""Pretrained weights to start a training from."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import Request, urlopen

from detectron2.utils.file_io import Detectron2Handler
from iopath.common.file_io import get_cache_dir
from torch import nn
from torchvision.models import get_model_weights

from sartorius.detectron.backbones import RESIDUAL_WEIGHTS
from sartorius.detectron.weights import CellCheckpointer, read_weights, reason
from sartorius.errors import UserError

_say = logging.getLogger("sartorius")
#: Given in place of initial weights to start from nothing.
RANDOM = "random"
#: ImageNet weights of each backbone in detectron2's model zoo; none is published for the thin one.
_DETECTRON2 = {
    "r50": "detectron2://ImageNetPretrained/MSRA/R-50.pkl",
    "r101": "detectron2://ImageNetPretrained/MSRA/R-101.pkl",
    "x101_32x8d": "detectron2://ImageNetPretrained/FAIR/X-101-32x8d.pkl",
}
#: Names in torchvision of the backbones that detectron2 has no weights of.
_TORCHVISION = {"r152": "resnet152"}
#: How the names of the weights of what stands on the residual network begin.
_PARTS = {
    "backbone.fpn_": "pyramid",
    **dict.fromkeys(
        (
            "backbone.laterals.",
            "backbone.deepest.",
            "backbone.narrowed.",
            "backbone.joined.",
            "flow_head.",
            "type_head.",
        ),
        "flows",
    ),
    "proposal_generator.": "proposal head",
    "roi_heads.box_head.": "box head",
    "roi_heads.box_predictor.": "box head",
    "roi_heads.mask_head.": "mask head",
    "roi_heads.box_refinement_head.": "box refinement head",
    "roi_heads.mask_iou_head.": "mask IoU head",
}
#: Seconds that a server may take to answer before it counts as not there.
_PATIENCE_S = 30


def model_zoo(backbone: str) -> str | None:
    """Where the backbone's ImageNet weights can be downloaded; None where nobody publishes any."""
    if backbone in _TORCHVISION:
        return str(get_model_weights(_TORCHVISION[backbone]).DEFAULT.url)
    return _DETECTRON2.get(backbone)


def usual_start(backbone: str) -> str | None:
    """What a training starts from that was not told: None, the model zoo's weights, or RANDOM for want of any."""
    return RANDOM if model_zoo(backbone) is None else None


def load_initial(
    model: nn.Module, backbone: str, weights: Path | None, whole_but: Sequence[str] | None = None
) -> str:
    """Put pretrained weights into a model that will be trained; returns where they came from.

    weights: a file, or None for the backbone's ImageNet weights from detectron2's model zoo. Heads that the file
        lacks, or has for another number of classes, keep their random start.
    whole_but: if given, the file must have all weights but those whose names begin so.
    The log says which stay random, unless the file has a backbone alone, as ImageNet's have.
    Raises UserError when the file does not exist, cannot be downloaded or fits nothing of the backbone.
    """
    source = model_zoo(backbone) if weights is None else str(weights)
    if source is None:
        raise UserError(
            f"no ImageNet weights of {backbone} can be downloaded; pass a file with --weights FILE, "
            f"or --weights {RANDOM} to start from nothing"
        )
    if weights is not None:
        require_weights_file(weights)
    try:
        if weights is None:
            _require_reachable(source)
        checkpointer = CellCheckpointer(model, save_to_disk=False)
        incompatible = checkpointer._load_model(read_weights(source))
    except UserError:
        raise
    except Exception as error:
        if weights is not None:
            raise UserError(f"{weights}: these weights cannot be read: {reason(error)}") from None
        raise UserError(
            f"{_address(source)} cannot be downloaded ({type(error).__name__}); fetch it on a machine with internet and "
            "pass the file with --weights FILE"
        ) from None
    _require_backbone(model, source, incompatible)
    if whole_but is not None:
        _require_whole(source, incompatible, whole_but)
    if left := _left_random(model, incompatible):
        _say.info("tensors missing or of another shape in %s, so random: %s", source, left)
    return source


def require_weights_file(weights: Path) -> None:
    """Raises UserError unless the file is there."""
    if not weights.is_file():
        raise UserError(f"{weights}: no such weights file (--weights)")


def _require_reachable(source: str) -> None:
    """Raises OSError if the file was not downloaded before and its server cannot be reached.

    detectron2's own download would by then have drawn a progress bar and written a message of its own.
    """
    url = _address(source)
    if not (Path(get_cache_dir()) / urlparse(url).path.lstrip("/")).is_file():
        with urlopen(Request(url, method="HEAD"), timeout=_PATIENCE_S):  # noqa: S310  our own https addresses
            pass


def _address(source: str) -> str:
    """Where a browser finds the file that detectron2 or torchvision would download."""
    return source.replace(Detectron2Handler.PREFIX, Detectron2Handler.S3_DETECTRON2_PREFIX)


def _require_backbone(model: nn.Module, source: str, incompatible: Any) -> None:
    wanted = {key for key in model.state_dict() if key.startswith(RESIDUAL_WEIGHTS)}
    missing = _lacking(incompatible) & wanted
    if missing:
        raise UserError(
            f"{source}: weights of another architecture: {len(missing)} of {len(wanted)} backbone tensors are "
            f"missing or have another shape, the first is {min(missing)}; `backbone` in the settings must match"
        )


def _require_whole(source: str, incompatible: Any, but: Sequence[str]) -> None:
    """Raises UserError unless the file had all weights whose names do not begin so, in the network's shapes."""
    lacking = sorted(name for name in _lacking(incompatible) if not name.startswith(tuple(but)))
    if lacking:
        but_those = f" but those of {' and '.join(name.rstrip('.') for name in but)}" if but else ""
        raise UserError(
            f"{source}: train_only needs a trained network with all weights{but_those}; {len(lacking)} are missing or have "
            f"another shape, the first is {lacking[0]}; train its head too, or leave it out of the settings"
        )


def _left_random(model: nn.Module, incompatible: Any) -> str:
    """How many weights of each part were not taken over; nothing for a file that has a backbone alone."""
    lacking = _lacking(incompatible)
    above = {key for key in model.state_dict() if not key.startswith(RESIDUAL_WEIGHTS)}
    other_heads = any(key.startswith(tuple(_PARTS)) for key in incompatible.unexpected_keys)
    if lacking == above and not incompatible.incorrect_shapes and not other_heads:
        return ""
    left, every = (Counter(_part(key) for key in keys) for keys in (lacking, above))
    return ", ".join(
        f"{part} ({left[part]} of {every[part]})" for part in dict.fromkeys(_PARTS.values()) if left[part]
    )


def _part(key: str) -> str:
    return next(part for prefix, part in _PARTS.items() if key.startswith(prefix))


def _lacking(incompatible: Any) -> set[str]:
    """Names of the network's weights that a file lacks or has in another shape."""
    return set(incompatible.missing_keys) | {entry[0] for entry in incompatible.incorrect_shapes}
