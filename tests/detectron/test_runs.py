import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import pytest
from tiny_models import TINY, write_tiny_data

from sartorius.data.competition import read_truth
from sartorius.data.leakage import read_trained_on, write_trained_on
from sartorius.detectron.runs import RunRequest, _together, prepare_run
from sartorius.errors import UserError
from sartorius.formats import write_any


@pytest.fixture
def request_of(tmp_path: Path) -> RunRequest:
    """A run from random weights that leaves out image0 and image2."""
    folds = tmp_path / "folds.csv"
    folds.write_text("id,fold\n" + "".join(f"image{n},{n % 2}\n" for n in range(4)))
    return RunRequest(
        config=Path("tiny.yaml"),
        settings=TINY,
        data_dirs=[write_tiny_data(tmp_path / "data")],
        folds_csv=folds,
        fold=0,
        weights="random",
        runs_dir=tmp_path / "runs",
    )


def begun(request: RunRequest) -> Path:
    """The folder of the run after its first checkpoint."""
    prepare_run(request)
    folder = request.folder
    (folder / "model_0000001.pth").touch()
    (folder / "last_checkpoint").write_text("model_0000001.pth")
    return folder


def resumed(request: RunRequest, **changes: Any) -> None:
    prepare_run(replace(request, resume=True, **changes))


def repaint(data: Path, name: str) -> None:
    path = str(data / "train" / f"{name}.png")
    cv2.imwrite(path, 255 - cv2.imread(path, cv2.IMREAD_GRAYSCALE))


def test_a_run_goes_on_with_the_data_it_began_with_wherever_they_lie(request_of: RunRequest) -> None:
    begun(request_of)
    moved = request_of.data_dirs[0].rename(request_of.data_dirs[0].with_name("moved"))
    resumed(request_of, data_dirs=[moved], weights=None)


@pytest.mark.parametrize(("name", "role"), [("image1", "training"), ("image0", "validation")])
def test_a_run_does_not_go_on_with_other_pixels(name: str, role: str, request_of: RunRequest) -> None:
    begun(request_of)
    repaint(request_of.data_dirs[0], name)
    with pytest.raises(UserError, match=f"these changed: {role} images: '"):
        resumed(request_of)


def test_a_run_does_not_go_on_with_other_cells_in_a_folder_of_labels(
    request_of: RunRequest, tmp_path: Path
) -> None:
    labels, truth = tmp_path / "labels", read_truth(request_of.data_dirs[0] / "train.csv")
    write_any(labels, truth, "labels")
    begun(replace(request_of, labels=labels))
    shutil.rmtree(labels)
    write_any(labels, truth | {"image1": truth["image1"][[0]]}, "labels")
    with pytest.raises(UserError, match="these changed: training images: '"):
        resumed(request_of, labels=labels)


def test_a_run_is_not_validated_on_a_truth_that_changed_beside_its_labels(
    request_of: RunRequest, tmp_path: Path
) -> None:
    labels, truth = tmp_path / "labels.csv", request_of.data_dirs[0] / "train.csv"
    labels.write_text(truth.read_text())
    begun(replace(request_of, labels=labels))
    header, _, *lines = truth.read_text().splitlines()  # a cell of image0 is gone
    truth.write_text("\n".join([header, *lines]) + "\n")
    with pytest.raises(UserError, match="these changed: validation images: '"):
        resumed(request_of, labels=labels)


def test_images_learned_by_heart_are_those_of_the_same_fold_on_resume(request_of: RunRequest) -> None:
    begun(replace(request_of, memorise=2))
    with pytest.raises(UserError, match="these changed: --fold: 0 -> 1"):
        resumed(request_of, memorise=2, fold=1)


def test_a_run_goes_on_from_its_own_initial_weights_only(request_of: RunRequest, tmp_path: Path) -> None:
    begun(request_of)
    other = tmp_path / "other.safetensors"
    other.touch()
    with pytest.raises(UserError, match=r"these changed: --weights: 'random' -> '.*other\.safetensors'"):
        resumed(request_of, weights=str(other))


