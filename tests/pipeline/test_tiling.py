import time
import tracemalloc

import cv2
import numpy as np
import pytest
from bright_blobs import SOFT_SIDE, BrightBlobs, with_discs
from hypothesis import given, settings
from hypothesis import strategies as st

from sartorius import Ensemble
from sartorius.cells import Cells
from sartorius.config.ensemble import EnsembleSettings
from sartorius.config.members import ViewSettings
from sartorius.config.tiling import TilingSettings
from sartorius.overlap import iou, overlapping
from sartorius.pipeline.tiles import tiles_of
from sartorius.pipeline.tiling import pieces_of, put_together

SMALL_TILES = TilingSettings(untiled_up_to_px=64, tile_px=64, overlap_px=24)


def in_tiles(image: np.ndarray, finder: BrightBlobs, tiling: TilingSettings = SMALL_TILES) -> Cells:
    seen = [[finder(piece, "large", ViewSettings())] for piece in pieces_of(image, tiling)]
    (found,) = put_together(seen, (image.shape[0], image.shape[1]), tiling)
    return found


def untiled(image: np.ndarray) -> Cells:
    return BrightBlobs()(image, "large", ViewSettings())


def told(cells: Cells) -> list[tuple[bytes, float, str]]:
    """What is said about each cell, in an order of its own."""
    columns = (mask.counts for mask in cells.masks), cells.scores.tolist(), cells.cell_types.tolist()
    return sorted(zip(*columns, strict=True))


