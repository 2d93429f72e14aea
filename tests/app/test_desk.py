import json

import pandas as pd
from bright_cells import DISCS, written_png

from sartorius.app import desk
from sartorius.app.finding import find_cells
from sartorius.app.uploads import Refusal


def added(visit, tmp_path, name: str, discs=(), searched: bool = False) -> None:
    visit.session.images[name] = written_png(tmp_path / f"{name}.png", discs)
    if searched:
        find_cells(visit.session, visit.offer, {"bright": visit.model}, name, lambda done, total: None)


def test_the_scene_is_that_of_the_selected_image(visit):
    scene = json.loads(desk.scene_json(visit.session, visit.choice))
    assert (scene["name"], len(scene["cells"])) == ("well", 3)
    assert scene["href"] == f"session/{visit.session.token}/image/well"


def test_without_an_image_there_is_no_scene_and_nothing_measured(visit):
    visit.session.selected = None
    assert desk.scene_json(visit.session, visit.choice) == ""
    assert desk.measured(visit.session, visit.choice).facts == ""


def test_facts_belong_to_their_scene(visit):
    scene = json.loads(desk.scene_json(visit.session, visit.choice))
    facts = json.loads(desk.measured(visit.session, visit.choice).facts)
    assert facts["key"] == scene["key"]
    assert len(facts["rows"]) == len(scene["cells"])
    sure = visit.choice._replace(thresholds=dict.fromkeys(visit.offer.cell_types, 0.7))
    assert json.loads(desk.scene_json(visit.session, sure))["key"] != scene["key"]


def test_charts_are_of_the_selected_image_or_of_all(visit, tmp_path):
    added(visit, tmp_path, "empty", searched=True)
    assert "3 cells" in desk.charts_html(visit.session, visit.choice)
    visit.session.selected = "empty"
    assert "No cell reaches" in desk.charts_html(visit.session, visit.choice)
    assert "3 cells" in desk.charts_html(visit.session, visit.choice._replace(of_all=True))


def test_charts_say_that_a_measurement_is_not_defined_where_there_are_cells(visit, tmp_path):
    added(visit, tmp_path, "lonely", DISCS[:1], searched=True)
    visit.session.selected = "lonely"
    html = desk.charts_html(visit.session, visit.choice._replace(quantity="nearest_neighbour"))
    assert "This measurement is not defined for the cells shown." in html
    assert "No cell reaches" not in html


def test_charts_say_that_an_image_was_not_searched(visit, tmp_path):
    added(visit, tmp_path, "new")
    visit.session.selected = "new"
    assert "No cells have been looked for" in desk.charts_html(visit.session, visit.choice)


def test_the_list_ticks_what_was_searched_and_the_button_counts_the_rest(visit, tmp_path):
    assert desk.is_all_searched(visit.session, visit.offer)
    added(visit, tmp_path, "new")
    assert desk.image_labels(visit.session, visit.offer) == [("well ✓", "well"), ("new", "new")]
    assert desk.find_label(visit.session, visit.offer) == "Find cells"
    added(visit, tmp_path, "newer")
    assert desk.find_label(visit.session, visit.offer) == "Find cells in 2 images"


def test_what_was_refused_is_said_as_text_not_as_markup():
    html = desk.refusals_html([Refusal("<img src=x>.png", "the file is cut short")])
    assert "<img" not in html
    assert "The file is cut short." in html
    assert 'role="alert"' in html
    assert desk.refusals_html([]) == ""


def test_files_are_offered_once_something_was_searched(visit):
    assert desk.files_html(visit.session, visit.choice).count("<a href=") == 8
    visit.session.images.clear()
    assert "<a href=" not in desk.files_html(visit.session, visit.choice)


def test_progress_is_told_to_everyone():
    html = desk.progress_html("Searching image 2 of 4", 0.25)
    assert 'aria-valuenow="25"' in html
    assert "Searching image 2 of 4" in html


def test_what_stands_in_place_of_an_empty_table_says_why():
    assert "looked for" in desk.table_note(desk.Measured("", pd.DataFrame(), []))
    assert "Lower it" in desk.table_note(desk.Measured("{}", pd.DataFrame(), []))


def test_a_note_that_waits_for_measurements_is_only_of_searched_images(visit):
    assert "being measured" in desk.waiting_note(visit.session, visit.choice)
    visit.session.selected = None
    assert "looked for" in desk.waiting_note(visit.session, visit.choice)
