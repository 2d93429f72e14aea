"""Files as other programs write them, and files that are wrong."""

import json
import tracemalloc
import zipfile

import cv2
import numpy as np
import pytest
import tifffile
from drawing import drawn
from roifile import ROI_TYPE, ImagejRoi

from sartorius.errors import UserError
from sartorius.formats import detect_format, read_any

POLYGON = [1, 1, 3, 1, 3, 3, 1, 3]
SQUARE = "...../.##../.##../....."


def coco(annotations, **changed):
    data = {
        "images": [{"id": 7, "file_name": "some/folder/a.jpg", "height": 4, "width": 5}],
        "categories": [{"id": 3, "name": "neuron"}],
        "annotations": annotations,
    }
    return json.dumps(data | changed)


def annotation(**changed):
    return {"id": 1, "image_id": 7, "category_id": 3, "segmentation": [POLYGON]} | changed


def test_coco_polygons_and_run_lengths_of_both_kinds_are_read(tmp_path):
    runs = {"size": [4, 5], "counts": [5, 2, 2, 2, 9]}
    (tmp_path / "a.json").write_text(coco([annotation(), annotation(segmentation=runs)]))
    found = read_any(tmp_path / "a.json")["a"]
    assert drawn(found) == [SQUARE, SQUARE]
    assert (found.cell_types.tolist(), found.scores.tolist()) == (["neuron"] * 2, [1, 1])


def test_the_folders_of_file_names_may_be_parted_as_on_windows(tmp_path):
    image = {"id": 7, "file_name": "C:\\train\\a.b.tif", "height": 4, "width": 5}
    (tmp_path / "a.json").write_text(coco([annotation()], images=[image]))
    assert list(read_any(tmp_path / "a.json")) == ["a.b"]


def test_annotations_in_a_mapping_by_number_are_read_as_some_livecell_files_have_them(tmp_path):
    (tmp_path / "a.json").write_text(coco({"12": annotation()}))
    assert drawn(read_any(tmp_path / "a.json")["a"]) == [SQUARE]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a JSON file"),
        ("{}", "none that is known"),
        (coco([annotation(image_id=8)]), "annotation 1: there is no image 8"),
        (coco([annotation(category_id=9)]), "there is no category 9"),
        (coco([annotation(score=1.5)]), "expected a score from 0 to 1, got 1.5"),
        (coco([annotation(score="0.5")]), "annotation 1: expected a score from 0 to 1, got '0.5'"),
        (coco([annotation(segmentation=[[1, 2, 3, 4, 5, 6, 7]])]), "odd number of coordinates"),
        (
            coco([annotation(segmentation=[[0, 0, 3e9, 0, 3e9, 3e9]])]),
            r"annotation 1: .* got the coordinate 3e\+09",
        ),
        (
            coco([annotation(segmentation=[[0, 0, -2e6, 0, 1, 1]])]),
            r"annotation 1: .* got the coordinate -2e\+06",
        ),
        (coco([annotation(segmentation=[[0, 0, float("nan"), 0, 1, 1]])]), "got the coordinate nan"),
        (coco([annotation(segmentation=[], bbox=[1, 1, 2, 2])]), "annotation 1: .*boxes are no outlines"),
        (coco([annotation(segmentation=[[1, 1, 2, 2]])]), "annotation 1: .* but none of it lies there"),
        (
            coco([annotation(segmentation=[[7, 7, 9, 7, 9, 9]])]),
            r"height and width \(4, 5\)\), but none of it lies there",
        ),
        (coco([annotation(segmentation="mask")]), "neither run lengths nor polygons"),
        (coco([annotation(segmentation={"size": [9, 9], "counts": "01"})]), r"of height and width \[9, 9\]"),
        (coco([annotation(segmentation={"size": [4, 5], "counts": "0"})]), "do not cover it"),
        (coco([annotation(segmentation={"size": [4, 5], "counts": [3]})]), "cover 3 of 20 pixels"),
        (coco([{"id": 1}]), "expected the field `image_id`"),
        (coco([annotation(image_id=[7])]), r"expected a whole number in `image_id`, got \[7\]"),
        (coco([annotation(category_id={})]), "expected a whole number in `category_id`, got {}"),
        (coco([], categories=[{"id": [1], "name": "x"}]), r"expected a whole number in `id`, got \[1\]"),
        (coco([], categories=None), "the list `categories`"),
        (coco([], images=[{"id": 1, "file_name": "a.png", "height": 4}]), "expected the field `width`"),
        (coco([], images=[{"id": 1, "file_name": "a.png", "height": 4, "width": 0}]), "in whole pixels"),
    ],
)
def test_a_malformed_coco_file_is_told_by_its_first_fault(tmp_path, text, message):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=message):
        read_any(tmp_path / "a.json")


