"""Cells as a field of flows: in every pixel of a cell a step of length 1 towards its centre, and back from flows to cells.

Source: Stringer et al. 2021, Cellpose: a generalist algorithm for cellular segmentation. Its flows climb the heat that
spreads from a cell's centre within the cell, so that they lead around the bends of neurites.
"""

import numpy as np
from numpy.typing import NDArray

from sartorius.compiled import compiled
from sartorius.line_runs import Ints

Floats = NDArray[np.float32]
Labels = NDArray[np.int32]

#: Steps of a drawn pixel that each pixel is moved along the flows; where one is an image pixel, as with `input_scale: 2`
#: and the stem's stride, the longest cells of the competition are about so many pixels long.
STEPS = 200
#: Steps that heat spreads; what lies further from a cell's centre has no flow, and `STEPS` would not lead there.
MOST_SPREADING = 4 * STEPS
#: Drawn pixels; no step is longer, whatever a network draws.
LONGEST_PX = 2.0
#: Drawn pixels around a place among which the fullest one is where its pixels belong.
REACH_PX = 2
#: Cells of fewer drawn pixels are none.
LEAST_PX = 12


def flows_of(labels: Labels) -> Floats:
    """(2, H, W) float32 vertical and horizontal flows of length 1 in cells, 0 outside, at a cell's very centre, and where no
    way of `MOST_SPREADING` steps within the cell leads from its centre.

    labels: (H, W) int32, 1 to N in the pixels of N cells and 0 outside.
    """
    flows = np.zeros((2, *labels.shape), dtype=np.float32)
    rows, cols = np.nonzero(labels)
    if len(rows):
        order = np.argsort(labels[rows, cols], kind="stable")
        rows, cols = rows[order], cols[order]  # copies, whose numbers lie side by side
        ends = np.cumsum(np.bincount(labels[rows, cols])[1:])
        places = np.full((labels.shape[0] + 2, labels.shape[1] + 2), len(rows), dtype=np.int64)
        _climb_heat(rows, cols, ends, places, np.zeros((2, len(rows) + 1)), flows)
    return flows


def labels_of(flows: Floats, inside: NDArray[np.bool_]) -> Labels:
    """(H, W) int32 labels from 1 of the cells whose pixels flow to the same place, in the order of their first pixels.

    flows: (2, H, W) as `flows_of` gives them. inside: (H, W), which pixels are of cells.
    """
    height, width = inside.shape
    rows, cols = map(np.ascontiguousarray, np.nonzero(inside))
    steps = np.zeros((height + 1, width + 1, 2), dtype=np.float32)
    bounded = np.clip(np.nan_to_num(flows), -LONGEST_PX, LONGEST_PX)
    steps[:-1, :-1] = np.where(inside, bounded, 0).transpose(1, 2, 0)
    ends = np.zeros(len(rows), dtype=np.int64)
    _follow(steps, rows, cols, ends)
    counts = np.bincount(ends, minlength=height * width).reshape(height, width)
    padded = np.pad(counts, 1)
    around = sum(padded[row : row + height, col : col + width] for row in range(3) for col in range(3))
    homes = np.full(height * width, -1, dtype=np.int64)
    _climb_counts(np.ascontiguousarray(around), np.unique(ends), homes)
    _, first, cells = np.unique(homes[ends], return_index=True, return_inverse=True)
    large = np.bincount(cells, minlength=len(first)) >= LEAST_PX
    rank = np.zeros(len(first), dtype=np.int32)
    ordered = np.argsort(first)
    rank[ordered[large[ordered]]] = np.arange(1, large.sum() + 1)
    labels = np.zeros((height, width), dtype=np.int32)
    labels[rows, cols] = rank[cells]
    return labels


def disagreements(labels: Labels, flows: Floats) -> NDArray[np.float64]:
    """(N,) the mean squared distance of the flows that N cells should have from those given, from 0.

    labels: (H, W) int32, each of 1 to N somewhere. flows: (2, H, W).
    """
    squares = np.square(flows_of(labels) - flows).sum(axis=0, dtype=np.float64)
    pixels = np.bincount(labels.ravel())
    return (np.bincount(labels.ravel(), weights=squares.ravel()) / np.maximum(pixels, 1))[1:]


