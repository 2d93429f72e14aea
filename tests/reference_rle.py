"""The two dialects read and written pixel by pixel: slow, and obviously right."""

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def kaggle_text(mask: Mask) -> str:
    """Walk along the rows and note where cell begins, counted from 1, and how long it lasts."""
    return " ".join(f"{start + 1} {length}" for start, length in _runs(mask.ravel(order="C").tolist()))


def mask_of_kaggle_text(text: str, size_hw: tuple[int, int]) -> Mask:
    numbers = [int(token) for token in text.split()]
    pixels = [False] * (size_hw[0] * size_hw[1])
    for start, length in zip(numbers[0::2], numbers[1::2], strict=True):
        for pixel in range(start - 1, start - 1 + length):
            pixels[pixel] = True
    return np.array(pixels, dtype=bool).reshape(size_hw)


def box_xyxy(mask: Mask) -> list[int]:
    """Left, top, right, bottom, the last two exclusive; zeros for an empty mask."""
    rows, cols = np.nonzero(mask)
    if not len(rows):
        return [0, 0, 0, 0]
    return [min(cols), min(rows), max(cols) + 1, max(rows) + 1]


def _runs(pixels: list[bool]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for at, is_cell in enumerate(pixels):
        if is_cell and runs and sum(runs[-1]) == at:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        elif is_cell:
            runs.append((at, 1))
    return runs
