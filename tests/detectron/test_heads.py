import math
from typing import Any

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from tiny_models import TINY

from sartorius.config import ModelSettings
from sartorius.detectron.mapper import TrainingImage, TrainingMapper
from sartorius.detectron.mask_head import bce_loss, dice_loss, image_shares
from sartorius.detectron.settings import detectron_config
from sartorius.rle import Crop


def tiny(**changes: Any) -> ModelSettings:
    return TINY.model_copy(update=changes)


def losses(settings: ModelSettings, logits: float = 0.0, seed: int = 0) -> dict[str, torch.Tensor]:
    """The losses of a fresh tiny model on one picture with two cells."""
    torch.manual_seed(seed)
    model = build_model(detectron_config(settings, "cpu")).train()
    with EventStorage():
        return model([picture(settings)])


def picture(settings: ModelSettings, number: int = 0) -> dict[str, Any]:
    import numpy as np

    pixels = np.full((64, 64), 100, dtype=np.uint8)
    crops = (Crop(8, 10, np.ones((12, 16), dtype=bool)), Crop(40, 30 + number, np.ones((14, 12), dtype=bool)))
    for crop in crops:
        pixels[crop.row : crop.row + 12, crop.col : crop.col + 12] = 220
    image = TrainingImage(f"i{number}", pixels, crops, np.array([0, 1]))
    return TrainingMapper(settings.model_copy(update={"flips": False, "scale_jitter": (1.0, 1.0)}))(
        image, 7 + number
    )


def test_dice_of_a_half_right_mask_by_hand() -> None:
    targets = torch.zeros((2, 2, 2))
    targets[0, :, 0] = 1
    sure = torch.tensor([[[50.0, 50.0], [-50.0, -50.0]], [[-50.0, -50.0], [-50.0, -50.0]]])
    # 1 pixel shared of 2 found and 2 true: 1 - (2 + 1) / (4 + 1); nothing found of nothing: 0.
    torch.testing.assert_close(dice_loss(sure, targets), torch.tensor([0.4, 0.0]))


def test_cross_entropy_of_an_undecided_mask_is_log_two() -> None:
    torch.testing.assert_close(
        bce_loss(torch.zeros(3, 4, 4), torch.ones(3, 4, 4)), torch.full((3,), math.log(2))
    )


def test_the_mask_loss_of_training_is_the_one_of_the_settings() -> None:
    # A fresh mask head is undecided everywhere: probability 1/2, cross entropy log 2 whatever the target.
    found = {name: float(losses(tiny(mask_loss=name))["loss_mask"]) for name in ("bce", "dice", "bce_dice")}
    assert abs(found["bce"] - math.log(2)) < 0.01
    assert 0.05 < found["dice"] < 0.6
    assert found["bce_dice"] == pytest.approx(found["bce"] + found["dice"], rel=1e-4)


def test_class_weights_scale_the_gradient_of_their_class_alone() -> None:
    from sartorius.detectron.heads import CellBoxPredictor

    def gradient(weights: dict[str, float]) -> torch.Tensor:
        settings = tiny(class_weights=weights)
        model = build_model(detectron_config(settings, "cpu"))
        predictor = model.roi_heads.box_predictor
        assert isinstance(predictor, CellBoxPredictor)
        proposals = Instances((64, 64))
        proposals.proposal_boxes = Boxes(torch.tensor([[0.0, 0, 8, 8], [8, 8, 20, 20]]))
        proposals.gt_boxes = proposals.proposal_boxes
        proposals.gt_classes = torch.tensor([1, 3])  # astro, background
        scores = torch.zeros((2, 4), requires_grad=True)
        with EventStorage():
            predictor.losses((scores, torch.zeros(2, 12)), [proposals])["loss_cls"].backward()
        assert scores.grad is not None
        return scores.grad

    plain, weighted = gradient({}), gradient({"astro": 3.0})
    torch.testing.assert_close(weighted[0], 3 * plain[0])
    torch.testing.assert_close(weighted[1], plain[1])


