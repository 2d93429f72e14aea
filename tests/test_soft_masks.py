import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_fusion import dense_paste

from sartorius.mask_means import averaged
from sartorius.rle import dense_from_coco
from sartorius.soft_masks import binarised, on_grid, soft_probabilities


def pasted(soft, box, size_hw=(4, 6), threshold=0.5):
    grid = np.array([soft], dtype=np.uint8)
    (mask,) = binarised(grid, np.array([box], dtype=np.float32), size_hw, threshold)
    return "/".join("".join(".#"[int(pixel)] for pixel in row) for row in dense_from_coco(mask))


def test_a_sure_soft_mask_fills_its_box():
    assert pasted([[255, 255], [255, 255]], [1, 1, 4, 3]) == "....../.###../.###../......"


def test_the_left_half_of_a_soft_mask_is_the_left_half_of_its_box():
    assert pasted([[255, 0], [255, 0]], [0, 0, 4, 4]) == "##..../##..../##..../##...."


def test_a_pixel_between_two_grid_cells_has_the_mean_of_both():
    soft, box = [[200, 100], [200, 100]], [0, 0, 3, 4]  # the middle pixel lies between: 150 / 255 = .588
    assert pasted(soft, box, threshold=0.58).split("/")[1] == "##...."
    assert pasted(soft, box, threshold=0.59).split("/")[1] == "#....."


def test_a_probability_on_the_threshold_is_cell():
    assert pasted([[51]], [0, 0, 1, 1], size_hw=(1, 1), threshold=0.2) == "#"
    assert pasted([[50]], [0, 0, 1, 1], size_hw=(1, 1), threshold=0.2) == "."


def test_at_threshold_zero_only_pixels_with_a_probability_are_cell():
    assert pasted([[255]], [2, 1, 4, 3], threshold=0).count("#") < 24


def test_what_leaves_the_image_is_cut_off():
    sure = [[255] * 3] * 3
    assert pasted(sure, [-3, -3, 2, 2]) == "##..../##..../....../......"
    assert pasted(sure, [4, 2, 8, 6]) == "....../....../....##/....##"
    assert pasted(sure, [-9, -9, -5, -5]) == pasted(sure, [50, 50, 60, 60]) == "....../....../....../......"


def test_a_box_without_area_gives_an_empty_mask():
    assert "#" not in pasted([[255]], [2, 1, 2, 3])
    assert "#" not in pasted([[255]], [4, 1, 2, 3])


def test_every_mask_has_its_own_threshold():
    soft, boxes = np.full((2, 1, 1), 128, np.uint8), np.array([[0, 0, 1, 1]] * 2, np.float32)
    low, high = binarised(soft, boxes, (1, 1), np.array([0.4, 0.6]))
    assert [dense_from_coco(low).sum(), dense_from_coco(high).sum()] == [1, 0]


def test_no_soft_masks_give_no_masks():
    assert binarised(np.zeros((0, 28, 28), np.uint8), np.zeros((0, 4), np.float32), (4, 6), 0.5) == ()


def test_shapes_and_dtypes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="float64"):
        binarised(np.zeros((1, 2, 2)), np.zeros((1, 4), np.float32), (4, 6), 0.5)
    with pytest.raises(ValueError, match=r"\(2, 4\)"):
        binarised(np.zeros((1, 2, 2), np.uint8), np.zeros((2, 4), np.float32), (4, 6), 0.5)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 7), st.sampled_from([0.3, 0.5, 0.7]))
def test_pasting_equals_the_dense_version(seed, side, threshold):
    rng = np.random.default_rng(seed)
    soft = rng.integers(0, 256, size=(4, side, side)).astype(np.uint8)
    corners = rng.uniform(-5, 20, size=(4, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(0.2, 25, size=(4, 2))], axis=1).astype(np.float32)
    for mask, grid, box in zip(binarised(soft, boxes, (16, 20), threshold), soft, boxes, strict=True):
        expected = dense_paste(grid, box, (16, 20))
        unsure = np.abs(expected - threshold) < 3e-6
        assert ((dense_from_coco(mask) == (expected >= threshold)) | unsure).all()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_a_mean_of_soft_masks_equals_the_dense_version(seed):
    rng = np.random.default_rng(seed)
    soft = rng.integers(0, 256, size=(5, 4, 4)).astype(np.uint8)
    corners = rng.uniform(-3, 12, size=(5, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(1, 9, size=(5, 2))], axis=1).astype(np.float32)
    weights, groups = rng.uniform(0.1, 1, size=5), np.array([0, 0, 0, 1, 1])
    means = averaged(
        soft_probabilities(soft, boxes, (14, 18)), np.arange(5), groups, weights, np.full(2, 0.4), (14, 18)
    )
    for group, mask in enumerate(means.masks):
        planes = [
            dense_paste(soft[row], boxes[row], (14, 18)) * weights[row]
            for row in np.flatnonzero(groups == group)
        ]
        expected = np.sum(planes, axis=0) / weights[groups == group].sum()
        cell_px = dense_from_coco(mask)
        assert ((cell_px == (expected >= 0.4)) | (np.abs(expected - 0.4) < 3e-6)).all()
        assert means.inside[group] == pytest.approx(expected[cell_px].mean() if cell_px.any() else 0)


def test_pasting_gives_detectron2_s_pixels():
    torch = pytest.importorskip("torch")
    pytest.importorskip("sartorius.detectron.compat")  # makes detectron2 importable
    from detectron2.layers.mask_ops import paste_masks_in_image

    rng = np.random.default_rng(7)
    soft = rng.integers(0, 256, size=(40, 28, 28)).astype(np.uint8)
    corners = rng.uniform(-8, 60, size=(40, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(10, 50, size=(40, 2))], axis=1).astype(np.float32)
    masks = [dense_from_coco(mask) for mask in binarised(soft, boxes, (70, 90), 0.5)]
    theirs = paste_masks_in_image(torch.tensor(soft / 255).float(), torch.tensor(boxes), (70, 90), 0.5)
    assert (
        np.array(masks) != theirs.numpy()
    ).mean() < 1e-5  # float32 against float64 on the threshold itself


def test_compiled_loops_work_where_no_cache_can_be_written():
    code = "import numba\nfrom sartorius.compiled import compiled\n"
    code += "assert compiled(lambda number: number + 1)(1) == 2"
    environment = {
        "NUMBA_CACHE_DIR": "/proc/no/such",
        "HOME": "/proc/no/home",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("height", "width"), [(27, 601), (601, 27), (9, 300), (60, 60), (5, 5)])
def test_a_mask_laid_on_its_grid_and_pasted_again_is_the_mask(height, width):
    rows, cols = np.ogrid[:height, :width]
    ellipse = ((rows + 0.5) / height - 0.5) ** 2 + ((cols + 0.5) / width - 0.5) ** 2 <= 0.25
    grid = on_grid(255 * ellipse.astype(np.uint8), 28)
    (mask,) = binarised(grid[None], np.float32([[0, 0, width, height]]), (height, width), 0.5)
    again = dense_from_coco(mask).astype(bool)
    assert (again & ellipse).sum() / (again | ellipse).sum() > 0.97
