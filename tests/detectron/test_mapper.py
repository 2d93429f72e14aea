from typing import Any

import numpy as np
import pytest

from sartorius.config import ModelSettings
from sartorius.detectron.mapper import TrainingImage, TrainingMapper
from sartorius.rle import Crop

PLAIN = {"flips": False, "scale_jitter": (1.0, 1.0), "input_scale": 1.0}


def image_with_a_corner_cell() -> TrainingImage:
    """A bright L-shaped cell on black, 40 × 60."""
    pixels = np.zeros((40, 60), dtype=np.uint8)
    shape = np.zeros((10, 8), dtype=bool)
    shape[:, :3] = shape[7:] = True
    pixels[5:15, 20:28][shape] = 200
    return TrainingImage("l", pixels, (Crop(5, 20, shape),), np.array([1]))


TURNED = ModelSettings(crop_px=64, input_scale=2.0, scale_jitter=(0.8, 1.25), min_box_px=1, turns=True)


@pytest.mark.parametrize("seed", range(8))
def test_boxes_and_masks_follow_flips_turns_crops_and_scales(seed: int) -> None:
    mapped = TrainingMapper(TURNED)(image_with_a_corner_cell(), seed)
    assert mapped["image"].shape == (1, 64, 64)
    if len(mapped["instances"]):
        require_targets_on_the_cell(mapped)
    else:
        assert (mapped["image"][0].numpy() > 100).sum() < 12


def require_targets_on_the_cell(mapped: dict[str, Any]) -> None:
    """Box and mask are those of the bright pixels."""
    bright = mapped["image"][0].numpy() > 100
    rows, cols = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
    box = mapped["instances"].gt_boxes.tensor[0].numpy()
    assert np.abs(box - [cols[0], rows[0], cols[-1] + 1, rows[-1] + 1]).max() <= 1.5
    left, top, right, bottom = np.rint(box).astype(int)
    inside = bright[top:bottom, left:right]
    target = mapped["instances"].gt_masks.crop_and_resize(mapped["instances"].gt_boxes.tensor, 28)[0].numpy()
    rows, cols = (np.arange(28) + 0.5) * inside.shape[0] / 28, (np.arange(28) + 0.5) * inside.shape[1] / 28
    assert (inside[rows.astype(int)][:, cols.astype(int)] == target).mean() > 0.85


@pytest.mark.parametrize(
    ("changes", "orientations"),
    [({}, 8), ({"turns": False}, 4), ({"flips": False}, 2), ({"flips": False, "turns": False}, 1)],
    ids=str,
)
def test_pictures_and_targets_come_in_every_orientation_of_the_settings(
    changes: dict[str, bool], orientations: int
) -> None:
    settings = TURNED.model_copy(update=changes | {"crop_px": None})
    pictures = [TrainingMapper(settings)(image_with_a_corner_cell(), seed) for seed in range(48)]
    assert len({orientation(picture["image"][0].numpy() > 100) for picture in pictures}) == orientations
    for picture in pictures:
        require_targets_on_the_cell(picture)


