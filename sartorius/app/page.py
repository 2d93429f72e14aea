"""The page: what stands where, and which answer belongs to which control. All else is in the modules beside."""

from collections.abc import Sequence
from importlib.resources import files
from typing import Any, NamedTuple

import gradio as gr

from sartorius.app.answers import Answers
from sartorius.app.desk import Desk
from sartorius.app.names import palette, type_name
from sartorius.app.offers import Offer
from sartorius.app.quantities import QUANTITIES
from sartorius.data.images import IMAGE_SUFFIXES

_MASTHEAD = """<header class="masthead"><h1>sartorius</h1>
<p>Every single cell in your microscopy images: outlined, measured, ready to take away.</p></header>"""
_CONFIDENCE = """<div class="lead"><h2>Confidence</h2>
<p>How sure the model must be of a cell. Lower shows more cells, higher only the surest.</p></div>"""
#: The page tells by itself how far it is.
_QUIET: dict[str, Any] = {"show_progress": "hidden"}
#: What is asked while an answer is awaited is asked after it, with what is set then; Gradio would drop it.
_LATEST: dict[str, Any] = {"trigger_mode": "always_last", **_QUIET}


class _Intake(NamedTuple):
    """Where images come in and are searched."""

    drop: gr.File
    notice: gr.HTML
    shelf: gr.Column
    images: gr.Radio
    clear: gr.Button
    offer: gr.Dropdown
    find: gr.Button
    stop: gr.Button
    progress: gr.HTML


class _Results(NamedTuple):
    """Where cells are seen, read and taken away."""

    viewer: gr.HTML
    column: gr.Column
    note: gr.HTML
    table: gr.Dataframe
    quantity: gr.Dropdown
    scope: gr.Radio
    charts: gr.HTML
    taken: gr.HTML


class _Tuning(NamedTuple):
    """Where it is said what counts as a cell, and how large a pixel is."""

    column: gr.Column
    sliders: list[gr.Slider]
    reset: gr.Button
    um: gr.Textbox
    um_note: gr.HTML


def asset(name: str) -> str:
    """The text of a file that comes with the page."""
    return files("sartorius.app").joinpath("assets", name).read_text(encoding="utf-8")


def page_css(offers: Sequence[Offer]) -> str:
    """The page's style sheet, the slider of every cell type marked with its colour."""
    marks = {name: colour for offer in offers for name, colour in palette(offer.cell_types).items()}
    rules = [f'[id="confidence-{name}"] {{ --type: {colour}; }}' for name, colour in marks.items()]
    return "\n".join([asset("page.css"), *rules])


def build_page(desk: Desk) -> gr.Blocks:
    """The page for these ensembles, its queue bounded by the limits."""
    offers = list(desk.offers.values())
    cell_types = tuple(dict.fromkeys(name for offer in offers for name in offer.cell_types))
    page: gr.Blocks = gr.Blocks(
        analytics_enabled=False, title="sartorius", fill_width=True, delete_cache=(60, 600)
    )
    with page:
        gr.HTML(_MASTHEAD, apply_default_css=False)
        with gr.Row(elem_classes="layout"):
            with gr.Column(elem_classes="intake side"):
                intake = _intake(offers, desk.limits.file_mb)
            tuning = _tuning(offers[0], cell_types)
            with gr.Column(elem_classes="main"):
                results = _results()
        _connect(page, Answers(desk, cell_types), intake, results, tuning)
    page.queue(max_size=desk.limits.waiting, default_concurrency_limit=4)
    return page


def _intake(offers: Sequence[Offer], file_mb: float) -> _Intake:
    drop = gr.File(
        label="Images",
        file_count="multiple",
        file_types=list(IMAGE_SUFFIXES),
        height=132,
        elem_id="drop",
    )
    gr.HTML(
        "",
        js_on_load=asset("large_files.js"),
        file_mb=file_mb,
        apply_default_css=False,
        elem_id="too-large",
        elem_classes="refusals",
    )
    notice = gr.HTML(elem_id="notice", elem_classes="refusals", apply_default_css=False)
    with gr.Column(visible=False, elem_classes="shelf") as shelf:
        images = gr.Radio(label="Your images", choices=[], elem_id="images")
        clear = gr.Button("Remove all images", size="sm", elem_id="clear")
    offer = gr.Dropdown(
        [(offer.title, offer.key) for offer in offers],
        value=offers[0].key,
        label="Model",
        filterable=False,
        elem_id="offer",
    )
    find = gr.Button("Find cells", variant="primary", interactive=False, elem_id="find")
    stop = gr.Button("Stop", visible=False, elem_id="stop")
    progress = gr.HTML(elem_id="progress", apply_default_css=False)
    return _Intake(drop, notice, shelf, images, clear, offer, find, stop, progress)


