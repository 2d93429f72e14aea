from threading import Event

import pytest
from bright_cells import BrightCells, written_png

from sartorius.app.finding import Stopped, cells_above, find_cells, searched_images
from sartorius.app.steps import Abandoned, steps_of
from sartorius.errors import UserError


def silent(done: int, total: int) -> None:
    """No progress is told."""


def test_a_threshold_moves_without_the_model(visit):
    assert visit.model.looks == 1
    every = cells_above(visit.session, visit.offer, "well", {"astro": 0.0, "shsy5y": 0.0, "cort": 0.0})
    sure = cells_above(visit.session, visit.offer, "well", {"astro": 0.7, "shsy5y": 0.0, "cort": 0.0})
    assert [f"{score:.1f}" for score in every.scores] == ["0.9", "0.8", "0.6"]
    assert [f"{score:.1f}" for score in sure.scores] == ["0.9", "0.8"]
    assert visit.model.looks == 1


def test_an_image_is_searched_once(visit):
    find_cells(visit.session, visit.offer, {"bright": visit.model}, "well", silent)
    assert visit.model.looks == 1
    assert searched_images(visit.session, visit.offer) == ["well"]


def test_an_image_that_was_not_searched_has_no_cells_to_show(visit, tmp_path):
    visit.session.images["new"] = written_png(tmp_path / "new.png")
    with pytest.raises(UserError, match="new: no cells have been looked for"):
        cells_above(visit.session, visit.offer, "new", visit.offer.thresholds)


@pytest.mark.parametrize("flag", ["stopping", "closed"])
def test_a_search_ends_when_the_visitor_stops_or_leaves(visit, tmp_path, flag):
    visit.session.images["new"] = written_png(tmp_path / "new.png")
    setattr(visit.session, flag, True)
    with pytest.raises(Stopped):
        find_cells(visit.session, visit.offer, {"bright": BrightCells()}, "new", silent)
    assert searched_images(visit.session, visit.offer) == ["well"]


def test_steps_are_told_in_order_until_the_work_is_done():
    def work(progress):
        for done in (1, 2, 3):
            progress(done, 3)

    assert list(steps_of(work)) == [(1, 3), (2, 3), (3, 3)]


def test_what_goes_wrong_in_the_work_goes_wrong_where_it_is_awaited():
    def work(progress):
        progress(1, 2)
        raise UserError("no")

    steps = steps_of(work)
    assert next(steps) == (1, 2)
    with pytest.raises(UserError, match="no"):
        next(steps)


def test_work_that_nobody_awaits_any_more_ends_at_its_next_step():
    is_closed, has_ended = Event(), Event()

    def work(progress):
        progress(1, 3)
        assert is_closed.wait(20)
        try:
            progress(2, 3)
        except Abandoned:
            has_ended.set()
            raise

    steps = steps_of(work)
    assert next(steps) == (1, 3)
    steps.close()
    is_closed.set()
    assert has_ended.wait(20)
