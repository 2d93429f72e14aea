"""The prediction cache filled: every image through every model and view, once.

The networks look at one image after the other. Meanwhile other threads read the next image, and make and write the cells
of those before: most of that is compiled code, beside which Python goes on.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from sartorius.cells import Cells
from sartorius.config.ensemble import EnsembleSettings
from sartorius.data.images import read_image
from sartorius.data.leakage import pixel_hash
from sartorius.data.predictions import prediction_path, read_prediction, write_cells
from sartorius.errors import UserError
from sartorius.pipeline.predictor import Predictor
from sartorius.pipeline.sources import Finish, Source, looks, open_sources, wanted_sources

#: Threads that make and write cells, and looks of a model at an image that may wait for them.
WRITERS, WAITING = 2, 3

Item = TypeVar("Item")
Result = TypeVar("Result")
#: Called as report(what, done, total) whenever a piece of work is done.
Report = Callable[[str, int, int], None]


def no_report(what: str, done: int, total: int) -> None:
    """Say nothing."""


class Predicted(NamedTuple):
    """How many predictions (image x model x view) were made now, how many were there already, and how many are not
    wanted, as an image's type leaves the source out.
    """

    made: int
    kept: int
    left_out: int


def predict_images(
    predictors: Mapping[str, Predictor],
    settings: EnsembleSettings,
    image_paths: Mapping[str, Path],
    out_dir: Path,
    report: Report = no_report,
) -> Predicted:
    """The cache `<out_dir>/<member>/<view>/<image id>.npz` holds a prediction of every image from every source that is
    fused there.

    predictors: one for each member of the ensemble's `runs`, by its name.
    image_paths: image files by image id.
    What is in the cache already is kept, so that an interrupted run goes on where it stopped.
    Raises UserError, before anything is predicted, if a folder of the cache belongs to another model; and at the end,
    all other images done, naming every image that could not be read, whose name another image in the cache has, or of
    which a damaged prediction is needed to tell its type.
    """
    sources = open_sources(predictors, settings, out_dir)
    broken: list[str] = []
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(WRITERS) as writers:
        progress = _Progress(len(image_paths) * len(sources), report)
        for opened in _one_ahead(reader, partial(_opened, sources), image_paths.items()):
            progress.keep(len(sources) - len(opened.missing))
            fault = opened.fault or _looked_at(opened, settings, out_dir, writers, progress)
            if fault:
                broken.append(fault)
        progress.end()
    if broken:
        raise UserError(_all_broken(broken, len(image_paths)))
    kept = progress.total - progress.made - progress.left_out
    return Predicted(progress.made, kept, progress.left_out)


class _Opened(NamedTuple):
    """One image, the sources that have not looked at it, its `pixel_hash`, and why it cannot be used, if so."""

    image_id: str
    missing: list[Source]
    image: NDArray[np.uint8]
    picture: str
    fault: str


def _opened(sources: Sequence[Source], named: tuple[str, Path]) -> _Opened:
    image_id, path = named
    missing = [source for source in sources if source.kept(image_id) is None]
    try:
        image = read_image(path)
        picture = pixel_hash(image)
        for source in sources:
            source.refuse_other_picture(image_id, picture)
    except UserError as error:
        return _Opened(image_id, missing, np.zeros((0, 0), np.uint8), "", str(error))
    return _Opened(image_id, missing, image, picture, "")


def _looked_at(
    opened: _Opened,
    settings: EnsembleSettings,
    out_dir: Path,
    writers: ThreadPoolExecutor,
    progress: "_Progress",
) -> str:
    """Look at an image through the missing sources: those that tell its type, then those that it does not leave out.

    Returns why its type cannot be told, if so.
    """

    def look(some: Sequence[Source]) -> None:
        for finish in looks(some, opened.image, opened.image_id):
            progress.add(writers.submit(_write, finish, out_dir, opened))

    telling = [source for source in opened.missing if source.name in settings.typing_sources]
    look(telling)
    if len(telling) < len(opened.missing):
        progress.wait()
        try:
            told = _told(settings, out_dir, opened.image_id)
        except UserError as error:
            return str(error)
        wanted = wanted_sources(opened.missing, settings, told)
        progress.leave_out(len(opened.missing) - len(telling) - len(wanted))
        look(wanted)
    return ""


def _told(settings: EnsembleSettings, out_dir: Path, image_id: str) -> dict[str, Cells]:
    """The cached cells of all sources that tell the image's type; raises UserError if a file is damaged."""
    return {name: read_prediction(out_dir / name, image_id).cells for name in settings.typing_sources}


def _write(finish: Finish, out_dir: Path, opened: _Opened) -> int:
    """Make the cells of a look and write them; returns how many sources they are of."""
    found = finish()
    for source, cells, _ in found:
        write_cells(prediction_path(out_dir / source.name, opened.image_id), cells, opened.picture)
    return len(found)


def _one_ahead(
    pool: ThreadPoolExecutor, work: Callable[[Item], Result], items: Iterable[Item]
) -> Iterator[Result]:
    """What the work returns for each item, in their order; while one is used the next is worked on, and no more."""
    ahead: Future[Result] | None = None
    for item in items:
        made, ahead = ahead, pool.submit(work, item)
        if made is not None:
            yield made.result()
    if ahead is not None:
        yield ahead.result()


class _Progress:
    """Counts predictions and reports them in the order of the images, whichever thread is done first.

    total: predictions there will be. made: those made so far. left_out: those that are not wanted.
    """

    def __init__(self, total: int, report: Report) -> None:
        self.total, self.made, self.left_out, self._done = total, 0, 0, 0
        self._report = report
        self._kept = 0
        self._waiting: deque[tuple[int, Future[int]]] = deque()

    def keep(self, predictions: int) -> None:
        """Count predictions that were there already; they are told with the next ones that are made."""
        self._kept += predictions

    def leave_out(self, predictions: int) -> None:
        """Count predictions that are not wanted; they are told as those that were there already."""
        self.left_out += predictions
        self.keep(predictions)

    def add(self, writing: "Future[int]") -> None:
        """Count what is being written once it is; waits for the oldest if that makes more than `WAITING`.

        Raises what went wrong with it.
        """
        self._waiting.append((self._kept, writing))
        self._kept = 0
        while self._waiting and (len(self._waiting) > WAITING or self._waiting[0][1].done()):
            self._tell_next()

    def wait(self) -> None:
        """Wait for all that is being written, and count it."""
        while self._waiting:
            self._tell_next()

    def end(self) -> None:
        """Wait for all, and tell of what was there already, or is not wanted, after the last one made."""
        self.wait()
        if self._kept and self.made:
            self._report("predict", self._done + self._kept, self.total)

    def _tell_next(self) -> None:
        kept, writing = self._waiting.popleft()
        self._done += kept
        for _ in range(writing.result()):
            self.made, self._done = self.made + 1, self._done + 1
            self._report("predict", self._done, self.total)


def _all_broken(broken: list[str], images: int) -> str:
    rest = f"the predictions of the other {images - len(broken)} images are kept"
    return "\n".join([f"{len(broken)} of {images} images cannot be used; {rest}", *broken])
