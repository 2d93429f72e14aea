from pathlib import Path

import numpy as np
import pytest
from bright_blobs import BrightBlobs, with_discs

from sartorius.config.ensemble import EnsembleSettings
from sartorius.config.members import ViewSettings
from sartorius.config.tiling import TilingSettings
from sartorius.data.predictions import read_manifest
from sartorius.errors import UserError
from sartorius.pipeline.sources import open_sources, predictions

SMALL_TILES = TilingSettings(untiled_up_to_px=64, tile_px=64, overlap_px=24)
IMAGE = with_discs((64, 100), [(30, 20, 6), (30, 50, 8)])


def ensemble(tiling: TilingSettings = SMALL_TILES, views: tuple[str, ...] = ("none",)) -> EnsembleSettings:
    return EnsembleSettings(
        members=[{"name": "blobs", "model": "model.yaml", "weights": "weights.safetensors"}],
        views=[ViewSettings(flip=flip) for flip in views],
        tiling=tiling,
    )


class ManyParts(BrightBlobs):
    """Says that its only part took longer for each piece that it was shown."""

    @property
    def part_seconds(self):
        return {"r50/none": float(len(self.shown_hw))}

    def narrowed(self, settings):
        return self


class ManyViews(BrightBlobs):
    """Can look through several views at once."""

    def of_views(self, image, image_id, views):
        return [self(image, image_id, view) for view in views]


def test_the_seconds_of_parts_inside_a_predictor_are_those_of_all_tiles():
    finder = ManyParts()
    (found,) = predictions(open_sources({"blobs": finder}, ensemble(), None), IMAGE, "large")
    assert finder.shown_hw == [(64, 64), (64, 64)]
    assert found.part_seconds == {"r50/none": 3.0}
    assert len(found.cells) == 2


def test_views_seen_at_once_share_the_seconds_by_their_pixels():
    views = [ViewSettings(), ViewSettings(scale=2)]
    settings = ensemble().model_copy(update={"views": views})
    times = iter((0.0, 4.0, 4.0, 5.0))
    sources = open_sources({"blobs": ManyViews()}, settings, None)
    found = list(predictions(sources, IMAGE[:, :64], "small", lambda: next(times)))
    assert [dict(one.part_seconds) for one in found] == [{"blobs/none": 1.0}, {"blobs/none_x2": 4.0}]


class Drawing(ManyViews):
    """Counts how many of its looks are unfinished at once."""

    unfinished, most = 0, 0

    def look(self, image, image_id, views):
        self.unfinished += 1
        self.most = max(self.most, self.unfinished)

        def finish():
            self.unfinished -= 1
            return self.of_views(image, image_id, views)

        return finish


def test_a_large_image_s_drawings_are_finished_piece_by_piece():
    finder = Drawing()
    (found,) = predictions(open_sources({"blobs": finder}, ensemble(), None), IMAGE, "large")
    assert finder.shown_hw == [(64, 64), (64, 64)]
    assert (finder.most, len(found.cells)) == (1, 2)


def test_each_view_of_a_predictor_of_many_views_is_put_together_by_itself():
    settings = ensemble(views=("none", "horizontal"))
    sources = open_sources({"blobs": ManyViews()}, settings, None)
    found = list(predictions(sources, IMAGE, "large"))
    assert [one.source.name for one in found] == ["blobs/none", "blobs/horizontal"]
    assert [len(one.cells) for one in found] == [2, 2]
    assert [set(one.part_seconds) for one in found] == [{"blobs/none"}, {"blobs/horizontal"}]
    assert set(found[1].cells.sources) == {"blobs/horizontal"}


def test_predictions_made_in_unusual_tiles_are_told_from_others(tmp_path: Path):
    open_sources({"blobs": BrightBlobs()}, ensemble(), tmp_path / "small")
    open_sources({"blobs": BrightBlobs()}, ensemble(TilingSettings()), tmp_path / "usual")
    small, usual = (read_manifest(tmp_path / name / "blobs" / "none").config for name in ("small", "usual"))
    assert usual == {"jitter_px": 0}
    assert small == {
        "jitter_px": 0,
        "tiling": {"untiled_up_to_px": 64, "tile_px": 64, "overlap_px": 24},
    }


def test_a_cache_of_before_members_hashes_were_told_is_gone_on_with(tmp_path: Path):
    before, now = BrightBlobs(), BrightBlobs()
    now.config = {**before.config, "members_sha256": {"a": "0" * 64}}
    open_sources({"blobs": before}, ensemble(), tmp_path)
    open_sources({"blobs": now}, ensemble(), tmp_path)
    now.config = {**now.config, "jitter_px": 1}
    with pytest.raises(UserError, match="jitter_px is 0 there and 1 now"):
        open_sources({"blobs": now}, ensemble(), tmp_path)


def test_small_images_are_seen_whole():
    finder = BrightBlobs()
    small = np.ascontiguousarray(IMAGE[:, :64])
    (found,) = predictions(open_sources({"blobs": finder}, ensemble(), None), small, "small")
    assert finder.shown_hw == [(64, 64)]
    assert len(found.cells) == 2
