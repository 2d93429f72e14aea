"""Measurements of a session's cells, kept as long as neither image nor setting changes."""

import pandas as pd

from sartorius.app.finding import cells_above, searched_images
from sartorius.app.offers import Choice
from sartorius.app.sessions import Session
from sartorius.data.images import read_grey
from sartorius.morphometrics import measure_cells

#: Tables that are kept for one session.
_TABLES_KEPT = 128
#: Measured masks that are kept for one image; moving a threshold leaves most masks as they are.
_MASKS_KEPT = 10_000


def cell_table(session: Session, choice: Choice, image_id: str) -> pd.DataFrame:
    """The measurements of the cells of a searched image, one row each; intensities in the file's own grey values.

    Raises UserError if the image was not searched.
    """
    key = _key(choice, image_id)
    with session.lock:
        if key in session.tables:
            session.tables.move_to_end(key)
            return session.tables[key]
    cells = cells_above(session, choice.offer, image_id, choice.thresholds)
    known = dict(session.known.get(image_id, {}))
    table = measure_cells(cells, read_grey(session.images[image_id]), choice.um_per_px, known)
    with session.lock:
        session.known[image_id] = known if len(known) <= _MASKS_KEPT else {}
        session.tables[key] = table
        while len(session.tables) > _TABLES_KEPT:
            session.tables.popitem(last=False)
    return table


def is_measured(session: Session, choice: Choice, image_id: str) -> bool:
    """Whether `cell_table` need not measure any more."""
    return _key(choice, image_id) in session.tables


def joined_table(session: Session, choice: Choice) -> pd.DataFrame:
    """The measurements of all searched images, one after the other; without a searched image no row and no column."""
    tables = [cell_table(session, choice, image_id) for image_id in searched_images(session, choice.offer)]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _key(choice: Choice, image_id: str) -> tuple[str, float | None]:
    """What a table is kept under."""
    return choice.key(image_id), choice.um_per_px
