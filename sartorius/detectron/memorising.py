"""A sanity check of a configuration: can it learn a few images by heart?

A model that cannot has a fault in its data, anchors, losses or rate, which no longer training will mend.
Source: the YOLACT entry of the competition, which checked itself on twelve images.
"""

from sartorius.config import ModelSettings
from sartorius.detectron.pasting import main_type
from sartorius.detectron.training_data import TrainingData
from sartorius.errors import UserError

#: Competition mAP on the images trained on from which they count as memorised; the best systems reach .36 on new ones.
MEMORISED_MAP = 0.5
#: How often the images are evaluated on the way.
EVALUATIONS = 10


def memorising_settings(settings: ModelSettings) -> ModelSettings:
    """The settings with whole images, nothing changed in them at random, evaluated ten times on the way."""
    plain = {
        "crop_px": None,
        "cuda_graphs": False,  # for crops alone
        "flips": False,
        "turns": False,
        "scale_jitter": (1.0, 1.0),
        "colour_jitter": 0.0,
        "elastic_px": 0.0,
        "paste_share": 0.0,
        "sampling": "images",
        "patience": 0,
        "evaluation_period": max(1, settings.iterations // EVALUATIONS),
    }
    return settings.model_copy(update=plain)


def memorising_data(data: TrainingData, count: int) -> TrainingData:
    """`count` training images, taken from the cell types in turn, to train on and to validate on alike.

    Images without cells are left out, and of those with the same id, as images of several folders may have, all but the
    last, whose truth is known. Fewer images than `count` are all taken.
    Raises UserError when no image has cells.
    """
    of_type: dict[int, list[str]] = {}
    by_id = {image.image_id: image for image in data.training}
    for name, image in by_id.items():
        if len(image.crops):
            of_type.setdefault(main_type(image), []).append(name)
    if not of_type:
        raise UserError(
            f"--overfit {count}: none of the {len(data.training)} images has cells to learn by heart"
        )
    ranked = sorted(
        (rank, kind, name) for kind, names in of_type.items() for rank, name in enumerate(sorted(names))
    )
    chosen = {name for _, _, name in ranked[:count]}
    images = [image for name, image in by_id.items() if name in chosen]
    truth = {name: data.training_truth[name] for name in sorted(chosen)}
    return TrainingData(images, images, truth, data.training_truth)
