import numpy as np
import pytest
import torch

from sartorius.detectron.flow_cells import cells_of, flow_targets
from sartorius.detectron.flow_fields import flows_of
from sartorius.rle import Crop, dense_from_coco
from sartorius.soft_masks import binarised


def square(row: int, col: int, side: int) -> Crop:
    return Crop(row, col, np.ones((side, side), dtype=bool))


def test_targets_show_the_smaller_of_two_cells_on_top() -> None:
    targets = flow_targets([square(10, 10, 8), square(4, 4, 20)], np.array([2, 0]), (40, 50), (40, 50))
    kinds = targets["cell_classes"].numpy()
    assert kinds.shape == (40, 50)
    assert kinds[12, 12] == 2
    assert kinds[5, 5] == 0
    assert kinds[30, 30] == -1
    down = targets["flows"].numpy()[0]
    assert down[10, 13] > 0.9  # the small one's upper edge flows down to its own centre
    assert down[17, 13] < -0.9


def test_targets_close_holes_but_for_another_cell_in_them() -> None:
    ring = np.ones((20, 20), dtype=bool)
    ring[3:6, 3:6] = ring[12:16, 12:16] = False
    targets = flow_targets([Crop(5, 5, ring), square(17, 17, 4)], np.array([0, 1]), (30, 30), (30, 30))
    kinds = targets["cell_classes"].numpy()
    assert (kinds[8:11, 8:11] == 0).all()
    assert (kinds[17:21, 17:21] == 1).all()


def test_targets_have_the_size_of_the_drawing() -> None:
    targets = flow_targets([square(4, 6, 8)], np.array([1]), (20, 30), (40, 60))
    assert targets["flows"].shape == (2, 40, 60)
    rows, cols = np.nonzero(targets["cell_classes"].numpy() == 1)
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (8, 23, 12, 27)


def test_pixels_that_no_way_leads_from_to_the_centre_are_background() -> None:
    split = np.ones((20, 9), dtype=bool)
    split[5] = False
    targets = flow_targets([Crop(2, 2, split)], np.array([0]), (30, 30), (30, 30))
    kinds = targets["cell_classes"].numpy()
    assert (kinds[2:7, 2:11] == -1).all()
    assert (kinds[9:22, 2:11] == 0).all()


def test_a_picture_without_cells_is_all_background() -> None:
    targets = flow_targets([], np.zeros(0, dtype=np.int64), (10, 12), (10, 12))
    assert not targets["flows"].any()
    assert (targets["cell_classes"] == -1).all()


def test_a_drawing_that_is_right_gives_back_the_cells() -> None:
    labels = np.zeros((50, 60), dtype=np.int32)
    labels[5:25, 4:34] = 1
    labels[25:45, 10:22] = 2
    types = np.zeros((3, 50, 60), dtype=np.float32)
    types[2][labels == 1] = types[1][labels == 2] = 1
    found = cells_of(flows_of(labels), (labels > 0).astype(np.float32), types, 28)
    assert found.boxes_xyxy.tolist() == [[4, 5, 34, 25], [10, 25, 22, 45]]
    assert found.classes.tolist() == [2, 1]
    assert found.scores == pytest.approx([1, 1], abs=0.02)
    soft = np.rint(255 * found.masks).astype(np.uint8)
    masks = binarised(soft, found.boxes_xyxy.astype(np.float32), (50, 60), 0.5)
    for number, mask in enumerate(masks, start=1):
        np.testing.assert_array_equal(dense_from_coco(mask), labels == number)


def test_masks_are_as_sure_as_their_pixels_and_leave_out_other_cells() -> None:
    labels = np.zeros((28, 60), dtype=np.int32)
    labels[:, :14], labels[:, 14:46] = 1, 2
    inside = np.where(labels > 0, 0.8, 0.3).astype(np.float32)
    inside[:, :3] = 0.9
    inside[:4, 42:46] = 0.2  # a corner of the second cell is none of it
    types = np.ones((1, 28, 60), dtype=np.float32)
    flows = flows_of(labels)
    first, second = cells_of(flows, inside, types, 28).masks
    assert first[:, 0] == pytest.approx(np.full(28, 0.9), abs=0.02)
    assert first[:, -1] == pytest.approx(np.full(28, 0.8), abs=0.02)
    assert second[1, -2] == pytest.approx(0.2, abs=0.02)
    assert second[:, 0] == pytest.approx(np.full(28, 0.8), abs=0.02)


def test_a_cell_scores_less_the_less_sure_its_pixels_are_and_the_worse_the_flows_fit() -> None:
    labels = np.zeros((30, 60), dtype=np.int32)
    labels[5:25, 4:24], labels[5:25, 34:54] = 1, 2
    types = np.ones((1, 30, 60), dtype=np.float32)
    flows, inside = flows_of(labels), np.where(labels > 0, 0.9, 0.1).astype(np.float32)
    inside[labels == 2] = 0.6
    assert cells_of(flows, inside, types, 28).scores == pytest.approx([0.9, 0.6], abs=0.02)
    weak = cells_of(flows * np.float32(0.5), inside, types, 28).scores
    assert weak == pytest.approx([0.9 * 0.75, 0.6 * 0.75], abs=0.02)


def test_cells_become_instances_in_pixels_of_the_picture() -> None:
    labels = np.zeros((30, 40), dtype=np.int32)
    labels[5:25, 4:24], labels[10:20, 28:38] = 1, 2
    types = np.ones((1, 30, 40), dtype=np.float32)
    found = cells_of(flows_of(labels), (labels > 0).astype(np.float32), types, 28)
    chosen = found.instances(np.array([1]), (60, 80), (2.0, 2.0))
    assert chosen.image_size == (60, 80)
    assert chosen.pred_boxes.tensor.tolist() == [[56, 20, 76, 40]]
    assert chosen.pred_masks.shape == (1, 1, 28, 28)
    assert chosen.pred_classes.tolist() == [0]
    assert chosen.scores.dtype == torch.float32


def test_a_drawing_without_cells_gives_none() -> None:
    nothing = np.zeros((2, 20, 20), dtype=np.float32)
    found = cells_of(nothing, nothing[0], nothing, 28)
    assert len(found.scores) == len(found.classes) == len(found.boxes_xyxy) == len(found.masks) == 0
    assert len(found.instances(np.zeros(0, dtype=np.int64), (40, 40), (2.0, 2.0))) == 0
