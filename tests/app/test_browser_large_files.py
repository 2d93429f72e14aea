"""Files that are dropped beside their zone, or larger than the server takes, in a real browser."""

from math import inf

import pytest
from browser import DESKTOP, Visit, served

from sartorius.app.limits import Limits

DROP_WITH_A_LARGE_FILE = """([zone, png]) => {
  const dropped = new DataTransfer();
  dropped.items.add(new File([Uint8Array.from(png)], "well.png", { type: "image/png" }));
  dropped.items.add(new File([new Uint8Array(1200000)], "large.png", { type: "image/png" }));
  zone.dispatchEvent(new DragEvent("drop", { dataTransfer: dropped, bubbles: true }));
}"""


@pytest.fixture(scope="module")
def small_server(tmp_path_factory):
    with served(tmp_path_factory.mktemp("ensemble"), Limits(file_mb=1)) as running:
        yield running


@pytest.mark.parametrize("way", ["chosen", "dropped"])
def test_a_file_that_is_too_large_is_named_and_costs_only_itself(
    browser, small_server, images, tmp_path, way
):
    visit = Visit(browser, small_server.url, **DESKTOP)
    if way == "chosen":
        (tmp_path / "large.png").write_bytes(bytes(1_200_000))
        visit.page.set_input_files("#drop input[type=file]", [images["well"], tmp_path / "large.png"])
    else:
        zone = visit.page.query_selector("#drop button")
        visit.page.evaluate(DROP_WITH_A_LARGE_FILE, [zone, list(images["well"].read_bytes())])
    visit.wait_for_text("#images label", "well")
    assert visit.texts("#too-large li") == ["large.png\nThe file has 1.2 MB; at most 1 MB are taken here."]
    assert visit.texts("[data-testid=toast-body]") == []
    visit.page.click("#clear")
    visit.page.wait_for_selector("#too-large", state="hidden")
    assert visit.faults == []
    visit.close()


def test_without_a_limit_no_file_is_too_large(browser, images, tmp_path):
    with served(tmp_path / "ensemble", Limits(file_mb=inf)) as running:
        visit = Visit(browser, running.url, **DESKTOP)
        visit.add(images["well"])
        assert visit.texts("#images label") == ["well"]
        assert visit.texts("#too-large li") == []
        visit.close()


@pytest.mark.parametrize("place", [".viewer-stage", ".masthead", "#drop", "#offer"])
def test_a_file_dropped_anywhere_is_listed_and_the_page_stays(browser, small_server, images, place):
    visit = Visit(browser, small_server.url, **DESKTOP)
    box = visit.page.locator(place).bounding_box()
    at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + min(box["height"] / 2, 200)}
    data = {"items": [], "files": [str(images["well"])], "dragOperationsMask": 1}
    devtools = visit.page.context.new_cdp_session(visit.page)
    for kind in ("dragEnter", "dragOver", "drop"):
        devtools.send("Input.dispatchDragEvent", {"type": kind, **at, "data": data})
    visit.wait_for_text("#images label", "well")
    assert len(visit.texts("#images label")) == 1
    assert visit.page.url == small_server.url
    assert visit.faults == []
    visit.close()
