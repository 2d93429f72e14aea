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
