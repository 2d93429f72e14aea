import numpy as np
from drawing import cell, cells

from sartorius.cells import Cells, no_cells
from sartorius.config.fusion import (
    LinearDecay,
    MaskNmsSettings,
    MasksSettings,
    PostprocessSettings,
    SoftNmsSettings,
    WbfSettings,
)
from sartorius.fusion import explain, explanation_text

SOURCES = {
    "a/none": cells(
        cell("####....", score=0.9, source="a/none"), cell("......##", score=0.4, source="a/none"),
    ),
    "b/none": cells(
        cell("........", score=0.9, source="b/none"),
        cell("###.....", score=0.8, source="b/none"),
        cell("##......", score=0.7, source="b/none"),
    ),
}  # fmt: skip
RULES = MasksSettings(min_iou=0.5, second_of_source="drop")
CLEAN_UP = PostprocessSettings(score_threshold=0.3)


def test_every_detection_has_one_fate():
    explanation = explain(SOURCES, RULES, CLEAN_UP)
    fates = [(fate.source, fate.row, fate.cell, fate.role, fate.dropped) for fate in explanation.detections]
    assert fates == [
        ("a/none", 0, 0, "seed", ""),
        ("b/none", 1, 0, "vote", ""),
        ("b/none", 2, 0, "other", ""),
        ("a/none", 1, 1, "seed", "score threshold"),
        ("b/none", 0, None, "", "empty mask"),
    ]
    assert [(fate.votes, fate.sources, fate.vote_iou, fate.dropped) for fate in explanation.cells] == [
        (2, 2, (1 + 3 / 4) / 2, ""),
        (1, 2, 1, "score threshold"),
    ]
    assert len(explanation.result) == 1


def test_steps_inside_the_fusion_are_named():
    few = explain(SOURCES, RULES.model_copy(update={"min_votes": 2}), CLEAN_UP)
    assert [fate.dropped for fate in few.detections] == ["", "", "", "minimum votes", "empty mask"]
    strict = explain({"a/none": cell("#", soft=[[100]], soft_box=(0, 0, 1, 1))}, RULES, CLEAN_UP)
    assert [fate.dropped for fate in strict.detections] == ["mask threshold"]
    lowered = SoftNmsSettings(decay=LinearDecay(min_iou=0.4), min_score=0.36)
    assert [fate.dropped for fate in explain(SOURCES, lowered, CLEAN_UP).detections] == [
        "",
        "lowered score",
        "lowered score",
        "",
        "empty mask",
    ]


def test_a_suppressed_detection_names_the_cell_it_gave_way_to():
    explanation = explain(SOURCES, MaskNmsSettings(), CLEAN_UP)
    assert [(fate.source, fate.row, fate.cell) for fate in explanation.detections][:3] == [
        ("a/none", 0, 0),
        ("b/none", 1, 0),
        ("b/none", 2, 0),
    ]


def test_the_text_shows_cells_with_their_detections_and_what_has_no_cell():
    text = explanation_text(explain(SOURCES, RULES, CLEAN_UP))
    assert text.splitlines()[:6] == [
        "drawn: 5 detections, 2 fused cells, 1 in the result",
        "",
        "cell 0: score 0.850, cort, 4 px, 2 of 2 sources with a mean IoU of 0.88; in the result",
        "  seed  a/none row 0: score 0.900, cort, 4 px, columns 0-4, rows 0-1",
        "  vote  b/none row 1: score 0.800, cort, 3 px, columns 0-3, rows 0-1",
        "  other b/none row 2: score 0.700, cort, 2 px, columns 0-2, rows 0-1",
    ]
    assert (
        "cell 1: score 0.200, cort, 2 px, 1 of 2 sources with a mean IoU of 1.00; dropped: score threshold"
        in text
    )
    assert text.endswith("b/none row 0: score 0.900, cort, 0 px, columns 0-0, rows 0-0; dropped: empty mask")


def test_an_image_without_detections_has_a_short_explanation():
    explanation = explain({"a/none": no_cells("empty", (2, 2))}, RULES, CLEAN_UP)
    assert (explanation.cells, explanation.detections) == ((), ())
    assert explanation_text(explanation) == "empty: 0 detections, 0 fused cells, 0 in the result"


def crowd(rng: np.random.Generator, source: str) -> Cells:
    rows = zip(rng.integers(0, 40, 14), rng.integers(1, 9, 14), rng.uniform(0.1, 1, 14), strict=True)
    return cells(
        *(
            cell("." * begin + "#" * wide + "." * (60 - begin - wide), score=score, source=source)
            for begin, wide, score in rows
        )
    )


def test_a_row_whose_mean_box_moved_away_has_no_cell_and_is_not_said_to_have_lost_score():
    lost = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        explanation = explain(
            {name: crowd(rng, name) for name in ("a/none", "b/none", "c/none")},
            WbfSettings(min_iou=0),
            CLEAN_UP,
        )
        lost += [fate.dropped for fate in explanation.detections if fate.cell is None]
    assert lost
    assert set(lost) == {"no cell's box"}
