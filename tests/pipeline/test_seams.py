"""Which detection of a cell stays where two tiles found it whole."""

import pytest
from drawing import cell

from sartorius.cells import Cells
from sartorius.pipeline.seams import TileCells, without_seams
from sartorius.pipeline.tiles import Span, Tile

ROWS = Span(0, 64)
#: The tiles share columns 32 to 64 and meet at column 48.
LEFT, RIGHT = Tile(ROWS, Span(0, 64), ROWS, Span(0, 48)), Tile(ROWS, Span(32, 96), ROWS, Span(48, 96))


def bar(start: int, end: int, score: float = 0.9) -> Cells:
    """A cell from the top to the bottom of the image."""
    return cell(*["." * start + "#" * (end - start) + "." * (96 - end)] * 64, score=score)


@pytest.mark.parametrize("others", [(43, 55), (42, 53)], ids=["outside its core", "inside its core"])
def test_a_cell_that_two_tiles_found_stays_as_that_one_drew_it_in_whose_core_it_lies_deeper(others):
    deeper = bar(44, 56, score=0.5)  # its middle, 50, lies 2 px inside the core on the right
    found = without_seams([TileCells(LEFT, bar(*others)), TileCells(RIGHT, deeper)])
    assert (found.masks, found.scores.tolist()) == (deeper.masks, [0.5])


def test_a_cell_that_both_tiles_place_outside_their_own_core_is_not_lost():
    left, right = bar(45, 53), bar(43, 51)  # their middles, 49 and 47, lie in the other tile's core
    assert without_seams([TileCells(LEFT, left), TileCells(RIGHT, right)]).masks == left.masks
