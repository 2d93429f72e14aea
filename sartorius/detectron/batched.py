"""What a training step chooses at random, for all pictures of a batch together: for GPUs, which many small steps keep waiting.

detectron2 goes from picture to picture, some 250 small operations each, and asks the GPU a dozen questions about every
one, of which each waits until all work is done. The choices here are the same, but for which of equally good ones are
drawn.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.structures import Boxes, Instances
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torchvision.ops import nms

#: Larger than every random number: what is not to be drawn comes after all that is.
_LAST = 2.0
#: Pairs of a cell and an anchor whose IoU is computed at once, which takes half a gigabyte a few times over.
_PAIRS_AT_ONCE = 1 << 27
#: A box outside of every picture.
_ELSEWHERE = (-9.0, -9.0, -8.0, -8.0)


def is_quicker(device: torch.device) -> bool:
    """Whether choosing for all pictures at once takes less time than for one after the other: on a GPU."""
    return device.type == "cuda"


class ProposalRules(NamedTuple):
    """How many proposals of a level are looked at and of a picture left, the IoU at which NMS drops one, the least side."""

    before_nms: int
    after_nms: int
    nms_iou: float
    min_side_px: float


def top_proposals(
    anchors: Sequence[Boxes],
    logits: Sequence[Tensor],
    deltas: Sequence[Tensor],
    sizes_hw: Sequence[tuple[int, int]],
    transform: Box2BoxTransform,
    rules: ProposalRules,
) -> list[Instances]:
    """The best proposals of each picture by falling score: `proposal_boxes` and `objectness_logits`.

    anchors: of each level A boxes. logits, deltas: of each level (pictures, A) and (pictures, A, 4).
    Raises FloatingPointError if a number is not finite.
    Source: `detectron2.modeling.proposal_generator.proposal_utils.find_top_rpn_proposals`.
    """
    scores, boxes, level = _best_of_levels(anchors, logits, deltas, transform, rules.before_nms)
    finite = boxes.isfinite().all() & scores.isfinite().all()
    ends = torch.tensor([[(w, h, w, h)] for h, w in sizes_hw], dtype=boxes.dtype).to(boxes.device)
    boxes = torch.minimum(boxes.clamp(min=0), ends)
    there = (boxes[..., 2:] - boxes[..., :2] > rules.min_side_px).all(dim=2)
    all_finite, *counts = torch.cat([finite[None], there.sum(dim=1)]).tolist()
    if not all_finite:
        raise FloatingPointError("Predicted boxes or scores contain Inf/NaN. Training has diverged.")
    scores = scores.where(there, -torch.inf)
    # levels lie side by side, so that one NMS keeps them apart; boxes that are gone lie on one place, as the last
    apart = boxes + (level * (max(map(max, sizes_hw)) + 1))[:, None]
    apart = apart.where(there[..., None], apart.new_tensor(_ELSEWHERE))
    proposals = []
    for number, count in enumerate(counts):
        kept = _left_by_nms(apart[number], scores[number], count, rules)
        own = Instances(sizes_hw[number])
        own.proposal_boxes = Boxes(boxes[number, kept])
        own.objectness_logits = scores[number, kept]
        proposals.append(own)
    return proposals


def _best_of_levels(
    anchors: Sequence[Boxes],
    logits: Sequence[Tensor],
    deltas: Sequence[Tensor],
    transform: Box2BoxTransform,
    most: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """The proposals that score highest, so many of each level: scores (pictures, K), boxes (pictures, K, 4), levels (K,)."""
    found = []
    for own, logit, delta in zip(anchors, logits, deltas, strict=True):
        score, box = best_of_level(own, logit, delta, transform, most)
        found.append((score.float(), box))
    scores, boxes = (torch.cat(column, dim=1) for column in zip(*found, strict=True))
    level = torch.cat([torch.full((len(s[0]),), float(n)) for n, (s, _) in enumerate(found)])
    return scores, boxes, level.to(boxes.device)


def best_of_level(
    anchors: Boxes, logits: Tensor, deltas: Tensor, transform: Box2BoxTransform, most: int
) -> tuple[Tensor, Tensor]:
    """The proposals of a level that score highest, by falling score: scores (pictures, K), boxes (pictures, K, 4).

    anchors: A boxes. logits, deltas: (pictures, A) and (pictures, A, 4). most: K, unless A is less.
    """
    score, place = logits.topk(min(most, logits.shape[1]), dim=1)
    chosen = deltas.gather(1, place[..., None].expand(-1, -1, 4)).flatten(0, 1)
    box = transform.apply_deltas(chosen, anchors.tensor[place].flatten(0, 1))
    return score, box.unflatten(0, place.shape)


def _left_by_nms(boxes: Tensor, scores: Tensor, count: int, rules: ProposalRules) -> Tensor:
    """Numbers of the proposals of a picture by falling score.

    boxes: (K, 4), all but `count` of which lie on one place with scores of minus infinity: these are not kept.
    """
    kept, gone = nms(boxes, scores, rules.nms_iou), len(scores) - count
    if rules.nms_iou < 1:
        gone = min(gone, 1)  # of those on one place NMS has left the first
    return kept[: len(kept) - gone][: rules.after_nms]


def labelled_anchors(
    cells_xyxy: Sequence[Tensor], anchors_xyxy: Tensor, background_below: float, cell_from: float
) -> tuple[Tensor, Tensor]:
    """`anchor_matching.match_anchors` on a GPU: the number of each anchor's cell in each picture, and its label.

    cells_xyxy: (N, 4) of each picture. anchors_xyxy: (A, 4), the same for all.
    Returns (pictures, A) int64 and (pictures, A) int8.
    """
    shape = len(cells_xyxy), len(anchors_xyxy)
    numbers = torch.zeros(shape, dtype=torch.int64, device=anchors_xyxy.device)
    labels = torch.zeros(shape, dtype=torch.int8, device=anchors_xyxy.device)
    for pictures in _of_like_numbers([len(cells) for cells in cells_xyxy], shape[1]):
        iou = pairwise_iou(_padded([cells_xyxy[number] for number in pictures]), anchors_xyxy)
        best, cell = iou.max(dim=1)
        highest = iou.amax(dim=2, keepdim=True)
        own = ((iou == highest) & (iou > 0)).any(dim=1) | (best >= cell_from)
        rows = torch.tensor(pictures).to(labels.device)
        numbers[rows] = cell
        labels[rows] = own.to(torch.int8) - (~own & (best >= background_below)).to(torch.int8)
    return numbers, labels


def _of_like_numbers(cells: Sequence[int], anchors: int) -> list[list[int]]:
    """The numbers of pictures in groups that are computed at once: of about as many cells, as memory allows.

    cells: how many each picture has.
    """
    groups: list[list[int]] = []
    for number in sorted(range(len(cells)), key=lambda number: -cells[number]):
        most = cells[groups[-1][0]] if groups else 0
        if groups and most * anchors * (len(groups[-1]) + 1) <= _PAIRS_AT_ONCE:
            groups[-1].append(number)
        else:
            groups.append([number])
    return groups


def drawn_labels(labels: Tensor, keys: Tensor, most: int, most_cells: int) -> Tensor:
    """The labels of those that are drawn in each picture, and -1 for all others.

    labels: (pictures, A) int8 of 1, 0 and -1. keys: (pictures, A) random numbers of 0 to 1; the smallest are drawn.
    most: drawn of a picture at the most. most_cells: of these with label 1 at the most; the rest has label 0.
    """
    cells, others = labels == 1, labels == 0
    cell_count = cells.sum(dim=1, keepdim=True).clamp(max=most_cells)
    found = torch.full_like(labels, -1)
    for kind, count, limit in ((1, cell_count, most_cells), (0, most - cell_count, most)):
        possible = cells if kind else others
        places = keys.where(possible, _LAST).topk(min(limit, keys.shape[1]), dim=1, largest=False).indices
        taken = (torch.arange(places.shape[1], device=keys.device) < count) & possible.gather(1, places)
        mine = torch.full_like(labels, -1).scatter(1, places, torch.where(taken, kind, -1).to(labels.dtype))
        found = torch.maximum(found, mine)
    return found


class SamplingRules(NamedTuple):
    """Proposals drawn of a picture at the most, those of cells among them, the IoU that makes one a cell's, and the class
    of the background.
    """

    most: int
    most_cells: int
    cell_from: float
    background: int


def drawn_proposals(
    proposals: Sequence[Instances],
    targets: Sequence[Instances],
    keys: Sequence[Tensor],
    rules: SamplingRules,
) -> tuple[list[Instances], list[int]]:
    """Proposals that train the heads, those of cells first, and how many of each picture those are.

    proposals: with `proposal_boxes`. targets: the cells, with `gt_boxes`, `gt_classes` and `gt_masks`; their boxes are
        proposals as well. keys: for each picture (proposals + cells,) random numbers; the smallest are drawn.
    Returns for each picture `proposal_boxes`, `gt_classes`, `gt_boxes` and, if it has cells, `gt_masks`.
    Source: `detectron2.modeling.roi_heads.ROIHeads.label_and_sample_proposals`.
    """
    boxes, real = _with_cells(proposals, targets)
    cells = _padded([own.gt_boxes.tensor for own in targets])
    kinds = _padded([own.gt_classes for own in targets])
    iou, cell = pairwise_iou(cells, boxes).max(dim=1)
    own, other = real & (iou >= rules.cell_from), real & (iou < rules.cell_from)
    rows, cell_counts, sizes = _drawn_rows(own, other, keys, rules)
    picture = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes)).to(boxes.device)
    chosen = cell[picture, rows]
    classes = kinds[picture, chosen].where(own[picture, rows], rules.background)
    columns = boxes[picture, rows], classes, cells[picture, chosen], chosen
    drawn = []
    for target, box, kind, gt_box, number in zip(
        targets, *(column.split(sizes) for column in columns), strict=True
    ):
        sampled = Instances(target.image_size)
        sampled.proposal_boxes, sampled.gt_classes, sampled.gt_boxes = Boxes(box), kind, Boxes(gt_box)
        if len(target):
            sampled.gt_masks = target.gt_masks[number]
        drawn.append(sampled)
    return drawn, cell_counts


def _with_cells(proposals: Sequence[Instances], targets: Sequence[Instances]) -> tuple[Tensor, Tensor]:
    """(pictures, most, 4) boxes of proposals and then cells, filled up with zeros; (pictures, most) which are no filling."""
    of_picture = [
        torch.cat([own.proposal_boxes.tensor, cells.gt_boxes.tensor])
        for own, cells in zip(proposals, targets, strict=True)
    ]
    boxes = pad_sequence(of_picture, batch_first=True)
    lengths = torch.tensor([len(own) for own in of_picture]).to(boxes.device)
    return boxes, torch.arange(boxes.shape[1], device=boxes.device) < lengths[:, None]


def _drawn_rows(
    own: Tensor, other: Tensor, keys: Sequence[Tensor], rules: SamplingRules
) -> tuple[Tensor, list[int], list[int]]:
    """Columns of what is drawn, picture after picture and cells first; how many are cells, and how many in all, of each.

    own, other: (pictures, boxes) bool, those of cells and those of none. keys: of each picture; the smallest are drawn.
    """
    draw = pad_sequence(list(keys), batch_first=True, padding_value=_LAST)
    width = draw.shape[1]
    first = draw.where(own, _LAST).topk(min(rules.most_cells, width), largest=False).indices
    rest = draw.where(other, _LAST).topk(min(rules.most, width), largest=False).indices
    own_count = own.sum(dim=1).clamp(max=rules.most_cells)
    other_count = torch.minimum(other.sum(dim=1), rules.most - own_count)
    counts = torch.stack([own_count, other_count], dim=1).tolist()
    rows = torch.cat([part for n, (a, b) in enumerate(counts) for part in (first[n, :a], rest[n, :b])])
    return rows, [a for a, _ in counts], [a + b for a, b in counts]


def _padded(rows: Sequence[Tensor]) -> Tensor:
    """(pictures, most rows but at least 1, ...), filled up with zeros."""
    padded = pad_sequence(list(rows), batch_first=True)
    return padded if padded.shape[1] else padded.new_zeros((len(rows), 1, *padded.shape[2:]))


def pairwise_iou(ours_xyxy: Tensor, theirs_xyxy: Tensor) -> Tensor:
    """(..., N, M) the IoU of each of our boxes, (..., N, 4), with each of theirs, (..., M, 4); 0 with one without area."""
    a, b = ours_xyxy[..., :, None, :], theirs_xyxy[..., None, :, :]
    width = (torch.minimum(a[..., 2], b[..., 2]) - torch.maximum(a[..., 0], b[..., 0])).clamp_(min=0)
    height = (torch.minimum(a[..., 3], b[..., 3]) - torch.maximum(a[..., 1], b[..., 1])).clamp_(min=0)
    shared = width.mul_(height)
    areas = _areas(ours_xyxy)[..., :, None] + _areas(theirs_xyxy)[..., None, :]
    return shared / areas.sub_(shared).clamp_(min=torch.finfo(shared.dtype).tiny)


def _areas(boxes_xyxy: Tensor) -> Tensor:
    return (boxes_xyxy[..., 2] - boxes_xyxy[..., 0]) * (boxes_xyxy[..., 3] - boxes_xyxy[..., 1])
