import pytest
import torch
from detectron2.modeling import build_model
from detectron2.modeling.proposal_generator import RPN
from detectron2.structures import Boxes, ImageList, Instances
from detectron2.utils.events import EventStorage
from tiny_models import TINY

from sartorius.detectron.proposals import CellRPN
from sartorius.detectron.settings import detectron_config
from sartorius.errors import UserError

CELLS = ([[8, 10, 24, 26], [40, 30, 52, 44], [0, 0, 9, 12]], [[50, 48, 64, 64]])


def proposal_network(box_loss: str) -> CellRPN:
    torch.manual_seed(0)
    settings = TINY.model_copy(update={"detectron": {"MODEL.RPN.BBOX_REG_LOSS_TYPE": box_loss}})
    network = build_model(detectron_config(settings, "cpu")).proposal_generator.train()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network


def computed(
    network: CellRPN, forward: object, features: dict[str, torch.Tensor]
) -> tuple[list[Instances], dict[str, torch.Tensor], list[torch.Tensor]]:
    """Proposals, losses, and the gradients of the losses' sum by every parameter and feature."""
    cells = [Instances((64, 64), gt_boxes=Boxes(torch.tensor(boxes).float())) for boxes in CELLS]
    inputs = {name: level.clone().requires_grad_() for name, level in features.items()}
    network.zero_grad()
    torch.manual_seed(3)
    with EventStorage():
        proposals, losses = forward(
            network, ImageList(torch.zeros(2, 3, 64, 64), [(64, 64)] * 2), inputs, cells
        )
    sum(losses.values()).backward()
    return (
        proposals,
        losses,
        [p.grad.clone() for p in network.parameters()] + [f.grad for f in inputs.values()],
    )


@pytest.mark.parametrize("box_loss", ["smooth_l1", "giou"])
def test_losses_and_gradients_are_those_of_detectron2_s_own_pass_over_every_pixel(box_loss: str) -> None:
    network = proposal_network(box_loss)
    features = {f"p{n}": torch.randn(2, 16, 64 >> n, 64 >> n) for n in range(2, 7)}
    proposals, losses, gradients = computed(network, CellRPN.forward, features)
    expected_proposals, expected_losses, expected_gradients = computed(network, RPN.forward, features)
    for own, theirs in zip(proposals, expected_proposals, strict=True):
        torch.testing.assert_close(own.proposal_boxes.tensor, theirs.proposal_boxes.tensor)
    assert losses.keys() == expected_losses.keys()
    for name, loss in losses.items():
        assert loss > 0
        torch.testing.assert_close(loss, expected_losses[name])
    for own, theirs in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(own, theirs, rtol=1e-3, atol=1e-5)
    assert all(gradient.abs().sum() > 0 for gradient in gradients[:6])


@pytest.mark.parametrize("kind", [torch.float16, torch.float32])
def test_numbers_that_float16_cannot_hold_are_told_and_not_left_out(kind: torch.dtype) -> None:
    network = proposal_network("smooth_l1").eval()
    anchors = [Boxes(torch.tensor([[0.0, 0.0, 9.0, 9.0], [8.0, 8.0, 20.0, 20.0]]))]
    logits = torch.tensor([[1.0, 70_000.0]]).to(kind)  # infinite in float16
    arguments = anchors, [logits], [torch.zeros(1, 2, 4)], [(64, 64)]
    if kind == torch.float32:
        assert len(network.predict_proposals(*arguments)[0]) == 2
        return
    with pytest.raises(UserError, match=r"leave the range of torch\.float16: set `gpu_precision: float32`"):
        network.predict_proposals(*arguments)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("most", [5, 50, 2000])
def test_proposals_are_those_of_detectron2_s_own_pass_over_all_anchors(most: int, training: bool) -> None:
    """Of two pictures of another size each, with levels of more and of fewer anchors than are looked at."""
    network = proposal_network("smooth_l1").train(training)
    network.pre_nms_topk = {training: most}
    levels = [(side * side * 3, side) for side in (16, 8, 1)]
    anchors = [Boxes(torch.rand(count, 4) * 8 + torch.tensor([0, 0, 20, 20])) for count, _ in levels]
    logits = [torch.randn(2, count) for count, _ in levels]
    deltas = [torch.randn(2, count, 4, requires_grad=True) for count, _ in levels]
    arguments = anchors, logits, deltas, [(64, 64), (48, 40)]
    found, expected = network.predict_proposals(*arguments), RPN.predict_proposals(network, *arguments)
    for own, theirs in zip(found, expected, strict=True):
        assert torch.equal(own.proposal_boxes.tensor, theirs.proposal_boxes.tensor)
        assert torch.equal(own.objectness_logits, theirs.objectness_logits)
        assert not own.proposal_boxes.tensor.requires_grad
        assert len(own) > 3


def test_only_the_best_anchors_of_a_level_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    network, decoded = proposal_network("smooth_l1").eval(), []
    network.pre_nms_topk = {False: 7}
    apply = network.box2box_transform.apply_deltas
    monkeypatch.setattr(
        network.box2box_transform,
        "apply_deltas",
        lambda deltas, boxes: (decoded.append(len(deltas)), apply(deltas, boxes))[1],
    )
    anchors = [Boxes(torch.rand(count, 4) + torch.tensor([0, 0, 9, 9])) for count in (300, 3)]
    logits, deltas = [torch.randn(1, 300), torch.randn(1, 3)], [torch.zeros(1, 300, 4), torch.zeros(1, 3, 4)]
    network.predict_proposals(anchors, logits, deltas, [(64, 64)])
    assert decoded == [7, 3]