def _results() -> _Results:
    with gr.Column(elem_classes="stage"):
        viewer = gr.HTML(
            "",
            html_template=asset("viewer.html"),
            js_on_load=asset("viewer.js"),
            facts="",
            chosen="",
            apply_default_css=False,
            elem_id="viewer",
        )
    with gr.Column(visible=False, elem_classes="results") as column, gr.Tabs():
        with gr.Tab("Measurements"):
            note = gr.HTML(apply_default_css=False)
            table = gr.Dataframe(
                interactive=False,
                max_height=440,
                show_search="filter",
                buttons=["fullscreen"],  # what Gradio copies lacks the names of the columns
                elem_id="table",
            )
        with gr.Tab("Distributions"):
            with gr.Row():
                quantity = gr.Dropdown(
                    [(quantity.title, quantity.key) for quantity in QUANTITIES],
                    value="area",
                    label="Measurement",
                    filterable=False,
                    elem_id="quantity",
                )
                scope = gr.Radio([("This image", False), ("All images", True)], value=False, label="Cells of")
            charts = gr.HTML(elem_id="charts", apply_default_css=False)
        with gr.Tab("Download"):
            taken = gr.HTML(elem_id="files", apply_default_css=False)
    return _Results(viewer, column, note, table, quantity, scope, charts, taken)


def _tuning(first: Offer, cell_types: Sequence[str]) -> _Tuning:
    with gr.Column(visible=False, elem_classes="tune side") as column:
        gr.HTML(_CONFIDENCE, apply_default_css=False)
        sliders = [
            gr.Slider(
                0,
                1,
                first.thresholds.get(name, 0.5),
                step=0.01,
                label=type_name(name),
                visible=name in first.thresholds,
                buttons=[],
                elem_id=f"confidence-{name}",
                elem_classes="confidence",
            )
            for name in cell_types
        ]
        reset = gr.Button("Use recommended values", size="sm", elem_id="reset")
        um = gr.Textbox(
            label="Pixel size in µm",
            info="Optional. Lengths and areas are then given in µm.",
            placeholder="for example 1.24",
            max_length=20,
            elem_id="um",
        )
        um_note = gr.HTML(elem_id="um-note", apply_default_css=False)
    return _Tuning(column, sliders, reset, um, um_note)


def _connect(page: gr.Blocks, answers: Answers, intake: _Intake, results: _Results, tuning: _Tuning) -> None:
    """Every control is answered; whatever changes the cells that are shown is followed by their measurements."""
    viewer = results.viewer
    settings = [intake.offer, tuning.um, results.quantity, results.scope, *tuning.sliders]
    pictured = [viewer, results.note, results.table]
    overview = [intake.images, intake.shelf, intake.find, results.column, tuning.column, *pictured]
    numbers = [*pictured, results.taken]

    def drawn_after(event: Any) -> None:
        # The table need not wait. One answer in two parts would not do: Gradio's client can lose the first of them.
        event.success(answers.drawn, settings, results.charts, **_LATEST)

    def measured_after(event: Any) -> None:
        drawn_after(event.success(answers.measured, settings, numbers, **_LATEST))

    page.unload(answers.leave)
    page.load(answers.open, settings, None, **_QUIET)
    arrived = [intake.drop, intake.notice, *overview]
    measured_after(
        intake.drop.upload(
            answers.add,
            [intake.drop, *settings],
            arrived,
            trigger_mode="multiple",
            concurrency_limit=2,
            **_QUIET,
        )
    )
    measured_after(intake.clear.click(answers.clear, settings, [intake.notice, *overview], **_QUIET))
    measured_after(intake.images.input(answers.select, [intake.images, *settings], pictured, **_LATEST))
    for change in (intake.offer.input, tuning.reset.click):
        restored = change(answers.thresholds, intake.offer, tuning.sliders, **_LATEST)
        measured_after(restored.then(answers.restored, settings, overview, **_LATEST))
    moved = [slider.input for slider in tuning.sliders]
    measured_after(gr.on(moved, answers.scene, settings, viewer, **_LATEST))
    # `input` misses what is pasted
    drawn_after(tuning.um.change(answers.sized, settings, numbers, **_LATEST))
    _connect_search(answers, intake, settings, [*overview, results.taken, results.charts])
    _connect_details(answers, results, tuning, settings)


def _connect_search(answers: Answers, intake: _Intake, settings: list[Any], shown: list[Any]) -> None:
    """The search and its end; settings: what it goes by, shown: what follows it."""
    intake.find.click(
        answers.find,
        settings,
        [intake.notice, intake.progress, intake.stop, *shown],
        concurrency_limit=1,
        show_progress_on=intake.progress,
        show_progress="minimal",
    )
    intake.stop.click(answers.stop, None, intake.progress, queue=False, **_QUIET)


def _connect_details(answers: Answers, results: _Results, tuning: _Tuning, settings: list[Any]) -> None:
    """Controls of one part of the page; settings: what charts are drawn from."""
    tuning.um.change(answers.size_note, tuning.um, tuning.um_note, **_LATEST)
    gr.on([results.quantity.input, results.scope.input], answers.charts, settings, results.charts, **_LATEST)
    # `multiple`, since Gradio asks again for the first row instead of the latest one
    results.table.select(answers.chosen_row, None, results.viewer, trigger_mode="multiple", **_QUIET)
