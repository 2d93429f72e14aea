"""Which images are scored: predictions and truth must speak of the same ones."""

from collections.abc import Mapping

from sartorius.cells import Cells
from sartorius.errors import UserError


def refuse_mismatches(predictions: Mapping[str, Cells], truth: Mapping[str, Cells]) -> None:
    """Raise UserError if there is no truth, or a prediction is of an image without truth or of another size."""
    if not truth:
        raise UserError("expected at least one image with truth to score, got none")
    unknown = sorted(set(predictions) - set(truth))
    if unknown:
        raise UserError(
            f"the truth has no image {', '.join(unknown[:3])}"
            + (f" and {len(unknown) - 3} more" if len(unknown) > 3 else "")
            + f" of the predictions; it has {len(truth)} images: score predictions against the truth of their images"
        )
    for image_id, cells in predictions.items():
        if cells.size_hw != truth[image_id].size_hw:
            raise UserError(
                f"{image_id}: predictions are for {cells.size_hw[0]} x {cells.size_hw[1]} px (height x width), "
                f"the truth is {truth[image_id].size_hw[0]} x {truth[image_id].size_hw[1]} px"
            )


def chosen_images(
    truth: Mapping[str, Cells],
    folds: Mapping[str, int] | None = None,
    fold: int | None = None,
) -> dict[str, Cells]:
    """The truth of the images of one fold, or of all images when `fold` is None.

    Raises UserError if the fold has no image, or one without truth.
    """
    if fold is None:
        return dict(truth)
    if folds is None:
        raise UserError("a fold was named without a file of folds: give both")
    chosen = sorted(image_id for image_id, number in folds.items() if number == fold)
    if not chosen:
        known = ", ".join(map(str, sorted(set(folds.values()))))
        raise UserError(f"fold {fold} has no images; the file of folds has the folds {known}")
    absent = [image_id for image_id in chosen if image_id not in truth]
    if absent:
        raise UserError(
            f"fold {fold} has {len(absent)} images without truth, for example {', '.join(absent[:3])}: "
            "use the folds that were made from this truth"
        )
    return {image_id: truth[image_id] for image_id in chosen}


def predictions_for(predictions: Mapping[str, Cells], truth: Mapping[str, Cells]) -> dict[str, Cells]:
    """The predictions of exactly the images of `truth`, in its order; others are left out.

    Raises UserError if one is missing: an image in which nothing was found is there without cells, a missing one was
    never looked at.
    """
    absent = [image_id for image_id in truth if image_id not in predictions]
    if absent:
        raise UserError(
            f"{len(absent)} of the {len(truth)} images to score have no predictions, for example "
            f"{', '.join(absent[:3])}: predict them, or score only the images of one fold (--folds, --fold) or those "
            "that have predictions (--only-predicted)"
        )
    return {image_id: predictions[image_id] for image_id in truth}
