"""One HTML file that needs nothing beside it: figures, losses, pictures, charts and tables."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sartorius import __version__
from sartorius.config.fusion import PostprocessSettings
from sartorius.config.per_type import value_if_any
from sartorius.data.images import read_image
from sartorius.errors import UserError
from sartorius.files import atomic_path
from sartorius.metrics.assessment import Assessment
from sartorius.metrics.bootstrap import Interval
from sartorius.report.charts import iou_histogram, over_ious, over_scores
from sartorius.report.losses import FATES
from sartorius.report.outcomes import Outcome, by_type
from sartorius.report.pictures import crop, examples_of, picture
from sartorius.report.tables import MEANINGS, assessment_of, type_rows, waterfalls

#: Called as report(what, done, total) whenever a piece of work is done.
Report = Callable[[str, int, int], None]

#: Examples of each loss, and worst images of each cell type.
EXAMPLES, WORST = 6, 2
#: Pictures of each cell type: where in the order of their scores they stand, from best to worst.
SHOWN_AT: Mapping[str, float] = {"best": 0.0, "upper third": 1 / 3, "lower third": 2 / 3}


class Subject(NamedTuple):
    """What a report is about.

    title: what was scored. command: what wrote the page.
    sources: the sources that were fused; none where the result alone is known.
    postprocess: the clean-up, for the thresholds in use; None where it is not known.
    scored: the found cells carry scores; typed: and types.
    """

    title: str
    command: str
    sources: tuple[str, ...]
    postprocess: PostprocessSettings | None
    scored: bool
    typed: bool


class Shown(NamedTuple):
    """A picture with what it shows."""

    outcome: Outcome
    place: str
    picture: Markup


def write_report(
    path: Path,
    subject: Subject,
    outcomes: Sequence[Outcome],
    images: Mapping[str, Path],
    report: Report,
) -> Assessment:
    """Write the page about the images of `outcomes` and give its figures; nothing is left there on an error.

    images: the file of every image that has an outcome, by id.
    Raises UserError if an image is missing or has another size than its cells.
    """
    refuse_absent([outcome.image_id for outcome in outcomes], images)
    assessment = assessment_of(outcomes, subject.typed)
    html = page(subject, outcomes, assessment, images, report)
    with atomic_path(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return assessment


def refuse_absent(image_ids: Collection[str], images: Mapping[str, Path]) -> None:
    """Raise UserError unless the file of every image is known."""
    absent = sorted(set(image_ids) - set(images))
    if absent:
        raise UserError(
            f"expected the image of every scored prediction, {len(absent)} of {len(image_ids)} are not among the "
            f"{len(images)} images, for example {absent[0]}: give their folder, or the competition's, with --images"
        )


def page(
    subject: Subject,
    outcomes: Sequence[Outcome],
    assessment: Assessment,
    images: Mapping[str, Path],
    report: Report,
) -> str:
    """The page's HTML; arguments and errors are those of `write_report`."""
    groups = by_type(outcomes)
    gallery = _Gallery(images, _count_pictures(outcomes), report)
    best = {name: gallery.pictures(_spread(group)) for name, group in groups.items()}
    worst = {name: gallery.pictures(_worst(group)) for name, group in groups.items()}
    losses = [fate for fate in FATES[:-1] if any(fate in outcome.losses for outcome in outcomes)]
    examples = {fate: gallery.crops(fate, outcomes) for fate in losses}
    return str(
        _environment()
        .get_template("page.html.jinja")
        .render(
            subject=subject,
            version=__version__,
            style=Markup(files("sartorius.report").joinpath("assets/page.css").read_text("utf-8")),  # noqa: S704
            assessment=assessment,
            rows=type_rows(assessment, outcomes),
            waterfalls=waterfalls(outcomes),
            meanings=MEANINGS,
            examples=examples,
            shown=best,
            worst=worst,
            charts=_charts(groups, subject),
            outcomes=sorted(outcomes, key=lambda one: (one.cell_type, one.score, one.image_id)),
        )
    )


