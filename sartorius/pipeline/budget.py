"""What of an ensemble fits into the time that is left, judged by the images that are done."""

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from statistics import fmean, stdev
from typing import NamedTuple

from sartorius.config.ensemble import EnsembleSettings
from sartorius.config.gains import Gains
from sartorius.pipeline.smaller import smaller_ensemble, tells_types

#: Standard deviations added to the expected time: a normal sum stays below it 98 times in 100.
SPREADS = 2.0


class ImageSeconds(NamedTuple):
    """What one image took.

    parts: seconds of each `member/view` that was run on it, 0 of those that its type turned out to leave out; what was
        in the cache is not among them.
    rest: seconds of everything else (reading, fusing, writing).
    """

    parts: Mapping[str, float]
    rest: float


class Usual(NamedTuple):
    """Seconds on one image: their mean, their standard deviation, and of how many images they are known."""

    mean: float
    spread: float
    images: int


class UsualSeconds(NamedTuple):
    """What images take: each `member/view` where it is run, and everything else."""

    parts: Mapping[str, Usual]
    rest: Usual


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


def usual_seconds(timed: Sequence[ImageSeconds], settings: EnsembleSettings) -> UsualSeconds:
    """What images take that are like those that are timed.

    timed: at least one image, in the order they were done. The first one that a part was run on also warmed it up; it
        counts only while there is no other.
    settings: the whole ensemble, with what was dropped since. No part is in the result while none was run.
    A part that was never run is taken to be as slow for its pixels as the slowest that was, of its model if there is
    one. From one image nothing is known of the spread: it is taken to be as large as the mean, or as large in
    proportion as the largest of the parts that are known from several.
    """
    pixels = _part_pixels(settings)
    seconds = {name: [image.parts[name] for image in timed if name in image.parts] for name in pixels}
    known = {name: _usual(of_part) for name, of_part in seconds.items() if of_part}
    varying = [usual.spread / usual.mean for usual in known.values() if usual.images > 1 and usual.mean > 0]
    parts = {}
    for name in pixels if known else ():
        usual = known[name] if name in known else _never_run(name, known, pixels)
        spread = usual.spread if usual.images > 1 else usual.mean * max(varying, default=1.0)
        parts[name] = usual._replace(spread=spread)
    return UsualSeconds(parts, _usual([image.rest for image in timed]))


def estimated(usual: UsualSeconds, to_come: Sequence[Collection[str]]) -> Estimate:
    """How long images still to come take.

    to_come: for each of them the parts that will be run on it; a part of which nothing is known counts as nothing.
    The margin covers that few images were timed and that images differ: SPREADS x s x sqrt(n + n²/k) for n images to
    come, k timed and s their standard deviation. Those of the parts and of everything else are added up, as if an image
    that is slow were slow in all of them: no other way of depending on each other makes it more.
    """
    counts = Counter(name for parts in to_come for name in parts if name in usual.parts)
    times = [(usual.rest, len(to_come)), *((usual.parts[name], counts[name]) for name in sorted(counts))]
    margins = [one.spread * math.sqrt(images + images**2 / one.images) for one, images in times]
    return Estimate(sum(one.mean * images for one, images in times), SPREADS * sum(margins))


def fitted(
    settings: EnsembleSettings, usual: UsualSeconds, to_come: Sequence[Collection[str]], left_s: float
) -> Fit:
    """The most of an ensemble that is done with the images to come in the seconds that are left.

    Views are dropped before models, those with the least gain per minute first; one view and one model stay, whether
    they fit or not, and a source that no type leaves out. Gains are those of the ensemble's file; without them all are
    worth the same, so that the slowest goes first, and of equals the last in the file. What is in the cache for every
    image takes no time and is not dropped for it.
    usual, to_come: as for `estimated`.
    """
    counts = Counter(name for parts in to_come for name in parts)
    dropped: list[_Part] = []
    left = settings
    smaller = _narrowings(settings, {name: one.mean * counts[name] for name, one in usual.parts.items()})
    while (estimate := estimated(usual, to_come)).most > left_s and any(to_come):
        part, left = next(smaller, (None, left))
        if part is None:
            break
        dropped.append(part)
        names = set(part_names(left))
        to_come = [names.intersection(parts) for parts in to_come]
    return Fit(left, tuple(_explained(part, settings.gains) for part in dropped), estimate)


def narrowings(settings: EnsembleSettings) -> Iterator[EnsembleSettings]:
    """What is left each time that one more part is dropped, as if a view took time in proportion to its pixels.

    It ends with one view of one model.
    """
    return (left for _, left in _narrowings(settings, _part_pixels(settings)))


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


def _part_pixels(settings: EnsembleSettings) -> dict[str, float]:
    """How many times the pixels of an image each part looks at."""
    return {name: view.scale**2 for name, (_, view) in zip(part_names(settings), settings.parts, strict=True)}


def _usual(seconds: Sequence[float]) -> Usual:
    """Of each image's seconds, without those of the first that took any, which warmed up, if there is another such."""
    run_on = [place for place, taken_s in enumerate(seconds) if taken_s > 0]
    warm_up = run_on[0] if len(run_on) > 1 else None
    counted = [taken_s for place, taken_s in enumerate(seconds) if place != warm_up]
    mean = fmean(counted)
    return Usual(mean, stdev(counted) if len(counted) > 1 else mean, len(counted))


def _never_run(name: str, known: Mapping[str, Usual], pixels: Mapping[str, float]) -> Usual:
    """What a part is taken to take that was never run; known: at least one other."""
    of_model = [other for other in known if other.partition("/")[0] == name.partition("/")[0]]
    slowest = max(known[other].mean / pixels[other] for other in of_model or known)
    return Usual(slowest * pixels[name], slowest * pixels[name], 1)


def _narrowings(
    settings: EnsembleSettings, seconds: Mapping[str, float]
) -> Iterator[tuple[_Part, EnsembleSettings]]:
    """What is dropped next, and what is left then; seconds: what each `member/view` takes, of all images or of one."""
    dropped: list[_Part] = []
    left = settings
    while parts := _views(left) or _models(left):
        dropped.append(min(parts, key=lambda part: (_per_minute(part, left, seconds), -part.order)))
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


def _per_minute(part: _Part, settings: EnsembleSettings, seconds: Mapping[str, float]) -> float:
    """Gain for each minute that the part takes, infinite if it takes none; all gains are 1 where one is not known."""
    names = [
        f"{member.name}/{view.name}"
        for member, view in settings.parts
        if part.name == (view.name if part.kind == "view" else member.name)
    ]
    taken_s = sum(seconds[name] for name in names)
    gain = _gain(part, settings.gains) if known_gains(settings) else 1.0
    return (gain or 0.0) / taken_s * 60 if taken_s > 0 else math.inf


def _without(settings: EnsembleSettings, dropped: Sequence[_Part]) -> EnsembleSettings:
    views, members = ([part.name for part in dropped if part.kind == kind] for kind in ("view", "model"))
    return smaller_ensemble(settings, views, members)


def _explained(part: _Part, gains: Gains | None) -> str:
    gain = _gain(part, gains)
    return str(part) if gain is None else f"{part} (worth {gain:+.4f} mAP)"
