"""From images to a checked submission in one go: what `sartorius submit` and the Kaggle kernel run."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sartorius.config.ensemble import EnsembleSettings
from sartorius.data.predictions import list_predictions, read_cells
from sartorius.errors import UserError
from sartorius.files import atomic_path
from sartorius.pipeline.budget import ImageSeconds, narrowed_like
from sartorius.pipeline.fusing import fused_and_cleaned
from sartorius.pipeline.growing import GrowingSubmission, refuse_problems
from sartorius.pipeline.narrowing import NarrowingEnsemble
from sartorius.pipeline.pacing import Pace
from sartorius.pipeline.predicting import Report, no_report
from sartorius.pipeline.predictor import Predictor
from sartorius.submission import write_submission

#: Seconds between two versions of the growing file; the last one is written in any case.
WRITE_EVERY_S = 1.0

_say = logging.getLogger("sartorius")


class SubmitOptions(NamedTuple):
    """How a submission is made.

    cache_dir: keeps the predictions, so that an interrupted run goes on; None keeps none.
    deadline_s: when it must be done, as a time of `clock`; None takes the time it takes.
    report: called as report("submit", images done, images).
    clock: seconds that only rise.
    """

    cache_dir: Path | None = None
    deadline_s: float | None = None
    report: Report = no_report
    clock: Callable[[], float] = time.monotonic


class Submitted(NamedTuple):
    """A submission that passed the check.

    cells: how many cells each image has, by image id; those of `broken` and `unfinished` have none.
    broken: why an image could not be done, by image id.
    unfinished: images for which no time was left.
    dropped: views and models that were left out to be in time.
    """

    path: Path
    cells: Mapping[str, int]
    broken: Mapping[str, str]
    unfinished: tuple[str, ...]
    dropped: tuple[str, ...]


def submit(
    predictors: Mapping[str, Predictor],
    settings: EnsembleSettings,
    image_paths: Mapping[str, Path],
    out_csv: Path,
    options: SubmitOptions = SubmitOptions(),  # noqa: B008 - a tuple of constants
) -> Submitted:
    """`out_csv` is a checked submission with every image: predicted, fused, cleaned.

    image_paths: image files by image id. An image in which nothing is found gets its empty row.
    A valid file stands at `out_csv` from before the first image is looked at, every image with its empty row, and is
    replaced as images get done: whenever the process is killed, what is there can be submitted. An image that cannot
    be read or predicted costs its own rows and is told in the result and the log, and so is what a deadline costs.
    Raises UserError, before a file is written, if the cache is another model's or `out_csv` is a folder; and at the
    end if not one image could be used.
    """
    if out_csv.is_dir():
        raise UserError(f"{out_csv}: expected the name of a CSV file to write, got a folder")
    return _Run(predictors, settings, image_paths, out_csv, options).finished()


def write_checked(fused_dir: Path, out_csv: Path) -> None:
    """`out_csv` is the submission of every image of a fused folder; it replaces a file only if it passes the check.

    Raises ValueError listing the problems if it does not: fusion and clean-up have a fault.
    """
    paths = list_predictions(fused_dir)
    with atomic_path(out_csv) as temporary:
        write_submission(temporary, map(read_cells, paths.values()), list(paths))
        refuse_problems(temporary, {image_id: read_cells(path).size_hw for image_id, path in paths.items()})


class _Run:
    """One submission in the making."""

    def __init__(
        self,
        predictors: Mapping[str, Predictor],
        settings: EnsembleSettings,
        image_paths: Mapping[str, Path],
        out_csv: Path,
        options: SubmitOptions,
    ) -> None:
        self._ensemble = NarrowingEnsemble(predictors, settings, options.cache_dir, options.clock)
        self._pace = Pace(options.deadline_s, options.clock, settings)
        self._growing = GrowingSubmission(out_csv, list(image_paths))
        self._image_paths, self._out_csv, self._options = image_paths, out_csv, options
        self._whole = settings
        self._to_come: dict[str, Sequence[str]] = {}
        self._cells = dict.fromkeys(image_paths, 0)
        self._faults: dict[str, Exception] = {}
        self._dropped: list[str] = []
        self._written_s = options.clock()
        self._said_unwritten = False

    def finished(self) -> Submitted:
        """Do every image that there is time for."""
        self._growing.write()
        self._written_s = self._options.clock()
        ids = list(self._image_paths)
        self._to_come = self._foreseen(ids)
        unfinished: list[str] = []
        for done, image_id in enumerate(ids):
            parts = self._to_come.pop(image_id)
            if not self._pace.another_fits(parts):
                unfinished.append(image_id)  # a later one may need no model, or fewer
                continue
            self._do(image_id, parts)
            self._options.report("submit", done + 1, len(ids))
            self._narrow()
        self._growing.write_checked()
        self._refuse_nothing_done(ids, unfinished)
        if unfinished:
            _say.warning("out of time: %d of %d images are left without cells", len(unfinished), len(ids))
        broken = {image_id: _told(fault) for image_id, fault in self._faults.items()}
        return Submitted(self._out_csv, self._cells, broken, tuple(unfinished), tuple(self._dropped))

    def _foreseen(self, image_ids: Iterable[str]) -> dict[str, Sequence[str]]:
        """The parts that will be run on each image, looked up only where time is short."""
        timeless = self._options.deadline_s is None
        return {image_id: [] if timeless else self._ensemble.lacking(image_id) for image_id in image_ids}

    def _do(self, image_id: str, foreseen: Sequence[str]) -> None:
        """Find the cells of one image; what goes wrong with it is kept to it. foreseen: the parts to run on it."""
        began_s = self._options.clock()
        try:
            seen = self._ensemble.seen(image_id, self._image_paths[image_id])
            cells = fused_and_cleaned(seen.found, self._ensemble.settings)
            self._growing.add(cells)
        except UserError as error:
            self._faults[image_id] = error
            _say.warning("image %s is left without cells: %s", image_id, error)
            return
        except Exception as error:
            self._faults[image_id] = error
            _say.exception("image %s is left without cells because of a fault", image_id)
            return
        self._cells[image_id] = len(cells)
        self._write_if_due()
        rest_s = self._options.clock() - began_s - sum(seen.part_seconds.values())
        part_seconds = {**dict.fromkeys(foreseen, 0.0), **seen.part_seconds}
        self._pace.add(ImageSeconds(part_seconds, max(rest_s, 0.0)))

    def _write_if_due(self) -> None:
        """Write what is known so far every WRITE_EVERY_S; if it cannot be written, the next image tries it again."""
        if self._options.clock() - self._written_s < WRITE_EVERY_S:
            return
        try:
            self._growing.write()
            self._written_s = self._options.clock()
        except (UserError, OSError) as error:
            if not self._said_unwritten:
                _say.warning(
                    "the images done so far are not written yet, the next one tries it again: %s", error
                )
            self._said_unwritten = True

    def _narrow(self) -> None:
        """Drop what will not fit into the time left."""
        fit = self._pace.fit(self._ensemble.settings, list(self._to_come.values()))
        if fit is not None and fit.dropped:
            self._dropped += fit.dropped
            self._ensemble.narrow(narrowed_like(self._whole, fit.settings))
            self._to_come = self._foreseen(self._to_come)

    def _refuse_nothing_done(self, ids: list[str], unfinished: list[str]) -> None:
        """Raise what went wrong if it went wrong with every image."""
        if not self._faults or len(self._faults) < len(ids) - len(unfinished):
            return
        for fault in self._faults.values():
            if not isinstance(fault, UserError):
                raise fault
        shown = "\n".join(map(str, list(self._faults.values())[:10]))
        raise UserError(f"none of the {len(self._faults)} images could be used\n{shown}")


def _told(fault: Exception) -> str:
    return str(fault) if isinstance(fault, UserError) else f"{type(fault).__name__}: {fault}"
