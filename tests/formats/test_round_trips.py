"""Cells written in a format and read back: what stays and what is lost is what docs/formats.md says."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawing import cell, cells

from sartorius.cells import Cells, no_cells
from sartorius.data.competition import read_truth
from sartorius.errors import UserError
from sartorius.formats import TARGETS, Known, convert, detect_format, differences, read_any, write_any
from sartorius.formats.reading import read_known

FORMATS = list(TARGETS)
#: Formats that keep every pixel of cells without overlap, and those that keep their types and scores as well.
EXACT = [name for name in FORMATS if name != "livecell"]
TYPED = [name for name in EXACT if name != "submission"]
SCORED = [name for name in TYPED if name != "competition"]
SOURCED = [name for name in SCORED if name not in ("coco-results", "yolo")]
KEEPS_OVERLAP = [name for name in TYPED if not name.startswith("labels")]
#: What real annotations, some of which overlap, lose; formats that are not named here lose nothing.
REAL_LOSSES = {
    "submission": ["exact masks", "types", "sources"],
    "coco-results": ["sources"],
    "livecell": ["exact masks", "types"],
    "labels": ["exact masks"],
    "labels-png": ["exact masks"],
    "labels-by-type": ["exact masks"],
    "yolo": ["sources"],
}

RING = ".####.../.#..#.../.####.../......../......../........"
PARTS = "......../......../......../......../##...##./##...##."
CORNERS = "......#./.......#/......##/......../......../........"
OVERLAPPING = "......../.......#/......##/......##/......../........"


def drawn_cells(*parts: Cells) -> Cells:
    return cells(*(replace(part, image_id="a") for part in parts))


def found_cells(**changed: object) -> dict[str, Cells]:
    """A cell with a hole, one of two parts and one that touches itself at a corner; and an image without cells."""
    of_a = drawn_cells(
        cell(RING, score=0.8125, cell_type="cort", source="x/none"),
        cell(PARTS, score=0.25, cell_type="astro", source="y/none"),
        cell(CORNERS, score=0.5, cell_type="cort", source="x/none"),
    )
    return {"a": replace(of_a, **changed), "b.c": no_cells("b.c", (3, 5))}


def target(folder: Path, name: str) -> Path:
    return folder / f"out{TARGETS[name].suffix}"


def read_back(path: Path, name: str, before: dict[str, Cells]) -> dict[str, Cells]:
    return read_known(path, name, Known(sizes_hw={image_id: c.size_hw for image_id, c in before.items()}))


def columns(found: dict[str, Cells], image_id: str = "a") -> dict[str, list]:
    one = found[image_id]
    return {"types": one.cell_types.tolist(), "scores": one.scores.tolist(), "sources": one.sources.tolist()}


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_written_is_recognised_and_holds_every_image(tmp_path, name):
    write_any(target(tmp_path, name), found_cells(), name)
    recognised = detect_format(target(tmp_path, name))
    assert recognised == {"labels-png": "labels", "labels-by-type": "labels", "livecell": "coco"}.get(
        name, name
    )
    after = read_back(target(tmp_path, name), recognised, found_cells())
    assert list(after) == ["a", "b.c"]
    assert (len(after["a"]), len(after["b.c"]), after["b.c"].size_hw) == (3, 0, (3, 5))


@pytest.mark.parametrize("name", ["cells", "labels", "yolo", "imagej", "geojson"])
def test_hidden_files_that_macos_leaves_in_a_folder_are_passed_over(tmp_path, name):
    folder = target(tmp_path, name)
    write_any(folder, found_cells(), name)
    for hidden in ("._a.zip", "._a.geojson", "._a.png"):
        (folder / hidden).write_bytes(b"\0\x05\x16\x07")
    assert detect_format(folder) == name
    assert list(read_back(folder, name, found_cells())) == ["a", "b.c"]


@pytest.mark.parametrize("name", EXACT)
def test_masks_with_holes_and_parts_keep_every_pixel_and_their_order(tmp_path, name):
    before = found_cells(scores=np.array([1.0, 1.0, 1.0], np.float32))
    write_any(target(tmp_path, name), before, name)
    assert read_back(target(tmp_path, name), name, before)["a"].masks == before["a"].masks


@pytest.mark.parametrize("name", FORMATS)
def test_types_scores_and_sources_stay_where_the_format_has_a_place_for_them(tmp_path, name):
    before = found_cells()
    write_any(target(tmp_path, name), before, name)
    after = read_back(target(tmp_path, name), name, before)
    if name in SOURCED:
        assert columns(after) == columns(before)
    elif name in SCORED:
        assert columns(after) | {"sources": 0} == columns(before) | {"sources": 0}
    elif name in TYPED:
        assert columns(after)["types"] == columns(before)["types"]
    lost = " ".join(differences(before, after))
    assert ("types" in lost, "scores" in lost, "sources" in lost) == (
        name not in TYPED,
        name not in SCORED,
        name not in SOURCED,
    )


@pytest.mark.parametrize("name", FORMATS)
def test_cells_without_pixels_can_be_written_everywhere_and_are_told_if_lost(tmp_path, name):
    empty = cell("......../......../......../......../......../........", score=0.5, cell_type="cort")
    write_any(tmp_path / "found.json", {"a": drawn_cells(cell(CORNERS, cell_type="cort"), empty)}, "coco")
    lost = convert(tmp_path / "found.json", target(tmp_path, name), name).lost
    assert ("1 of 2 cells" in lost) == (name not in ("cells", "coco", "coco-results"))


@pytest.mark.parametrize("name", EXACT)
def test_a_pixel_of_two_cells_goes_to_the_surer_where_cells_may_not_overlap(tmp_path, name):
    over = drawn_cells(
        cell(CORNERS, score=0.5, cell_type="cort"), cell(OVERLAPPING, score=0.75, cell_type="cort")
    )
    before = {"a": over}
    write_any(target(tmp_path, name), before, name)
    after = read_back(target(tmp_path, name), name, before)["a"]
    assert sorted(after.areas_px) == ([4, 5] if name in KEEPS_OVERLAP else [1, 5])
    lost = " ".join(differences(before, {"a": after}))
    assert ("the exact masks of 1 of 2 cells (3 px less)" in lost) == (name not in KEEPS_OVERLAP)


@pytest.mark.parametrize(
    "odd",
    ["007", "1e5", "true", " astro ", "a: b", "cell_\N{GRINNING FACE}\N{GRINNING FACE}\N{GRINNING FACE}"],
)
@pytest.mark.parametrize("name", SOURCED)
def test_types_and_sources_that_read_as_something_else_stay_text(tmp_path, name, odd):
    before = {"a": cell("##../##..", image_id="a", cell_type=odd, source=odd)}
    write_any(target(tmp_path, name), before, name)
    assert columns(read_back(target(tmp_path, name), name, before)) == columns(before)


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("imagej", "labels-by-type")])
def test_types_that_no_file_can_be_called_stay_where_no_file_is_called_after_them(tmp_path, name):
    before = {"a": cell("##../##..", image_id="a", cell_type="n/a")}
    write_any(target(tmp_path, name), before, name)
    after = read_back(target(tmp_path, name), name, before)
    kept = name in TYPED and name != "coco-results"
    assert (columns(after)["types"] == ["n/a"]) == kept
    assert ("types" in " ".join(differences(before, after))) == (not kept)


def test_livecell_fills_holes_and_names_no_type(tmp_path):
    before = {"a": drawn_cells(cell(RING, cell_type="cort"))}
    write_any(tmp_path / "a.json", before, "livecell")
    after = read_any(tmp_path / "a.json")["a"]
    assert (after.cell_types.tolist(), after.areas_px.tolist()) == (["cell"], [12])


@pytest.mark.parametrize("line", ["A172", "BT474", "BV2", "Huh7", "MCF7", "SHSY5Y", "SkBr3", "SKOV3"])
def test_livecells_cell_line_is_the_type(tmp_path, line):
    name = f"{line}_Phase_B10_1_01d16h00m_4"
    before = {name: replace(cell("##../##.."), image_id=name)}
    write_any(tmp_path / "a.json", before, "livecell", images={name: Path(f"{name}.tif")})
    assert detect_format(tmp_path / "a.json") == "livecell"
    assert read_any(tmp_path / "a.json")[name].cell_types.tolist() == [line.lower()]
    assert f'"{name}.tif"' in (tmp_path / "a.json").read_text()


def test_images_of_ones_own_that_an_incucyte_named_are_not_livecells(tmp_path):
    name = "plate1_Phase_A1_1"
    write_any(tmp_path / "a.json", {name: replace(cell("##../##.."), image_id=name)}, "livecell")
    assert detect_format(tmp_path / "a.json") == "coco"
    assert read_any(tmp_path / "a.json")[name].cell_types.tolist() == ["cell"]


def test_a_conversion_says_what_was_lost(tmp_path):
    write_any(tmp_path / "a.json", found_cells(), "coco")
    done = convert(tmp_path / "a.json", tmp_path / "a.csv", "competition")
    assert (done.read_as, done.images, done.cells) == ("coco", 2, 3)
    assert done.lost == ["the scores of 3 cells", "the sources of 3 cells (who found them)"]
    assert convert(tmp_path / "a.json", tmp_path / "again", "cells").lost == []


def test_differences_name_images_cells_masks_and_soft_masks():
    before = found_cells()
    assert differences(before, before) == []
    assert differences(before, {"a": before["a"]}) == ["1 of 2 images, for example b.c"]
    assert differences(before, before | {"a": before["a"][:2]}) == [
        "1 of 3 cells",
        "the exact masks of 1 of 3 cells (4 px less)",
    ]
    soft = cell("##../##..", soft=np.zeros((2, 2)), soft_box=(0, 0, 2, 2))
    assert differences({"a": soft}, {"a": replace(soft, soft_masks=None, soft_boxes_xyxy=None)}) == [
        "the soft masks of 1 images"
    ]


def test_equal_masks_are_paired_by_type_and_score():
    twins = cells(cell("##", score=0.5), cell("##", score=0.25, cell_type="astro"))
    assert differences({"a": twins}, {"a": twins[[1, 0]]}) == []


@lru_cache
def real_truth(competition_dir: Path) -> dict[str, Cells]:
    ids = ["03b27b381a5f", "0030fd0e6378", "182c3da676bd", "0140b3c8f445", "01ae5a43a2ab", "026b3c2c4b32"]
    return read_truth(competition_dir / "train.csv", ids)


@pytest.mark.parametrize("name", FORMATS)
def test_real_annotations_lose_only_what_the_format_has_no_place_for(tmp_path, competition_dir, name):
    write_any(tmp_path / "truth.csv", real_truth(competition_dir), "competition")
    lost = convert(tmp_path / "truth.csv", target(tmp_path, name), name).lost
    kinds = ("exact masks", "types", "scores", "sources")
    assert [kind for kind in kinds if any(kind in sentence for sentence in lost)] == REAL_LOSSES.get(name, [])
    assert len(lost) == len(REAL_LOSSES.get(name, []))


def test_real_label_images_become_annotations_and_label_images_again(tmp_path, competition_dir):
    nuclei = competition_dir.parent / "dsb2018_sample"
    done = convert(nuclei, tmp_path / "nuclei.json", "coco")
    assert (done.read_as, done.images, done.cells, done.lost) == ("labels", 16, 651, [])
    assert convert(tmp_path / "nuclei.json", tmp_path / "labels", "labels").lost == []
    image_id = sorted(path.name for path in nuclei.iterdir() if path.is_dir())[0]
    labels = cv2.imread(str(nuclei / image_id / "labels.tif"), cv2.IMREAD_UNCHANGED)
    written = cv2.imread(str(tmp_path / "labels" / f"{image_id}.tif"), cv2.IMREAD_UNCHANGED)
    assert len(np.unique(written)) == len(np.unique(labels))
    assert ((written > 0) == (labels > 0)).all()


def test_a_path_that_does_not_fit_the_format_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"a\.txt: expected the name of a \.json file for the format coco"):
        write_any(tmp_path / "a.txt", found_cells(), "coco")
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(UserError, match="expected a new or empty folder for the format yolo"):
        write_any(tmp_path, found_cells(), "yolo")


@pytest.mark.parametrize("name", [name for name in sorted(TARGETS) if not TARGETS[name].suffix])
def test_writing_a_folder_again_after_an_interruption_works(tmp_path, monkeypatch, name):
    whole = TARGETS[name].write

    def interrupted(*arguments: object) -> None:
        whole(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setitem(TARGETS, name, TARGETS[name]._replace(write=interrupted))
        with pytest.raises(KeyboardInterrupt):
            write_any(tmp_path / "out", found_cells(), name)
    assert list((tmp_path / "out").iterdir()) == []
    write_any(tmp_path / "out", found_cells(), name)
    assert list(read_back(tmp_path / "out", name, found_cells())) == ["a", "b.c"]


@pytest.mark.parametrize("name", ["../a", "a/b", ""])
def test_names_that_would_leave_the_folder_are_refused(tmp_path, name):
    for folder_format in ("labels-by-type", "imagej"):
        with pytest.raises(UserError, match="cannot be part of a file's name"):
            write_any(tmp_path / "out", {"a": cell("##", cell_type=name)}, folder_format)
    with pytest.raises(UserError, match="cannot be part of a file's name"):
        write_any(tmp_path / "out.json", {name: cell("##")}, "coco")


@pytest.mark.parametrize("name", FORMATS)
def test_cells_are_written_under_the_id_they_are_given_by_whatever_the_record_is_called(tmp_path, name):
    found = cell("##./##.", image_id="image")
    write_any(target(tmp_path, name), {"well_1": found}, name)
    after = read_known(target(tmp_path, name), name, Known(sizes_hw={"well_1": (2, 3)}))
    assert {key: cells.image_id for key, cells in after.items()} == {"well_1": "well_1"}
    assert after["well_1"].masks == found.masks


def test_paths_may_be_text(tmp_path):
    reference, results = str(tmp_path / "images.json"), str(tmp_path / "results.json")
    write_any(reference, found_cells(), "coco")
    write_any(results, found_cells(), "coco-results", reference=reference)
    assert read_any(results, reference=reference)["a"].masks == found_cells()["a"].masks
