import json

import numpy as np
import pytest
from drawing import cell, cells

from sartorius.metrics.assessment import Wanted, assess, compare
from sartorius.metrics.competition import evaluate

TRUTH = {
    "a": cells(cell("##...."), cell("..##..")),
    "b": cell("####..", cell_type="astro"),
    "c": cell("####..", cell_type="astro"),
}
FOUND = {"a": TRUTH["a"][:1], "b": cell("###..."), "c": TRUTH["c"]}


def test_the_intervals_stand_around_the_figures_of_the_metric():
    assessment = assess(FOUND, TRUTH, np.random.default_rng(0))
    assert assessment.total.value == pytest.approx(2 / 3) == evaluate(FOUND, TRUTH).total
    assert assessment.total[1:] == (0.5, 1)  # only a or b drawn, only c drawn
    assert assessment.per_type == {"astro": (0.75, 0.5, 1), "cort": (0.5, 0.5, 0.5)}
    assert assessment.per_threshold[0.95] == pytest.approx((0.5, 0, 1))
    assert (assessment.f1.precision.value, assessment.f1.recall.value) == (1, 0.75)


def test_what_was_not_asked_for_is_not_told():
    told = assess(FOUND, TRUTH, np.random.default_rng(0), Wanted(confusion=False)).to_json()
    assert not {"confusion", "coco", "against"} & set(told)


def test_everything_asked_for_is_told_as_json():
    wanted = Wanted("drop", confusion=True, coco_detections=50)
    assessment = assess(FOUND, TRUTH, np.random.default_rng(0), wanted, other={})
    told = json.loads(json.dumps(assessment.to_json()))
    assert told["variant"] == "drop"
    assert told["interval_95"]["total"] == [0.5, 1]
    assert told["interval_95"]["per_type"] == {"astro": [0.5, 1], "cort": [0.5, 0.5]}
    assert told["interval_95"]["per_threshold"]["0.95"] == [0, 1]
    assert told["interval_95"]["at_50"]["recall"] == list(assessment.f1.recall[1:])
    assert told["confusion"]["cort"] == {"astro": 0, "cort": 1, "no cell": 1}
    assert told["coco"]["max_detections"] == 50
    assert told["coco"]["mask"]["ap"]["value"] == assessment.coco["mask"]["ap"].value
    assert told["coco"]["mask"]["ap_large"] is None
    assert told["against"]["total"] == 0
    assert told["against"]["differences"]["astro"]["difference"] == 0.75
    assert told["against"]["differences"]["total"]["share_better"] == 1
    assert told["at_50"]["recall"] == 0.75  # one-to-one, whatever the variant of the total


def test_results_on_other_images_or_by_another_variant_are_not_compared():
    score = evaluate(FOUND, TRUTH)
    for other in (evaluate(FOUND, TRUTH, "double"), evaluate({}, {"a": TRUTH["a"]})):
        with pytest.raises(ValueError, match="same images by the same variant"):
            compare(score, other, np.random.default_rng(0))
