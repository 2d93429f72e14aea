from pathlib import Path

import pytest

from sartorius.ablation.files import gathered, read_folder, settings_on, shown
from sartorius.errors import UserError


def written(folder: Path, **files: str) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


BASE = "members: [{name: a, model: a.yaml, weights: a.pth}]\nfusion: {method: masks}\n"


def test_a_folder_tells_its_base_and_what_each_file_changes(tmp_path):
    (tmp_path / "base.yaml").write_text(BASE + "views: [{flip: none}, {flip: vertical}]\n")
    folder = written(
        tmp_path / "fusion",
        votes="base: ../base.yaml\nnote: Why.\nfusion: {min_votes: 2}\n",
        area="base: ../base.yaml\npostprocess: {min_area_px: 9}\n",
    )
    found = read_folder(folder)
    assert (found.base.resolve(), found.of_ensembles) == (tmp_path / "base.yaml", True)
    assert [(file.name, shown(file.changes)) for file in found.files] == [
        ("area", "postprocess.min_area_px: 0 → 9"),
        ("votes", "fusion.min_votes: 1 → 2"),
    ]


def test_models_are_told_from_ensembles(tmp_path):
    (tmp_path / "base.yaml").write_text("backbone: r50\n")
    folder = written(tmp_path / "training", a="base: ../base.yaml\nbatch_size: 4\n")
    assert not read_folder(folder).of_ensembles


def test_paths_of_a_file_are_those_that_it_names_wherever_the_ensemble_lies(tmp_path):
    (tmp_path / "ensembles").mkdir()
    base = tmp_path / "ensembles" / "base.yaml"
    base.write_text("members: [{name: a, model: a.yaml, weights: ../a.safetensors}]\n")
    other = "base: ../ensembles/base.yaml\nmembers: [{name: b, model: ../b.yaml, weights: ../runs/b.safetensors}]\n"
    folder = read_folder(written(tmp_path / "ablations", other=other))
    (member,) = settings_on(folder.files[0], base).members
    assert (member.model, member.weights) == ("../b.yaml", "../runs/b.safetensors")
    elsewhere = tmp_path / "ensemble.yaml"
    elsewhere.write_text("base: ensembles/base.yaml\n")
    assert settings_on(folder.files[0], elsewhere).members[0].weights == "runs/b.safetensors"


def test_files_on_different_bases_are_refused(tmp_path):
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text(BASE)
    folder = written(tmp_path / "fusion", a="base: ../one.yaml\n", b="base: ../two.yaml\n")
    with pytest.raises(UserError, match="one base for the whole folder"):
        read_folder(folder)


def test_a_file_without_a_base_is_refused(tmp_path):
    with pytest.raises(UserError, match="stands alone"):
        read_folder(written(tmp_path / "fusion", a=BASE))


def test_a_folder_without_files_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match="found none there"):
            read_folder(folder)


def test_options_that_come_with_another_strategy_are_one_change():
    changes = {"fusion.method": ("masks", "nms"), "fusion.min_iou": (0.5, 0.4), "note": ("", "Why.")}
    assert gathered(changes) == {"fusion.method": ("masks", "nms")}


def test_one_value_in_place_of_one_for_each_type_is_one_change():
    changes = {"score.astro": (0.4, None), "score.cort": (0.6, None), "score": (None, 0.5)}
    assert shown(gathered(changes)) == "score: astro 0.4, cort 0.6 → 0.5"


def test_one_value_for_each_type_in_place_of_one_is_one_change():
    changes = {"score": (0.5, None), "score.astro": (None, 0.4), "score.default": (None, 0.5)}
    assert shown(gathered(changes)) == "score: 0.5 → astro 0.4, default 0.5"


def test_a_value_for_one_type_is_shown_by_its_name():
    assert shown(gathered({"score.astro": (0.4, 0.5)})) == "score.astro: 0.4 → 0.5"


def test_members_and_views_are_shown_by_their_names_where_these_tell_the_change():
    r50, x101 = ({"name": name, "model": "m.yaml", "weight": 1.0} for name in ("r50", "x101"))
    assert shown({"members": ([r50, x101], [r50])}) == "members: [r50; x101] → [r50]"
    heavier = "members: [name r50, model m.yaml, weight 1.0] → [name r50, model m.yaml, weight 2.0]"
    assert shown({"members": ([r50], [r50 | {"weight": 2.0}])}) == heavier
    straight, larger = {"flip": "none", "scale": 1.0}, {"flip": "none", "scale": 1.25}
    assert shown({"views": ([straight], [straight, larger])}) == "views: [none] → [none; none x1.25]"
    by_type = larger | {"weight": {"astro": 0.0, "default": 1.0}}
    assert (
        shown({"views": ([straight], [by_type])})
        == "views: [none] → [none x1.25 (weight astro 0.0, default 1.0)]"
    )
