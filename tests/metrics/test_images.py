import pytest
from drawing import cell

from sartorius.errors import UserError
from sartorius.metrics.images import chosen_images, predictions_for, refuse_mismatches

TRUTH = {name: cell("##..") for name in "abc"}


@pytest.mark.parametrize(("unknown", "told"), [("zyx", "x, y, z of"), ("zyxwv", "v, w, x and 2 more of")])
def test_predictions_of_images_without_truth_are_named_three_at_most(unknown, told):
    with pytest.raises(UserError, match=rf"the truth has no image {told} the predictions; it has 3 images"):
        refuse_mismatches({name: cell("##..") for name in unknown}, TRUTH)


def test_without_a_fold_all_images_of_the_truth_are_scored():
    assert list(chosen_images(TRUTH)) == ["a", "b", "c"]


def test_a_fold_chooses_its_images():
    assert list(chosen_images(TRUTH, {"c": 1, "a": 1, "b": 0}, fold=1)) == ["a", "c"]


def test_a_fold_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(UserError, match="fold 7 has no images; the file of folds has the folds 0, 1"):
        chosen_images(TRUTH, {"a": 0, "b": 1}, fold=7)


def test_folds_of_other_data_are_refused():
    with pytest.raises(UserError, match="1 images without truth, for example z"):
        chosen_images(TRUTH, {"a": 0, "z": 0}, fold=0)


def test_a_fold_needs_a_file_of_folds():
    with pytest.raises(UserError, match="give both"):
        chosen_images(TRUTH, None, fold=0)


def test_predictions_of_other_images_are_left_out():
    found = {name: cell("##..") for name in "dcba"}
    assert list(predictions_for(found, TRUTH)) == ["a", "b", "c"]


def test_an_image_that_was_never_looked_at_is_not_taken_for_an_empty_one():
    with pytest.raises(UserError, match="1 of the 3 images to score have no predictions, for example b"):
        predictions_for({"a": cell("##.."), "c": cell("##..")}, TRUTH)
