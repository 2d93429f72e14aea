"""Which IoU the COCO figures ask for."""

import numpy as np
import pytest
from drawing import cell

from sartorius.metrics.coco import coco_intervals


@pytest.mark.parametrize(("found_px", "expected"), [(18, 0), (19, 1)])  # IoU .72 and .76
def test_ap75_asks_for_an_iou_of_three_quarters(found_px, expected):
    found, truth = cell("#" * found_px + "." * (25 - found_px)), cell("#" * 25)
    figures = coco_intervals({"a": found}, {"a": truth}, "mask", np.random.default_rng(0))
    assert figures["ap75"].value == expected
