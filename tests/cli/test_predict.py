import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from command_line import run
from fake_predictors import small_ensemble, small_truth, two_predictors, written_images


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """An ensemble, three images, and models that know the truth; `asked` is what the models were loaded with."""
    pytest.importorskip("torch")
    truth, asked = small_truth(), []
    written_images(tmp_path / "images", truth)

    def load_predictors(ensemble, settings, device):
        asked.append((ensemble, device))
        return two_predictors(truth)

    fake = SimpleNamespace(load_predictors=load_predictors)
    monkeypatch.setitem(sys.modules, "sartorius.detectron.ensemble", fake)
    return SimpleNamespace(
        ensemble=small_ensemble(tmp_path),
        images=tmp_path / "images",
        out=tmp_path / "cache",
        asked=asked,
        folder=tmp_path,
    )


def test_the_cache_is_filled_and_the_command_says_where_and_how_much(monkeypatch, capsys, scene):
    assert run(monkeypatch, "predict", scene.ensemble, "--images", scene.images, "--out", scene.out) == 0
    captured = capsys.readouterr()
    assert captured.out == (f"{scene.out}: 3 images x 4 sources, 12 predicted now, 0 were there\n")
    assert "predict: 12/12" in captured.err
    assert len(list(scene.out.glob("*/*/manifest.json"))) == 4
    assert scene.asked == [(scene.ensemble, "cpu")]


def test_running_it_again_predicts_nothing_and_says_so_as_json(monkeypatch, capsys, scene):
    command = ("predict", scene.ensemble, "--images", scene.images, "--out", scene.out, "--device", "cuda:1")
    run(monkeypatch, *command)
    capsys.readouterr()
    assert run(monkeypatch, *command, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "out": str(scene.out),
        "images": 3,
        "sources": ["r50/none", "r50/horizontal", "x101/none", "x101/horizontal"],
        "made": 0,
        "kept": 12,
        "left_out": 0,
    }
    assert scene.asked[-1] == (scene.ensemble, "cuda:1")


def test_ids_choose_the_images(monkeypatch, scene):
    command = ("predict", scene.ensemble, "--images", scene.images, "--out", scene.out)
    assert run(monkeypatch, *command, "--ids", "cort_image, empty_image") == 0
    assert {path.stem for path in scene.out.rglob("*.npz")} == {"cort_image", "empty_image"}


def test_a_fold_chooses_the_images_of_the_competitions_training_folder(monkeypatch, scene):
    scene.images.rename(scene.folder / "train")
    (scene.folder / "train.csv").write_text("id,annotation,width,height,cell_type\n")
    (scene.folder / "folds.csv").write_text("id,fold\ncort_image,0\nastro_image,1\nempty_image,1\n")
    command = ("predict", scene.ensemble, "--images", scene.folder, "--out", scene.out)
    assert run(monkeypatch, *command, "--folds", scene.folder / "folds.csv", "--fold", 0) == 0
    assert {path.stem for path in scene.out.rglob("*.npz")} == {"cort_image"}


def test_a_broken_image_is_named_in_one_message_with_status_2_and_the_others_are_kept(
    monkeypatch, capsys, scene
):
    (scene.images / "cort_image.png").write_bytes(b"")
    assert run(monkeypatch, "predict", scene.ensemble, "--images", scene.images, "--out", scene.out) == 2
    err = capsys.readouterr().err
    assert "sartorius: 1 of 3 images cannot be used; the predictions of the other 2 images are kept\n" in err
    assert str(scene.images / "cort_image.png") in err
    assert "Traceback" not in err
    assert len(list(scene.out.rglob("*.npz"))) == 8


@pytest.mark.parametrize("missing", ["images", "ensemble"])
def test_a_wrong_path_ends_with_status_2_before_a_model_is_loaded(monkeypatch, capsys, scene, missing):
    setattr(scene, missing, scene.folder / "nowhere")
    assert run(monkeypatch, "predict", scene.ensemble, "--images", scene.images, "--out", scene.out) == 2
    assert str(scene.folder / "nowhere") in capsys.readouterr().err
    assert scene.asked == []


def test_without_torch_the_message_names_the_extra(monkeypatch, capsys, scene):
    for name in [name for name in sys.modules if name.startswith("sartorius.detectron")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert run(monkeypatch, "predict", scene.ensemble, "--images", scene.images, "--out", scene.out) == 2
    assert "needs torch" in (err := capsys.readouterr().err)
    assert "from its source" in err


def test_the_commands_right_of_the_cache_never_load_torch():
    code = "import sys, sartorius.cli.fuse, sartorius.pipeline; print('torch' in sys.modules, 'detectron2' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["False", "False"]


def test_an_interrupted_prediction_says_where_it_is_kept(monkeypatch, capsys, scene):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sartorius.pipeline.predict_images", interrupted)
    assert run(monkeypatch, "predict", scene.ensemble, "--images", scene.images, "--out", scene.out) == 130
    kept = f"what is predicted is kept in {scene.out}, run the same command again to go on"
    assert capsys.readouterr().err == f"sartorius: interrupted; {kept}\n"
