"""Compressed counts against pycocotools' own, with counts of zero and numbers up to what 60 bits hold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from sartorius.coco_counts import packed, unpacked
from sartorius.line_runs import LineRuns, no_runs

#: pycocotools makes room for 6 groups of five bits a count and writes beyond it if differences need more.
MOST = 2**29 - 2
small_or_large = st.one_of(st.integers(0, 40), st.integers(0, MOST))


def text_of(counts: list[int]) -> bytes:
    """What pycocotools makes of counts up to `MOST` + 1."""
    return coco_mask.frPyObjects({"size": [1, sum(counts)], "counts": counts}, 1, sum(counts))["counts"]


def bytes_of(values: list[int]) -> bytes:
    """The values as they are, not as differences: also those that no mask has."""
    text = []
    for value in values:
        while not -16 <= value < 16:
            text.append((value & 0x1F) + 0x20 + 48)
            value >>= 5
        text.append((value & 0x1F) + 48)
    return bytes(text)


def runs_of(many: list[list[int]]) -> list[tuple[int, int, int]]:
    """Mask, start and length of every run that has pixels, count by count."""
    return [
        (mask, sum(counts[:place]), counts[place])
        for mask, counts in enumerate(many)
        for place in range(1, len(counts), 2)
        if counts[place]
    ]


def rows(runs: LineRuns) -> list[tuple[int, ...]]:
    return list(zip(*(column.tolist() for column in runs), strict=True))


def sizes(many: list[list[int]]) -> np.ndarray:
    return np.array([sum(counts) for counts in many], dtype=np.int64)


@settings(deadline=None)
@given(st.lists(st.lists(small_or_large, min_size=1, max_size=9), max_size=5))
def test_counts_are_read_as_pycocotools_wrote_them(many: list[list[int]]) -> None:
    assert rows(unpacked([text_of(counts) for counts in many], sizes(many))) == runs_of(many)


@settings(deadline=None)
@given(st.lists(st.lists(small_or_large.map(lambda count: count + 1), min_size=1, max_size=9), max_size=5))
def test_runs_are_written_as_pycocotools_writes_their_counts(many: list[list[int]]) -> None:
    runs = runs_of(many)
    columns = np.array(runs, dtype=np.int64).reshape(-1, 3).T if runs else no_runs()
    assert packed(LineRuns(*columns), sizes(many)) == [text_of(counts) for counts in many]


def test_a_mask_without_runs_is_one_count_and_one_that_begins_with_cell_has_no_background_first() -> None:
    runs = LineRuns(*(np.array(column, dtype=np.int64) for column in ([1], [0], [4])))
    assert packed(runs, np.array([4, 4, 0])) == [b"4", b"04", b"0"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"", "mask 1: not COCO's compressed counts: b''"),
        (b"3P", "mask 1: not COCO's compressed counts: b'3P'"),
        (b"4\x2f", "mask 1: not COCO's compressed counts: b'4/'"),
        (b"4\x70", "mask 1: not COCO's compressed counts: b'4p'"),
        (b"P" * 12 + b"0", "mask 1: not COCO's compressed counts: b'PPPPPPPPPPPP0'"),
        (b"12", "mask 1: COCO counts cover 3 pixels, the image has 4: b'12'"),
        (b"23", "mask 1: COCO counts cover 5 pixels, the image has 4: b'23'"),
        (bytes_of([5, -1]), "mask 1: COCO counts cover 4 pixels, the image has 4: b'5O'"),
    ],
)
def test_bytes_that_are_no_counts_of_the_image_are_told(text: bytes, told: str) -> None:
    with pytest.raises(ValueError, match="mask") as caught:
        unpacked([b"04", text, b"04"], np.array([4, 4, 4]))
    assert str(caught.value) == told


def test_counts_that_only_64_bits_make_fit_are_refused() -> None:
    """Their sum is 2**64 + 10; such runs would lie far outside of the image of 10 pixels."""
    counts = [1, 1, 1, *[2**58] * 63, 2**58 + 7]
    assert sum(counts) == 2**64 + 10
    values = [count - (counts[place - 2] if place > 2 else 0) for place, count in enumerate(counts)]
    with pytest.raises(ValueError, match="COCO counts cover 10 pixels, the image has 10"):
        unpacked([bytes_of(values)], np.array([10]))


def test_no_masks_have_no_runs_and_no_text() -> None:
    assert rows(unpacked([], np.zeros(0, dtype=np.int64))) == []
    assert packed(no_runs(), np.zeros(0, dtype=np.int64)) == []
