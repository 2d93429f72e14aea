"""Synthetic images: their cells are where the truth says, and the same seed gives the same picture."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from sartorius.cells import CELL_TYPES
from sartorius.data.competition import read_truth
from sartorius.data.synthetic import synthesize, synthetic_image
from sartorius.data.synthetic.dataset import TRUTH_COLUMNS
from sartorius.data.synthetic.scene import SMALLEST_CELL_PX
from sartorius.errors import UserError
from sartorius.rle import dense_from_coco


def image_of(cell_type, seed=3, **options):
    return synthetic_image(cell_type, np.random.default_rng(seed), **options)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("cell_type", CELL_TYPES)
def test_an_image_has_the_size_and_grey_of_the_competition_and_cells_of_its_type(cell_type):
    image, cells = image_of(cell_type, image_id="made")
    assert (image.shape, image.dtype) == ((520, 704), np.uint8)
    assert 125 < image.mean() < 130
    assert 5 < image.std() < 22
    assert (cells.image_id, cells.size_hw) == ("made", (520, 704))
    assert set(cells.cell_types.tolist()) == {cell_type}


@pytest.mark.parametrize("cell_type", CELL_TYPES)
def test_masks_are_disjoint_single_pieces_of_a_size_worth_finding(cell_type):
    _, cells = image_of(cell_type, size_hw=(260, 352), density=2)
    dense = np.array([dense_from_coco(mask) for mask in cells.masks])
    assert dense.sum(axis=0).max() == 1
    assert min(cells.areas_px) >= SMALLEST_CELL_PX
    assert all(cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)[0] == 2 for mask in dense)


@pytest.mark.parametrize(
    ("cell_type", "cells_per_image", "mean_area_px"),
    [("shsy5y", 337, 224), ("astro", 80, 906), ("cort", 34, 240)],
)
def test_counts_and_areas_follow_the_competition(cell_type, cells_per_image, mean_area_px):
    images = [image_of(cell_type, seed, size_hw=(260, 352))[1] for seed in range(24)]
    assert np.mean([len(cells) for cells in images]) == pytest.approx(cells_per_image / 4, rel=0.3)
    assert np.concatenate([cells.areas_px for cells in images]).mean() == pytest.approx(mean_area_px, rel=0.2)


@pytest.mark.parametrize("cell_type", CELL_TYPES)
def test_the_picture_shows_the_cells_dark_inside_and_bright_just_outside(cell_type):
    image, cells = image_of(cell_type, seed=1)
    taken = np.any([dense_from_coco(mask) for mask in cells.masks], axis=0).astype(np.uint8)
    inside = cv2.erode(taken, np.ones((5, 5))) > 0
    rim = (cv2.dilate(taken, np.ones((3, 3))) > 0) & (cv2.erode(taken, np.ones((3, 3))) == 0)
    away = cv2.dilate(taken, np.ones((31, 31))) == 0
    assert image[inside].mean() < image[away].mean() - 2
    assert image[rim].mean() > image[away].mean() + 2


def test_the_same_generator_gives_the_same_image_and_another_does_not():
    (first, cells), (again, cells_again), (other, _) = (image_of("cort", seed) for seed in (5, 5, 6))
    assert np.array_equal(first, again)
    assert cells.masks == cells_again.masks
    assert not np.array_equal(first, other)


def test_density_multiplies_the_cells_and_zero_gives_an_empty_field():
    sparse, dense = (
        sum(len(image_of("astro", seed, size_hw=(200, 300), density=density)[1]) for seed in range(8))
        for density in (0.5, 1.5)
    )
    assert 2 < dense / sparse < 4
    image, none = image_of("astro", density=0)
    assert len(none) == 0
    assert image.shape == (520, 704)


def test_an_unknown_cell_type_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match=r"'hela'.*shsy5y, astro, cort"):
        image_of("hela")


def test_a_negative_density_is_refused():
    with pytest.raises(ValueError, match="density is -1"):
        image_of("cort", density=-1)


def test_a_data_set_has_the_competitions_layout_with_the_truth_of_its_test_images_beside_it(tmp_path):
    folder = synthesize(tmp_path / "made", images_per_type=1, seed=2)
    ids = {split: sorted(path.stem for path in (folder / split).glob("*.png")) for split in ("train", "test")}
    assert ids["train"] == ["astro_train_0000", "cort_train_0000", "shsy5y_train_0000"]
    assert ids["test"] == ["astro_test_0000", "cort_test_0000", "shsy5y_test_0000"]
    for split, name in (("train", "train.csv"), ("test", "test_truth.csv")):
        rows = rows_of(folder / name)
        assert tuple(rows[0]) == TRUTH_COLUMNS
        assert sorted({row["id"] for row in rows}) == ids[split]
        assert {(row["height"], row["width"]) for row in rows} == {("520", "704")}
    assert rows_of(folder / "sample_submission.csv") == [
        {"id": name, "predicted": ""} for name in ids["test"]
    ]


def test_the_masks_in_the_file_are_the_images_truth(tmp_path):
    folder = synthesize(tmp_path, images_per_type=1, seed=2)
    image = cv2.imread(str(folder / "train" / "cort_train_0000.png"), cv2.IMREAD_UNCHANGED)
    truth = read_truth(folder / "train.csv")["cort_train_0000"]
    taken = np.any([dense_from_coco(mask) for mask in truth.masks], axis=0)
    assert image.shape == (520, 704)
    assert image[taken].std() > 1.5 * image[~taken].std()


def test_more_images_leave_the_first_ones_as_they_were(tmp_path):
    few, more = (synthesize(tmp_path / str(count), count, seed=4) for count in (1, 2))
    for name in ("train/astro_train_0000.png", "test/shsy5y_test_0000.png"):
        assert (few / name).read_bytes() == (more / name).read_bytes()
    assert (few / "train/cort_train_0000.png").read_bytes() != (
        more / "train/cort_train_0001.png"
    ).read_bytes()


def test_a_folder_with_other_images_is_refused_and_left_alone(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "mine.png").write_bytes(b"precious")
    with pytest.raises(UserError, match=r"mine\.png.*choose an empty folder"):
        synthesize(tmp_path, 1, seed=0)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["mine.png"]


@pytest.mark.parametrize("name", ["train.csv", "test_truth.csv", "sample_submission.csv"])
def test_a_table_of_other_images_is_refused_and_an_earlier_one_replaced(tmp_path, name):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / name).write_text("id,annotation\nmine,1 2\n")
    with pytest.raises(
        UserError, match=rf"{name}: expected no rows but .* found 'mine'; choose an empty folder"
    ):
        synthesize(tmp_path / "data", 1, seed=0)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [name]


def test_the_same_data_set_may_be_made_again(tmp_path):
    before = (synthesize(tmp_path, 1, seed=0) / "train.csv").read_bytes()
    (tmp_path / "test" / "cort_test_0000.png").unlink()
    (tmp_path / "test" / ".cort_test_0001.abcd.png").write_bytes(b"what a killed run leaves")
    assert (synthesize(tmp_path, 1, seed=0) / "train.csv").read_bytes() == before
    assert (tmp_path / "test" / "cort_test_0000.png").is_file()


def test_no_images_at_all_are_refused(tmp_path):
    with pytest.raises(UserError, match="at least 1 image per cell type, got 0"):
        synthesize(tmp_path, 0, seed=0)
