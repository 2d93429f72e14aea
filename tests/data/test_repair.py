import numpy as np
import pytest
from drawing import cell, cells, drawn

from sartorius.cells import Cells, annotated, no_cells
from sartorius.data.repair import ImageRepair, repaired, smaller_first, with_unlabelled
from sartorius.data.repair_ground import standing_out, unlabelled_share
from sartorius.data.repair_masks import ground_of, without_hollows, without_webs
from sartorius.errors import UserError
from sartorius.polygon_fill import filled_as_label
from sartorius.rle import coco_from_dense

HOLLOW = [
    "###..........",
    "###....######",
    "###....#....#",
    "###....#....#",
    "###....#....#",
    "###....#....#",
    "#############",
    "#############",
]


def pixels_of(rows: list[str]) -> np.ndarray:
    return np.array([[pixel == "#" for pixel in row] for row in rows])


def plain(found: Cells) -> np.ndarray:
    return np.full(found.size_hw, 128, dtype=np.uint8)


def tent() -> tuple[np.ndarray, np.ndarray]:
    """A rough cell with two legs on smooth ground: its true mask and its image, both 60 x 80."""
    true = np.zeros((60, 80), dtype=bool)
    for row in range(10, 50):
        half = (row - 10) // 2 + 4
        true[row, 40 - half : 40 + half] = True
        if row > 22:
            inner = half - 9
            true[row, 40 - inner : 40 + inner] = False
    rng = np.random.default_rng(0)
    image = rng.normal(128, 1, true.shape)
    image[true] += rng.normal(0, 25, int(true.sum()))
    return true, np.clip(image, 0, 255).astype(np.uint8)


def test_a_hollow_branch_is_filled():
    mended = without_hollows(pixels_of(HOLLOW))
    solid = [row.removesuffix("#....#") + "######" if row.endswith("#....#") else row for row in HOLLOW]
    assert mended.tolist() == pixels_of(solid).tolist()


def test_ground_that_the_cell_surrounds_stays():
    ring = np.ones((20, 20), dtype=bool)
    ring[5:15, 5:15] = False
    assert without_hollows(ring) is not ring
    assert without_hollows(ring).tolist() == ring.tolist()
    gap = np.ones((20, 20), dtype=bool)
    gap[5:7, 5:7] = False
    assert without_hollows(gap).all()


def test_a_web_between_legs_is_cut_out_where_the_image_shows_none_of_the_cell():
    true, image = tent()
    label = filled_as_label(true)
    web = label & ~true
    assert web.sum() > 200
    mended = without_webs(label, ground_of(image), at_image_bottom=False)
    assert not (mended & ~label).any()
    assert (web & ~mended).sum() > 0.5 * web.sum()
    assert (true & ~mended).sum() < 0.05 * true.sum()
    assert np.mean(filled_as_label(mended) == label) > 0.98


def test_a_cell_that_is_rough_all_over_keeps_its_straight_edge():
    true, _ = tent()
    label = filled_as_label(true)
    rough = np.random.default_rng(1).integers(0, 255, label.shape).astype(np.uint8)
    rough[:12] = 128  # so that there is plain ground
    assert without_webs(label, ground_of(rough), at_image_bottom=False) is label


def test_an_edge_along_the_image_is_no_cut():
    true, image = tent()
    label = filled_as_label(true)[:40]
    assert without_webs(label, ground_of(image[:40]), at_image_bottom=True).tolist() == label.tolist()


def test_a_cell_labelled_twice_keeps_its_first_label():
    both = cells(cell("#####....."), cell(".......###"), cell("#####....."), cell("####......"))
    mended = repaired(both, plain(both), "cort", ("duplicate",))
    assert drawn(mended.cells) == ["#####.....", ".......###"]
    assert mended.rows.tolist() == [0, 1]
    assert mended.repair == ImageRepair("drawn", "cort", 4, duplicate=2)


def test_a_pixel_labelled_for_two_cells_goes_to_the_smaller_one():
    both = cells(cell("######.."), cell("....##.."), cell(".....###"))
    disjoint, rows = smaller_first(both)
    assert drawn(disjoint) == ["####....", "....##..", "......##"]
    assert rows.tolist() == [0, 1, 2]
    mended = repaired(both, plain(both), "cort", ("overlap",)).repair
    assert (mended.overlap, mended.overlap_px, mended.covered) == (2, 3, 0)


def test_a_mask_of_which_smaller_cells_leave_nothing_is_dropped():
    three = cells(cell("####"), cell("##.."), cell("..##"))
    mended = repaired(three, plain(three), "cort", ("overlap",))
    assert (drawn(mended.cells), mended.rows.tolist()) == (["##..", "..##"], [1, 2])
    assert mended.repair.covered == 1


def test_faults_that_were_not_named_stay():
    both = cells(cell(*HOLLOW), cell(*HOLLOW))
    untouched = repaired(both, plain(both), "astro", ())
    assert untouched.cells.masks == both.masks
    assert not untouched.repair.changed
    filled = repaired(both, plain(both), "astro", ("hollow",)).repair
    assert (filled.hollow, filled.hollow_px, filled.changed) == (2, 32, True)


def test_an_image_without_labels_has_nothing_to_mend():
    mended = repaired(no_cells("none", (20, 20)), np.zeros((20, 20), np.uint8), "")
    assert (len(mended.cells), mended.repair.changed) == (0, False)


def test_an_image_of_another_size_is_refused():
    with pytest.raises(UserError, match=r"height and width \(3, 4\), its labels \(1, 4\)"):
        repaired(cell("##.."), np.zeros((3, 4), np.uint8), "cort")


def blobs(count: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """A smooth image with rough discs of 20 px in a row, and the mask of each."""
    rng = np.random.default_rng(2)
    image, masks = rng.normal(128, 1, (60, 60 * count)), []
    rows, cols = np.mgrid[:60, : 60 * count]
    for number in range(count):
        masks.append((rows - 30) ** 2 + (cols - 60 * number - 30) ** 2 < 100)
        image[masks[-1]] += rng.normal(0, 20, int(masks[-1].sum()))
    return np.clip(image, 0, 255).astype(np.uint8), masks


def test_structure_without_a_label_is_measured_against_the_labels():
    image, masks = blobs(4)

    def share(labelled: int) -> float:
        chosen = [coco_from_dense(mask) for mask in masks[:labelled]]
        return unlabelled_share(image, annotated("blobs", (60, 240), chosen, ["cort"] * labelled))

    assert share(4) == 0
    assert 0.1 < share(3) < share(2) < share(1) < 3
    assert share(0) > 4 * 250  # pixels: there is no label to compare with


def test_images_far_above_their_types_usual_share_stand_out_the_farthest_first():
    shares = {f"a{number}": 0.1 + number / 100 for number in range(12)} | {"far": 5.0, "near": 0.6, "c": 9.0}
    types = dict.fromkeys(shares, "astro") | {"c": "cort"}
    assert standing_out(shares, types) == ["far", "near"]
    repairs = [ImageRepair(name, types[name], 1, unlabelled_share=share) for name, share in shares.items()]
    assert [one.image_id for one in with_unlabelled(repairs) if one.unlabelled] == ["far", "near"]
