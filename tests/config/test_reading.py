"""Settings files: what merges, what is refused, and what a person is told."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from sartorius.config.per_type import FractionPerType, PixelsPerType
from sartorius.config.reading import (
    FrozenSettings,
    RelativePath,
    changes_from_base,
    leaf_differences,
    read_settings,
)
from sartorius.config.yaml_files import merged, read_layers
from sartorius.errors import UserError


class Linear(FrozenSettings):
    kind: Literal["linear"] = "linear"
    slope: float = 1.0


class Gaussian(FrozenSettings):
    kind: Literal["gaussian"] = "gaussian"
    sigma: Annotated[float, Field(gt=0)] = 0.5


class Model(FrozenSettings):
    path: RelativePath = Field(description="Where the weights are.")
    size: int = 3


class Work(FrozenSettings):
    rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    steps: Annotated[int, Field(ge=1)] = 10
    flips: bool = True
    note: str = ""
    sizes: Annotated[tuple[int, ...], Field(min_length=1)] = (1, 2)
    threshold: FractionPerType = 0.5
    area_px: PixelsPerType = 0
    decay: Annotated[Linear | Gaussian, Field(discriminator="kind")] = Linear()
    models: tuple[Model, ...] = ()
    detectron: dict[str, float] = Field(default_factory=dict)


def written(folder: Path, text: str, name: str = "work.yaml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def refusal(folder: Path, text: str, *overrides: str) -> str:
    """What a person reads about a bad file, with the file's path shown as FILE."""
    path = written(folder, text)
    with pytest.raises(UserError) as caught:
        read_settings(path, Work, overrides)
    return str(caught.value).replace(str(path), "FILE")


def test_what_the_file_says_replaces_the_defaults(tmp_path):
    settings = read_settings(written(tmp_path, "rate: 0.5\nsizes: [4]\n"), Work)
    assert (settings.rate, settings.sizes, settings.steps) == (0.5, (4,), 10)


def test_whole_numbers_are_good_where_a_fraction_is_expected(tmp_path):
    assert read_settings(written(tmp_path, "rate: 1\n"), Work).rate == 1.0


def test_mappings_merge_with_the_base_and_lists_replace(tmp_path):
    written(tmp_path, "threshold: {astro: 0.1, cort: 0.2}\nsizes: [7, 8]\nsteps: 5\n", "base.yaml")
    path = written(tmp_path, "base: base.yaml\nthreshold: {cort: 0.3}\nsizes: [9]\n")
    settings = read_settings(path, Work)
    assert settings.threshold == {"astro": 0.1, "cort": 0.3}
    assert (settings.sizes, settings.steps) == ((9,), 5)
    assert merged([layer.mapping for layer in read_layers(path)]) == {
        "threshold": {"astro": 0.1, "cort": 0.3},
        "sizes": [9],
        "steps": 5,
    }


def test_another_strategy_inherits_no_option_of_the_base_s(tmp_path):
    written(tmp_path, "decay: {kind: linear, slope: 2.0}\n", "base.yaml")
    path = written(tmp_path, "base: base.yaml\ndecay: {kind: gaussian}\n")
    assert read_settings(path, Work).decay == Gaussian()


def test_the_same_strategy_inherits_the_options_of_the_base(tmp_path):
    written(tmp_path, "decay: {kind: linear, slope: 2.0}\n", "base.yaml")
    path = written(tmp_path, "base: base.yaml\ndecay: {kind: linear}\n")
    assert read_settings(path, Work).decay == Linear(slope=2.0)


def test_paths_of_a_base_in_another_folder_still_lead_to_the_same_file_or_none(tmp_path):
    models = "models: [{path: ../weights/a.pth}, {path: /abs/b.pth}, {path: ''}]\n"
    written(tmp_path, models, "ensembles/base.yaml")
    path = written(tmp_path, "base: ../../ensembles/base.yaml\nsteps: 4\n", "ablations/fusion/work.yaml")
    settings = read_settings(path, Work)
    assert [model.path for model in settings.models] == ["../../weights/a.pth", "/abs/b.pth", ""]
    assert (path.parent / settings.models[0].path).resolve() == tmp_path / "weights" / "a.pth"


def test_a_base_may_stand_on_a_base_but_no_deeper(tmp_path):
    written(tmp_path, "steps: 3\n", "a.yaml")
    written(tmp_path, "base: a.yaml\n", "b.yaml")
    two = written(tmp_path, "base: b.yaml\n", "c.yaml")
    three = written(tmp_path, "base: c.yaml\n", "d.yaml")
    assert read_settings(two, Work).steps == 3
    with pytest.raises(UserError, match=r"d\.yaml: more than 2 levels of `base:`"):
        read_settings(three, Work)


def test_bases_in_a_loop_are_shown(tmp_path):
    written(tmp_path, "base: work.yaml\n", "other.yaml")
    said = refusal(tmp_path, "base: other.yaml\n").replace(str(tmp_path), "DIR")
    assert said == "FILE: its `base:` files stand on each other in a loop: FILE → DIR/other.yaml → FILE"