def test_a_run_of_a_backbone_without_published_weights_goes_on_without_naming_its_own(
    request_of: RunRequest, tmp_path: Path
) -> None:
    weights = tmp_path / "thin.safetensors"
    weights.touch()
    thin = replace(request_of, settings=TINY.model_copy(update={"backbone": "r50_thin"}), weights=None)
    assert prepare_run(thin).weights == "random"
    begun(replace(thin, weights=str(weights)))
    resumed(thin)


def test_a_run_without_a_checkpoint_is_checked_as_a_new_one(request_of: RunRequest, tmp_path: Path) -> None:
    weights = tmp_path / "seen" / "model.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"before")
    request = replace(request_of, weights=str(weights))
    prepare_run(request)
    with pytest.raises(UserError, match=r"these changed: --weights: '.*model\.safetensors' -> 'random'"):
        resumed(request, weights=None)
    write_trained_on(weights.parent, {"renamed": request.data_dirs[0] / "train" / "image0.png"})
    with pytest.raises(UserError, match=r"image0 \(the same pixels as renamed\)"):
        resumed(request)
    weights.unlink()
    with pytest.raises(UserError, match="no such weights file"):
        resumed(request)
    assert sorted(read_trained_on(request.folder)) == ["image1", "image3"]


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_that_starts_anew_finds_no_results_of_the_one_before(
    resume: bool, request_of: RunRequest
) -> None:
    prepare_run(request_of)
    folder = request_of.folder
    for name in ("best.json", "model_best.pth", "metrics.json", "metrics.csv", "curves.png", "log.txt"):
        (folder / name).write_text("{}")
    prepare_run(replace(request_of, resume=resume))
    assert {path.name for path in folder.iterdir()} == {"config.yaml", "provenance.json", "trained_on.csv"}


def test_images_of_two_folders_under_the_same_names_are_all_listed(
    request_of: RunRequest, tmp_path: Path
) -> None:
    more = write_tiny_data(tmp_path / "more")
    for number in range(4):
        repaint(more, f"image{number}")
    both = replace(request_of, data_dirs=[*request_of.data_dirs, more], folds_csv=None, fold=None)
    folder = begun(both)
    listed = read_trained_on(folder)
    assert len(set(listed.values())) == 8
    assert {"image0", "image0 (another)"} < listed.keys()
    resumed(both)
    assert read_trained_on(folder) == listed


def test_images_of_one_name_from_three_trainings_are_all_listed() -> None:
    once = _together({"1": "a"}, [("1", "b")])
    assert once == {"1": "b", "1 (another)": "a"}
    assert _together(once, [("1", "b")]) == once
    assert set(_together(once, [("1", "c")]).values()) == {"a", "b", "c"}
    assert _together({"1": "a"}, [("2", "a")]) == {"1": "a", "2": "a"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"MODEL.RESNETS.NORM": "XX"},
        {"MODEL.PIXEL_MEAN": [1.0]},
        {"MODEL.RPN.BBOX_REG_LOSS_TYPE": "foo"},
        {"MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS": [1.0]},
        {"SOLVER.WARMUP_METHOD": "foo"},
        {"SOLVER.CLIP_GRADIENTS.ENABLED": True, "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": "foo"},
    ],
    ids=lambda wrong: max(wrong),
)
def test_a_value_that_detectron2_refuses_is_told_before_anything_is_written(
    wrong: dict[str, Any], request_of: RunRequest
) -> None:
    settings = TINY.model_copy(update={"detectron": TINY.detectron | wrong})
    with pytest.raises(UserError, match=rf"^detectron: expected values .*{max(wrong)}: .*Error.*; correct"):
        prepare_run(replace(request_of, settings=settings))
    assert not request_of.runs_dir.exists()


def test_a_run_that_goes_on_keeps_its_results(request_of: RunRequest) -> None:
    folder = begun(request_of)
    (folder / "best.json").write_text("{}")
    resumed(request_of)
    assert (folder / "best.json").exists()
