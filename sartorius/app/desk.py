"""What one visitor sees, as plain values: scenes, tables, charts and words for a session and what it has set."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple
from urllib.parse import quote

import pandas as pd

from sartorius.app.charts import charts
from sartorius.app.downloads import DOWNLOADS
from sartorius.app.finding import cells_above, is_searched, searched_images
from sartorius.app.limits import Limits
from sartorius.app.measuring import cell_table, joined_table
from sartorius.app.names import counted, palette
from sartorius.app.offers import Choice, Models, Offer
from sartorius.app.quantities import QUANTITIES, column, heading, shown_table, shown_texts
from sartorius.app.scene import scene
from sartorius.app.sessions import Session, SessionStore
from sartorius.app.uploads import Refusal
from sartorius.data.images import image_size_hw

_NOT_SEARCHED = "No cells have been looked for in this image yet."
_NOT_MEASURED = "The cells are being measured …"
_NO_CELL = "No cell reaches the confidence that is asked for. Lower it to see more."
_UNDEFINED = "This measurement is not defined for the cells shown."


class Desk(NamedTuple):
    """What all visitors share; offers by their key."""

    store: SessionStore
    offers: Mapping[str, Offer]
    models: Models
    limits: Limits


class Measured(NamedTuple):
    """The measurements of the selected image as the page shows them.

    facts: for the viewer, as JSON text.
    table: what the table sorts by; without a searched image it has no row.
    texts: what the table shows, row by row.
    """

    facts: str
    table: pd.DataFrame
    texts: list[list[str]]


def scene_json(session: Session, choice: Choice) -> str:
    """The selected image and its cells for the viewer; "" without an image."""
    image_id = session.selected
    if image_id is None:
        return ""
    cells = None
    if is_searched(session, choice.offer, image_id):
        cells = cells_above(session, choice.offer, image_id, choice.thresholds)
    size_hw = image_size_hw(session.images[image_id])
    href = f"session/{session.token}/image/{quote(image_id)}"
    colours = palette(choice.offer.cell_types)
    drawn = scene(image_id, size_hw, href, cells, colours) | {"key": choice.key(image_id)}
    return json.dumps(drawn, separators=(",", ":"))


def measured(session: Session, choice: Choice) -> Measured:
    """The measurements of the selected image."""
    image_id, in_um = session.selected, choice.um_per_px is not None
    if image_id is None or not is_searched(session, choice.offer, image_id):
        return Measured("", pd.DataFrame(), [])
    table = shown_table(cell_table(session, choice, image_id), in_um)
    texts = shown_texts(table, in_um)
    facts = {"key": choice.key(image_id), "titles": list(table), "rows": texts}
    return Measured(json.dumps(facts, separators=(",", ":")), table, texts)


def charts_html(session: Session, choice: Choice) -> str:
    """Histogram and box plot of the chosen quantity, of the selected image or of all that were searched."""
    image_id, in_um = session.selected, choice.um_per_px is not None
    if choice.of_all:
        table = joined_table(session, choice)
    elif image_id is not None and is_searched(session, choice.offer, image_id):
        table = cell_table(session, choice, image_id)
    else:
        table = pd.DataFrame()
    if table.columns.empty:
        return nothing(_NOT_SEARCHED)
    quantity = next(quantity for quantity in QUANTITIES if quantity.key == choice.quantity)
    values, colours = table[column(quantity, in_um)], palette(choice.offer.cell_types)
    drawn = charts(values, table["cell_type"], heading(quantity, in_um), colours)
    return drawn or nothing(_NO_CELL if table.empty else _UNDEFINED)


def image_labels(session: Session, offer: Offer) -> list[tuple[str, str]]:
    """(what the list of images says, image id) of every image; those that were searched have a tick."""
    done = set(searched_images(session, offer))
    return [(f"{image_id} ✓" if image_id in done else image_id, image_id) for image_id in session.images]


def find_label(session: Session, offer: Offer) -> str:
    """What the button says: how many images are still to be searched."""
    left = len(session.images) - len(searched_images(session, offer))
    return f"Find cells in {left} images" if left > 1 else "Find cells"


def is_all_searched(session: Session, offer: Offer) -> bool:
    """Whether no image is left to search; true without images."""
    return len(searched_images(session, offer)) == len(session.images)


def refusals_html(refusals: Sequence[Refusal]) -> str:
    """What was not taken and why; "" if everything was."""
    if not refusals:
        return ""
    items = "".join(f"<li><b>{escape(name)}</b>{escape(_sentence(reason))}</li>" for name, reason in refusals)
    return f'<ul role="alert">{items}</ul>'


def progress_html(words: str, share: float) -> str:
    """A bar that is filled to a share of 0 to 1 under words."""
    percent = round(100 * share)
    bar = f'role="progressbar" aria-valuemin="0" aria-valuemax="100" aria-valuenow="{percent}" aria-label="{escape(words)}"'
    return f'<p role="status">{escape(words)}</p><div {bar}><i style="width:{percent}%"></i></div>'


def table_note(measured: Measured) -> str:
    """What stands in place of a table without rows."""
    return nothing(_NO_CELL if measured.facts else _NOT_SEARCHED)


def waiting_note(session: Session, choice: Choice) -> str:
    """What stands in place of a table that does not follow the picture yet."""
    image_id = session.selected
    is_measurable = image_id is not None and is_searched(session, choice.offer, image_id)
    return nothing(_NOT_MEASURED if is_measurable else _NOT_SEARCHED)


def no_size_html(text: str) -> str:
    """What stands at the field for a pixel's size if the text in it is none."""
    words = f"“{text}” is no pixel size. Type a number above 0, for example 1.24; until then numbers are in pixels."
    return f'<p role="status">{escape(words)}</p>'


def nothing(words: str) -> str:
    """Words where there is nothing to show."""
    return f'<p class="nothing">{escape(words)}</p>'


def files_html(session: Session, choice: Choice) -> str:
    """Links to the files that can be taken away."""
    searched = len(searched_images(session, choice.offer))
    if not searched:
        return nothing(_NOT_SEARCHED)
    links = "".join(
        f'<li><a href="session/{session.token}/file/{key}" target="_blank"><b>{escape(download.title)}</b>'
        f"<span>{escape(download.note)}</span></a></li>"
        for key, download in DOWNLOADS.items()
    )
    words = f"Files hold the cells shown with the present settings, of {counted(searched, 'searched image')}."
    return f'<p class="hint">{words}</p><ul class="files">{links}</ul>'


def _sentence(reason: str) -> str:
    return f"{reason[:1].upper()}{reason[1:]}." if reason and not reason.endswith(".") else reason
