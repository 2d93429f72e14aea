"""Whether a run will be done in time, told aloud when it will not."""

import logging
from collections.abc import Callable, Collection, Sequence

from sartorius.config.ensemble import EnsembleSettings
from sartorius.pipeline.budget import (
    Estimate,
    Fit,
    ImageSeconds,
    estimated,
    fitted,
    known_gains,
    usual_seconds,
)
from sartorius.pipeline.durations import shown_duration

#: Images that models are timed on before anything is dropped, unless they take more than FIRST_SHARE of the time.
FIRST_IMAGES = 5
FIRST_SHARE = 0.25
#: Part of the time that is used; the rest is for the last write and check, and for what nobody thought of.
USED_SHARE = 0.97

_say = logging.getLogger("sartorius")


class Pace:
    """The images done so far against the time there is.

    deadline_s: when the run must be done, as a time of `clock`; None: whenever it is.
    settings: the whole ensemble.
    """

    def __init__(
        self, deadline_s: float | None, clock: Callable[[], float], settings: EnsembleSettings
    ) -> None:
        self._clock, self._began_s, self._whole = clock, clock(), settings
        self._all_s = None if deadline_s is None else USED_SHARE * (deadline_s - self._began_s)
        self._timed: list[ImageSeconds] = []
        self._said_too_long = False

    def add(self, image: ImageSeconds) -> None:
        """Count an image that is done."""
        self._timed.append(image)

    def another_fits(self, parts: Collection[str]) -> bool:
        """Whether there is time for one more image; parts: what will be run on it."""
        if self._all_s is None:
            return True
        next_s = estimated(usual_seconds(self._timed, self._whole), [parts]).expected if self._timed else 0.0
        return self._left_s(self._all_s) > next_s

    def fit(self, settings: EnsembleSettings, to_come: Sequence[Collection[str]]) -> Fit | None:
        """What of the ensemble fits into the time for the images to come; None where all of it does.

        settings: what is left of the ensemble. to_come: the parts that will be run on each of the images.
        Says so, with the times, when something has to go.
        """
        run_on = sum(bool(image.parts) for image in self._timed)
        if self._all_s is None or not any(to_come) or not run_on:
            return None
        left_s = self._left_s(self._all_s)
        if run_on < FIRST_IMAGES and left_s > (1 - FIRST_SHARE) * self._all_s:
            return None
        usual = usual_seconds(self._timed, self._whole)
        before = estimated(usual, to_come)
        if before.most <= left_s:
            return None
        fit = fitted(settings, usual, to_come, left_s)
        self._tell(settings, before, fit, len(to_come), left_s)
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
                "time budget: what stays of the ensemble may take %s for the %d images left, %s are left; some may "
                "stay without cells",
                _shown(fit.estimate), images, shown_duration(left_s),
            )  # fmt: skip


def _shown(estimate: Estimate) -> str:
    return f"{shown_duration(estimate.expected)} ± {shown_duration(estimate.margin)}"
