import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.proposal_generator.proposal_utils import find_top_rpn_proposals
from detectron2.structures import Boxes, Instances
from detectron2.structures import pairwise_iou as theirs_iou
from detectron2.utils.events import EventStorage
from tiny_models import TINY

from sartorius.detectron import batched
from sartorius.detectron.anchor_matching import match_anchors
from sartorius.detectron.batched import (
    ProposalRules,
    SamplingRules,
    drawn_labels,
    drawn_proposals,
    labelled_anchors,
    pairwise_iou,
    top_proposals,
)
from sartorius.detectron.cell_masks import CellMasks
from sartorius.detectron.mapper import TrainingImage, TrainingMapper
from sartorius.detectron.settings import detectron_config
from sartorius.rle import Crop

TRANSFORM = Box2BoxTransform(weights=(1.0, 1.0, 1.0, 1.0))


def random_boxes(count: int, seed: int, reach: float = 60.0) -> torch.Tensor:
    draws = torch.from_numpy(np.random.default_rng(seed).random((count, 4))).float()
    corner = draws[:, :2] * reach
    return torch.cat([corner, corner + 1 + draws[:, 2:] * 20], dim=1)


def test_ious_are_detectron2s_also_without_area_and_for_several_pictures() -> None:
    ours = torch.cat([random_boxes(5, 0), torch.tensor([[3.0, 3.0, 3.0, 9.0]])])
    theirs = random_boxes(7, 1)
    expected = theirs_iou(Boxes(ours), Boxes(theirs))
    torch.testing.assert_close(pairwise_iou(ours, theirs), expected)
    torch.testing.assert_close(pairwise_iou(ours.expand(2, -1, -1), theirs.expand(2, -1, -1))[1], expected)
    assert pairwise_iou(ours[:0], theirs).shape == (0, 7)


@pytest.mark.parametrize(
    ("after", "spread", "nms_iou"), [(1000, 0.5, 0.7), (12, 0.5, 0.7), (1000, 4.0, 0.7), (1000, 4.0, 1.0)]
)
def test_the_best_proposals_are_detectron2s(after: int, spread: float, nms_iou: float) -> None:
    anchors = [Boxes(random_boxes(count, count)) for count in (400, 100, 30)]
    torch.manual_seed(0)
    logits = [torch.randn(3, len(level)) for level in anchors]
    deltas = [torch.randn(3, len(level), 4) * spread for level in anchors]
    sizes = [(50, 60), (64, 64), (30, 40)]  # many boxes lie outside of the smallest
    found = top_proposals(
        anchors, logits, deltas, sizes, TRANSFORM, ProposalRules(200, after, nms_iou, min_side_px=0.0)
    )
    decoded = [
        TRANSFORM.apply_deltas(delta.flatten(0, 1), level.tensor.repeat(3, 1)).view(3, -1, 4)
        for delta, level in zip(deltas, anchors, strict=True)
    ]
    expected = find_top_rpn_proposals(decoded, logits, sizes, nms_iou, 200, after, 0.0, training=True)
    for own, other in zip(found, expected, strict=True):
        assert own.image_size == other.image_size
        torch.testing.assert_close(own.objectness_logits, other.objectness_logits)
        torch.testing.assert_close(own.proposal_boxes.tensor, other.proposal_boxes.tensor)


def test_a_number_that_is_none_ends_the_training() -> None:
    anchors, logits = [Boxes(random_boxes(9, 0))], [torch.zeros(1, 9)]
    deltas = torch.zeros(1, 9, 4)
    deltas[0, 3, 1] = float("nan")
    with pytest.raises(FloatingPointError, match="diverged"):
        top_proposals(anchors, logits, [deltas], [(64, 64)], TRANSFORM, ProposalRules(9, 9, 0.7, 0.0))


@pytest.mark.parametrize("at_once", [1 << 27, 6_000, 1])
@pytest.mark.parametrize("counts", [[12], [0], [0, 1, 12, 3, 0], [2, 2, 2, 2]], ids=str)
def test_anchors_get_the_cell_and_the_label_that_they_get_on_a_cpu(
    counts: list[int], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batched, "_PAIRS_AT_ONCE", at_once)
    pictures, anchors = [random_boxes(count, 3 + count) for count in counts], random_boxes(500, 4)
    cell, label = labelled_anchors(pictures, anchors, 0.3, 0.5)
    for number, boxes in enumerate(pictures):
        expected_cell, expected_label = match_anchors(boxes.numpy(), anchors.numpy(), 0.3, 0.5)
        assert label[number].tolist() == expected_label.tolist()
        if len(boxes):
            touched = pairwise_iou(boxes, anchors).amax(dim=0) > 0
            assert cell[number, touched].tolist() == expected_cell[touched.numpy()].tolist()


