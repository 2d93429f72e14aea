"""Pictures of cells: the lines lie on the cells' rims, in the right colours, and nothing is drawn elsewhere."""

import numpy as np
import pytest
from drawing import cell, cells
from PIL import Image

from sartorius.cells import CELL_TYPES, annotated, no_cells
from sartorius.data.competition import read_truth
from sartorius.data.images import read_image
from sartorius.plots import (
    GAP_PX,
    HEADER_PX,
    OKABE_ITO,
    colours_of,
    contours_xy,
    overlay,
    round_length,
    stacked,
    write_picture,
)
from sartorius.rle import coco_from_dense

SQUARE = cell("....../.####./.####./.####./.####./......", cell_type="astro", image_id="square")


def grey(height, width):
    return np.full((height, width), 128, dtype=np.uint8)


def field(picture):
    """The picture without its header."""
    return picture[HEADER_PX:]


def coloured(pixels):
    return pixels.max(axis=2).astype(int) - pixels.min(axis=2) > 20


def square_cell():
    mask = np.zeros((200, 300), dtype=bool)
    mask[60:160, 40:140] = True
    return annotated("one", (200, 300), [coco_from_dense(mask)], ["cort"])


def test_the_outline_of_a_mask_runs_on_its_own_outermost_pixels():
    (contour,) = contours_xy(SQUARE.masks[0], scale=1)
    assert {tuple(point) for point in contour.tolist()} == {
        (x, y) for x in range(1, 5) for y in range(1, 5) if x in (1, 4) or y in (1, 4)
    }


def test_a_hole_has_an_outline_of_its_own():
    ring = cell("######/######/##..##/##..##/######/######")
    assert len(contours_xy(ring.masks[0], scale=2)) == 2


def test_an_empty_mask_has_no_outline():
    assert contours_xy(cell("..../....").masks[0], scale=2) == []


def test_a_cell_is_outlined_in_its_types_colour_at_twice_the_size_and_its_inside_stays_grey():
    picture = field(overlay(grey(200, 300), square_cell()))
    assert picture.shape == (400, 600, 3)
    lines = coloured(picture)
    rows, cols = np.flatnonzero(lines.any(axis=1)), np.flatnonzero(lines.any(axis=0))
    assert (rows[0], rows[-1], cols[0], cols[-1]) == pytest.approx((120, 319, 80, 279), abs=1)
    assert not lines[125:315, 85:275].any()
    assert picture[220, 80].tolist() == pytest.approx(OKABE_ITO[CELL_TYPES.index("cort")], abs=30)


def test_an_image_without_cells_shows_only_the_image():
    picture = overlay(grey(200, 300), no_cells("none", (200, 300)))
    assert not coloured(picture).any()
    assert field(picture).min() == field(picture).max() > 80


def test_a_dim_image_is_shown_over_the_whole_range_of_grey_and_single_specks_do_not_flatten_it():
    image = np.repeat(np.array([10, 20], dtype=np.uint8), 100)[None].repeat(100, axis=0)
    image[0, 0] = 255
    shown = field(overlay(image, no_cells("dim", (100, 200))))[50:]
    assert [np.unique(half).tolist() for half in (shown[:, :180], shown[:, 220:])] == [[15], [190]]


def test_truth_stands_beside_the_found_cells_in_dashes():
    picture = field(overlay(grey(200, 300), square_cell(), truth=square_cell()))
    assert picture.shape == (400, 1200 + GAP_PX, 3)
    found, truth = coloured(picture[:, :600]), coloured(picture[:, 600 + GAP_PX :])
    assert found[140:300, 80].all()
    assert 0.35 < truth[140:300, 80].mean() < 0.75


def test_a_large_image_keeps_its_size():
    picture = field(overlay(grey(100, 1600), no_cells("wide", (100, 1600))))
    assert picture.shape == (100, 1600, 3)


def test_a_known_pixel_size_adds_a_scale_bar_of_a_round_length():
    plain = field(overlay(grey(200, 300), no_cells("bar", (200, 300))))
    barred = field(overlay(grey(200, 300), no_cells("bar", (200, 300)), um_per_px=0.5))
    white = (barred == 255).all(axis=2)
    assert not (plain == 255).all(axis=2).any()
    assert white.sum(axis=1).max() == 80  # 20 µm at 0.5 µm per pixel, drawn twice as large


@pytest.mark.parametrize("size_hw", [(1, 1), (2, 2), (500, 2), (200, 8), (10, 300)])
@pytest.mark.parametrize("um_per_px", [1e-6, 0.62, 1.24, 1e6])
def test_an_image_too_small_for_a_scale_bar_has_none(size_hw, um_per_px):
    image, nothing = grey(*size_hw), no_cells("tiny", size_hw)
    assert np.array_equal(overlay(image, nothing, um_per_px=um_per_px), overlay(image, nothing))


