import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from tiny_models import TINY, TINY_FLOWS

from sartorius.config import EnsembleSettings, ModelSettings
from sartorius.config.ensemble import StageWiseSettings
from sartorius.config.fusion import NmsSettings
from sartorius.config.members import MemberSettings, ViewSettings
from sartorius.detectron.predictor import Predictor
from sartorius.detectron.settings import detectron_config
from sartorius.detectron.stage_wise import StageWisePredictor
from sartorius.errors import UserError
from sartorius.pipeline import fused_and_cleaned
from sartorius.rle import dense_from_coco


def predictor(seed: int, settings: ModelSettings = TINY) -> Predictor:
    torch.manual_seed(seed)
    model = build_model(detectron_config(settings, "cpu")).eval()
    model.roi_heads.mask_head.predictor.weight.data *= 300  # far from .5, where untrained masks all lie
    return Predictor(model, settings)


def ensemble(*names: str, views: tuple[ViewSettings, ...] = (ViewSettings(),)) -> EnsembleSettings:
    members = tuple(
        MemberSettings(name=name, model=f"{name}.yaml", weights=f"{name}.safetensors") for name in names
    )
    settings = StageWiseSettings(boxes=NmsSettings(min_iou=1.0))
    return EnsembleSettings(members=members, views=views, stage_wise=settings)


def picture() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 255, (64, 96), dtype=np.uint8)


def test_one_model_and_one_view_find_what_they_find_alone() -> None:
    alone = predictor(8)
    cells = StageWisePredictor({"a": alone}, ensemble("a"))(picture(), "p", ViewSettings())
    expected = alone(picture(), "p", ViewSettings())
    assert len(cells) == len(expected) > 0
    ours = sum(dense_from_coco(mask).astype(int) for mask in cells.masks)
    theirs = sum(dense_from_coco(mask).astype(int) for mask in expected.masks)
    assert np.abs(ours - theirs).sum() <= 0.01 * theirs.sum()
    assert np.allclose(cells.scores, expected.scores)


def test_a_mask_head_answers_for_given_boxes_as_it_does_for_its_own() -> None:
    model = predictor(8)
    cells = model(picture(), "p", ViewSettings(flip="horizontal"))
    assert cells.soft_boxes_xyxy is not None
    assert cells.soft_masks is not None
    again = model.probabilities_on(
        picture(), ViewSettings(flip="horizontal"), cells.soft_boxes_xyxy, cells.cell_types
    )
    assert np.abs(again * 255 - cells.soft_masks).mean() < 1


def test_the_probabilities_of_two_models_are_averaged_on_the_same_boxes() -> None:
    both = {"a": predictor(8), "b": predictor(6)}
    cells = StageWisePredictor(both, ensemble("a", "b"))(picture(), "p", ViewSettings())
    assert cells.soft_boxes_xyxy is not None
    assert cells.soft_masks is not None
    each = [
        model.probabilities_on(picture(), ViewSettings(), cells.soft_boxes_xyxy, cells.cell_types)
        for model in both.values()
    ]
    assert np.abs(cells.soft_masks / 255 - (each[0] + each[1]) / 2).max() < 0.01
    assert np.abs(each[0] - each[1]).max() > 0.1


def test_mask_heads_of_two_resolutions_meet_on_the_finer_grid() -> None:
    fine = TINY.model_copy(update={"mask_grid_px": 56})
    cells = StageWisePredictor({"a": predictor(8), "b": predictor(6, fine)}, ensemble("a", "b"))(
        picture(), "p", ViewSettings()
    )
    assert cells.soft_masks is not None
    assert cells.soft_masks.shape[1:] == (56, 56)


def test_no_detection_gives_no_cells() -> None:
    silent = predictor(8, TINY.model_copy(update={"min_score": 0.999}))
    assert len(StageWisePredictor({"a": silent}, ensemble("a"))(picture(), "p", ViewSettings())) == 0


def test_the_result_enters_the_same_fusion_and_clean_up() -> None:
    settings = ensemble("a")
    cells = StageWisePredictor({"a": predictor(8)}, settings)(picture(), "p", ViewSettings())
    assert settings.sources == ("stage_wise/none",)
    cleaned = fused_and_cleaned({"stage_wise/none": cells}, settings)
    assert (cleaned.scores >= 0.5).all()


def test_members_that_know_different_cell_types_are_refused() -> None:
    other = predictor(8, TINY.model_copy(update={"cell_types": ("shsy5y", "astro", "neuron")}))
    with pytest.raises(UserError, match="same cell_types"):
        StageWisePredictor({"a": predictor(8), "b": other}, ensemble("a", "b"))


def test_another_model_has_another_identity() -> None:
    first = Predictor(torch.nn.Identity(), TINY, "a" * 64)
    second = Predictor(torch.nn.Identity(), TINY, "b" * 64)
    hashes = {StageWisePredictor({"a": one}, ensemble("a")).weights_sha256 for one in (first, second)}
    assert len(hashes) == 2


def test_the_hashes_of_the_members_are_told() -> None:
    both = {name: Predictor(torch.nn.Identity(), TINY, name * 64) for name in "ba"}
    told = StageWisePredictor(both, ensemble("b", "a")).config["members_sha256"]
    assert told == {"a": "a" * 64, "b": "b" * 64}


def test_the_seconds_of_every_member_and_view_are_told_and_fewer_can_be_run() -> None:
    flips = (ViewSettings(), ViewSettings(flip="horizontal"))
    both = StageWisePredictor({"a": predictor(8), "b": predictor(6)}, ensemble("a", "b", views=flips))
    both(picture(), "p", ViewSettings())
    assert set(both.part_seconds) == {"a/none", "a/horizontal", "b/none", "b/horizontal"}
    assert min(both.part_seconds.values()) > 0
    one = both.narrowed(ensemble("b"))
    alone = StageWisePredictor({"b": predictor(6)}, ensemble("b"))
    assert one(picture(), "p", ViewSettings()).masks == alone(picture(), "p", ViewSettings()).masks
    assert set(one.part_seconds) == {"b/none"}


def test_a_member_that_draws_no_masks_in_boxes_is_refused() -> None:
    network = build_model(detectron_config(TINY_FLOWS, "cpu"))
    members = {"a": predictor(8), "paths": Predictor(network, TINY_FLOWS)}
    with pytest.raises(UserError, match=r"stage_wise: .* member 'paths' with `network: flows` does not"):
        StageWisePredictor(members, ensemble("a", "paths"))