@pytest.mark.parametrize(
    ("cells", "others", "expected"),
    [(50, 400, (16, 48)), (5, 400, (5, 59)), (0, 20, (0, 20)), (50, 3, (16, 3)), (0, 0, (0, 0))],
)
def test_as_many_anchors_are_drawn_as_there_are_but_no_more_than_told(
    cells: int, others: int, expected: tuple[int, int]
) -> None:
    label = torch.tensor([1] * cells + [0] * others + [-1] * 30, dtype=torch.int8)
    label = label[torch.from_numpy(np.random.default_rng(1).permutation(len(label)))]
    torch.manual_seed(0)
    labels = torch.stack([label, label.flip(0)])  # two pictures
    for drawn, given in zip(drawn_labels(labels, torch.rand(labels.shape), 64, 16), labels, strict=True):
        assert (int((drawn == 1).sum()), int((drawn == 0).sum())) == expected
        assert (drawn == given)[drawn >= 0].all()
    drawn, again = (drawn_labels(labels, torch.rand(labels.shape), 64, 16) for _ in range(2))
    if expected not in ((0, 20), (0, 0)):
        assert not torch.equal(drawn, again)


def picture(proposals: torch.Tensor, cells: torch.Tensor, classes: list[int]) -> tuple[Instances, Instances]:
    proposed, target = Instances((64, 64)), Instances((64, 64))
    proposed.proposal_boxes = Boxes(proposals)
    target.gt_boxes, target.gt_classes = Boxes(cells), torch.tensor(classes, dtype=torch.int64)
    crops = [Crop(n, n, np.ones((2, 2), dtype=bool)) for n in range(len(cells))]
    target.gt_masks = CellMasks.from_crops(crops, (64, 64), (1.0, 1.0))
    return proposed, target


def test_proposals_are_drawn_cells_first_each_with_its_cell() -> None:
    cells = torch.tensor([[0.0, 0.0, 10.0, 10.0], [30.0, 30.0, 40.0, 40.0]])
    near = torch.tensor([[0.0, 1.0, 10.0, 10.0], [30.0, 30.0, 40.0, 39.0], [31.0, 30.0, 40.0, 40.0]])
    far = random_boxes(9, 5, reach=5) + 45
    pictures = [
        picture(torch.cat([near, far]), cells, [2, 0]),
        picture(far[:4], torch.zeros(0, 4), []),
        picture(far[:2], cells[:1], [1]),
    ]
    proposals, targets = map(list, zip(*pictures, strict=True))
    keys = [torch.rand(len(p) + len(t), generator=torch.Generator().manual_seed(1)) for p, t in pictures]
    drawn, counts = drawn_proposals(proposals, targets, keys, SamplingRules(8, 4, 0.5, background=3))
    assert counts == [4, 0, 1]
    assert [len(own) for own in drawn] == [8, 4, 3]
    for own, count, target in zip(drawn, counts, targets, strict=True):
        assert (own.gt_classes[:count] < 3).all()
        assert (own.gt_classes[count:] == 3).all()
        iou = torch.diag(pairwise_iou(own.proposal_boxes.tensor, own.gt_boxes.tensor))
        assert (iou[:count] >= 0.5).all()
        for row in range(count):
            (cell,) = (target.gt_boxes.tensor == own.gt_boxes.tensor[row]).all(dim=1).nonzero()[0].tolist()
            assert own.gt_classes[row] == target.gt_classes[cell]
            assert torch.equal(own.gt_masks.corners_xy[row], target.gt_masks.corners_xy[cell])
    assert not drawn[1].has("gt_masks")


def test_without_a_cell_in_any_picture_only_background_is_drawn() -> None:
    proposed, target = picture(random_boxes(6, 2), torch.zeros(0, 4), [])
    drawn, counts = drawn_proposals([proposed], [target], [torch.rand(6)], SamplingRules(4, 2, 0.5, 3))
    assert counts == [0]
    assert drawn[0].gt_classes.tolist() == [3] * 4


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batched, "is_quicker", lambda device: True)


