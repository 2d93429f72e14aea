"""The head that foresees how well masks fit: what it is taught, what it changes, and what it leaves alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import run
from detectron2.utils.events import EventStorage
from tiny_detections import built, cells_at, detections, picture
from tiny_models import TINY, write_tiny_data

from sartorius.config import ModelSettings
from sartorius.config.members import ViewSettings
from sartorius.detectron import trainer
from sartorius.detectron.int8 import Int8Conv2d, int8_works, to_int8
from sartorius.detectron.joining import join_for_inference
from sartorius.detectron.mask_head import well_found
from sartorius.detectron.mask_iou import MaskIoUHead, mask_iou_loss, own_cells
from sartorius.detectron.predictor import Predictor
from sartorius.detectron.processes import Machines
from sartorius.detectron.trainer import train
from sartorius.detectron.training_data import TrainingData, read_training_data
from sartorius.errors import UserError

MASK_IOU_HEAD = "roi_heads.mask_iou_head."
WITH_HEAD = TINY.model_copy(update={"mask_iou_head": True})
ALONE = WITH_HEAD.model_copy(update={"train_only": ("mask_iou_head",)})


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((8, 8, 16, 16), 1.0),
        ((8, 8, 32, 16), 16 * 16 / (32 * 16)),
        ((8, 8, 8, 16), 0.5),  # the half of the cell outside of the detection's box counts
        ((16, 8, 16, 16), 8 * 16 / (2 * 16 * 16 - 8 * 16)),
        ((40, 40, 10, 10), 0.0),
    ],
)
def test_the_iou_of_a_mask_with_its_cell_by_hand(box, expected) -> None:
    _, ious = own_cells(detections(box, (8, 8, 16, 16)), cells_at((8, 8, 16, 16), (50, 8, 4, 4)))
    assert ious.tolist() == pytest.approx([expected, 0.5], abs=0.02)


def test_a_mask_is_compared_with_the_cell_its_box_overlaps_most() -> None:
    numbers, ious = own_cells(
        detections((9, 8, 16, 16), (0, 0, 4, 4)), cells_at((20, 8, 16, 16), (8, 8, 16, 16))
    )
    assert int(numbers[0]) == 1
    assert float(ious[0]) == pytest.approx(15 / 17, abs=0.02)


def test_without_cells_every_iou_is_zero_and_without_detections_there_is_none() -> None:
    assert [each.tolist() for each in own_cells(detections((8, 8, 16, 16)), cells_at())] == [[0], [0.0]]
    assert [each.tolist() for each in own_cells(detections(), cells_at((8, 8, 16, 16)))] == [[], []]


def test_the_loss_is_each_image_s_mean_over_detections_and_thresholds() -> None:
    ious = [torch.tensor([1.0, 0.0]), torch.tensor([0.0, 0.0])]
    logits = torch.full((4, 10), 20.0)  # sure of every threshold: right for one of four detections
    assert float(mask_iou_loss(logits, ious)) == pytest.approx((20 / 2 + 20) / 2, rel=1e-4)
    logits[1:] = -20.0
    assert float(mask_iou_loss(logits, ious)) < 1e-6
    assert float(mask_iou_loss(torch.zeros(0, 10), [torch.zeros(0)])) == 0


def test_scores_become_geometric_means_with_what_masks_are_expected_to_earn_and_masks_follow_them() -> None:
    head = MaskIoUHead(16, 14, 3)
    head.forward = lambda features, found: torch.tensor([[-99.0] * 8 + [99.0] * 2, [99.0] * 10])
    found = detections((8, 8, 16, 16), (20, 20, 9, 9))
    found.scores = torch.tensor([0.9, 0.5])
    (rescored,) = head.rescored(torch.zeros(2, 16, 14, 14), [found])
    assert rescored.scores.tolist() == pytest.approx([0.5**0.5, 0.18**0.5])
    assert rescored.pred_boxes.tensor[:, 0].tolist() == [20, 8]
    assert rescored.pred_masks[0].mean() < 1 == rescored.pred_masks[1].mean()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_numbers_of_16_bits_as_on_a_gpu_a_head_says_nearly_the_same(dtype: torch.dtype) -> None:
    torch.manual_seed(8)
    head, found = MaskIoUHead(16, 14, 3).eval(), detections((8, 8, 16, 16), (20, 20, 9, 9))
    features = torch.rand(2, 16, 14, 14)
    with torch.no_grad():
        expected = head(features, [found])
        join_for_inference(head, dtype)
        with torch.autocast("cpu", dtype=dtype):
            logits = head(features.to(dtype), [found])
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, expected, atol=0.02, rtol=0.02)


def test_a_head_changes_the_scores_of_what_a_network_finds_and_nothing_else() -> None:
    plain, model = built(TINY), built(WITH_HEAD)
    model.load_state_dict(plain.state_dict(), strict=False)
    image = np.random.default_rng(1).integers(0, 255, (64, 96), dtype=np.uint8)
    expected = Predictor(plain, TINY)(image, "p", ViewSettings())
    assert len(expected) > 3
    last = model.roi_heads.mask_iou_head.layers[-1]
    torch.nn.init.zeros_(last.weight)
    for bias, share in ((99.0, 1.0), (0.0, 0.5)):
        torch.nn.init.constant_(last.bias, bias)
        cells = Predictor(model, WITH_HEAD)(image, "p", ViewSettings())
        np.testing.assert_allclose(cells.scores, (expected.scores * share) ** 0.5, rtol=1e-5)
        assert cells.masks == expected.masks


def test_a_picture_without_detections_is_answered_with_none() -> None:
    settings = WITH_HEAD.model_copy(update={"min_score": 1.0})
    assert len(Predictor(built(settings), settings)(np.zeros((64, 64), np.uint8), "p", ViewSettings())) == 0


def test_its_gradients_go_no_further_than_its_own_weights() -> None:
    model = built(WITH_HEAD).train()
    with EventStorage():
        losses = model([picture()])
    assert {"loss_mask_iou", "loss_mask", "loss_cls"} <= losses.keys()
    losses["loss_mask_iou"].backward()
    moved = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert moved == {name for name, _ in model.named_parameters() if name.startswith(MASK_IOU_HEAD)}
    assert all(module.training for module in model.modules())


def test_a_picture_in_which_nothing_is_found_teaches_it_nothing() -> None:
    model = built(WITH_HEAD.model_copy(update={"min_score": 1.0})).train()
    with EventStorage():
        loss = model([picture()])["loss_mask_iou"]
    loss.backward()
    assert loss.item() == 0
    assert not any(parameter.grad.any() for parameter in model.roi_heads.mask_iou_head.parameters())


def test_the_other_losses_are_those_of_a_network_without_it() -> None:
    plain, model = built(TINY).train(), built(WITH_HEAD).train()
    model.load_state_dict(plain.state_dict(), strict=False)
    with EventStorage():
        expected, losses = plain([picture()]), model([picture()])
    for name, loss in expected.items():
        torch.testing.assert_close(losses[name], loss, msg=name)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    folder = write_tiny_data(tmp_path_factory.mktemp("data"))
    return read_training_data([folder], TINY.cell_types, None, None)


def trained(
    data: TrainingData, folder: Path, weights: Path | str | None, **changes: Any
) -> dict[str, torch.Tensor]:
    settings = ALONE.model_copy(update=changes)
    train(settings, data, folder, weights, Machines())
    return torch.load(folder / "model_final.pth", weights_only=True)["model"]


def start(folder: Path, settings: ModelSettings = TINY) -> tuple[Path, dict[str, torch.Tensor]]:
    weights = {name: tensor.clone() for name, tensor in built(settings).state_dict().items()}
    torch.save({"model": weights}, folder / "start.pth")
    return folder / "start.pth", weights


def test_trained_alone_it_leaves_all_other_weights_as_they_were(data: TrainingData, tmp_path: Path) -> None:
    path, before = start(tmp_path)
    after = trained(data, tmp_path / "run", path)
    assert before.keys() < after.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    again = trained(data, tmp_path / "more", tmp_path / "run/model_final.pth")
    own = [name for name in after if name.startswith(MASK_IOU_HEAD)]
    assert any(not torch.equal(again[name], after[name]) for name in own)


def test_the_mask_head_alone_learns_from_what_is_found_and_nothing_else_moves(
    data: TrainingData, tmp_path: Path
) -> None:
    settings = TINY.model_copy(update={"train_only": ("mask_head",), "iterations": 60, "base_lr": 0.02})
    path, before = start(tmp_path)
    train(TINY.model_copy(update={"iterations": 60}), data, tmp_path / "first", path, Machines())
    before = torch.load(tmp_path / "first/model_final.pth", weights_only=True)["model"]
    train(settings, data, tmp_path / "run", tmp_path / "first/model_final.pth", Machines())
    after = torch.load(tmp_path / "run/model_final.pth", weights_only=True)["model"]
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if name.startswith("roi_heads.mask_head.")}


def test_detections_that_fit_a_cell_by_half_train_the_mask_head_in_the_class_they_were_found_to_have() -> (
    None
):
    found, cells = detections((8, 8, 16, 16), (30, 8, 16, 16)), cells_at((30, 8, 20, 20), (8, 8, 16, 16))
    found.pred_classes[:] = torch.tensor([2, 1])
    learnt = well_found(found, cells, torch.tensor([1, 0]), torch.tensor([True, False]))
    assert learnt.gt_classes.tolist() == [2]
    assert learnt.proposal_boxes.tensor.tolist() == [[8, 8, 24, 24]]
    assert learnt.gt_masks.crop_and_resize(learnt.proposal_boxes.tensor, 28).all()


@pytest.mark.skipif(not int8_works(), reason="torch without 8-bit convolutions for this processor")
def test_heads_that_train_alone_learn_from_features_in_bytes_where_they_will_be_given_such(
    data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = {"detectron": {}, "freeze_stages": 2, "cpu_convolutions": "int8"}
    path, before = start(tmp_path, TINY.model_copy(update=changed))
    networks = []
    monkeypatch.setattr(trainer, "to_int8", lambda *given: (networks.append(given[0]), to_int8(*given)))
    after = trained(data, tmp_path / "run", path, **changed)
    assert isinstance(networks[0].backbone.bottom_up.stages[0][0].conv1, Int8Conv2d)
    assert not networks[0].backbone.bottom_up.stages[0][0].conv1._forward_hooks
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    stopped, settings = tmp_path / "stopped", ALONE.model_copy(update=changed)
    (tmp_path / "run").rename(stopped)
    (stopped / "last_checkpoint").write_text("model_0000001.pth")
    train(settings, data, stopped, path, Machines(), resume=True)
    again = torch.load(stopped / "model_final.pth", weights_only=True)["model"]
    assert all(torch.equal(again[name], tensor) for name, tensor in after.items())


def test_trained_alone_it_needs_a_whole_network_to_stand_on(data: TrainingData, tmp_path: Path) -> None:
    path, weights = start(tmp_path)
    torch.save({"model": {n: t for n, t in weights.items() if "mask_head" not in n}}, path)
    with pytest.raises(UserError, match=r"train_only.*roi_heads\.mask_head\.deconv\.bias"):
        trained(data, tmp_path / "run", path)
    torch.save({"model": weights}, path)
    with pytest.raises(UserError, match=r"all weights; .*roi_heads\.mask_iou_head\..*; train its head too"):
        trained(data, tmp_path / "run", path, train_only=("mask_head",))
    for nothing in ("random", None):
        with pytest.raises(UserError, match=r"train_only.*--weights FILE"):
            trained(data, tmp_path / "run", nothing)


@pytest.mark.parametrize(
    ("setting", "said"), [("mask_iou_head=false", "mask_iou_head: true"), ("cuda_graphs=true", "cuda_graphs")]
)
def test_settings_that_contradict_each_other_are_told(monkeypatch, capsys, tmp_path, setting, said) -> None:
    model = tmp_path / "model.yaml"
    model.write_text("mask_iou_head: true\ntrain_only: [mask_iou_head]\n")
    assert run(monkeypatch, "train", model, "--data", tmp_path, "--set", setting) == 2
    assert said in capsys.readouterr().err
