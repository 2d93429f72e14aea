"""What visitors set on the page, and what it shows then, in a real browser."""

import time

import numpy as np
import pytest
from bright_cells import DISCS
from browser import DESKTOP, Visit, held, outlined

from sartorius.app import desk, measuring


def test_a_threshold_hides_a_cell_at_once_without_the_model(searched, server):
    searched.show("well")
    looks = server.model.looks
    searched.set_threshold(0.7)
    searched.wait_for_text(".viewer-count", "2 cells")
    assert outlined(searched) == [True, True, False]
    searched.page.wait_for_selector("#table [data-testid=cell-2-0]", state="detached")
    searched.page.click("#reset")
    searched.wait_for_text(".viewer-count", "3 cells")
    assert server.model.looks == looks


def test_measurements_that_take_long_do_not_overwrite_later_ones(searched, monkeypatch):
    quick = desk.measured

    def measured(session, choice):
        if choice.thresholds["astro"] == 0.5:
            time.sleep(1)
        return quick(session, choice)

    monkeypatch.setattr(desk, "measured", measured)
    searched.show("deep")
    searched.set_threshold(0.7)
    searched.page.wait_for_selector("#table [data-testid=cell-2-0]", state="detached")
    searched.page.wait_for_timeout(1500)
    assert searched.page.locator("#table [data-testid=cell-2-0]").count() == 0
    searched.page.click("#reset")
    searched.page.wait_for_selector("#table [data-testid=cell-2-0]")


@pytest.fixture
def unmeasured(monkeypatch):
    """While it is not set, cells are not measured."""
    with held(monkeypatch, measuring, "measure_cells") as free:
        yield free


def test_the_table_of_another_image_goes_before_the_cells_of_this_one_are_measured(
    browser, server, images, unmeasured
):
    unmeasured.set()
    visit = Visit(browser, server.url, **DESKTOP)
    visit.add(images["well"], images["deep"])
    visit.find()
    unmeasured.clear()
    visit.show("deep")
    visit.page.wait_for_selector(".nothing:has-text('being measured')", state="visible")
    assert not visit.page.is_visible("#table")
    unmeasured.set()
    visit.page.wait_for_selector("#table [data-testid=cell-2-0]")
    assert not visit.page.is_visible(".nothing")
    visit.close()


def test_a_row_of_cells_that_are_not_shown_any_more_chooses_none(searched, unmeasured):
    searched.set_threshold(0.83)
    searched.wait_for_text(".viewer-count", "1 cell")
    searched.page.click("#table [data-testid=cell-0-0]")
    searched.page.wait_for_timeout(1000)
    assert not searched.page.is_visible(".viewer-facts")
    unmeasured.set()
    searched.page.wait_for_selector("#table [data-testid=cell-1-0]", state="detached")
    searched.page.click("#reset")
    searched.page.wait_for_selector("#table [data-testid=cell-2-0]")


@pytest.mark.parametrize(("typed", "held", "cells"), [("5", "1", 0), ("-1", "0", 3), ("", "0.7", 2)])
def test_a_typed_threshold_stays_in_its_bounds_for_the_box_and_the_cells(searched, typed, held, cells):
    searched.set_threshold(0.7)
    searched.wait_for_text(".viewer-count", "2 cells")
    searched.page.fill("#confidence-astro input[type=number]", typed)
    searched.page.keyboard.press("Tab")
    searched.wait_for_text(".viewer-count", f"{cells} cells")
    assert searched.page.input_value("#confidence-astro input[type=number]") == held
    assert searched.texts("[data-testid=toast-body]") == []
    searched.set_threshold(0.5)
    searched.wait_for_text(".viewer-count", "3 cells")


def test_a_pasted_pixel_size_gives_micrometres_and_what_is_none_is_said_at_the_field(searched):
    searched.open_tab("Measurements")
    searched.page.fill("#um textarea", "0,5")
    searched.page.wait_for_selector("#table [data-testid=header-3]:has-text('Area (µm²)')")
    (area,) = searched.texts("#table [data-testid=cell-1-3]")
    np.testing.assert_allclose(float(area), np.pi * DISCS[1].radius ** 2 / 4, rtol=0.03)
    searched.page.fill("#um textarea", "1,234.5")
    searched.page.wait_for_selector("#um-note:has-text('“1,234.5” is no pixel size')")
    searched.page.wait_for_selector("#table [data-testid=header-3]:has-text('Area (px²)')")
    searched.page.fill("#um textarea", "")
    searched.page.wait_for_selector("#um-note", state="hidden")


def test_charts_are_of_one_image_or_of_all(searched):
    searched.open_tab("Distributions")
    assert searched.page.locator("#charts svg[role=img]").count() == 2
    assert searched.texts("#charts td:has-text('cells')") == ["3 cells"]
    searched.page.get_by_text("All images", exact=True).click()
    searched.wait_for_text("#charts tbody td", "6 cells")
    searched.page.get_by_text("This image", exact=True).click()
    searched.wait_for_text("#charts tbody td", "3 cells")


def test_a_slider_moves_and_a_cell_is_chosen_by_arrow_keys(searched):
    searched.show("well")
    page = searched.page
    slider = "#confidence-astro input[type=range]"
    wanted = float(page.input_value(slider)) + 0.105  # eleven steps
    for _ in range(200):  # on a busy machine an answer that comes late takes a step back, the last one too
        if searched.texts(".viewer-count") == ["2 cells"]:
            break
        if float(page.input_value(slider)) <= wanted:
            page.press(slider, "ArrowRight")
        page.wait_for_timeout(50)
    searched.wait_for_text(".viewer-count", "2 cells")
    page.click("#reset")
    searched.wait_for_text(".viewer-count", "3 cells")
    page.focus(".viewer-stage")
    page.keyboard.press("ArrowRight")
    assert page.is_visible(".viewer-facts")
    page.keyboard.press("Escape")
