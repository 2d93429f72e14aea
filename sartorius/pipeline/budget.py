"""What of an ensemble fits into the time that is left, judged by the images that are done."""

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, stdev
from typing import NamedTuple

from sartorius.config.ensemble import EnsembleSettings
from sartorius.config.gains import Gains
from sartorius.pipeline.smaller import smaller_ensemble, tells_types

#: Standard deviations added to the expected time: a normal sum stays below it 98 times in 100.
SPREADS = 2.0


class ImageSeconds(NamedTuple):
    """What one image took: seconds by `member/view`, and of everything else (reading, fusing, writing)."""

    parts: Mapping[str, float]
    rest: float


class Estimate(NamedTuple):
    """Seconds that images still to come take: expected, and how much longer it may take."""

    expected: float
    margin: float

    @property
    def most(self) -> float:
        """Seconds that are hardly exceeded."""
        return self.expected + self.margin


class Fit(NamedTuple):
    """What is left of an ensemble, what was dropped from it and why, and what the rest takes.

    settings: with fewer views or models, and in proportion fewer votes asked for.
    """

    settings: EnsembleSettings
    dropped: tuple[str, ...]
    estimate: Estimate


class _Part(NamedTuple):
    """A view or a model that an ensemble can do without; order: its place in the file."""

    kind: str
    name: str
    order: int

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def part_names(settings: EnsembleSettings) -> list[str]:
    """`member/view` of everything that is run on an image, also where it is fused inside the networks."""
    return [f"{member.name}/{view.name}" for member, view in settings.parts]


def estimated(timed: Sequence[ImageSeconds], settings: EnsembleSettings, images: int) -> Estimate:
    """How long an ensemble takes for so many more images like those that are timed.

    timed: at least one image, each timed with every part of the ensemble, in the order they were done. The first one
        also warmed up the machine; it counts only while there is no other.
    The margin covers that few images were timed and that images differ: SPREADS x s x sqrt(n + n²/k) for n images to
    come, k timed and s their standard deviation. From one image nothing is known of s: it is taken to be as large
    as the mean.
    """
    names = part_names(settings)
    seconds = [image.rest + sum(image.parts[name] for name in names) for image in timed[1:] or timed]
    mean = fmean(seconds)
    spread = stdev(seconds) if len(seconds) > 1 else mean
    margin = SPREADS * spread * math.sqrt(images + images**2 / len(seconds)) if images else 0.0
    return Estimate(mean * images, margin)


def fitted(settings: EnsembleSettings, timed: Sequence[ImageSeconds], images: int, left_s: float) -> Fit:
    """The most of an ensemble that is done with so many more images in the seconds that are left.

    Views are dropped before models, those with the least gain per minute first; one view and one model stay, whether
    they fit or not, and a source that no type leaves out. Gains are those of the ensemble's file; without them all are
    worth the same, so that the slowest goes first, and of equals the last in the file.
    timed, images: as for `estimated`.
    """
    dropped: list[_Part] = []
    left, smaller = settings, _narrowings(settings, timed)
    while (estimate := estimated(timed, left, images)).most > left_s:
        part, left = next(smaller, (None, left))
        if part is None:
            break
        dropped.append(part)
    return Fit(left, tuple(_explained(part, settings.gains) for part in dropped), estimate)


def narrowings(settings: EnsembleSettings) -> Iterator[EnsembleSettings]:
    """What is left each time that one more part is dropped, as if a view took time in proportion to its pixels.

    It ends with one view of one model.
    """
    pixels = [view.scale**2 for _, view in settings.parts]
    imagined = ImageSeconds(dict(zip(part_names(settings), pixels, strict=True)), 0)
    return (left for _, left in _narrowings(settings, [imagined]))


def narrowed_like(whole: EnsembleSettings, narrowed: EnsembleSettings) -> EnsembleSettings:
    """`whole` without what `narrowed` lacks: votes are rounded once, however many times something was dropped.

    Score thresholds are those that the gains of `whole` have for so few sources, if they are of all its parts.
    """
    views = {view.name for view in whole.views} - {view.name for view in narrowed.views}
    members = {member.name for member in whole.members} - {member.name for member in narrowed.members}
    left = smaller_ensemble(whole, views, members)
    if whole.gains is None or not known_gains(whole) or len(left.sources) == len(whole.sources):
        return left
    for fewer in whole.gains.fewer_sources:
        if fewer.sources == len(left.sources):
            changed = {"score_threshold": fewer.score_threshold}
            return left.model_copy(update={"postprocess": left.postprocess.model_copy(update=changed)})
    return left


def _narrowings(
    settings: EnsembleSettings, timed: Sequence[ImageSeconds]
) -> Iterator[tuple[_Part, EnsembleSettings]]:
    """What is dropped next, and what is left then."""
    dropped: list[_Part] = []
    left = settings
    while parts := _views(left) or _models(left):
        dropped.append(min(parts, key=lambda part: (_per_minute(part, left, timed), -part.order)))
        left = _without(settings, dropped)
        yield dropped[-1], left


def known_gains(settings: EnsembleSettings) -> bool:
    """Whether the file says what every view and model is worth that could be dropped."""
    return all(_gain(part, settings.gains) is not None for part in [*_views(settings), *_models(settings)])


def _views(settings: EnsembleSettings) -> list[_Part]:
    names = [view.name for view in settings.views]
    parts = [_Part("view", name, order) for order, name in enumerate(names) if tells_types(settings, [name])]
    return parts if len(names) > 1 else []


def _models(settings: EnsembleSettings) -> list[_Part]:
    names = [member.name for member in settings.trained_members]
    parts = [
        _Part("model", name, order) for order, name in enumerate(names) if tells_types(settings, (), [name])
    ]
    return parts if len(names) > 1 else []


def _gain(part: _Part, gains: Gains | None) -> float | None:
    if gains is None:
        return None
    return (gains.views if part.kind == "view" else gains.members).get(part.name)


def _per_minute(part: _Part, settings: EnsembleSettings, timed: Sequence[ImageSeconds]) -> float:
    """Gain for each minute that the part takes; all gains are 1 where one is not known."""
    names = [
        f"{member.name}/{view.name}"
        for member, view in settings.parts
        if part.name == (view.name if part.kind == "view" else member.name)
    ]
    seconds = fmean(sum(image.parts[name] for name in names) for image in timed)
    gain = _gain(part, settings.gains) if known_gains(settings) else 1.0
    return (gain or 0.0) / max(seconds, 1e-9) * 60


def _without(settings: EnsembleSettings, dropped: Sequence[_Part]) -> EnsembleSettings:
    views, members = ([part.name for part in dropped if part.kind == kind] for kind in ("view", "model"))
    return smaller_ensemble(settings, views, members)


def _explained(part: _Part, gains: Gains | None) -> str:
    gain = _gain(part, gains)
    return str(part) if gain is None else f"{part} (worth {gain:+.4f} mAP)"