def test_run_lengths_of_no_pixel_stay_a_cell_as_we_write_empty_cells(tmp_path):
    nothing = {"size": [4, 5], "counts": [20]}
    (tmp_path / "a.json").write_text(coco([annotation(), annotation(segmentation=nothing)]))
    assert read_any(tmp_path / "a.json")["a"].areas_px.tolist() == [4, 0]


def test_results_name_images_by_id_file_or_number(tmp_path, images):
    results = [
        {"image_id": image, "category_id": category, "segmentation": [POLYGON], "score": 0.5}
        for image, category in (("a", 1), ("a.png", 2), (7, 9))
    ]
    (tmp_path / "r.json").write_text(json.dumps(results))
    found = read_any(tmp_path / "r.json", images)
    assert found["a"].cell_types.tolist() == ["shsy5y", "astro"]
    assert found["7"].cell_types.tolist() == ["class9"]


def test_a_reference_explains_the_numbers_of_results(tmp_path):
    results = [{"image_id": 7, "category_id": 3, "segmentation": [POLYGON], "score": 0.5}]
    (tmp_path / "r.json").write_text(json.dumps(results))
    (tmp_path / "a.json").write_text(coco([]))
    found = read_any(tmp_path / "r.json", reference=tmp_path / "a.json")
    assert found["a"].cell_types.tolist() == ["neuron"]
    (tmp_path / "r.json").write_text(json.dumps([results[0] | {"category_id": 4}]))
    with pytest.raises(UserError, match=r"result 1: .*a\.json has no category 4"):
        read_any(tmp_path / "r.json", reference=tmp_path / "a.json")
    (tmp_path / "r.json").write_text(json.dumps([results[0] | {"image_id": "a"}]))
    with pytest.raises(UserError, match=r"image 'a' is none of the 1 .*; .*a\.json has the numbers 7 …"):
        read_any(tmp_path / "r.json", reference=tmp_path / "a.json")


def test_results_of_an_unknown_image_are_refused_and_no_results_are_no_cells(tmp_path, images):
    (tmp_path / "r.json").write_text("[]")
    assert [len(cells) for cells in read_any(tmp_path / "r.json", images).values()] == [0, 0]
    (tmp_path / "r.json").write_text('[{"image_id": 3, "category_id": 1}]')
    with pytest.raises(UserError, match="image 3 is none of the 2 known images; name the COCO file"):
        read_any(tmp_path / "r.json", images)
    with pytest.raises(UserError, match="--images DIR"):
        read_any(tmp_path / "r.json")


def test_label_images_of_one_type_each_beside_their_image_are_read(tmp_path):
    folder = tmp_path / "data" / "uuid"
    folder.mkdir(parents=True)
    labels = np.array([[0, 5, 5], [9, 0, 0]])
    tifffile.imwrite(folder / "class1.tif", labels.astype(np.float64))
    tifffile.imwrite(folder / "class2.tif", (labels * 0).astype(np.uint16))
    cv2.imwrite(str(folder / "image.png"), np.zeros((2, 3), np.uint8))
    found = read_any(tmp_path / "data")["uuid"]
    assert drawn(found) == [".##/...", ".../#.."]
    assert found.cell_types.tolist() == ["class1", "class1"]


@pytest.mark.parametrize(
    ("name", "text"),
    [("README.txt", "Cells of 3 wells"), ("a_cp_outlines.txt", "1,1,3,1,3,3"), ("b_cp_outlines.txt", "")],
)
@pytest.mark.parametrize("place", [".", "a"])
def test_text_beside_label_images_leaves_them_label_images(tmp_path, place, name, text):
    (tmp_path / place).mkdir(exist_ok=True)
    tifffile.imwrite(tmp_path / place / "a.tif", np.array([[1, 2]], np.uint8))
    (tmp_path / name).write_text(text)
    assert detect_format(tmp_path) == "labels"


@pytest.mark.parametrize(
    ("labels", "message"),
    [(np.array([[0.5, 1]], np.float32), "whole numbers"), (np.array([[-1, 1]], np.int16), "labels from 0")],
)
def test_what_is_no_label_image_is_refused(tmp_path, labels, message):
    tifffile.imwrite(tmp_path / "x.tif", labels)
    with pytest.raises(UserError, match=message):
        read_any(tmp_path / "x.tif")


