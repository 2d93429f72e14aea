"""The cells of a session's images: predicted once, then thresholded as often as the visitor likes."""

from collections.abc import Mapping
from pathlib import Path

from sartorius.app.offers import Offer
from sartorius.app.sessions import Session
from sartorius.app.steps import Progress
from sartorius.cells import Cells
from sartorius.data.predictions import prediction_path, read_cells, write_cells
from sartorius.errors import UserError
from sartorius.fusion import fuse
from sartorius.pipeline import Predictor, predict_images, read_sources
from sartorius.pipeline.by_type import image_fusion
from sartorius.postprocess import clean


class Stopped(Exception):  # noqa: N818 - not an error
    """The visitor stopped the search or left."""


def find_cells(
    session: Session, offer: Offer, predictors: Mapping[str, Predictor], image_id: str, progress: Progress
) -> None:
    """The session keeps what every model and view of the ensemble found in an image, fused, before any threshold.

    What is there already is kept. Raises UserError if the image cannot be read, Stopped if the session ends or is stopping.
    """

    def report(_: str, done: int, total: int) -> None:
        if session.closed or session.stopping:
            raise Stopped
        progress(done, total)

    if is_searched(session, offer, image_id):
        return
    path = session.images[image_id]
    cache = _folder(session, offer) / "predictions"
    predict_images(predictors, offer.settings, {image_id: path}, cache, report)
    sources = read_sources(offer.settings, cache, image_id)
    fused = fuse(*image_fusion(sources, offer.settings))
    write_cells(_fused_path(session, offer, image_id), fused)


def is_searched(session: Session, offer: Offer, image_id: str) -> bool:
    """Whether an ensemble has looked at an image."""
    return _fused_path(session, offer, image_id).is_file()


def searched_images(session: Session, offer: Offer) -> list[str]:
    """The images that an ensemble has looked at, in the order in which they came."""
    return [image_id for image_id in session.images if is_searched(session, offer, image_id)]


def cells_above(session: Session, offer: Offer, image_id: str, thresholds: Mapping[str, float]) -> Cells:
    """The cells of a searched image that reach their type's threshold, cleaned; no model runs.

    thresholds: the least score by cell type.
    Raises UserError if the image was not searched.
    """
    path = _fused_path(session, offer, image_id)
    if not path.is_file():
        raise UserError(f"{image_id}: no cells have been looked for in this image yet")
    settings = offer.settings.postprocess.model_copy(update={"score_threshold": dict(thresholds)})
    return clean(read_cells(path), settings)


def _folder(session: Session, offer: Offer) -> Path:
    return session.folder / "found" / offer.key


def _fused_path(session: Session, offer: Offer, image_id: str) -> Path:
    return prediction_path(_folder(session, offer) / "fused", image_id)
