import numpy as np
from drawing import cell, cells

from sartorius.cells import no_cells
from sartorius.config.fusion import PostprocessSettings
from sartorius.metrics.competition import average_precision
from sartorius.postprocess import clean
from sartorius.tuning.objective import Objective
from sartorius.tuning.prefixes import PrefixTable
from sartorius.tuning.stages import ImageStages


def table_of(found, truth) -> PrefixTable:
    """The table of an image that one source found, each of its detections a cell by itself."""
    from sartorius.config.ensemble import EnsembleSettings
    from sartorius.config.fusion import NmsSettings
    from sartorius.config.members import MemberSettings

    settings = EnsembleSettings(
        members=(MemberSettings(name="a", model="a.yaml", weights="a.pth"),), fusion=NmsSettings(min_iou=1.0)
    )
    objective = Objective([ImageStages({"a/none": found}, truth, settings)])
    return lambda thresholds: objective.curves(settings, "cort", np.array(thresholds))[0].tolist()


def test_a_threshold_keeps_the_cells_whose_score_reaches_it():
    found = cells(cell("##....", score=0.9), cell("...##.", score=0.5))
    at = table_of(found, cell("##...."))
    assert at([0.0, 0.5, 0.51, 0.9, 0.91]) == [0.5, 0.5, 1.0, 1.0, 0.0]


def test_a_less_sure_cell_never_changes_what_becomes_of_a_surer_one():
    """The unsure cell is clipped by the sure one, and the sure one is whole with and without it."""
    found = cells(cell("####..", score=0.9), cell("..####", score=0.4))
    truth = cells(cell("####.."), cell("....##"))
    assert table_of(found, truth)([0.4, 0.5]) == [1.0, 0.5]


def test_an_image_without_true_cells_scores_one_until_something_is_found_there():
    assert table_of(cell("##", score=0.5), no_cells("drawn", (1, 2)))([0.5, 0.6]) == [0.0, 1.0]


def test_an_image_in_which_nothing_was_found_scores_zero_at_every_threshold():
    nothing = cell("##", score=0.5)[:0]
    assert table_of(nothing, cell("##"))([0.0, 1.0]) == [0.0, 0.0]


def test_an_iou_equal_to_a_threshold_passes_only_the_thresholds_below_it():
    truth = cell("####################")
    for k in range(10, 21):
        found = cell("#" * k + "." * (20 - k), score=0.9)
        assert table_of(found, truth)([0.5]) == [(k - 10) / 10]


def test_a_true_cell_annotated_twice_is_one_hit():
    truth = cells(cell("####"), cell("####"))
    assert table_of(cell("####", score=0.9), truth)([0.5]) == [0.5]
    assert average_precision(clean(cell("####", score=0.9), PostprocessSettings()), truth).mean() == 0.5