def orientation(bright: np.ndarray) -> tuple[bool, int]:
    """Whether the L lies on its longer side, and which of its box's corners is empty, row by row from 0."""
    rows, cols = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
    inside = bright[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
    height, width = inside.shape
    (empty,) = (
        number
        for number, (row, col) in enumerate(((2, 2), (2, -3), (-3, 2), (-3, -3)))
        if not inside[row, col]
    )
    return width > height, empty


def test_a_sliver_at_the_crops_edge_is_no_target() -> None:
    pixels = np.zeros((32, 32), dtype=np.uint8)
    sliver = TrainingImage("s", pixels, (Crop(4, 31, np.ones((9, 1), dtype=bool)),), np.array([0]))
    assert len(TrainingMapper(ModelSettings(**PLAIN, min_box_px=2))(sliver, 0)["instances"]) == 0
    assert len(TrainingMapper(ModelSettings(**PLAIN, min_box_px=1))(sliver, 0)["instances"]) == 1


def test_an_image_without_cells_has_empty_targets() -> None:
    empty = TrainingImage("e", np.full((32, 48), 127, dtype=np.uint8), (), np.zeros(0, dtype=np.int64))
    mapped = TrainingMapper(ModelSettings(**PLAIN))(empty, 0)
    assert len(mapped["instances"]) == 0
    assert mapped["instances"].gt_boxes.tensor.shape == (0, 4)


def test_the_same_seed_gives_the_same_picture() -> None:
    pictures = []
    for seed in (3, 3, 4):
        pictures.append(
            TrainingMapper(ModelSettings(crop_px=48, colour_jitter=0.2))(image_with_a_corner_cell(), seed)
        )
    assert (pictures[0]["image"] == pictures[1]["image"]).all()
    assert (pictures[0]["image"] != pictures[2]["image"]).any()


def test_colour_jitter_is_off_unless_asked_for() -> None:
    image = image_with_a_corner_cell()
    assert (TrainingMapper(ModelSettings(**PLAIN))(image, 0)["image"][0].numpy() == image.pixels).all()
    jittered = TrainingMapper(ModelSettings(**PLAIN, colour_jitter=0.3))(image, 0)["image"][0].numpy()
    assert (jittered != image.pixels).any()


def test_colour_jitter_leaves_the_mean_grey_level_where_it_is() -> None:
    noise = np.random.default_rng(0).integers(90, 140, (40, 60), dtype=np.uint8)
    image = TrainingImage("n", noise, (), np.zeros(0, dtype=np.int64))
    mapper = TrainingMapper(ModelSettings(**PLAIN, colour_jitter=0.001))
    means = [float(mapper(image, seed)["image"].double().mean()) for seed in range(40)]
    assert np.mean(means) == pytest.approx(noise.mean(), abs=0.1)


def test_contrast_and_brightness_change_by_up_to_the_colour_jitter() -> None:
    pixels = np.full((8, 8), 100, dtype=np.uint8)
    pixels[4:] = 140
    image = TrainingImage("g", pixels, (), np.zeros(0, dtype=np.int64))
    mapper = TrainingMapper(ModelSettings(**PLAIN, colour_jitter=0.4))
    pictures = [mapper(image, seed)["image"][0].double() for seed in range(60)]
    contrasts = [float(picture[-1, 0] - picture[0, 0]) / 40 for picture in pictures]
    brightnesses = [float(picture.mean()) / 120 for picture in pictures]
    for factors in (contrasts, brightnesses):
        assert 0.57 < min(factors) < 0.65
        assert 1.35 < max(factors) < 1.43


@pytest.mark.parametrize("axis", [0, 1])
def test_crops_come_from_everywhere_in_an_image_and_at_every_scale(axis: int) -> None:
    pixels = np.indices((128, 128))[axis].astype(np.uint8)  # each grey is its own row or column
    image = TrainingImage("r", pixels, (), np.zeros(0, dtype=np.int64))
    mapper = TrainingMapper(ModelSettings(flips=False, crop_px=32, input_scale=1.0, scale_jitter=(0.5, 2.0)))
    pictures = [mapper(image, seed)["image"][0].numpy() for seed in range(60)]
    assert {picture.shape for picture in pictures} == {(32, 32)}
    firsts, lasts = (np.array([int(one.take(at, axis)[0]) for one in pictures]) for at in (0, -1))
    assert firsts.min() < 8
    assert lasts.max() > 119
    extents = lasts - firsts + 1  # of 16 to 64 px
    assert extents.min() < 20
    assert extents.max() > 56


def test_whole_images_are_seen_at_every_scale_between_the_two_of_the_settings() -> None:
    settings = ModelSettings(input_scale=2.0, scale_jitter=(0.75, 1.5), flips=False)
    mapper = TrainingMapper(settings)
    pictures = [mapper(image_with_a_corner_cell(), seed) for seed in range(40)]
    heights = [picture["instances"].image_size[0] for picture in pictures]  # of an image of 40 rows
    assert 60 <= min(heights) < 66
    assert 114 < max(heights) <= 120
    boxes = [picture["instances"].gt_boxes.tensor[0] for picture in pictures]
    ratios = [float(box[3] - box[1]) / height for box, height in zip(boxes, heights, strict=True)]
    assert ratios == pytest.approx([10 / 40] * 40)  # the cell grows with the picture


def test_turns_swap_width_and_height_of_a_whole_image_about_half_of_the_time() -> None:
    mapper = TrainingMapper(ModelSettings(**PLAIN, turns=True))
    shapes = [tuple(mapper(image_with_a_corner_cell(), seed)["image"].shape[1:]) for seed in range(40)]
    assert set(shapes) == {(40, 60), (60, 40)}
    assert 10 <= shapes.count((60, 40)) <= 30