def test_overrides_come_last_and_the_later_wins(tmp_path):
    path = written(tmp_path, "rate: 0.5\n")
    settings = read_settings(path, Work, ["rate=0.2", "steps=7", "rate=0.3", "threshold.astro=0.4"])
    assert (settings.rate, settings.steps, settings.threshold) == (0.3, 7, {"astro": 0.4})


def test_an_option_set_beside_its_strategy_counts_in_either_order(tmp_path):
    path = written(tmp_path, "decay: {kind: linear, slope: 2.0}\n")
    for overrides in (["decay.kind=gaussian", "decay.sigma=2.0"], ["decay.sigma=2.0", "decay.kind=gaussian"]):
        assert read_settings(path, Work, overrides).decay == Gaussian(sigma=2.0)


def test_a_detectron_key_keeps_its_dots(tmp_path):
    settings = read_settings(written(tmp_path, "rate: 0.5\n"), Work, ["detectron.MODEL.RPN.NMS_THRESH=0.6"])
    assert settings.detectron == {"MODEL.RPN.NMS_THRESH": 0.6}


@pytest.mark.parametrize("override", ["rate", "=3", "decay..kind=linear"])
def test_an_override_without_key_or_value_is_shown_how(tmp_path, override):
    said = refusal(tmp_path, "rate: 0.5\n", override)
    assert said == f"--set expects key=value, for example base_lr=1.0e-3, got {override!r}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rtae: 0.1\n", "FILE: unknown key `rtae`; did you mean `rate`?"),
        ("decay: {kind: gaussian, sigmaa: 1}\n", "FILE: unknown key `decay.sigmaa`; did you mean `sigma`?"),
        ("decay: {kind: gaussian, slope: 1}\n", "FILE: unknown key `decay.slope`; known: kind, sigma"),
        ("models: [{path: a, syze: 1}]\n", "FILE: unknown key `models.0.syze`; did you mean `size`?"),
        ("models: [{size: 1}]\n", "FILE: `models.0.path` is missing: Where the weights are."),
        ("decay: {kind: linaer}\n", "FILE: `decay.kind`: expected linear or gaussian, got 'linaer'; did you mean `linear`?"),
        ("decay: {slope: 1}\n", "FILE: `decay.kind` is missing; expected linear or gaussian"),
        ("rate: 1.5\n", "FILE: `rate`: expected at most 1.0, got 1.5"),
        ("rate: 0\n", "FILE: `rate`: expected more than 0.0, got 0"),
        ("steps: 0\n", "FILE: `steps`: expected at least 1, got 0"),
        ("steps: 1.5\n", "FILE: `steps`: expected a whole number, got 1.5"),
        ("flips: 1\n", "FILE: `flips`: expected true or false, got 1"),
        ("note: 2021\n", "FILE: `note`: expected text, got 2021; put it in quotes"),
        ("sizes: 3\n", "FILE: `sizes`: expected a list, got 3"),
        ("sizes: []\n", "FILE: `sizes`: expected at least 1 in it, got []"),
        ("rate: .nan\n", "FILE: `rate`: expected a finite number, got nan"),
        ("decay: 3\n", "FILE: `decay`: expected a mapping, got 3"),
        ("threshold: 1.5\n", "FILE: `threshold`: expected at most 1.0, got 1.5"),
        ("threshold: {astro: 1.5}\n", "FILE: `threshold.astro`: expected at most 1.0, got 1.5"),
        ("area_px: {astro: 0.5}\n", "FILE: `area_px.astro`: expected a whole number, got 0.5"),
        ("3\n", "FILE: expected a mapping of settings (`key: value`), got 3"),
        ("# nothing\n", "FILE: expected a mapping of settings, but the file is empty"),
        ("base: [a.yaml]\n", "FILE: `base` must be one path relative to this file, got ['a.yaml']"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_answered_with_key_expectation_and_value(tmp_path, text, said):
    assert refusal(tmp_path, text) == said


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("rate: 1e-4\n", "got '1e-4'; YAML reads 1e-4 as text, write 1.0e-4"),
        ("rate: 1.5e4\n", "got '1.5e4'; YAML reads 1.5e4 as text, write 1.5e+4"),
        ("steps: 1e4\n", "got '1e4'; write 10000"),
    ],
)
def test_a_number_that_yaml_takes_for_text_is_explained(tmp_path, text, hint):
    assert refusal(tmp_path, text).endswith(hint)


def test_every_problem_has_a_line(tmp_path):
    lines = refusal(tmp_path, "rate: 2.0\nstesp: 4\nflips: perhaps\n").splitlines()
    assert sorted(line.split("`")[1] for line in lines) == ["flips", "rate", "stesp"]


def test_a_refused_element_does_not_also_count_as_an_empty_list(tmp_path):
    assert refusal(tmp_path, "sizes: [a]\n") == "FILE: `sizes.0`: expected a whole number, got 'a'"


