"""The page as visitors use it, in a real browser."""

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile
from bright_cells import DISCS, SIZE_HW, BrightCells, Disc, drawn_image, written_png
from browser import ASTRO, DESKTOP, PHONE, Visit, held, is_colour, outlined

from sartorius.app import routes
from sartorius.app.downloads import DOWNLOADS
from sartorius.errors import UserError
from sartorius.formats import read_any
from sartorius.submission import check_submission


@pytest.mark.parametrize("image_id", ["well", "deep"])
def test_every_cell_is_outlined_in_the_colour_of_its_type(searched, image_id):
    searched.show(image_id)
    searched.wait_for_text(".viewer-count", "3 cells")
    assert outlined(searched) == [True, True, True]
    assert is_colour(searched.picture(), ASTRO).mean() < 0.1


def test_a_broken_file_is_named_with_the_reason_and_costs_only_itself(searched, images):
    searched.add(images["broken"])
    searched.page.wait_for_selector("#notice li")
    (message,) = searched.texts("#notice li")
    assert message.startswith("broken.png")
    assert "cut short" in message
    assert searched.texts("#images label") == ["well ✓", "deep ✓"]


def test_a_cell_tells_its_numbers_where_it_is_pointed_at_clicked_or_chosen_in_the_table(searched):
    searched.show("well")
    page = searched.page
    page.hover(".viewer-cells path[data-number='1']")
    assert "0.80" in page.inner_text(".viewer-tip")
    page.click(".viewer-cells path[data-number='1']")
    area = float(page.inner_text(".viewer-facts > div:has(dt:text('Area')) dd"))
    np.testing.assert_allclose(area, np.pi * DISCS[1].radius ** 2, rtol=0.03)
    searched.open_tab("Measurements")
    page.click("#table [data-testid=cell-2-0]")
    searched.wait_for_text(".viewer-facts > div:has(dt:text('Cell')) dd", "3")
    page.focus(".viewer-stage")
    page.keyboard.press("Escape")
    assert not page.is_visible(".viewer-facts")
    page.click("#table [data-testid=cell-2-0]")
    page.wait_for_selector(".viewer-facts", state="visible")
    page.focus(".viewer-stage")
    page.keyboard.press("Escape")


def test_a_long_and_narrow_image_has_room_and_can_be_zoomed(browser, server, tmp_path):
    cv2.imwrite(str(tmp_path / "strip.png"), drawn_image([Disc(500, 5, 4, 0.9)], (1000, 10)))
    visit = Visit(browser, server.url, **DESKTOP)
    visit.add(tmp_path / "strip.png")
    visit.find()
    page, room = visit.page, visit.page.locator(".viewer-stage").bounding_box()
    assert room["width"] > 200
    page.focus(".viewer-stage")
    for _ in range(11):
        page.keyboard.press("+")
    assert page.get_attribute(".viewer-svg", "viewBox").split()[3] == "16"
    page.mouse.move(room["x"] + room["width"] / 2, room["y"] + room["height"] / 2)
    page.wait_for_selector(".viewer-tip:has-text('0.90')")
    page.click("#clear")
    page.wait_for_selector(".viewer[data-state=empty]")
    visit.close()


def unzipped(path: Path) -> Path:
    folder = path.parent / path.stem
    zipfile.ZipFile(path).extractall(folder)
    return folder


def read_back(key: str, path: Path, images: dict[str, Path]) -> dict[str, int]:
    """The number of cells of each image in a file that was taken away."""
    if key == "cells":
        return pd.read_csv(path)["image_id"].value_counts().to_dict()
    if key == "images":
        return pd.read_csv(path).set_index("image_id")["cells"].to_dict()
    if key == "pictures":
        pictures = {file.stem: cv2.imread(str(file))[:, :, ::-1] for file in unzipped(path).iterdir()}
        return {name: 3 * bool(is_colour(picture, ASTRO).sum() > 100) for name, picture in pictures.items()}
    if key == "labels":
        return {file.stem: tifffile.imread(file).max() for file in unzipped(path).glob("*.tif")}
    if key in ("imagej", "qupath"):
        path = unzipped(path)
    if key == "submission":
        assert check_submission(path, dict.fromkeys(images, SIZE_HW)) == []
    return {image_id: len(cells) for image_id, cells in read_any(path, images).items()}


@pytest.mark.parametrize("key", DOWNLOADS)
def test_every_file_can_be_taken_away_and_read_again(searched, images, tmp_path, key):
    searched.open_tab("Download")
    with searched.page.expect_download() as started:
        searched.page.click(f"#files a[href$='/file/{key}']")
    path = tmp_path / started.value.suggested_filename
    started.value.save_as(path)
    assert len(searched.page.context.pages) == 1
    whole = {name: images[name] for name in ("well", "deep")}
    assert read_back(key, path, whole) == {"well": 3, "deep": 3}


def test_a_file_that_cannot_be_taken_away_says_why(searched, monkeypatch):
    def fail(*arguments):
        raise UserError("the cells of well cannot be written")

    monkeypatch.setattr(routes, "write_download", fail)
    searched.open_tab("Download")
    with searched.page.context.expect_page() as opened:
        searched.page.click("#files a[href$='/file/cells']")
    opened.value.wait_for_load_state()
    assert opened.value.inner_text("body").strip() == "the cells of well cannot be written"
    opened.value.close()
    assert searched.page.is_visible("#files")