def test_a_label_image_needs_little_more_memory_than_its_pixels(tmp_path):
    side = 1000
    labels = np.kron(np.arange(1, 101).reshape(10, 10), np.ones((side // 10, side // 10))).astype(np.uint16)
    tifffile.imwrite(tmp_path / "x.tif", labels, compression="zlib")
    read_any(tmp_path / "x.tif")  # what is imported and compiled at first is left out
    tracemalloc.start()
    try:
        found = read_any(tmp_path / "x.tif")
        most_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found["x"].areas_px.tolist() == [(side // 10) ** 2] * 100
    assert most_bytes < 6 * side**2


def test_pieces_at_both_ends_of_the_rows_are_counted_apart(tmp_path):
    labels = np.zeros((12, 5), np.uint8)
    labels[0::2, 4] = labels[1::2, 0] = 1  # the end of one row is the pixel before the start of the next
    tifffile.imwrite(tmp_path / "x.tif", labels)
    with pytest.raises(UserError, match="its 1 numbers lie in 12 separate pieces, as in a photograph"):
        read_any(tmp_path / "x.tif")


def test_a_cell_of_many_fingers_that_hang_together_is_no_photograph(tmp_path):
    labels = np.ones((2, 23), np.uint8)
    labels[0, 1::2] = 0
    tifffile.imwrite(tmp_path / "x.tif", labels)
    assert drawn(read_any(tmp_path / "x.tif")["x"]) == ["#." * 11 + "#/" + "#" * 23]


def test_a_malformed_table_of_labels_is_refused(tmp_path):
    cv2.imwrite(str(tmp_path / "x.png"), np.ones((2, 2), np.uint16))
    (tmp_path / "labels.csv").write_text("image_id,label,cell_type,score,source\nx,1,cort,high,me\n")
    with pytest.raises(
        UserError, match=r"labels\.csv, line 2: expected a label and a score, got '1', 'high'"
    ):
        read_any(tmp_path)


def roi_zip(path, *regions):
    with zipfile.ZipFile(path, "w") as archive:
        for number, region in enumerate(regions):
            archive.writestr(f"{number}.roi", region.tobytes())


def test_regions_drawn_in_imagej_are_read(tmp_path, images):
    freehand = ImagejRoi.frompoints(np.array([[1.0, 1.0], [3.0, 1.0], [3.0, 3.0], [1.0, 3.0]]))
    rectangle = ImagejRoi()
    rectangle.roitype = ROI_TYPE.RECT
    rectangle.left, rectangle.top, rectangle.right, rectangle.bottom = 1, 1, 3, 3
    roi_zip(tmp_path / "a.zip", freehand, rectangle)
    found = read_any(tmp_path / "a.zip", images)["a"]
    assert drawn(found) == [SQUARE, SQUARE]
    assert found.cell_types.tolist() == ["unknown"] * 2


def test_an_outline_too_thin_for_a_pixel_is_a_cell_without_one_and_stops_nothing(tmp_path, images):
    (tmp_path / "a.json").write_text(coco([annotation(segmentation=[[1.1, 1.1, 1.2, 1.1, 1.2, 1.2]])]))
    assert read_any(tmp_path / "a.json", images)["a"].areas_px.tolist() == [0]


def test_regions_without_an_outline_or_with_a_score_that_is_none_are_refused(tmp_path, images):
    far = ImagejRoi.frompoints(np.array([[1.0, 1.0], [3.0, 1.0], [3.0, 3.0]]) + 100)
    roi_zip(tmp_path / "a.zip", far)
    with pytest.raises(
        UserError, match=r"a\.zip, 0\.roi: expected the outline of a cell, .* but none of it lies there"
    ):
        read_any(tmp_path / "a.zip", images)
    percent = ImagejRoi.frompoints(np.array([[1.0, 1.0], [3.0, 1.0], [3.0, 3.0], [1.0, 3.0]]))
    percent.properties = {"score": 87}
    roi_zip(tmp_path / "a.zip", percent)
    with pytest.raises(UserError, match=r"a\.zip, 0\.roi: expected a score from 0 to 1, got 87"):
        read_any(tmp_path / "a.zip", images)


def test_points_are_no_cells_and_other_archives_no_regions(tmp_path, images):
    point = ImagejRoi.frompoints(np.array([[1, 1]]))
    point.roitype = ROI_TYPE.POINT
    roi_zip(tmp_path / "a.zip", point)
    with pytest.raises(
        UserError, match=r"0\.roi: expected the outline of a cell, got a region of type point"
    ):
        read_any(tmp_path / "a.zip", images)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("notes.txt", "")
    with pytest.raises(UserError, match=r"a\.zip: expected regions of ImageJ's .*\(\.roi\), got notes\.txt"):
        read_any(tmp_path / "a.zip", images)
    (tmp_path / "a.zip").write_bytes(b"PK")
    with pytest.raises(UserError, match="expected a ZIP file of ImageJ's ROI manager"):
        read_any(tmp_path / "a.zip", images)


def test_what_is_in_no_known_format_is_refused(tmp_path):
    (tmp_path / "a.xyz").write_text("?")
    for path in (tmp_path / "a.xyz", tmp_path):
        with pytest.raises(UserError, match="expected cells in one of the formats cells, competition"):
            detect_format(path)
    with pytest.raises(UserError, match="no such file or folder of cells"):
        detect_format(tmp_path / "nowhere")