def apart(discs: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Those of the discs that keep clear of the ones before them."""
    kept: list[tuple[int, int, int]] = []
    for row, col, radius in discs:
        if all(np.hypot(row - r, col - c) > radius + other + 3 for r, c, other in kept):
            kept.append((row, col, radius))
    return kept


def test_an_image_up_to_the_limit_is_seen_whole_and_one_pixel_more_in_tiles():
    assert len(tiles_of((1024, 1024), TilingSettings())) == 1
    for size_hw in ((1025, 1024), (1024, 1025)):
        tiles = tiles_of(size_hw, TilingSettings())
        assert len(tiles) == 4
        assert {(tile.rows.end - tile.rows.start, tile.cols.end - tile.cols.start) for tile in tiles} == {
            (768, 768)
        }


def test_a_long_narrow_image_is_cut_along_its_length_only():
    tiles = tiles_of((50, 200), SMALL_TILES)
    assert [tile.rows for tile in tiles] == [(0, 50)] * 5
    assert [tile.cols for tile in tiles] == [(0, 64), (34, 98), (68, 132), (102, 166), (136, 200)]
    assert [tile.core_cols for tile in tiles] == [(0, 49), (49, 83), (83, 117), (117, 151), (151, 200)]


@given(
    st.integers(1, 400), st.integers(1, 400), st.integers(64, 200), st.integers(16, 100), st.integers(64, 300)
)
def test_tiles_overlap_enough_and_each_pixel_lies_in_one_core(height, width, tile, overlap, limit):
    tiling = TilingSettings(untiled_up_to_px=limit, tile_px=tile, overlap_px=min(overlap, tile // 2))
    decided = np.zeros((height, width), dtype=int)
    for one in tiles_of((height, width), tiling):
        decided[slice(*one.core_rows), slice(*one.core_cols)] += 1
        for span, core, length in ((one.rows, one.core_rows, height), (one.cols, one.core_cols, width)):
            assert 0 <= span.start <= core.start < core.end <= span.end <= length
            for edge, cut, image_edge in (
                (core.start - span.start, span.start, 0),
                (span.end - core.end, span.end, length),
            ):
                assert edge == 0 if cut == image_edge else edge >= tiling.overlap_px // 2
    assert (decided == 1).all()


def test_cells_at_every_place_are_found_as_in_the_whole_image_once():
    discs = [(row, col, 6) for row in range(8, 150, 15) for col in range(8, 230, 15)]
    image = with_discs((157, 237), discs)
    found = in_tiles(image, BrightBlobs())
    assert len(found) == len(discs)
    assert told(found) == told(untiled(image))
    assert (np.diff(found.scores) <= 0).all()


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(st.integers(70, 180), st.integers(10, 180)),
    st.lists(st.tuples(st.integers(0, 179), st.integers(0, 179), st.integers(1, 80)), max_size=25),
)
def test_discs_of_any_size_anywhere_are_found_as_in_the_whole_image(size_hw, discs):
    image = with_discs(size_hw, apart(discs))
    assert told(in_tiles(image, BrightBlobs())) == told(untiled(image))


@pytest.mark.parametrize("seed", range(8))
def test_cells_that_each_tile_sees_a_little_elsewhere_are_found_once(seed):
    places = np.random.default_rng(seed).integers([60, 60, 7], [120, 190, 60], (25, 3))
    image = with_discs((180, 250), apart(places.tolist()))
    whole, found = untiled(image), in_tiles(image, BrightBlobs(jitter_px=1))
    assert len(found) == len(whole)
    pairs = overlapping(found, whole)
    assert set(pairs.rows_b[iou(pairs, found, whole) > 0.5]) == set(range(len(whole)))


@pytest.mark.parametrize("seed", range(3))
def test_long_bent_cells_are_found_where_they_are(seed):
    rng = np.random.default_rng(seed)
    image = np.zeros((200, 300), dtype=np.uint8)
    for _ in range(25):
        steps = rng.integers(-45, 46, (3, 2))
        bends = np.cumsum([rng.integers([0, 0], [300, 200]), *steps], axis=0).astype(np.int32)
        line = cv2.polylines(np.zeros_like(image), [bends], False, 150, int(rng.integers(4, 14)))
        if not (cv2.dilate(line, np.ones((7, 7), np.uint8)) & image).any():
            image |= line
    tiling = TilingSettings(untiled_up_to_px=64, tile_px=96, overlap_px=32)
    found, whole = in_tiles(image, BrightBlobs(), tiling), untiled(image)
    pairs = overlapping(found, whole)
    assert set(pairs.rows_b[iou(pairs, found, whole) > 0.5]) == set(range(len(whole)))
    assert len(found) == len(whole) >= 5


def test_a_cell_over_the_corner_of_four_tiles_is_taken_whole_from_one_of_them():
    image = with_discs((104, 104), [(52, 52, 8)])
    finder = BrightBlobs()
    found = in_tiles(image, finder)
    assert len(finder.shown_hw) == 4
    assert told(found) == told(untiled(image))


@pytest.mark.parametrize("radius", [13, 20, 45, 70], ids=lambda radius: f"{2 * radius + 1} px")
def test_a_cell_wider_than_the_overlap_or_than_a_tile_is_put_together_from_its_pieces(radius):
    image = with_discs((150, 150), [(75, 75, radius)])
    found = in_tiles(image, BrightBlobs())
    assert told(found) == told(untiled(image))
    assert found.soft_masks is not None
    assert found.soft_masks.shape == (1, SOFT_SIDE, SOFT_SIDE)
    assert found.soft_boxes_xyxy.tolist() == found.boxes_xyxy.tolist()
    assert found.soft_masks[0, 14, 14] == 255
    assert found.soft_masks[0, 0, 0] < 128


def test_soft_masks_come_with_their_cells_to_their_place_in_the_image():
    image = with_discs((120, 120), [(20, 100, 8), (100, 30, 9)])
    found, whole = in_tiles(image, BrightBlobs()), untiled(image)
    order, whole_order = np.argsort(found.scores), np.argsort(whole.scores)
    np.testing.assert_array_equal(found.soft_masks[order], whole.soft_masks[whole_order])
    np.testing.assert_array_equal(found.soft_boxes_xyxy[order], whole.soft_boxes_xyxy[whole_order])
    assert in_tiles(image, BrightBlobs(softly=False)).soft_masks is None


def test_what_only_a_tile_that_does_not_decide_finds_is_left_out():
    class FirstTileOnly(BrightBlobs):
        def __call__(self, image, image_id, view):
            found = super().__call__(image, image_id, view)
            return found if len(self.shown_hw) == 1 else found[:0]

    tiling = TilingSettings(untiled_up_to_px=64, tile_px=64, overlap_px=32)
    image = with_discs((64, 96), [(32, 20, 5), (32, 54, 3)])  # the tiles meet at column 48
    assert in_tiles(image, FirstTileOnly(), tiling).boxes_xyxy[:, 0].tolist() == [15]
    assert len(in_tiles(image, BrightBlobs(), tiling)) == 2


def test_a_large_image_without_cells_gives_no_cells():
    assert len(in_tiles(np.zeros((100, 100), np.uint8), BrightBlobs())) == 0


def test_an_image_of_a_hundred_million_pixels_takes_memory_for_one_tile_and_its_cells():
    rng = np.random.default_rng(0)
    middles = range(160, 10_000, 320)
    places = [(row, col) for row in middles for col in middles if row in (col, 160) or row + col == 9920]
    image = with_discs((10_000, 10_000), [(row, col, int(rng.integers(4, 150))) for row, col in places])
    members = [{"name": "blobs", "model": "model.yaml", "weights": "weights.safetensors"}]
    ensemble = Ensemble(
        EnsembleSettings(members=members, postprocess={"score_threshold": 0}), {"blobs": BrightBlobs()}
    )
    ensemble(image[:2560, :2560])  # what is not compiled yet would count
    began_s = time.process_time()
    tracemalloc.start()
    predicted = ensemble.predict(image, "large")
    predicting_peak = tracemalloc.get_traced_memory()[1]
    found = ensemble.fuse(predicted)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.process_time() - began_s < 20
    assert predicting_peak < 40e6  # the labels of a tile inside the finder are 4 MB
    assert peak < 200e6  # which pixels are taken when overlaps are removed is one byte each
    assert len(found) == len(places)
    areas = [int((image[row - 160 : row + 160, col - 160 : col + 160] > 0).sum()) for row, col in places]
    assert sorted(predicted["blobs/none"].areas_px.tolist()) == sorted(areas)