#: Where the focus is, by the nearest name on the page, and whether that can be seen.
FOCUSED = """() => {
  const at = document.activeElement, seen = [at, at.closest('label'), at.parentElement].filter(Boolean);
  const looks = () => seen.map((one) => {
    const style = getComputedStyle(one);
    return [style.outlineStyle, style.outlineWidth, style.boxShadow, style.borderColor].join();
  }).join();
  const focused = looks();
  at.blur();
  const differs = focused !== looks();
  at.focus();
  return [at.closest('#drop, #images, #find, [id^=confidence], #um, #viewer, #files')?.id ?? '', differs];
}"""


def test_the_keyboard_alone_reaches_upload_threshold_cells_and_files_in_this_order_and_shows_where_it_is(
    searched,
):
    searched.open_tab("Download")
    page = searched.page
    page.mouse.click(2, 2)
    places: list[str] = []
    for _ in range(35):
        page.keyboard.press("Tab")
        place, is_visible = page.evaluate(FOCUSED)
        assert is_visible or not place, place
        places.append(place)
    first = list(dict.fromkeys(filter(None, places)))
    kinds = [f"confidence-{name}" for name in ("shsy5y", "astro", "cort")]
    assert first == ["drop", "images", *kinds, "um", "viewer", "files"]
    assert places.count("files") == len(DOWNLOADS)


def test_visitors_see_only_their_own_images(searched, browser, server, tmp_path):
    other = Visit(browser, server.url, **DESKTOP)
    assert other.texts("#images label") == []
    other.add(written_png(tmp_path / "mine.png", [Disc(60, 80, 20, 0.95)]))
    other.find()
    assert other.texts(".viewer-count") == ["1 cell"]
    assert other.texts("#images label") == ["mine ✓"]
    assert searched.texts("#images label") == ["well ✓", "deep ✓"]
    address, own = (visit.page.get_attribute(".viewer-image", "href") for visit in (searched, other))
    assert other.page.request.get(server.url + own).status == 200
    assert other.page.request.get(server.url + address.replace("/image/well", "/image/mine")).status == 404
    assert len([path for path in server.folder.iterdir() if (path / "images").is_dir()]) == 2
    other.page.click("#clear")
    other.page.wait_for_selector(".viewer[data-state=empty]")
    assert searched.texts(".viewer-count") == ["3 cells"]
    other.close()


#: Every message of the server's answers comes late, receipts of questions do not.
SLOW_ANSWERS = """
const ask = window.fetch;
window.fetch = async (...question) => {
  const response = await ask(...question);
  if (!response.url.includes('/queue/data')) return response;
  const late = async (chunk, out) => { await new Promise((on) => setTimeout(on, 300)); out.enqueue(chunk); };
  return new Response(response.body.pipeThrough(new TransformStream({ transform: late })), response);
};
"""


def test_a_click_while_the_server_ends_its_answers_is_answered(browser, server, images):
    """Gradio's own client leaves such a click unanswered for ever."""
    visit = Visit(browser, server.url, SLOW_ANSWERS, **DESKTOP)
    visit.add(images["well"])
    visit.find()
    assert visit.texts(".viewer-count") == ["3 cells"]
    assert visit.faults == []
    visit.close()


#: The page's own wait for Gradio's client, two seconds, does not end by itself.
ENDLESS_GUARD = """
const after = window.setTimeout;
window.setTimeout = (act, ms, ...more) => after(act, ms === 2000 ? 1e9 : ms, ...more);
"""


@pytest.fixture
def unfinished(monkeypatch):
    """While it is not set, the model does not come to an end."""
    with held(monkeypatch, BrightCells, "__call__") as free:
        yield free


def test_a_click_after_a_search_in_which_images_came_is_answered_at_once(browser, server, images, unfinished):
    """Gradio's own client ends the stream that it opened last, which is that of the upload."""
    visit = Visit(browser, server.url, ENDLESS_GUARD, **DESKTOP)
    visit.page.set_default_timeout(20_000)
    visit.add(images["well"])
    visit.page.click("#find:not([disabled])")
    visit.page.wait_for_selector("#stop", state="visible")
    visit.add(images["deep"])
    unfinished.set()
    visit.page.wait_for_selector("#stop", state="hidden")
    visit.find()
    assert visit.texts("#images label") == ["well ✓", "deep ✓"]
    visit.close()


def test_a_search_that_waits_for_another_visitors_is_seen_to_wait(browser, server, images, unfinished):
    first, second = (Visit(browser, server.url, **DESKTOP) for _ in range(2))
    for visit in (first, second):
        visit.page.set_default_timeout(20_000)
        visit.add(images["well"])
    first.page.click("#find:not([disabled])")
    first.page.wait_for_selector("#stop", state="visible")
    second.page.click("#find:not([disabled])")
    second.page.wait_for_selector("#progress", state="visible")
    unfinished.set()
    second.page.wait_for_selector("#images label:has-text('✓')")
    second.page.wait_for_selector("#progress", state="hidden")
    for visit in (first, second):
        visit.close()


def test_a_phone_shows_everything_in_its_width(browser, server, images):
    visit = Visit(browser, server.url, **PHONE)
    assert not visit.is_too_wide()
    visit.add(images["well"], images["broken"])
    visit.find()
    for tab in ("Distributions", "Download", "Measurements"):
        visit.open_tab(tab)
        assert not visit.is_too_wide(), tab
    assert outlined(visit) == [True, True, True]
    visit.page.tap(".viewer-cells path[data-number='0']")
    assert visit.page.is_visible(".viewer-facts")
    assert not visit.is_too_wide()
    visit.close()


def test_the_page_asks_nobody_but_its_server(searched, server):
    others = [url for url in searched.asked if not url.startswith((server.url, "data:", "blob:"))]
    assert others == []
