"""What the page's components become, for a session and what it has set."""

from typing import Any, NamedTuple

import gradio as gr

from sartorius.app import desk as shown
from sartorius.app.finding import searched_images
from sartorius.app.measuring import is_measured
from sartorius.app.offers import Choice
from sartorius.app.sessions import Session

#: What Gradio takes for one component: a value or an update of its properties.
Update = Any


class Pictured(NamedTuple):
    """The scene, and what stands in place of a table that does not follow it yet."""

    scene: Update
    note: Update
    table: Update


class Overview(NamedTuple):
    """The list of images, the shelf it stands in, the button that searches, where results and thresholds are; as `Pictured`."""

    images: Update
    shelf: Update
    find: Update
    results: Update
    tuning: Update
    scene: Update
    note: Update
    table: Update


class Numbers(NamedTuple):
    """What the viewer tells about cells, the table or what stands in its place, the files; charts take longer."""

    facts: Update
    note: Update
    table: Update
    files: Update


def overview(session: Session, choice: Choice) -> Overview:
    """What there is to choose from and to see; measurements take longer."""
    return _listed(session, choice)._replace(**pictured(session, choice)._asdict())


def pictured(session: Session, choice: Choice) -> Pictured:
    """The selected image; a table of another one, whose rows are not of this one's cells, goes until there is its own."""
    image_id, scene = session.selected, shown.scene_json(session, choice)
    if image_id is not None and is_measured(session, choice, image_id):
        return Pictured(scene, gr.skip(), gr.skip())
    note = gr.HTML(shown.waiting_note(session, choice), visible=True)
    return Pictured(scene, note, gr.Dataframe(visible=False))


def numbers(session: Session, choice: Choice) -> Numbers:
    """The measurements of the selected image."""
    measured = shown.measured(session, choice)
    any_cell = len(measured.table) > 0
    rows = measured.table.astype(object).where(measured.table.notna(), None).to_numpy().tolist()
    table = {"headers": list(measured.table), "data": rows, "metadata": {"display_value": measured.texts}}
    return Numbers(
        gr.update(facts=measured.facts),
        gr.HTML(shown.table_note(measured), visible=not any_cell),
        gr.Dataframe(table, visible=True) if any_cell else gr.Dataframe(visible=False),
        shown.files_html(session, choice),
    )


def all_new(session: Session, choice: Choice) -> list[Update]:
    """Overview, numbers and charts together; what two of them have for the viewer comes as one."""
    facts, note, table, files = numbers(session, choice)
    facts["value"] = shown.scene_json(session, choice)
    parts = _listed(session, choice)._replace(scene=facts, note=note, table=table)
    return [*parts, files, shown.charts_html(session, choice)]


def all_pictured(session: Session, choice: Choice) -> list[Update]:
    """As `all_new`, with what stands in place of the table until the cells are measured; what follows it stays."""
    return [*overview(session, choice), gr.skip(), gr.skip()]


def all_listed(session: Session, choice: Choice) -> list[Update]:
    """As `all_new` for cells that cannot be drawn or measured: what is known without, the rest stays."""
    return [*_listed(session, choice)._replace(note=""), gr.skip(), gr.skip()]


def all_waiting() -> list[Update]:
    """As `all_new` while a search goes on that has found nothing new: the button rests, the rest stays."""
    same = Overview(*[gr.skip()] * len(Overview._fields))
    return [*same._replace(find=gr.Button(interactive=False)), gr.skip(), gr.skip()]


def _listed(session: Session, choice: Choice) -> Overview:
    """The overview with the scene and the table that there are."""
    labels = shown.image_labels(session, choice.offer)
    images = gr.Radio(choices=labels, value=session.selected)
    button = gr.Button(
        shown.find_label(session, choice.offer),
        interactive=not session.searching and not shown.is_all_searched(session, choice.offer),
    )
    any_searched = gr.Column(visible=bool(searched_images(session, choice.offer)))
    shelf, same = gr.Column(visible=bool(labels)), [gr.skip()] * 3
    return Overview(images, shelf, button, any_searched, any_searched, *same)