def test_a_problem_is_told_of_the_file_that_sets_it(tmp_path):
    base = written(tmp_path, "rate: 2.0\n", "base.yaml")
    assert refusal(tmp_path, "base: base.yaml\nsteps: 4\n").startswith(f"{base}: `rate`")
    assert refusal(tmp_path, "base: base.yaml\n", "rate=3.0").startswith("--set: `rate`")


def test_a_key_written_twice_is_refused(tmp_path):
    said = refusal(tmp_path, "rate: 0.1\nsteps: 4\nrate: 0.2\n")
    assert "the key `rate` is written twice" in said
    assert "line 3" in said


def test_a_key_that_yaml_reads_as_something_else_is_refused(tmp_path):
    assert "the key False is no text; put it in quotes" in refusal(tmp_path, "threshold: {no: 0.5}\n")


def test_broken_yaml_is_located(tmp_path):
    said = refusal(tmp_path, "rate: 0.1\nsizes: [1,\n")
    assert said.startswith("FILE: not valid YAML")
    assert "line 3" in said


@pytest.mark.parametrize(
    "text", ["models: &a [*a]\n", "threshold: &a {astro: *a}\n", "models: &a [{path: [*a]}]\n"]
)
def test_an_alias_of_what_contains_it_is_refused(tmp_path, text):
    said = refusal(tmp_path, text)
    assert said.startswith("FILE: not valid YAML: an alias (`*name`) stands for something that contains it")
    assert "line 1" in said


def test_an_alias_of_something_else_is_its_value(tmp_path):
    text = "sizes: &a [4, 5]\nthreshold: {astro: &b 0.1, cort: *b}\narea_px: 2\n"
    assert read_settings(written(tmp_path, text), Work).threshold == {"astro": 0.1, "cort": 0.1}


def test_code_in_a_settings_file_is_refused_and_not_run(tmp_path):
    trace = tmp_path / "trace"
    assert "not valid YAML" in refusal(tmp_path, f"note: !!python/object/apply:os.mkdir ['{trace}']\n")
    assert not trace.exists()


def test_a_missing_file_is_answered_with_those_that_are_there(tmp_path):
    written(tmp_path, "rate: 0.1\n", "mask_rcnn_r50.yaml")
    with pytest.raises(UserError, match=r"r50\.yaml: no such settings file; .* has mask_rcnn_r50\.yaml"):
        read_settings(tmp_path / "r50.yaml", Work)


def test_a_missing_base_is_told_with_the_file_that_names_it(tmp_path):
    said = refusal(tmp_path, "base: gone.yaml\n")
    assert "gone.yaml: no such settings file, which FILE names as its `base`" in said


def test_a_folder_and_a_binary_file_are_no_settings(tmp_path):
    with pytest.raises(UserError, match="expected a YAML text file"):
        read_settings(tmp_path, Work)
    (tmp_path / "image.yaml").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(UserError, match="expected a YAML text file"):
        read_settings(tmp_path / "image.yaml", Work)


def test_leaves_differ_by_dotted_key_with_both_values():
    before = {"rate": 1, "decay": {"kind": "linear", "slope": 2}, "sizes": [1, 2], "same": 5}
    after = {"rate": 1.5, "decay": {"kind": "gaussian"}, "sizes": [1], "same": 5, "new": None, "empty": {}}
    assert leaf_differences(before, after) == {
        "decay.kind": ("linear", "gaussian"),
        "decay.slope": (2, None),
        "empty": (None, {}),
        "rate": (1, 1.5),
        "sizes": ([1, 2], [1]),
    }


def test_equal_mappings_have_no_differences():
    assert leaf_differences({"a": {"b": 1}}, {"a": {"b": 1}}) == {}
    assert leaf_differences({}, {}) == {}


def test_a_file_is_compared_with_its_base_by_what_they_write(tmp_path):
    base = "models: [{path: ../a.pth}]\nrate: 0.5\ndecay: {kind: linear, slope: 2.0}\n"
    written(tmp_path, base, "ensembles/base.yaml")
    path = written(
        tmp_path, "base: ../../ensembles/base.yaml\ndecay: {kind: gaussian}\nsteps: 4\n", "a/b/c.yaml"
    )
    assert changes_from_base(path, Work) == {
        "decay.kind": ("linear", "gaussian"),
        "decay.slope": (2.0, None),
        "steps": (10, 4),
    }


def test_a_file_that_repeats_its_base_has_no_changes(tmp_path):
    written(tmp_path, "rate: 0.5\nmodels: [{path: x}]\n", "ensembles/base.yaml")
    assert (
        changes_from_base(written(tmp_path, "base: ensembles/base.yaml\nrate: 0.5\nsteps: 10\n"), Work) == {}
    )


def test_a_file_without_a_base_is_not_compared(tmp_path):
    with pytest.raises(UserError, match="expected a file with a `base:`"):
        changes_from_base(written(tmp_path, "rate: 0.5\n"), Work)
