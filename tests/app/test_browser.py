"""The page as visitors use it, in a real browser."""

import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile
from bright_cells import DISCS, SIZE_HW, Disc, written_png, written_tiff_16_bit
from browser import Served, Visit, chromium_path, is_colour, served, share_around

from sartorius.app import desk
from sartorius.app.downloads import DOWNLOADS
from sartorius.app.names import palette
from sartorius.formats import read_any
from sartorius.submission import check_submission

playwright = pytest.importorskip("playwright.sync_api")

ASTRO = palette(["astro"])["astro"]
DESKTOP = {"viewport": {"width": 1280, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("ensemble")) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=chromium_path())
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two images of the same cells, and half a file."""
    folder = tmp_path_factory.mktemp("images")
    whole = written_png(folder / "well.png")
    (folder / "broken.png").write_bytes(whole.read_bytes()[:120])
    return {"well": whole, "deep": written_tiff_16_bit(folder / "deep.tif"), "broken": folder / "broken.png"}


@pytest.fixture(scope="module")
def searched(browser, server, images) -> Iterator[Visit]:
    """A visitor who has searched a PNG and a 16-bit TIFF; tests leave settings as they find them."""
    visit = Visit(browser, server.url, **DESKTOP)
    visit.add(images["well"], images["deep"])
    visit.find()
    yield visit
    assert visit.faults == []
    visit.close()


def outlined(visit: Visit) -> list[bool]:
    """Whether each disc has a line around it on the screen."""
    picture = visit.picture()
    line, scale = is_colour(picture, ASTRO), picture.shape[1] / SIZE_HW[1]
    return [
        share_around(
            line, (scale * (disc.row + 0.5), scale * (disc.col + 0.5)), scale * disc.radius, 1.6 * scale
        )
        > 0.9
        for disc in DISCS
    ]


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
    whole = {name: images[name] for name in ("well", "deep")}
    assert read_back(key, path, whole) == {"well": 3, "deep": 3}


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