@pytest.mark.parametrize(
    ("about", "length"),
    [
        (1.0, 1),
        (1.9, 1),
        (49, 20),
        (50, 50),
        (0.07, 0.05),
        (999, 500),
        (np.nextafter(0.1, 0), 0.05),
        (np.nextafter(100, 0), 50),
    ],
)
def test_scale_bars_are_one_two_or_five_times_a_power_of_ten(about, length):
    assert round_length(about) == pytest.approx(length)


def test_a_pixel_without_size_is_refused():
    with pytest.raises(ValueError, match="expected more than 0"):
        overlay(grey(20, 30), no_cells("bar", (20, 30)), um_per_px=0)


def test_the_competitions_types_keep_their_colours_and_others_get_their_own():
    colours = colours_of(np.array(["hela", "cort", "bv2", "astro"]))
    assert list(colours) == ["astro", "cort", "bv2", "hela"]
    assert colours["cort"] == colours_of(np.array(["cort"]))["cort"]
    assert len(set(colours.values())) == 4


def test_cells_of_another_image_size_are_refused():
    with pytest.raises(ValueError, match=r"square: the image has shape \(5, 6\), its cells \(6, 6\)"):
        overlay(grey(5, 6), SQUARE)


def test_an_image_of_more_than_bytes_is_refused_with_the_way_to_read_one():
    with pytest.raises(
        ValueError, match="square: the image is of uint16, expected uint8, as `read_image` returns"
    ):
        overlay(grey(6, 6).astype(np.uint16), SQUARE)


def test_neither_image_nor_cells_are_changed():
    image = grey(6, 6)
    overlay(image, SQUARE, truth=SQUARE)
    assert (image == 128).all()


def test_the_legend_counts_the_cells_of_each_type():
    one, two = (
        overlay(grey(50, 400), found)[:HEADER_PX]
        for found in (
            annotated("many", (50, 400), square_masks(1), ["cort"]),
            annotated("many", (50, 400), square_masks(2), ["cort", "astro"]),
        )
    )
    assert [swatches(header) for header in (one, two)] == [{OKABE_ITO[2]}, {OKABE_ITO[1], OKABE_ITO[2]}]


def test_a_type_has_one_colour_in_all_pictures_that_name_the_same_types_and_in_found_and_true_cells():
    hela = annotated("one", (50, 400), square_masks(1), ["hela"])
    both = annotated("one", (50, 400), square_masks(2), ["bv2", "hela"])
    alone, named, beside = (
        overlay(grey(50, 400), hela, **more)[:HEADER_PX, :800]
        for more in ({}, {"cell_types": ["hela", "bv2"]}, {"truth": both})
    )
    assert [swatches(header) for header in (alone, named, beside)] == [
        {OKABE_ITO[3]}, {OKABE_ITO[4]}, {OKABE_ITO[4]},
    ]  # fmt: skip


def square_masks(count):
    masks = np.zeros((count, 50, 400), dtype=bool)
    masks[:, 5:20, 5:20] = True
    return [coco_from_dense(mask) for mask in masks]


def swatches(header):
    return {tuple(pixel) for pixel in header[coloured(header)].tolist()} & set(OKABE_ITO)


def test_pictures_of_different_widths_stack_left_aligned_on_black():
    tall = stacked([np.full((2, 3, 3), 9, dtype=np.uint8), np.full((1, 5, 3), 7, dtype=np.uint8)])
    assert tall.shape == (3 + GAP_PX, 5, 3)
    assert tall[0, :, 0].tolist() == [9, 9, 9, 0, 0]
    assert tall[-1, :, 0].tolist() == [7] * 5


def test_a_picture_is_written_where_a_text_says_too(tmp_path):
    path = write_picture(str(tmp_path / "a.png"), np.zeros((2, 3, 3), np.uint8))
    assert (path, path.is_file()) == (tmp_path / "a.png", True)


def test_a_written_picture_reads_back_as_it_was(tmp_path):
    picture = overlay(grey(6, 6), SQUARE)
    path = write_picture(tmp_path / "deep" / "picture.png", picture)
    with Image.open(path) as image:
        assert np.array_equal(np.asarray(image), picture)
    assert [entry.name for entry in path.parent.iterdir()] == ["picture.png"]


def test_touching_cells_keep_a_line_each():
    left, right = (
        cell(*[row] * 10, cell_type=name) for row, name in (("#####.....", "astro"), (".....#####", "cort"))
    )
    row = field(overlay(grey(10, 10), cells(left, right)))[10].astype(int)
    bluer = row[:, 2] - row[:, 0]
    assert bluer[9] > 20
    assert bluer[10] < -50


def test_790_cells_of_the_densest_real_image_leave_more_than_half_of_it_free_of_lines(competition_dir):
    image_id = "c4121689002f"
    truth = read_truth(competition_dir / "train.csv", [image_id])[image_id]
    image = read_image(competition_dir / "train" / f"{image_id}.png")
    assert len(truth) == 790
    assert 0.05 < coloured(field(overlay(image, truth))).mean() < 0.3
