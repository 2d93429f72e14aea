"""The stages of an image whose cells are few enough to check by eye."""

import numpy as np
import pytest
from drawing import cell, cells

from sartorius.cells import Cells
from sartorius.column_runs import column_runs
from sartorius.config.ensemble import EnsembleSettings
from sartorius.config.fusion import MasksSettings, PostprocessSettings
from sartorius.metrics.competition import average_precision
from sartorius.pipeline import fused_and_cleaned
from sartorius.tuning.objective import Objective
from sartorius.tuning.stages import FusedImage, FusionKey, ImageStages

MEMBERS = [{"name": name, "model": "model.yaml", "weights": f"{name}.safetensors"} for name in "ab"]
SEEN_BY_BOTH = cell("....##", score=0.8, cell_type="cort")
#: Beside it each source sees a cell of another type of its own.
SOURCES = {
    "a/none": cells(cell("##....", score=0.9, cell_type="astro"), SEEN_BY_BOTH),
    "b/none": cells(cell("..##..", score=0.9, cell_type="astro"), SEEN_BY_BOTH),
}


def fused_image(*parts: Cells) -> FusedImage:
    found = cells(*parts)
    votes = np.ones(len(found), dtype=np.int64)
    return FusedImage(found.size_hw, column_runs(found.masks), found.scores, found.cell_types, votes)


def repeats(image: FusedImage, rows: list[int], nms_iou: float) -> list[tuple[int, int]]:
    surer, repeated = image.repeats(np.array(rows), nms_iou)
    return list(zip(surer.tolist(), repeated.tolist(), strict=True))


def test_a_cell_repeats_no_surer_one_that_takes_no_part():
    image = fused_image(cell("###..."), cell(".###.."), cell(".....#"))  # IoU .5, and apart
    assert repeats(image, [0, 1, 2], 0.3) == [(0, 1)]
    assert repeats(image, [1, 2], 0.3) == []


def test_only_an_iou_limit_of_one_leaves_all_repeats_in():
    image = fused_image(cell("#" * 20), cell("#" * 19 + "."))  # IoU .95
    assert repeats(image, [0, 1], 0.9) == [(0, 1)]
    same = fused_image(cell("##"), cell("##"))
    assert repeats(same, [0, 1], 1.0) == []


@pytest.mark.parametrize(("min_votes", "expected"), [(1, "astro"), (2, "cort")])
def test_cells_with_too_few_votes_do_not_tell_the_type_of_an_image(min_votes, expected):
    image = ImageStages(SOURCES, SEEN_BY_BOTH, EnsembleSettings(members=MEMBERS))
    key = FusionKey("", 0, 0, False)
    assert image.voted_type(MasksSettings(agreement_power=0), key, min_votes) == expected


def test_thresholds_are_those_of_the_type_that_cells_with_enough_votes_tell():
    settings = EnsembleSettings(
        members=MEMBERS,
        fusion=MasksSettings(min_votes=2, agreement_power=0),
        postprocess=PostprocessSettings(score_threshold={"astro": 0.85, "cort": 0.5}),
    )
    image = ImageStages(SOURCES, SEEN_BY_BOTH, settings)
    assert Objective([image]).image_scores(settings).tolist() == [1]
    assert average_precision(fused_and_cleaned(SOURCES, settings), SEEN_BY_BOTH).mean() == 1
