"""The head that refines boxes: what it is taught, what it moves, and what it leaves alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import run
from detectron2.structures import Boxes
from detectron2.utils.events import EventStorage
from tiny_detections import built, cells_at, detections, picture
from tiny_models import TINY, write_tiny_data

from sartorius.config.members import ViewSettings
from sartorius.detectron.box_refinement import BoxRefinementHead, moved, to_learn
from sartorius.detectron.joining import join_for_inference
from sartorius.detectron.predictor import Predictor
from sartorius.detectron.processes import Machines
from sartorius.detectron.trainer import train
from sartorius.detectron.training_data import read_training_data

OWN_WEIGHTS = "roi_heads.box_refinement_head."
WITH_HEAD = TINY.model_copy(update={"box_refinement_head": True})
IMAGE = np.random.default_rng(1).integers(0, 255, (64, 96), dtype=np.uint8)


def moving(model: torch.nn.Module, *moves: float) -> torch.nn.Module:
    """The model with a head that moves the edges of every box by these shares of its sides, which its last layer counts in tenths."""
    torch.nn.init.zeros_(model.roi_heads.box_refinement_head.layers[-1].weight)
    with torch.no_grad():
        model.roi_heads.box_refinement_head.layers[-1].bias.copy_(
            10 * torch.tensor(moves * len(TINY.cell_types))
        )
    return model


@pytest.mark.parametrize(
    ("moves", "expected"),
    [
        ((0.0, 0.0, 0.0, 0.0), (8, 8, 24, 24)),
        ((0.25, -0.25, 0.5, 0.0), (12, 4, 32, 24)),
        ((-0.75, 0.0, 0.0, 0.0), (0, 8, 24, 24)),  # not out of the picture
        ((9.0, 9.0, -9.0, -9.0), (14.4, 14.4, 17.6, 17.6)),  # never closed
        ((-9.0, 0.0, 9.0, 0.0), (0, 8, 40, 24)),  # by its own width at most
    ],
)
def test_edges_move_by_shares_of_the_box_s_own_sides(moves, expected) -> None:
    found = detections((8, 8, 16, 16))
    found.scores = torch.tensor([0.5])
    (after,) = moved([found], torch.tensor([moves]))
    assert after.pred_boxes.tensor[0].tolist() == pytest.approx(expected)
    assert found.pred_boxes.tensor[0].tolist() == [8, 8, 24, 24]
    assert after.scores is found.scores
    assert after.image_size == (64, 64)


def test_boxes_that_are_no_numbers_end_the_training_as_its_losses_would() -> None:
    found = detections((8, 8, 16, 16))
    with pytest.raises(FloatingPointError, match="diverged"):
        moved([found], torch.full((1, 4), float("nan")))
    heads = built(TINY.model_copy(update={"cascade": True})).roi_heads.train()
    with pytest.raises(FloatingPointError, match="diverged"):
        heads._create_proposals_from_boxes([torch.full((2, 4), float("inf"))], [(64, 96)])


def test_the_loss_is_how_far_edges_stay_from_the_cell_s_in_each_image_s_mean() -> None:
    cells = cells_at((8, 8, 16, 16), (40, 8, 16, 8))
    found = [
        detections((8, 8, 16, 16), (12, 8, 16, 16), (30, 40, 4, 4)),  # exact, a quarter to the right, no cell
        detections((8, 40, 8, 8)),
    ]
    pictures = [to_learn(torch.rand(len(own), 16, 14, 14), own, cells) for own in found]
    assert [each.wanted.tolist() for each in pictures] == [[[0, 0, 0, 0], [-0.25, 0, -0.25, 0]], []]
    head = BoxRefinementHead(16, 14, 3)
    assert float(head.loss(pictures)) == pytest.approx(2 * 0.5 / 2 / 2)
    with torch.no_grad():
        head.layers[-1].bias.copy_(torch.tensor([-1.25, 0, -1.25, 0] * 3))  # half of what the second wants
    assert float(head.loss(pictures)) == pytest.approx(2 * 0.5 / 2 / 2)


def test_without_cells_or_detections_there_is_nothing_to_learn() -> None:
    head = BoxRefinementHead(16, 14, 3)
    loss = head.loss(
        [
            to_learn(torch.rand(1, 16, 14, 14), detections((8, 8, 16, 16)), cells_at()),
            to_learn(torch.rand(0, 16, 14, 14), detections(), cells_at((8, 8, 4, 4))),
        ]
    )
    loss.backward()
    assert loss.item() == 0
    assert not any(weight.grad.any() for weight in head.parameters())


def test_a_head_learns_to_move_boxes_onto_cells_by_what_it_sees() -> None:
    torch.manual_seed(8)
    head, features = BoxRefinementHead(16, 14, 3), torch.rand(2, 16, 14, 14)
    found, cells = detections((10, 8, 16, 16), (30, 32, 16, 16)), cells_at((8, 8, 16, 16), (32, 30, 16, 20))
    optimiser = torch.optim.Adam(head.parameters(), lr=1e-3)
    for _ in range(100):
        optimiser.zero_grad()
        head.loss([to_learn(features, found, cells)]).backward()
        optimiser.step()
    (after,) = moved([found], head(features, [found]).detach())
    torch.testing.assert_close(after.pred_boxes.tensor, cells.gt_boxes.tensor, atol=1.0, rtol=0)


def test_each_class_has_moves_of_its_own() -> None:
    head, found = BoxRefinementHead(16, 14, 3), detections((8, 8, 16, 16), (8, 8, 16, 16))
    found.pred_classes = torch.tensor([0, 2])
    with torch.no_grad():
        head.layers[-1].bias.copy_(torch.arange(0, 120.0, 10))
        moves = head(torch.rand(2, 16, 14, 14), [found])
    assert moves.tolist() == [[0, 1, 2, 3], [8, 9, 10, 11]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_numbers_of_16_bits_as_on_a_gpu_a_head_says_nearly_the_same(dtype: torch.dtype) -> None:
    torch.manual_seed(8)
    head, found = BoxRefinementHead(16, 14, 3).eval(), detections((8, 8, 16, 16), (20, 20, 9, 9))
    torch.nn.init.normal_(head.layers[-1].weight, std=0.1)
    features = torch.rand(2, 16, 14, 14)
    with torch.no_grad():
        expected = head(features, [found])
        join_for_inference(head, dtype)
        with torch.autocast("cpu", dtype=dtype):
            moves = head(features.to(dtype), [found])
    assert moves.dtype == torch.float32
    torch.testing.assert_close(moves, expected, atol=0.02, rtol=0.02)


def test_masks_are_drawn_in_moved_boxes_and_an_untrained_head_moves_none() -> None:
    plain, model = built(TINY), built(WITH_HEAD)
    model.load_state_dict(plain.state_dict(), strict=False)
    expected = Predictor(plain, TINY)(IMAGE, "p", ViewSettings())
    still = Predictor(model, WITH_HEAD)(IMAGE, "p", ViewSettings())
    assert len(expected) > 3
    assert still.masks == expected.masks
    wider = Predictor(moving(model, -0.25, -0.25, 0.25, 0.25), WITH_HEAD)(IMAGE, "p", ViewSettings())
    drawn = Boxes(torch.from_numpy(wider.soft_boxes_xyxy))
    assert drawn.area().sum() > 1.2 * Boxes(torch.from_numpy(expected.soft_boxes_xyxy)).area().sum()
    again = Predictor(plain, TINY).probabilities_on(
        IMAGE, ViewSettings(), wider.soft_boxes_xyxy, wider.cell_types
    )
    np.testing.assert_allclose(again, wider.soft_masks / 255, atol=0.003)


def test_boxes_that_are_given_stay_where_they_are() -> None:
    model, boxes = built(WITH_HEAD), np.array([[8, 8, 24, 30]], dtype=np.float32)
    still = Predictor(model, WITH_HEAD).probabilities_on(IMAGE, ViewSettings(), boxes, np.array(["cort"]))
    model = moving(model, 0.3, 0.3, 0.3, 0.3)
    given = Predictor(model, WITH_HEAD).probabilities_on(IMAGE, ViewSettings(), boxes, np.array(["cort"]))
    np.testing.assert_array_equal(given, still)


def test_a_picture_without_detections_is_answered_with_none() -> None:
    settings = WITH_HEAD.model_copy(update={"min_score": 1.0})
    assert len(Predictor(built(settings), settings)(np.zeros((64, 64), np.uint8), "p", ViewSettings())) == 0


def test_its_gradients_go_no_further_than_its_own_weights() -> None:
    model = built(WITH_HEAD).train()
    with EventStorage():
        losses = model([picture()])
    assert {"loss_box_refinement", "loss_mask", "loss_cls"} <= losses.keys()
    losses["loss_box_refinement"].backward()
    reached = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert reached == {name for name, _ in model.named_parameters() if name.startswith(OWN_WEIGHTS)}


def test_the_head_that_judges_masks_learns_from_those_in_moved_boxes(monkeypatch) -> None:
    model = moving(built(WITH_HEAD.model_copy(update={"mask_iou_head": True})), 0.0, 0.0, 0.4, 0.0).train()
    seen = []
    for name in ("box_refinement_head", "mask_iou_head"):
        getattr(model.roi_heads, name).register_forward_pre_hook(
            lambda head, given: seen.append(given[1][0].pred_boxes.tensor.clone())
        )
    with EventStorage():
        model([picture()])
    *_, before, after = seen
    torch.testing.assert_close(after[:, :2], before[:, :2])
    assert (after[:, 2] > before[:, 2]).any()


def test_trained_alone_it_leaves_all_other_weights_as_they_were(tmp_path: Path) -> None:
    data = read_training_data([write_tiny_data(tmp_path / "data")], TINY.cell_types, None, None)
    before = {name: tensor.clone() for name, tensor in built(TINY).state_dict().items()}
    torch.save({"model": before}, tmp_path / "start.pth")
    settings = WITH_HEAD.model_copy(update={"train_only": ("box_refinement_head",)})
    train(settings, data, tmp_path / "run", tmp_path / "start.pth", Machines())
    after = torch.load(tmp_path / "run/model_final.pth", weights_only=True)["model"]
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert {name for name in after if name not in before} == {
        name for name in built(WITH_HEAD).state_dict() if name.startswith(OWN_WEIGHTS)
    }


def test_training_a_head_that_the_network_lacks_is_refused(monkeypatch, capsys, tmp_path: Path) -> None:
    model = tmp_path / "model.yaml"
    model.write_text("train_only: [box_refinement_head]\n")
    assert run(monkeypatch, "train", model, "--data", tmp_path) == 2
    assert "box_refinement_head: true" in capsys.readouterr().err
