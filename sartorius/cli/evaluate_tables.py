"""What `sartorius evaluate` shows on a terminal: its JSON result as tables."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from sartorius.cli.tables import text_table


def headline(result: Mapping[str, Any]) -> str:
    """What was scored on which images, and the total."""
    where = "" if result["fold"] is None else f" of fold {result['fold']}"
    low, high = result["interval_95"]["total"]
    return (
        f"{result['predictions'][0]}: {result['images']} images{where} scored; "
        f"the truth has {result['images_of_truth']}, the predictions {result['images_of_predictions']}\n"
        f"{result['metric']} ({result['variant'].replace('_', '-')}): {result['total']:.4f}, "
        f"95 % interval over images {low:.4f} to {high:.4f}"
    )


def tables(result: Mapping[str, Any]) -> Iterator[Table]:
    """The tables of a result: per type, per threshold, and what else it holds."""
    intervals = result["interval_95"]
    yield text_table(
        ("cell type", "images", "mAP", "95 % interval"),
        [
            (name, str(result["images_per_type"][name]), _figure(score), _bounds(intervals["per_type"][name]))
            for name, score in result["per_type"].items()
        ],
    )
    yield text_table(
        ("IoU >", "TP/(TP+FP+FN)", "95 % interval"),
        [
            (name, _figure(score), _bounds(intervals["per_threshold"][name]))
            for name, score in result["per_threshold"].items()
        ],
    )
    yield text_table(
        ("cells at IoU > .50", "figure", "95 % interval"),
        [
            (name, _figure(figure), _bounds(intervals["at_50"][name]))
            for name, figure in result["at_50"].items()
        ],
    )
    if "confusion" in result:
        yield _confusion(result["confusion"], result["confusion_shares"])
    if "coco" in result:
        yield _coco(result["coco"])
    for convention, table in result.get("livecell", {}).items():
        yield from _livecell(convention, table)
    if "against" in result:
        yield _against(result["predictions"][1], result["against"])


def _confusion(
    confusion: Mapping[str, Mapping[str, int]], shares: Mapping[str, Mapping[str, Mapping[str, float] | None]]
) -> Table:
    return text_table(
        ("true \\ found as", *confusion),
        [
            (name, *(_counted(number, shares[name][found]) for found, number in row.items()))
            for name, row in confusion.items()
        ],
        title="Cells, their share of the row and its 95 % interval",
    )


def _counted(cells: int, share: Mapping[str, float] | None) -> str:
    if share is None:
        return str(cells)
    return f"{cells}\n{share['value']:.1%}\n{100 * share['low']:.1f}–{share['high']:.1%}"


def _livecell(convention: str, table: Mapping[str, Any]) -> Iterator[Table]:
    """Two tables with a row per cell line, each figure over its interval."""
    lines, sizes = table["lines"], table["sizes_px"]
    *lower, cap = next(iter(lines.values()))["at_caps"]
    yield text_table(
        ("cell line", "images", "cells", "AP", "AP50", "AP75", "AFNR"),
        [
            (
                line,
                str(score["images"]),
                str(score["cells"]),
                *(_stacked(score["at_caps"][cap][name]) for name in ("ap", "ap50", "ap75")),
                _stacked(score["afnr"]),
            )
            for line, score in lines.items()
        ],
        title=f"LIVECell's protocol, convention {convention!r}: masks at {cap} detections",
    )
    sizes_of = {
        "ap_small": f"≤ {sizes['small_px']} px",
        "ap_medium": "between",
        "ap_large": f"≥ {sizes['large_px']} px",
    }
    yield text_table(
        ("cell line", *(f"AP at {low}" for low in lower), *(f"AP {size}" for size in sizes_of.values())),
        [
            (
                line,
                *(_stacked(score["at_caps"][low]["ap"]) for low in lower),
                *(_stacked(score["at_caps"][cap][name]) for name in sizes_of),
            )
            for line, score in lines.items()
        ],
        title=f"AP at fewer detections, and by size of cell at {cap}",
    )


def _stacked(interval: Mapping[str, float] | None) -> str:
    if interval is None:
        return "none"
    value, low, high = (f"{interval[key]:.3f}".removeprefix("0") for key in ("value", "low", "high"))
    return f"{value}\n{low}–{high}"


def _coco(coco: Mapping[str, Any]) -> Table:
    return text_table(
        ("figure", "masks", "95 % interval", "boxes", "95 % interval"),
        [
            (name.replace("_", " "), *_with_bounds(coco["mask"][name]), *_with_bounds(coco["box"][name]))
            for name in coco["mask"]
        ],
        title=f"COCO at {coco['max_detections']} detections per image",
    )


def _against(other: str, against: Mapping[str, Any]) -> Table:
    return text_table(
        ("images", "mAP more", "95 % interval", "better in resamples"),
        [
            (
                name,
                f"{difference['difference']:+.4f}",
                f"{difference['low']:+.4f} to {difference['high']:+.4f}",
                f"{difference['share_better']:.1%}",
            )
            for name, difference in against["differences"].items()
        ],
        title=f"Against {other}, total {against['total']:.4f}",
    )


def _figure(value: float) -> str:
    return f"{value:.4f}"


def _bounds(bounds: Sequence[float]) -> str:
    return f"{bounds[0]:.4f} to {bounds[1]:.4f}"


def _with_bounds(interval: Mapping[str, float] | None) -> tuple[str, str]:
    if interval is None:
        return "none", ""
    return _figure(interval["value"]), _bounds((interval["low"], interval["high"]))