@compiled
def _climb_heat(
    rows: Ints, cols: Ints, ends: Ints, places: Ints, heat: NDArray[np.float64], flows: Floats
) -> None:
    """Fill the flows of cells whose pixels stand one cell after the other.

    places: (H + 2, W + 2), full of a number past all pixels, to work in; heat: (2, pixels + 1) zeros.
    """
    neighbours = np.empty((rows.shape[0], 9), dtype=np.int64)
    nowhere = rows.shape[0]
    begin = 0
    for cell in range(ends.shape[0]):
        end = ends[cell]
        if end == begin:
            continue
        middle_row, middle_col = (
            np.sort(rows[begin:end])[(end - begin) // 2],
            np.sort(cols[begin:end])[(end - begin) // 2],
        )
        source, nearest, low, high = begin, 1 << 60, cols[begin], cols[begin]
        for pixel in range(begin, end):
            places[rows[pixel] + 1, cols[pixel] + 1] = pixel
            low, high = min(low, cols[pixel]), max(high, cols[pixel])
            distance = (rows[pixel] - middle_row) ** 2 + (cols[pixel] - middle_col) ** 2
            if distance < nearest:
                source, nearest = pixel, distance
        for pixel in range(begin, end):
            for number in range(9):
                neighbours[pixel, number] = places[rows[pixel] + number // 3, cols[pixel] + number % 3]
        now = 0
        for _ in range(min(2 * (rows[end - 1] - rows[begin] + high - low + 2), MOST_SPREADING)):
            heat[now, source] += 1
            for pixel in range(begin, end):
                total = 0.0
                for number in range(9):
                    total += heat[now, neighbours[pixel, number]]
                heat[1 - now, pixel] = total / 9
            now = 1 - now
        for pixel in range(begin, end):
            heat[now, pixel] = np.log1p(heat[now, pixel])
        for pixel in range(begin, end):
            down = heat[now, neighbours[pixel, 7]] - heat[now, neighbours[pixel, 1]]
            right = heat[now, neighbours[pixel, 5]] - heat[now, neighbours[pixel, 3]]
            length = np.sqrt(down * down + right * right)
            if length > 0:
                flows[0, rows[pixel], cols[pixel]] = down / length
                flows[1, rows[pixel], cols[pixel]] = right / length
        for pixel in range(begin, end):
            places[rows[pixel] + 1, cols[pixel] + 1] = nowhere
        begin = end


@compiled
def _follow(steps: Floats, rows: Ints, cols: Ints, ends: Ints) -> None:
    """Write, for each pixel, the pixel that it is in, row by row counted, after `STEPS` steps.

    steps: (H + 1, W + 1, 2), of which the last row and column are 0.
    """
    height, width = steps.shape[0] - 1, steps.shape[1] - 1
    for pixel in range(rows.shape[0]):
        y, x = np.float32(rows[pixel]), np.float32(cols[pixel])
        for _ in range(STEPS):
            top, left = int(y), int(x)
            down, right = y - top, x - left
            up_y = steps[top, left, 0] * (1 - right) + steps[top, left + 1, 0] * right
            low_y = steps[top + 1, left, 0] * (1 - right) + steps[top + 1, left + 1, 0] * right
            up_x = steps[top, left, 1] * (1 - right) + steps[top, left + 1, 1] * right
            low_x = steps[top + 1, left, 1] * (1 - right) + steps[top + 1, left + 1, 1] * right
            y = min(max(y + up_y * (1 - down) + low_y * down, np.float32(0)), np.float32(height - 1))
            x = min(max(x + up_x * (1 - down) + low_x * down, np.float32(0)), np.float32(width - 1))
        ends[pixel] = int(y + np.float32(0.5)) * width + int(x + np.float32(0.5))


@compiled
def _climb_counts(around: Ints, begins: Ints, homes: Ints) -> None:
    """Write, for each place to begin with, the place that is reached by going to the fullest one within reach until there is none.

    around: (H, W) how many pixels ended in a place and beside it. begins: places as row times width plus column.
    """
    height, width = around.shape
    for number in range(begins.shape[0]):
        here = begins[number]
        while True:
            row, col = here // width, here % width
            best, most = here, around[row, col]
            for other_row in range(max(row - REACH_PX, 0), min(row + REACH_PX + 1, height)):
                for other_col in range(max(col - REACH_PX, 0), min(col + REACH_PX + 1, width)):
                    place, count = other_row * width + other_col, around[other_row, other_col]
                    if count > most or (count == most and place < best):
                        best, most = place, count
            if best == here:
                break
            here = best
        homes[begins[number]] = here
