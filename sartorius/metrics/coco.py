"""COCO average precision of masks or boxes at any detection cap, by size, counted by faster-coco-eval.

COCO's rules differ from the competition's: cells are ranked by score over all images, an IoU equal to the threshold is
a hit, and each image's detections beyond the cap are left out. pycocotools' default cap of 100 is far too low here.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from faster_coco_eval.faster_eval_api_cpp import COCOevalAccumulate
from numpy.typing import NDArray

from sartorius.cells import Cells
from sartorius.metrics.bootstrap import Interval, bounds
from sartorius.metrics.images import refuse_mismatches
from sartorius.metrics.matching import by_falling_score

Shape = Literal["mask", "box"]
SHAPES: tuple[Shape, ...] = ("mask", "box")
IOU_TYPES: dict[Shape, str] = {"mask": "segm", "box": "bbox"}

#: One shsy5y image has 790 cells.
MAX_DETECTIONS = 1000
LARGEST_PX = 10**10
#: Each costs as much as ranking all cells.
RESAMPLES = 200

#: The figures of `coco_figures` by name; None where there is no true cell to count.
Figures = dict[str, Interval | None]


class SizeBounds(NamedTuple):
    """Small cells have at most `small_px` pixels, large ones at least `large_px`, medium ones lie between.

    A cell of exactly that many pixels counts on both sides of the bound, as in COCO.
    """

    small_px: int
    large_px: int


COCO_SIZES = SizeBounds(32**2, 96**2)


def coco_figures(
    predictions: Mapping[str, Cells],
    truth: Mapping[str, Cells],
    shape: Shape,
    max_detections: int = MAX_DETECTIONS,
) -> dict[str, float | None]:
    """The COCO figures in [0, 1] over the images of `truth`, cell types ignored as in the competition.

    ap: mean over IoU .50, .55, …, .95; ap50, ap75: at one IoU; ap_small, ap_medium, ap_large: by area of the true cell.
    recall: mean over IoU of the share of true cells found, COCO's AR.
    A figure without a true cell to count is None.
    For figures per type pass the images of one type: an image of this data holds one. Boxes are the masks' tight ones.
    Raises UserError for predictions of images that `truth` does not have or of another size.
    """
    evaluator = _evaluated(predictions, truth, shape, (max_detections,), COCO_SIZES)
    return _figures(evaluator.eval, 0)


def coco_intervals(
    predictions: Mapping[str, Cells],
    truth: Mapping[str, Cells],
    shape: Shape,
    rng: np.random.Generator,
    max_detections: int = MAX_DETECTIONS,
) -> Figures:
    """What `coco_figures` returns, each with a bootstrap interval over images."""
    return coco_intervals_at(predictions, truth, shape, rng, (max_detections,), COCO_SIZES)[0]


def coco_intervals_at(
    predictions: Mapping[str, Cells],
    truth: Mapping[str, Cells],
    shape: Shape,
    rng: np.random.Generator,
    caps: tuple[int, ...],
    sizes: SizeBounds,
) -> list[Figures]:
    """What `coco_intervals` returns for each of the ascending detection caps, all from the same draws of images.

    Cells are matched once; each resample only ranks them again, half a millisecond per image and cap.
    """
    evaluator = _evaluated(predictions, truth, shape, caps, sizes)
    matched = np.array(evaluator._evalImgs_cpp, dtype=object).reshape(-1, len(truth))  # (size, image)
    resampled = []
    for _ in range(RESAMPLES):
        picked = matched[:, rng.integers(len(truth), size=len(truth))]
        accumulated = COCOevalAccumulate(evaluator._paramsEval, picked.ravel().tolist())
        resampled.append([_figures(accumulated, place) for place in range(len(caps))])
    return [
        {
            name: _interval(value, [figures[place][name] for figures in resampled])
            for name, value in _figures(evaluator.eval, place).items()
        }
        for place in range(len(caps))
    ]


def _evaluated(
    predictions: Mapping[str, Cells],
    truth: Mapping[str, Cells],
    shape: Shape,
    caps: tuple[int, ...],
    sizes: SizeBounds,
) -> COCOeval_faster:
    """The evaluator with the cells of every image matched and ranked."""
    if not caps or list(caps) != sorted(set(caps)) or caps[0] < 1:
        raise ValueError(f"caps must be ascending whole numbers from 1, got {caps}")
    refuse_mismatches(predictions, truth)
    evaluator = COCOeval_faster(
        _dataset(truth, truth, shape, scored=False),
        _dataset(predictions, truth, shape, scored=True),
        IOU_TYPES[shape],
        ranges={
            "small": [0, sizes.small_px],
            "medium": [sizes.small_px, sizes.large_px],
            "large": [sizes.large_px, LARGEST_PX],
        },
        separate_eval=True,
    )
    most = max([1, *map(len, predictions.values())])  # room is made for as many as a cap allows
    evaluator.params.maxDets = [min(cap, most) for cap in caps]
    evaluator.evaluate()
    evaluator.accumulate()
    return evaluator


def _figures(accumulated: Mapping[str, Any], place: int) -> dict[str, float | None]:
    """The figures at one detection cap, see `coco_figures`."""
    # (IoU, recall, category, size, cap) and (IoU, category, size, cap)
    precision = np.asarray(accumulated["precision"])[:, :, 0, :, place]
    recall = np.asarray(accumulated["recall"])[:, 0, 0, place]
    return {
        "ap": _mean(precision[:, :, 0]),
        "ap50": _mean(precision[0, :, 0]),
        "ap75": _mean(precision[5, :, 0]),
        "ap_small": _mean(precision[:, :, 1]),
        "ap_medium": _mean(precision[:, :, 2]),
        "ap_large": _mean(precision[:, :, 3]),
        "recall": _mean(recall),
    }


def _interval(value: float | None, resampled: list[float | None]) -> Interval | None:
    """Resamples without any cell to count are left out."""
    counted = np.array([figure for figure in resampled if figure is not None])
    return None if value is None or not len(counted) else Interval(value, *bounds(counted))


def _mean(figures: NDArray[Any]) -> float | None:
    """COCO writes -1 where there is nothing to count."""
    counted = figures[figures > -1]
    return float(counted.mean()) if counted.size else None


def _dataset(cells: Mapping[str, Cells], truth: Mapping[str, Cells], shape: Shape, scored: bool) -> COCO:
    """Cells as COCO annotations of one category, ids from 1 (0 means unmatched to the evaluator).

    COCO ranks equal scores as they come: images come by ascending id here, cells in the order of `by_falling_score`.
    """
    annotations: list[dict[str, Any]] = []
    for number, image_id in enumerate(sorted(truth), start=1):
        if image_id in cells:
            ranked = by_falling_score(cells[image_id])
            annotations += _annotations(ranked, number, len(annotations) + 1, shape, scored)
    dataset = COCO()
    dataset.dataset = {
        "images": [
            {"id": number, "height": truth[image_id].size_hw[0], "width": truth[image_id].size_hw[1]}
            for number, image_id in enumerate(sorted(truth), start=1)
        ],
        "categories": [{"id": 1, "name": "cell"}],
        "annotations": annotations,
    }
    dataset.createIndex()
    return dataset


def _annotations(
    cells: Cells, image_number: int, first_id: int, shape: Shape, scored: bool
) -> list[dict[str, Any]]:
    boxes_xywh = cells.boxes_xyxy.astype(np.float64)
    boxes_xywh[:, 2:] -= boxes_xywh[:, :2]
    # pycocotools sizes a detected box by its own area, true cells and detected masks by their pixels.
    areas = boxes_xywh[:, 2] * boxes_xywh[:, 3] if scored and shape == "box" else cells.areas_px
    columns = zip(cells.masks, boxes_xywh.tolist(), areas.tolist(), cells.scores.tolist(), strict=True)
    return [
        {
            "id": first_id + row,
            "image_id": image_number,
            "category_id": 1,
            "segmentation": {"size": list(mask.size_hw), "counts": mask.counts},
            "bbox": box,
            "area": float(area),
            "iscrowd": 0,
            "score": score,
        }
        for row, (mask, box, area, score) in enumerate(columns)
    ]
