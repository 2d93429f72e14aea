import numpy as np
from drawing import cell, cells, drawn

from sartorius.cells import CELL_TYPES, no_cells
from sartorius.config.fusion import PostprocessSettings
from sartorius.data.competition import read_truth
from sartorius.parts import without_holes
from sartorius.polygon_fill import filled_as_labels
from sartorius.postprocess import clean

#: Two branches that point up, the left one longer, and below them two legs, the right one longer.
BRANCHED = [
    "###........",
    "###....####",
    "###....####",
    "###....####",
    "###....####",
    "###########",
    "###########",
    "###.....###",
    "###.....###",
    "........###",
]
AS_LABEL = [
    "###........",
    "###....####",
    "###....#..#",
    "###....#..#",
    "###....#..#",
    "###########",
    "###########",
    "###########",
    "###.....###",
    "........###",
]


def everywhere(found):
    return np.ones(len(found), dtype=bool)


def test_a_branch_that_begins_lower_is_left_hollow_and_the_web_between_legs_is_filled():
    branched = cell(*BRANCHED)
    assert drawn(filled_as_labels(branched, everywhere(branched))) == ["/".join(AS_LABEL)]


def test_convex_cells_and_empty_ones_stay_as_they_are():
    plain = cells(cell("....", ".##.", ".##."), cell("....", "....", "...."))
    assert filled_as_labels(plain, everywhere(plain)).masks == plain.masks
    assert len(filled_as_labels(no_cells("none", (3, 4)), np.zeros(0, dtype=bool))) == 0


def test_only_the_chosen_rows_change():
    both = cells(cell(*BRANCHED), cell(*BRANCHED))
    assert drawn(filled_as_labels(both, np.array([False, True]))) == ["/".join(BRANCHED), "/".join(AS_LABEL)]


def test_the_clean_up_fills_the_types_it_is_told_to():
    astro, cort = cell(*BRANCHED, cell_type="astro"), cell(*BRANCHED, cell_type="cort")
    settings = PostprocessSettings(label_fill_types=("astro",))
    assert drawn(clean(astro, settings)) == ["/".join(AS_LABEL)]
    assert drawn(clean(cort, settings)) == ["/".join(BRANCHED)]
    assert drawn(clean(astro, PostprocessSettings())) == ["/".join(BRANCHED)]


def test_the_rule_gives_the_competitions_labels_back(competition_dir):
    truth = list(read_truth(competition_dir / "train.csv").values())[::25]
    same = dict.fromkeys(CELL_TYPES, (0, 0))
    for labels in truth:
        outlines = without_holes(labels, np.full(len(labels), 10**6))
        again = filled_as_labels(outlines, everywhere(labels))
        name = str(labels.cell_types[0])
        hits = sum(a == b for a, b in zip(again.masks, labels.masks, strict=True))
        same[name] = (same[name][0] + hits, same[name][1] + len(labels))
    shares = {name: hits / count for name, (hits, count) in same.items()}
    assert shares["astro"] > 0.85
    assert min(shares["shsy5y"], shares["cort"]) > 0.98
