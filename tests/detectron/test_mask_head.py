import pytest
import torch
from detectron2.modeling import build_model
from detectron2.modeling.roi_heads.mask_head import mask_rcnn_inference
from detectron2.structures import Instances
from tiny_models import TINY

from sartorius.detectron.mask_head import CONVOLVED_AT_ONCE, CellMaskHead
from sartorius.detectron.settings import detectron_config


def mask_head(**changes: object) -> CellMaskHead:
    torch.manual_seed(0)
    model = build_model(detectron_config(TINY.model_copy(update=changes), "cpu"))
    head = model.roi_heads.mask_head
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return head.eval()


def found(classes: list[int]) -> Instances:
    return Instances((64, 64), pred_classes=torch.tensor(classes, dtype=torch.int64))


@pytest.mark.parametrize(
    "changes", [{}, {"detectron": TINY.detectron | {"MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK": True}}]
)
def test_masks_are_those_of_detectron2_s_own_layers(changes: dict[str, object]) -> None:
    head = mask_head(**changes)
    classes = torch.randint(0, 3, (CONVOLVED_AT_ONCE + 8,)).tolist()
    features = torch.randn(len(classes), 16, 14, 14)
    ours, theirs = [found(classes[:30]), found(classes[30:])], [found(classes[:30]), found(classes[30:])]
    with torch.inference_mode():
        head(features, ours)
        mask_rcnn_inference(head.layers(features), theirs)
    for own, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own.pred_masks, expected.pred_masks, rtol=1e-4, atol=1e-5)
        assert own.pred_masks.std() > 0.2


def test_gradients_are_those_of_detectron2_s_own_layers() -> None:
    head = mask_head()
    classes = torch.tensor([0, 2, 2])
    features = torch.randn(3, 16, 14, 14)
    head.layers(features)[torch.arange(3), classes].square().sum().backward()
    expected = {name: parameter.grad.clone() for name, parameter in head.named_parameters()}
    head.zero_grad()
    head.own_logits(features, classes).square().sum().backward()
    for name, parameter in head.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-3, atol=1e-3, msg=name)


def test_no_cells_give_no_masks() -> None:
    nothing = found([])
    mask_head()(torch.zeros(0, 16, 14, 14), [nothing])
    assert nothing.pred_masks.shape == (0, 1, 28, 28)
