from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sartorius.cells import CELL_TYPES, Cells, annotated
from sartorius.data.folds import (
    FoldCount,
    check_folds,
    count_folds,
    make_folds,
    read_folds,
    read_groups,
    split_data,
    write_folds,
)
from sartorius.errors import UserError
from sartorius.rle import coco_from_dense

PIXEL = coco_from_dense(np.ones((1, 1), dtype=bool))


def image(image_id: str, cells: int, cell_type: str = "cort") -> Cells:
    return annotated(image_id, (1, 1), [PIXEL] * cells, [cell_type] * cells)


def truth_of(*images: Cells) -> dict[str, Cells]:
    return {cells.image_id: cells for cells in images}


def alone(truth: dict[str, Cells]) -> dict[str, str]:
    return {image_id: f"image {image_id}" for image_id in truth}


def folds_of(
    truth: dict[str, Cells], folds: int, seed: int = 0, groups: dict[str, str] | None = None
) -> dict[str, int]:
    return make_folds(truth, groups or alone(truth), folds, np.random.default_rng(seed))


def test_each_fold_gets_its_share_of_each_type():
    truth = truth_of(
        *(image(f"a{number}", 5, "astro") for number in range(6)),
        *(image(f"c{number}", 5, "cort") for number in range(3)),
    )
    counts = count_folds(folds_of(truth, 3), truth)
    assert counts == [
        FoldCount(fold, cell_type, images, 5 * images)
        for fold in range(3)
        for cell_type, images in (("astro", 2), ("cort", 1))
    ]


def test_an_image_counts_for_the_type_of_most_of_its_cells_and_in_a_tie_for_the_first_by_name():
    most = annotated("most", (1, 1), [PIXEL] * 3, ["cort", "astro", "cort"])
    tied = annotated("tied", (1, 1), [PIXEL] * 2, ["cort", "astro"])
    assert count_folds({"most": 0, "tied": 1}, truth_of(most, tied)) == [
        FoldCount(0, "cort", 1, 3),
        FoldCount(1, "astro", 1, 2),
    ]


def test_a_fold_never_gets_two_of_the_fullest_images():
    truth = truth_of(image("big", 100), image("bigger", 120), image("small", 1), image("smaller", 2))
    for seed in range(10):
        folds = folds_of(truth, 2, seed)
        assert folds["big"] != folds["bigger"]
        assert folds["small"] != folds["smaller"]


def test_images_of_one_group_share_a_fold():
    truth = truth_of(*(image(f"{number}", number) for number in range(8)))
    groups = {**alone(truth), "0": "well", "3": "well", "7": "well"}
    for seed in range(5):
        folds = folds_of(truth, 4, seed, groups)
        assert folds["0"] == folds["3"] == folds["7"]
        check_folds(folds, groups)


def test_a_well_goes_to_the_fold_that_lacks_its_cells_even_if_that_has_more_images():
    """By images alone `crowded` and `full`, two each, would come together: 200 of 204 cells in one fold."""
    wells = {"sparse": (3, 1), "full": (2, 50), "crowded": (2, 50), "lone": (1, 1)}
    truth = truth_of(
        *(image(f"{well}{n}", cells) for well, (many, cells) in wells.items() for n in range(many))
    )
    groups = {image_id: image_id[:-1] for image_id in truth}
    for seed in range(10):
        counts = count_folds(folds_of(truth, 2, seed, groups), truth)
        assert sorted(count[2:] for count in counts) == [(3, 101), (5, 103)]


@pytest.mark.parametrize("seed", range(5))
def test_wells_of_many_images_and_unlike_densities_fill_the_folds_evenly(seed):
    rng = np.random.default_rng(seed)
    wells = [(int(rng.integers(1, 9)), int(rng.gamma(2, 12)) + 1) for _ in range(60)]
    truth = truth_of(
        *(image(f"{w} {n}", cells) for w, (many, cells) in enumerate(wells) for n in range(many))
    )
    groups = {image_id: image_id.split()[0] for image_id in truth}
    counts = count_folds(folds_of(truth, 5, seed, groups), truth)
    for each in ([count.images for count in counts], [count.cells for count in counts]):
        assert max(each) < 1.3 * min(each)


def test_the_order_of_images_does_not_matter_and_the_seed_does():
    truth = truth_of(*(image(f"{number}", number % 5) for number in range(20)))
    backwards = dict(reversed(truth.items()))
    assert folds_of(truth, 5) == folds_of(backwards, 5)
    assert list(folds_of(truth, 5)) == sorted(truth)
    assert folds_of(truth, 5, seed=0) != folds_of(truth, 5, seed=1)


def test_an_image_without_cells_gets_a_fold_too():
    truth = truth_of(image("a", 3), image("b", 0), image("c", 0))
    folds = folds_of(truth, 3)
    assert sorted(folds.values()) == [0, 1, 2]
    assert FoldCount(folds["b"], "", 1, 0) in count_folds(folds, truth)