def test_class_weights_of_an_unknown_type_are_refused() -> None:
    with pytest.raises(ValueError, match="class_weights names 'neuron'"):
        ModelSettings(class_weights={"neuron": 2.0})


def test_the_box_loss_of_training_is_the_one_of_the_settings() -> None:
    plain, other = losses(tiny()), losses(tiny(box_loss="giou"))
    torch.testing.assert_close(plain["loss_cls"], other["loss_cls"])
    assert float(other["loss_box_reg"].detach()) != pytest.approx(
        float(plain["loss_box_reg"].detach()), rel=0.05
    )


def test_a_mean_over_images_is_that_of_their_own_means() -> None:
    # An image with one row, one with three, one without any: each image's mean counts a third.
    shares = image_shares([1, 3, 0], torch.device("cpu"))
    torch.testing.assert_close(shares, torch.tensor([1 / 3, 1 / 9, 1 / 9, 1 / 9]))


def test_losses_of_two_pictures_are_the_mean_of_each_ones_own() -> None:
    torch.manual_seed(0)
    settings = tiny()
    model = build_model(detectron_config(settings, "cpu")).train()
    pictures = [picture(settings), picture(settings, 1)]
    with EventStorage():
        together = model(pictures)
        apart = [model([one]) for one in pictures]
    for name, loss in together.items():
        torch.testing.assert_close(
            loss, (apart[0][name] + apart[1][name]) / 2, rtol=1e-4, atol=1e-6, msg=name
        )


def test_a_cascade_trains_three_box_heads_and_predicts() -> None:
    settings = tiny(cascade=True)
    torch.manual_seed(0)
    model = build_model(detectron_config(settings, "cpu")).train()
    with EventStorage():
        found = model([picture(settings)])
    assert {f"loss_{kind}_stage{stage}" for kind in ("cls", "box_reg") for stage in range(3)} <= found.keys()
    model.eval()
    with torch.inference_mode():
        masks = model.inference([{"image": torch.zeros(3, 64, 64)}], do_postprocess=False)[0].pred_masks
    assert masks.shape[1:] == (1, 28, 28)


def test_a_mask_grid_of_56_gives_masks_of_56() -> None:
    settings = tiny(mask_grid_px=56)
    model = build_model(detectron_config(settings, "cpu")).eval()
    with torch.inference_mode():
        found = model.inference([{"image": torch.zeros(3, 64, 64)}], do_postprocess=False)[0]
    assert len(found)
    assert found.pred_masks.shape[1:] == (1, 56, 56)


@pytest.mark.parametrize("stages", [4, 5])
def test_without_its_first_stride_every_level_is_twice_as_fine(stages: int) -> None:
    anchors = (8.0, 16.0, 32.0, 64.0, 128.0)[:stages]
    strides = {}
    for stride in (1, 2):
        settings = tiny(first_stride=stride, backbone_stages=stages, anchor_sizes_px=anchors)
        model = build_model(detectron_config(settings, "cpu")).eval()
        assert [shape.stride for shape in model.backbone.output_shape().values()] == [
            2 ** (level + stride) for level in range(stages)
        ]
        with torch.inference_mode():
            features = model.backbone(torch.zeros(1, 3, 64, 64))
            model.inference([{"image": torch.zeros(3, 64, 64)}], do_postprocess=False)
        strides[stride] = [64 // feature.shape[-1] for feature in features.values()]
    assert strides[1] == [stride // 2 for stride in strides[2]]


def test_losses_without_any_cell_are_finite_and_reach_every_weight() -> None:
    import numpy as np

    settings = tiny()
    model = build_model(detectron_config(settings, "cpu")).train()
    empty = TrainingImage("e", np.full((64, 64), 127, dtype=np.uint8), (), np.zeros(0, dtype=np.int64))
    with EventStorage():
        total = sum(model([TrainingMapper(settings)(empty, 0)]).values())
    total.backward()
    assert torch.isfinite(total)
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