class _Gallery:
    """Pictures made image by image, told as progress."""

    def __init__(self, images: Mapping[str, Path], total: int, report: Report) -> None:
        self._images, self._report = images, report
        self._done, self._total = 0, total

    def pictures(self, chosen: Sequence[tuple[str, Outcome]]) -> list[Shown]:
        """A picture of each chosen image."""
        return [
            Shown(outcome, place, self._made(outcome, partial(picture, outcome=outcome)))
            for place, outcome in chosen
        ]

    def crops(self, fate: str, outcomes: Sequence[Outcome]) -> list[Shown]:
        """Crops around some of the true cells with one fate."""
        return [
            Shown(one.outcome, fate, self._made(one.outcome, partial(crop, example=one)))
            for one in examples_of(fate, outcomes, EXAMPLES)
        ]

    def _made(self, outcome: Outcome, draw: Callable[[Any], Markup]) -> Markup:
        path = self._images[outcome.image_id]
        image = read_image(path)
        if image.shape != outcome.truth.size_hw:
            raise UserError(
                f"{path}: the image has {image.shape[0]} x {image.shape[1]} px (height x width), its cells are of "
                f"{outcome.truth.size_hw[0]} x {outcome.truth.size_hw[1]} px; give the images that were predicted"
            )
        self._done += 1
        self._report("draw", self._done, max(self._total, self._done))
        return draw(image)


def _count_pictures(outcomes: Sequence[Outcome]) -> int:
    groups = by_type(outcomes).values()
    large = sum(len(_spread(group)) + len(_worst(group)) for group in groups)
    return large + sum(len(examples_of(fate, outcomes, EXAMPLES)) for fate in FATES[:-1])


def _by_score(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return sorted(outcomes, key=lambda one: (-one.score, one.image_id))


def _spread(outcomes: Sequence[Outcome]) -> list[tuple[str, Outcome]]:
    """Images that stand for the whole range of scores; each once."""
    ranked, chosen = _by_score(outcomes), dict[str, tuple[str, Outcome]]()
    for place, share in SHOWN_AT.items():
        outcome = ranked[round(share * (len(ranked) - 1))]
        chosen.setdefault(outcome.image_id, (place, outcome))
    return list(chosen.values())


def _worst(outcomes: Sequence[Outcome]) -> list[tuple[str, Outcome]]:
    """The images with the lowest scores, worst first; those that `_spread` shows are left out."""
    seen = {outcome.image_id for _, outcome in _spread(outcomes)}
    return [("worst", one) for one in _by_score(outcomes)[::-1] if one.image_id not in seen][:WORST]


def _charts(groups: Mapping[str, Sequence[Outcome]], subject: Subject) -> dict[str, list[Markup]]:
    """The charts of every section, one for each cell type; HTML that matplotlib made of text that is escaped."""
    made = {
        "fit": [iou_histogram(group, name) for name, group in groups.items()],
        "ious": [over_ious(group, name) for name, group in groups.items()],
    }
    if subject.scored:
        made["scores"] = [
            over_scores(group, name, _threshold(subject.postprocess, name)) for name, group in groups.items()
        ]
    return {name: [Markup(one) for one in some] for name, some in made.items()}  # noqa: S704


def _threshold(postprocess: PostprocessSettings | None, cell_type: str) -> float | None:
    """The score threshold in use for a cell type; None where it is not known or there is none."""
    return None if postprocess is None else value_if_any(postprocess.score_threshold, cell_type)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("sartorius.report", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": _percent, "bounds": _bounds}
    return environment


def _percent(share: float) -> str:
    """A share in percent: two digits where it is small."""
    if 0 < share < 0.0005:
        return "< 0.1 %"
    return f"{100 * share:.1f} %" if share < 0.0995 else f"{100 * share:.0f} %"


def _bounds(interval: Interval) -> str:
    return f"{interval.low:.3f} to {interval.high:.3f}"
