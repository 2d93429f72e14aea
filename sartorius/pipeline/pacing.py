"""Whether a run will be done in time, told aloud when it will not."""

import logging
from collections.abc import Callable

from sartorius.config.ensemble import EnsembleSettings
from sartorius.pipeline.budget import Estimate, Fit, ImageSeconds, estimated, fitted, known_gains
from sartorius.pipeline.durations import shown_duration

#: Images that are timed before anything is dropped, unless they take more than FIRST_SHARE of the time.
FIRST_IMAGES = 5
FIRST_SHARE = 0.25
#: Part of the time that is used; the rest is for the last write and check, and for what nobody thought of.
USED_SHARE = 0.97

_say = logging.getLogger("sartorius")


class Pace:
    """The images done so far against the time there is.

    deadline_s: when the run must be done, as a time of `clock`; None: whenever it is.
    """

    def __init__(self, deadline_s: float | None, clock: Callable[[], float]) -> None:
        self._clock, self._began_s = clock, clock()
        self._all_s = None if deadline_s is None else USED_SHARE * (deadline_s - self._began_s)
        self._timed: list[ImageSeconds] = []
        self._said_too_long = False

    def add(self, image: ImageSeconds) -> None:
        """Count an image of which every part was run."""
        self._timed.append(image)

    def another_fits(self, settings: EnsembleSettings) -> bool:
        """Whether there is time for one more image."""
        if self._all_s is None:
            return True
        next_s = estimated(self._timed, settings, 1).expected if self._timed else 0.0
        return self._left_s(self._all_s) > next_s

    def fit(self, settings: EnsembleSettings, images: int) -> Fit | None:
        """What of the ensemble fits into the time for so many more images; None where all of it does.

        Says so, with the times, when something has to go.
        """
        if self._all_s is None or images == 0 or not self._timed:
            return None
        left_s = self._left_s(self._all_s)
        if len(self._timed) < FIRST_IMAGES and left_s > (1 - FIRST_SHARE) * self._all_s:
            return None
        before = estimated(self._timed, settings, images)
        if before.most <= left_s:
            return None
        fit = fitted(settings, self._timed, images, left_s)
        self._tell(settings, before, fit, images, left_s)
        return fit

    def _left_s(self, all_s: float) -> float:
        return all_s - (self._clock() - self._began_s)

    def _tell(
        self, settings: EnsembleSettings, before: Estimate, fit: Fit, images: int, left_s: float
    ) -> None:
        if fit.dropped:
            why = (
                "least gain per minute first"
                if known_gains(settings)
                else "slowest first, gains are not known"
            )
            _say.warning(
                "time budget: %d images left would take %s, %s are left; dropped (%s): %s; now %s",
                images, _shown(before), shown_duration(left_s), why, ", ".join(fit.dropped), _shown(fit.estimate),
            )  # fmt: skip
        if fit.estimate.most > left_s and not self._said_too_long:
            self._said_too_long = True
            _say.warning(
                "time budget: one view of one model may take %s for the %d images left, %s are left; images at the "
                "end may stay without cells",
                _shown(fit.estimate), images, shown_duration(left_s),
            )  # fmt: skip


def _shown(estimate: Estimate) -> str:
    return f"{shown_duration(estimate.expected)} ± {shown_duration(estimate.margin)}"