@pytest.mark.parametrize("changes", [{}, {"cascade": True}], ids=["mask_rcnn", "cascade"])
def test_a_network_learns_from_what_is_drawn_at_once_as_from_what_is_drawn_one_by_one(
    changes: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = TINY.model_copy(update=changes | {"roi_batch": 4096, "rpn_batch": 100_000})  # all there are
    torch.manual_seed(0)
    network = build_model(detectron_config(settings, "cpu")).train()
    for heads in (network.proposal_generator, network.roi_heads):
        heads.positive_fraction = 0.5
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    crops = (Crop(4, 6, np.ones((14, 12), dtype=bool)), Crop(30, 30, np.eye(20, dtype=bool)))
    image = TrainingImage("picture", pixels, crops, np.array([0, 2]))
    mapper = TrainingMapper(settings.model_copy(update={"crop_px": None, "input_scale": 1.0}))
    pictures = [mapper(image, 1), mapper(TrainingImage("empty", pixels, (), np.zeros(0, np.int64)), 2)]
    found = []
    for quicker in (False, True):
        monkeypatch.setattr(batched, "is_quicker", lambda device, quicker=quicker: quicker)
        network.zero_grad()
        with EventStorage():
            losses = network(pictures)
        sum(losses.values()).backward()
        found.append((losses, network.backbone.fpn_lateral2.weight.grad.clone()))
    (one_by_one, slopes), (at_once, their_slopes) = found
    assert one_by_one.keys() == at_once.keys()
    for name, loss in one_by_one.items():
        torch.testing.assert_close(at_once[name], loss, rtol=1e-4, atol=1e-5, msg=name)
    torch.testing.assert_close(their_slopes, slopes, rtol=1e-3, atol=1e-4)


@pytest.mark.usefixtures("at_once")
def test_a_picture_is_drawn_the_same_in_any_batch() -> None:
    torch.manual_seed(0)
    # so exact that no two proposals change places
    network = build_model(detectron_config(TINY, "cpu")).double().train()
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    mapper = TrainingMapper(
        TINY.model_copy(update={"crop_px": None, "input_scale": 1.0, "scale_jitter": (1.0, 1.0)})
    )
    images = [
        TrainingImage("a", pixels, (Crop(4, 6, np.ones((14, 12), dtype=bool)),), np.array([0])),
        TrainingImage("b", pixels.T.copy(), (Crop(30, 9, np.ones((9, 20), dtype=bool)),), np.array([1])),
    ]
    pictures = [mapper(image, seed) for seed, image in enumerate(images)]

    def losses_of(batch: list[dict[str, object]]) -> dict[str, float]:
        with EventStorage():
            return {name: float(loss.detach()) for name, loss in network(batch).items()}

    apart = [losses_of([one]) for one in pictures]
    for name, loss in losses_of(pictures).items():
        assert loss == pytest.approx((apart[0][name] + apart[1][name]) / 2, rel=1e-4), name


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    "override",
    [
        {"MODEL.ROI_HEADS.PROPOSAL_APPEND_GT": False},
        {"MODEL.ROI_HEADS.IOU_THRESHOLDS": [0.3, 0.5], "MODEL.ROI_HEADS.IOU_LABELS": [0, -1, 1]},
    ],
    ids=["no cells as proposals", "proposals that are neither"],
)
def test_settings_of_detectron2_that_are_not_drawn_at_once_are_obeyed_one_by_one(
    override: dict[str, object],
) -> None:
    settings = TINY.model_copy(update={"detectron": TINY.detectron | override})
    heads = build_model(detectron_config(settings, "cpu")).train().roi_heads
    cells = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    near, far = (
        torch.tensor([[0.0, 0.0, 10.0, 4.0]]),
        random_boxes(3, 5, reach=5) + 45,
    )  # near has an IoU of 0.4
    proposed, target = picture(torch.cat([near, far]), cells, [2])
    proposed.objectness_logits = torch.zeros(4)
    with EventStorage():
        (drawn,) = heads.label_and_sample_proposals([proposed], [target])
    boxes = drawn.proposal_boxes.tensor.tolist()
    assert (cells[0].tolist() in boxes) == ("MODEL.ROI_HEADS.IOU_LABELS" in override)
    assert (near[0].tolist() in boxes) == ("MODEL.ROI_HEADS.IOU_LABELS" not in override)
