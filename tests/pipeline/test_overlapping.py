"""Reading, looking and writing at the same time gives what one after the other gives."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fake_predictors import JitteredTruth, small_ensemble, small_truth, written_images

from sartorius.cells import Cells
from sartorius.config import EnsembleSettings, load_ensemble_settings
from sartorius.data.images import read_image
from sartorius.data.leakage import pixel_hash
from sartorius.data.predictions import prediction_path, write_cells
from sartorius.errors import UserError
from sartorius.pipeline import predict_images, predicting
from sartorius.pipeline.predicting import WAITING, _one_ahead
from sartorius.pipeline.sources import open_sources, predictions

LOOK_S = 0.02
#: How late a thread of a busy machine may be.
PATIENCE_S = 60


class Overlapping(JitteredTruth):
    """Finds its cells in two steps and notes who does which; `slow` are images whose second step takes long."""

    def __init__(self, truth, name: str, slow: Sequence[str] = (), faulty: Sequence[str] = ()) -> None:
        super().__init__(truth, name)
        self.slow, self.faulty = slow, faulty
        self.log: list[tuple[str, str, int]] = []

    def of_views(self, image, image_id, views):
        return self.look(image, image_id, views)()

    def look(self, image, image_id, views) -> Callable[[], list[Cells]]:
        self.log.append(("look", image_id, threading.get_ident()))

        def finish() -> list[Cells]:
            if image_id in self.slow:
                time.sleep(5 * LOOK_S)
            if image_id in self.faulty:
                raise RuntimeError(f"{image_id} is faulty")
            self.log.append(("finish", image_id, threading.get_ident()))
            return [JitteredTruth.__call__(self, image, image_id, view) for view in views]

        return finish

    @property
    def looked_at(self) -> list[str]:
        return [image_id for what, image_id, _ in self.log if what == "look"]


class Patient(Overlapping):
    """Finishes its first image only when it has looked at the second, however late that is."""

    def __init__(self, truth, name: str, slow: Sequence[str] = ()) -> None:
        super().__init__(truth, name, slow)
        self.second = threading.Event()

    def look(self, image, image_id, views):
        finish = super().look(image, image_id, views)
        if len(self.looked_at) == 2:
            self.second.set()
        return finish if len(self.looked_at) > 1 else lambda: (self.second.wait(PATIENCE_S), finish())[1]


@pytest.fixture
def settings(tmp_path: Path) -> EnsembleSettings:
    return load_ensemble_settings(small_ensemble(tmp_path))


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, Path]:
    return written_images(tmp_path / "images", small_truth())


def two(slow: Sequence[str] = (), faulty: Sequence[str] = ()) -> dict[str, JitteredTruth]:
    """One predictor that overlaps and one that does not."""
    return {
        "r50": Overlapping(small_truth(), "r50", slow, faulty),
        "x101": JitteredTruth(small_truth(), "x101"),
    }


def one_after_the_other(settings: EnsembleSettings, paths: dict[str, Path], cache: Path) -> None:
    """The cache as a single thread fills it."""
    sources = open_sources(two(), settings, cache)
    for image_id, path in paths.items():
        image = read_image(path)
        for source, cells, _ in predictions(sources, image, image_id):
            write_cells(prediction_path(cache / source.name, image_id), cells, pixel_hash(image))


def files_of(cache: Path) -> dict[str, bytes]:
    return {str(path.relative_to(cache)): path.read_bytes() for path in cache.rglob("*") if path.is_file()}


@pytest.mark.parametrize("slow", [(), ("astro_image",), ("cort_image", "empty_image")])
def test_the_cache_has_the_bytes_of_one_step_after_the_other(settings, paths, tmp_path, slow):
    predict_images(two(slow), settings, paths, tmp_path / "overlapping")
    one_after_the_other(settings, paths, tmp_path / "in_turn")
    expected = files_of(tmp_path / "in_turn")
    assert len(expected) == 4 * (len(paths) + 1)
    assert files_of(tmp_path / "overlapping") == expected


def test_images_are_looked_at_in_their_order_by_the_caller_and_finished_by_others(settings, paths, tmp_path):
    patient = Patient(small_truth(), "r50")
    predict_images(two() | {"r50": patient}, settings, paths, tmp_path / "cache")
    here = threading.get_ident()
    log = patient.log
    assert patient.looked_at == ["astro_image", "cort_image", "empty_image"]
    assert {who for what, _, who in log if what == "look"} == {here}
    assert here not in {who for what, _, who in log if what == "finish"}
    assert log.index(next(one for one in log if one[:2] == ("look", "cort_image"))) < log.index(
        next(one for one in log if one[:2] == ("finish", "astro_image"))
    )


def test_progress_counts_in_order_whichever_thread_is_done_first(settings, paths, tmp_path):
    said = []
    predict_images(
        two(slow=["astro_image"]), settings, paths, tmp_path / "cache", lambda *words: said.append(words)
    )
    assert said == [("predict", done, 12) for done in range(1, 13)]


def test_a_fault_in_finishing_ends_the_run_and_keeps_what_the_others_found(settings, paths, tmp_path):
    with pytest.raises(RuntimeError, match="cort_image is faulty"):
        predict_images(two(faulty=["cort_image"]), settings, paths, tmp_path / "cache")
    kept = sorted(path.name for path in (tmp_path / "cache" / "r50").rglob("*.npz"))
    assert kept[:2] == ["astro_image.npz"] * 2
    assert "cort_image.npz" not in kept
    made, there, _ = predict_images(two(), settings, paths, tmp_path / "cache")
    assert made + there == 12
    one_after_the_other(settings, paths, tmp_path / "in_turn")
    assert files_of(tmp_path / "cache") == files_of(tmp_path / "in_turn")


def test_a_broken_image_between_two_others_is_named_and_they_are_done(settings, paths, tmp_path):
    paths["cort_image"].write_bytes(b"")
    with pytest.raises(UserError, match="1 of 3 images cannot be used"):
        predict_images(two(slow=["astro_image"]), settings, paths, tmp_path / "cache")
    names = {path.name for path in (tmp_path / "cache").rglob("*.npz")}
    assert names == {"astro_image.npz", "empty_image.npz"}


def test_only_the_next_image_is_read_ahead(settings, paths, tmp_path, monkeypatch):
    read = []

    def note(path):
        read.append(path.stem)
        return read_image(path)

    class Looking(Overlapping):
        def look(self, image, image_id, views):
            assert len(read) <= self.log_length() + 2
            return super().look(image, image_id, views)

        def log_length(self) -> int:
            return len(self.looked_at)

    monkeypatch.setattr(predicting, "read_image", note)
    looking = Looking(small_truth(), "r50")
    predict_images(two() | {"r50": looking}, settings, paths, tmp_path / "cache")
    assert read == list(paths)


def test_work_is_done_one_item_ahead_in_order():
    begun: list[int] = []

    def double(number: int) -> int:
        begun.append(number)
        return 2 * number

    with ThreadPoolExecutor(1) as pool:
        for number, doubled in enumerate(_one_ahead(pool, double, range(5))):
            assert doubled == 2 * number
            end_s = time.monotonic() + PATIENCE_S
            while len(begun) < min(number + 2, 5) and time.monotonic() < end_s:
                time.sleep(0.001)
            time.sleep(LOOK_S)  # time to begin more than one
            assert begun == list(range(min(number + 2, 5)))
        assert list(_one_ahead(pool, double, [])) == []


def test_no_more_than_a_few_looks_wait_to_be_written(settings, paths, tmp_path):
    truth = {f"image{number}": small_truth()["empty_image"] for number in range(12)}
    many = written_images(tmp_path / "many", truth)
    most = 0

    class Counting(Patient):
        def look(self, image, image_id, views):
            nonlocal most
            finished = len(self.log) - len(self.looked_at)
            most = max(most, len(self.looked_at) - finished)
            return super().look(image, image_id, views)

    only = {"r50": Counting(truth, "r50", slow=list(many)), "x101": JitteredTruth(truth, "x101")}
    predict_images(only, settings, many, tmp_path / "cache")
    assert 0 < most <= WAITING + 1