@settings(max_examples=50, deadline=None)
@given(
    images=st.lists(
        st.tuples(st.sampled_from(CELL_TYPES), st.integers(0, 4), st.integers(0, 30)),
        min_size=10,
        max_size=40,
    ),
    folds=st.integers(2, 5),
    seed=st.integers(0, 3),
)
def test_no_group_ever_leaks_and_single_images_are_dealt_evenly(images, folds, seed):
    truth = truth_of(*(image(f"{n}", cells, kind) for n, (kind, cells, _) in enumerate(images)))
    groups = {f"{n}": f"well {well}" for n, (_, _, well) in enumerate(images)}
    if len(set(groups.values())) >= folds:
        check_folds(folds_of(truth, folds, seed, groups), groups)
    dealt = folds_of(truth, folds, seed)
    check_folds(dealt, alone(truth))
    per_fold = Counter(dealt.values())
    assert max(per_fold.values()) - min(per_fold[fold] for fold in range(folds)) <= 1


def test_more_folds_than_groups_and_a_single_fold_are_refused():
    truth = truth_of(image("a", 1), image("b", 1), image("c", 1))
    with pytest.raises(UserError, match="at least 3 images or groups of images for 3 folds, got 2"):
        folds_of(truth, 3, groups={"a": "well", "b": "well", "c": "other"})
    with pytest.raises(UserError, match="at least 2 folds, got 1"):
        folds_of(truth, 1)


def test_a_split_that_leaks_a_group_is_refused_by_name():
    with pytest.raises(UserError, match="group 'w' leaks: its image a is in fold 0, c in fold 1"):
        check_folds({"a": 0, "b": 0, "c": 1}, {"a": "w", "b": "w", "c": "w"})
    with pytest.raises(UserError, match="1 images have no fold, for example b"):
        check_folds({"a": 0}, {"a": "w", "b": "w"})


def test_folds_are_read_as_written(tmp_path):
    write_folds(tmp_path / "new" / "folds.csv", {"b": 1, "a": 0, "007": 2})
    assert (tmp_path / "new" / "folds.csv").read_text() == "id,fold\n007,2\na,0\nb,1\n"
    assert read_folds(tmp_path / "new" / "folds.csv") == {"007": 2, "a": 0, "b": 1}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "line 1: the file is empty; expected the header `id,fold`"),
        ("id,split\na,0\n", "line 1: expected the header `id,fold`, got 'id,split'"),
        ("id,fold\n\na,0,1\nb,1\n", "line 3: expected 2 fields `id,fold`, got 3"),
        ("id,fold\na,0\nb,-1\n", "line 3: expected a fold from 0 to 999999, got '-1'"),
        ("id,fold\na,999999\nb,1000000\n", "line 3: expected a fold from 0 to 999999, got '1000000'"),
        (f"id,fold\na,{'9' * 5000}\nb,0\n", "line 2: expected a fold from 0 to 999999, got '9{40}'…"),
        ("id,fold\na,0\nb\n", "line 3: expected 2 fields `id,fold`, got 1"),
        ("id,fold\na,0\na,1\n", "line 3: image a has a fold already"),
        ("id,fold\na,0\nb,1\n", "group 'w' leaks"),
    ],
)
def test_a_folds_file_that_cannot_be_used_is_refused_by_name(tmp_path, text, what):
    path = tmp_path / "folds.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=rf"folds\.csv.*{what}"):
        read_folds(path, {"a": "w", "b": "w"})


def test_a_missing_folds_file_is_refused_with_the_command_that_makes_one(tmp_path):
    with pytest.raises(UserError, match="sartorius data folds"):
        read_folds(tmp_path / "folds.csv")


def csv_of(folder: Path, *rows: str, header: str = "id,annotation,width,height,cell_type,sample_id") -> Path:
    path = folder / "train.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_groups_are_wells_where_they_are_known_and_images_elsewhere(tmp_path):
    csv = csv_of(tmp_path, "b,1 1,2,1,cort,w", "a,1 1,2,1,cort,w", "c,1 1,2,1,cort,", "a,2 1,2,1,cort,")
    assert read_groups(csv) == {"a": "w", "b": "w", "c": "image c"}
    without = csv_of(tmp_path, "a,1 1,2,1,cort", header="id,annotation,width,height,cell_type")
    assert read_groups(without) == {"a": "image a"}


def test_an_image_of_two_wells_is_refused_by_line(tmp_path):
    with pytest.raises(UserError, match="line 3: image a: the sample_id is 'v', but 'w' in"):
        read_groups(csv_of(tmp_path, "a,1 1,2,1,cort,w", "a,2 1,2,1,cort,v"))


def test_the_rows_of_train_csv_may_come_in_any_order(tmp_path):
    rows = [f"i{number % 6},{number + 1} 1,9,9,cort,{'w' if number % 6 < 2 else ''}" for number in range(18)]
    csv_of(tmp_path, *rows)
    counts = split_data(tmp_path, tmp_path / "a.csv", folds=3, seed=4)
    csv_of(tmp_path, *reversed(rows))
    split_data(tmp_path, tmp_path / "b.csv", folds=3, seed=4)
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()
    assert counts == [FoldCount(fold, "cort", 2, 6) for fold in range(3)]
    folds = read_folds(tmp_path / "a.csv", read_groups(tmp_path / "train.csv"))
    assert folds["i0"] == folds["i1"]


def test_the_real_images_are_split_evenly(competition_dir, tmp_path):
    counts = split_data(competition_dir, tmp_path / "folds.csv", folds=5, seed=0)
    for cell_type in CELL_TYPES:
        images = [count.images for count in counts if count.cell_type == cell_type]
        cells = [count.cells for count in counts if count.cell_type == cell_type]
        assert len(images) == 5
        assert max(images) - min(images) <= 1
        assert max(cells) < 1.3 * min(cells)
