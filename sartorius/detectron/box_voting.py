"""A detection's box as the mean of all boxes that the box head gave to what it is a detection of.

NMS keeps the box with the best score and throws away its neighbours, which saw the same cell from other proposals; their
mean lies closer to the cell than the best one does. It costs no pass of the network and no training.
Sources: Gidaris and Komodakis 2015, who introduced the voting of boxes; He et al. 2019, Bounding Box Regression with
Uncertainty, whose weights fall with the distance, there by the boxes' variances and not by their scores.
"""

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor

from sartorius.detectron.batched import pairwise_iou


def voted(found: Instances, boxes: Tensor, scores: Tensor, least_score: float, sigma: float) -> Instances:
    """The detections of a picture with the weighted means of all boxes of their class; scores and order as they were.

    A box counts by exp(-(1 - IoU)² / sigma), the IoU being that with the detection's own box, times its score's square.
    boxes: (R, 4 K), or (R, 4) for all classes alike, of all proposals before NMS, in pixels. scores: (R, K + 1), the last
        the background's. least_score: of a box that counts.
    """
    rows, classes = (scores[:, :-1] > least_score).nonzero(as_tuple=True)
    of_classes = boxes.float().view(len(boxes), boxes.shape[1] // 4, 4)
    corners = of_classes[rows, classes if of_classes.shape[1] > 1 else 0]
    usable = corners.isfinite().all(dim=1)  # NMS leaves the others out too
    rows, classes, voters = rows[usable], classes[usable], Boxes(corners[usable])
    voters.clip(found.image_size)
    own = found.pred_boxes.tensor.float()
    iou = pairwise_iou(own, voters.tensor)
    counts = (iou > 0) & (found.pred_classes[:, None] == classes)
    weights = torch.exp(-((1 - iou) ** 2) / sigma) * scores[rows, classes].float() ** 2 * counts
    total = weights.sum(dim=1, keepdim=True)
    with torch.autocast(own.device.type, enabled=False):  # 16 bits are too few for corners
        means = weights @ voters.tensor / total
    means = torch.where(total > 0, means, own)  # a box without area has no voters
    return Instances(found.image_size, **(found.get_fields() | {"pred_boxes": Boxes(means)}))
