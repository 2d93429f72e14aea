from dataclasses import replace

import numpy as np
import pytest

from sartorius.detectron.mapper import TrainingImage
from sartorius.detectron.pasting import Paster, emptied, pasted
from sartorius.detectron.warping import random_displacement, warped
from sartorius.rle import Crop

BLOCK = np.ones((6, 8), dtype=bool)


def with_cells(name: str, places: list[tuple[int, int]], value: int = 220, kind: int = 0) -> TrainingImage:
    """Bright blocks of 6 × 8 on grey 100."""
    pixels = np.full((60, 80), 100, dtype=np.uint8)
    for row, col in places:
        pixels[row : row + 6, col : col + 8] = value
    crops = tuple(Crop(row, col, BLOCK) for row, col in places)
    return TrainingImage(name, pixels, crops, np.full(len(places), kind))


def test_an_emptied_image_is_all_background() -> None:
    empty = emptied(with_cells("a", [(10, 10), (30, 50)]), np.random.default_rng(0))
    assert np.abs(empty.astype(int) - 100).max() <= 3


def test_an_emptied_image_is_as_bright_as_its_background() -> None:
    image = with_cells("a", [(10, 10), (30, 50)])
    grain = np.random.default_rng(1).integers(-3, 4, image.pixels.shape)
    image = replace(image, pixels=np.where(image.pixels == 100, 100 + grain, image.pixels).astype(np.uint8))
    covered = image.pixels > 200
    filled = [emptied(image, np.random.default_rng(seed))[covered].mean() for seed in range(20)]
    assert abs(np.mean(filled) - image.pixels[~covered].mean()) < 0.2


def test_an_image_that_is_all_cells_is_emptied_to_its_mean() -> None:
    image = TrainingImage("f", np.full((6, 8), 80, dtype=np.uint8), (Crop(0, 0, BLOCK),), np.array([0]))
    assert (emptied(image, np.random.default_rng(0)) == 80).all()


def test_pasted_cells_are_the_donors_where_their_masks_say() -> None:
    picture = pasted(
        with_cells("a", [(10, 10)]),
        with_cells("b", [(5, 5), (40, 60)], value=30, kind=2),
        np.random.default_rng(3),
    )
    assert picture.classes.tolist() == [2, 2]
    inside = np.zeros((60, 80), dtype=bool)
    for crop in picture.crops:
        rows, cols = crop.pixels.shape
        inside[crop.row : crop.row + rows, crop.col : crop.col + cols] |= crop.pixels
        region = picture.pixels[crop.row : crop.row + rows, crop.col : crop.col + cols]
        assert (region[crop.pixels] == 30).all()
    assert not (picture.pixels > 150).any()


def test_a_cell_under_another_loses_what_is_hidden() -> None:
    crowded = with_cells("b", [(row, col) for row in range(0, 54, 6) for col in range(0, 72, 8)])
    picture = pasted(with_cells("a", []), crowded, np.random.default_rng(0))
    covered = np.zeros((60, 80), dtype=int)
    for crop in picture.crops:
        rows, cols = crop.pixels.shape
        covered[crop.row : crop.row + rows, crop.col : crop.col + cols] += crop.pixels
    assert covered.max() == 1
    assert 0 < len(picture.crops) <= len(crowded.crops)


def test_donors_are_of_the_images_own_type_and_the_share_is_kept() -> None:
    images = [with_cells("a", [(10, 10)], kind=0), with_cells("b", [(5, 5), (20, 20)], value=30, kind=1)]
    paster = Paster(images, share=0.5)
    pictures = [paster(images[0], np.random.default_rng(seed)) for seed in range(40)]
    assert all(picture.classes.tolist() == [0] for picture in pictures)
    assert 10 <= sum(picture is not images[0] for picture in pictures) <= 30


def test_a_warped_cell_still_lies_on_its_pixels() -> None:
    image = with_cells("a", [(20, 30), (0, 72)])
    field = random_displacement((60, 80), 2.0, np.random.default_rng(1))
    pixels, crops, kept = warped(image.pixels, image.crops, field)
    assert kept == [0, 1]
    assert (pixels != image.pixels).any()
    mask = np.zeros((60, 80), dtype=bool)
    for crop in crops:
        rows, cols = crop.pixels.shape
        mask[crop.row : crop.row + rows, crop.col : crop.col + cols] |= crop.pixels
    assert (mask == (pixels >= 160)).mean() > 0.998


def test_a_picture_is_deformed_as_strongly_whatever_its_size() -> None:
    def strain(height: int, width: int) -> float:
        fields = [
            random_displacement((height, width), 2.0, np.random.default_rng(seed)) for seed in range(200)
        ]
        assert {field.shape for field in fields} == {(height, width, 2)}
        return float(np.mean([np.square(np.diff(field, axis=0)).mean() for field in fields]))

    assert strain(50, 64) == pytest.approx(strain(520, 64), rel=0.15)


def test_no_displacement_changes_nothing() -> None:
    image = with_cells("a", [(20, 30)])
    pixels, crops, _ = warped(image.pixels, image.crops, np.zeros((60, 80, 2), dtype=np.float32))
    assert (pixels == image.pixels).all()
    assert (crops[0].row, crops[0].col) == (20, 30)
    assert (crops[0].pixels == BLOCK).all()


def test_a_cell_that_is_moved_out_of_the_picture_is_gone() -> None:
    image = with_cells("a", [(0, 0)])
    _, crops, kept = warped(image.pixels, image.crops, np.full((60, 80, 2), 15, dtype=np.float32))
    assert (crops, kept) == ([], [])


def test_what_a_deformation_takes_from_outside_is_the_edge_for_picture_and_cell_alike() -> None:
    """A bright block at the left edge moved by four columns to the right: no second, unlabelled piece appears beside it."""
    image = with_cells("a", [(20, 0)])
    field = np.zeros((60, 80, 2), dtype=np.float32)
    field[..., 0] = -4
    picture, (moved,), numbers = warped(image.pixels, image.crops, field)
    assert numbers == [0]
    assert (moved.row, moved.col, moved.pixels.shape) == (20, 0, (6, 12))
    bright = np.zeros((60, 80), dtype=bool)
    bright[20:26, :12] = moved.pixels
    assert np.array_equal(picture > 160, bright)


def test_a_cell_near_the_edge_is_not_seen_a_second_time_beyond_it() -> None:
    image = with_cells("a", [(20, 1), (53, 70)])
    field = np.full((60, 80, 2), -6, dtype=np.float32)
    field[30:] = 6
    picture, moved, _ = warped(image.pixels, image.crops, field)
    seen = np.zeros((60, 80), dtype=bool)
    for crop in moved:
        rows, cols = crop.pixels.shape
        seen[crop.row : crop.row + rows, crop.col : crop.col + cols] |= crop.pixels
    assert np.array_equal(picture > 160, seen)
