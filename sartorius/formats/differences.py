"""What tells two sets of cells apart, in words: what a conversion lost."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from sartorius.cells import Cells

#: Scores that differ by less were rounded.
_SAME_SCORE = 1.0e-6


class _Pairs(NamedTuple):
    """Rows of two records that are the same cell, and the rows of the first whose mask no row of the second has.

    Rows are the same cell if their masks are; rows left over are paired in order if both records have as many.
    """

    before: list[int]
    after: list[int]
    changed: list[int]


def differences(before: Mapping[str, Cells], after: Mapping[str, Cells]) -> list[str]:
    """One sentence for each kind of difference, none if the same cells are in both; their order does not matter.

    before, after: cells by image id, `after` what was read back of `before`.
    """
    missing = sorted(set(before) - set(after))
    pairs = {name: _paired(cells, after[name]) for name, cells in before.items() if name in after}
    changed = {name: found.changed for name, found in pairs.items() if found.changed}
    count, total = sum(map(len, changed.values())), sum(len(cells) for cells in before.values())
    fewer_px = sum(int(before[name].areas_px.sum() - after[name].areas_px.sum()) for name in changed)
    fewer_cells = total - sum(len(cells) for cells in after.values())
    facts = [
        (len(missing), f"{len(missing)} of {len(before)} images, for example {', '.join(missing[:3])}"),
        (fewer_cells > 0, f"{fewer_cells} of {total} cells"),
        (
            count,
            f"the exact masks of {count} of {total} cells ({abs(fewer_px)} px {'less' if fewer_px >= 0 else 'more'})",
        ),
        *_columns(before, after, pairs),
    ]
    return [sentence for there, sentence in facts if there]


def _columns(
    before: Mapping[str, Cells], after: Mapping[str, Cells], pairs: Mapping[str, _Pairs]
) -> list[tuple[bool, str]]:
    types = scores = sources = soft = 0
    for name, (rows, others, _) in pairs.items():
        one, other = before[name], after[name]
        types += int((one.cell_types[rows] != other.cell_types[others]).sum())
        scores += int((np.abs(one.scores[rows] - other.scores[others]) > _SAME_SCORE).sum())
        sources += int((one.sources[rows] != other.sources[others]).sum())
        soft += one.soft_masks is not None and other.soft_masks is None
    return [
        (bool(types), f"the types of {types} cells"),
        (bool(scores), f"the scores of {scores} cells"),
        (bool(sources), f"the sources of {sources} cells (who found them)"),
        (bool(soft), f"the soft masks of {soft} images"),
    ]


def _paired(before: Cells, after: Cells) -> _Pairs:
    """Rows paired by mask; of equal masks those of equal type and score first."""
    there: dict[bytes, list[int]] = {}
    for row, mask in enumerate(after.masks):
        there.setdefault(mask.counts, []).append(row)
    pairs = _Pairs([], [], [])
    for row, mask in enumerate(before.masks):
        rows = there.get(mask.counts, []) if before.size_hw == after.size_hw else []
        if not rows:
            pairs.changed.append(row)
            continue
        best = min(rows, key=lambda other: _distance(before, row, after, other))
        rows.remove(best)
        pairs.before.append(row)
        pairs.after.append(best)
    left = sorted(row for rows in there.values() for row in rows)
    if len(left) == len(pairs.changed) and before.size_hw == after.size_hw:
        pairs.before.extend(pairs.changed)
        pairs.after.extend(left)
    return pairs


def _distance(before: Cells, row: int, after: Cells, other: int) -> tuple[bool, float]:
    return bool(before.cell_types[row] != after.cell_types[other]), abs(
        float(before.scores[row] - after.scores[other])
    )
