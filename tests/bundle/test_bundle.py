import filecmp
import json
import os
import shutil
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
import yaml
from command_line import run
from kaggle_machine import IMAGE, PROJECT, target_here

from sartorius.bundle import Target, checked_naming, read_target, wheels, write_bundle
from sartorius.bundle.closure import needed
from sartorius.bundle.kernels import notebook
from sartorius.bundle.wheels import is_pure, packed_again
from sartorius.cli import main
from sartorius.config import load_ensemble_settings, load_model_settings
from sartorius.errors import UserError
from sartorius.experiment import file_sha256

pytest.importorskip("detectron2", reason="a bundle packs detectron2")

NAMING = checked_naming("somebody", "sartorius-bundle")
KAGGLE = read_target(IMAGE, "3.12", "x86_64-manylinux_2_28")


def ensemble(folder: Path) -> Path:
    """An ensemble whose settings stand on another file, with weights that nothing reads."""
    (folder / "models").mkdir(parents=True)
    (folder / "models" / "base.yaml").write_text("backbone: r50_thin\niterations: 7\n")
    (folder / "models" / "tiny.yaml").write_text("base: base.yaml\nbatch_size: 3\n")
    (folder / "weights.pth").write_bytes(b"weights")
    path = folder / "mine.yaml"
    path.write_text(
        "members:\n  - {name: tiny, model: models/tiny.yaml, weights: weights.pth}\n"
        "views: [{flip: none}, {flip: vertical}]\ngains: {views: {none: 0.1, vertical: 0.01}}\n"
    )
    return path


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    return write_bundle(ensemble(folder / "configs"), folder / "out", target_here(), NAMING).folder


def test_the_same_inputs_give_the_same_bytes(bundle, tmp_path):
    before = os.umask(0o077)
    try:
        again = write_bundle(ensemble(tmp_path / "configs"), tmp_path / "again", target_here(), NAMING).folder
    finally:
        os.umask(before)
    names = sorted(path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(again).as_posix() for path in again.rglob("*") if path.is_file())
    assert filecmp.cmpfiles(bundle, again, names, shallow=False)[1:] == ([], [])


def test_the_manifest_has_the_hash_of_every_file_of_the_data_set(bundle):
    manifest = json.loads((bundle / "sartorius-manifest.json").read_text())
    there = {path.name for path in bundle.iterdir() if path.is_file()}
    assert set(manifest["sha256"]) == there - {"sartorius-manifest.json", "dataset-metadata.json"}
    assert all(file_sha256(bundle / name) == digest for name, digest in manifest["sha256"].items())


def test_the_data_set_is_flat_since_kaggles_tool_leaves_folders_out(bundle):
    assert [path.name for path in bundle.iterdir() if path.is_dir()] == ["kernels"]
    assert json.loads((bundle / "dataset-metadata.json").read_text()) == {
        "title": "sartorius bundle",
        "id": "somebody/sartorius-bundle",
        "licenses": [{"name": "other"}],
    }


def test_ensemble_and_models_mean_the_same_as_before_and_name_each_other(bundle, tmp_path):
    original = load_ensemble_settings(ensemble(tmp_path))
    packed = load_ensemble_settings(bundle / "ensemble.yaml")
    assert packed.model_copy(update={"members": original.members}) == original
    (member,) = packed.members
    assert (bundle / member.weights).read_bytes() == b"weights"
    model = load_model_settings(bundle / member.model)
    assert (model.iterations, model.batch_size) == (7, 3)
    assert "base" not in yaml.safe_load((bundle / member.model).read_text())


def test_the_wheels_are_what_kaggle_lacks_and_torch_is_not_among_them():
    names = [found.metadata["Name"] for found in needed(KAGGLE).packed]
    assert names == [
        "ensemble-boxes", "faster-coco-eval", "fvcore", "hydra-core", "iopath", "pb1-detectron2", "portalocker",
        "roifile", "sartorius", "yacs",
    ]  # fmt: skip


def test_kaggles_own_versions_are_counted_on():
    counted_on = needed(KAGGLE).counted_on
    assert counted_on["torch"] == ">=2.4"
    assert counted_on["numpy"] == ">=2.0"


def test_a_package_of_the_image_that_is_too_old_is_refused_with_who_asks_for_it():
    old = KAGGLE._replace(has={**KAGGLE.has, "numpy": "1.26.4"})
    with pytest.raises(UserError, match=r"sartorius asks for numpy>=2.0, but there is numpy 1.26.4"):
        needed(old)


def test_a_python_that_the_packages_are_not_for_is_refused():
    with pytest.raises(UserError, match=r"sartorius 0.1.0 is not for Python 3.10"):
        needed(KAGGLE._replace(python="3.10"))


def test_a_wheel_made_again_has_the_files_that_are_installed_and_their_hashes(tmp_path):
    wheel = packed_again(distribution("yacs"))
    assert wheel.name == "yacs-0.1.8-py3-none-any.whl"
    (tmp_path / wheel.name).write_bytes(wheel.content)
    with zipfile.ZipFile(tmp_path / wheel.name) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        record = archive.read("yacs-0.1.8.dist-info/RECORD").decode().splitlines()
        source = archive.read("yacs/config.py")
    assert source == Path(str(distribution("yacs").locate_file("yacs/config.py"))).read_bytes()
    assert [line.split(",")[0] for line in record] == names
    assert not any("__pycache__" in name or "INSTALLER" in name for name in names)


def test_a_compiled_package_keeps_its_tags():
    compiled = distribution("faster-coco-eval")
    assert not is_pure(compiled)
    tag = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    assert packed_again(compiled).name.startswith(f"faster_coco_eval-{compiled.version}-{tag}-{tag}-")


def test_a_compiled_package_for_a_newer_linux_than_the_targets_is_fetched_again(monkeypatch):
    fetched = []

    def fetch(name: str, *_: object) -> Path:
        fetched.append(name)
        raise UserError("fetched")

    monkeypatch.setattr(wheels, "_fetched", fetch)
    compiled = distribution("faster-coco-eval")
    wheels.wheel_for(compiled, target_here(), pins="")
    with pytest.raises(UserError, match="fetched"):
        wheels.wheel_for(compiled, target_here()._replace(platform="x86_64-manylinux2014"), pins="")
    assert fetched == ["faster-coco-eval"]


def test_detectron2s_wheel_fits_every_python_and_asks_for_no_formatter(tmp_path):
    wheel = packed_again(distribution("pb1-detectron2"))
    assert wheel.name == "pb1_detectron2-0.6-py3-none-any.whl"
    (tmp_path / wheel.name).write_bytes(wheel.content)
    with zipfile.ZipFile(tmp_path / wheel.name) as archive:
        metadata = archive.read("pb1_detectron2-0.6.dist-info/METADATA").decode()
    assert "Requires-Dist: fvcore" in metadata
    assert "black" not in metadata.split("\n\n")[0]


def test_our_own_wheel_has_every_module_and_the_command():
    wheel = packed_again(distribution("sartorius"))
    assert b"sartorius/detectron/predictor.py" in wheel.content
    assert b"sartorius = sartorius.__main__:main" in wheel.content
    modules = {path.relative_to(PROJECT).as_posix() for path in (PROJECT / "sartorius").rglob("*.py")}
    assert all(module.encode() in wheel.content for module in modules)


def test_the_kernels_are_offline_with_a_gpu_and_know_their_data_set(bundle):
    inference = json.loads((bundle / "kernels" / "inference" / "kernel-metadata.json").read_text())
    assert (inference["enable_internet"], inference["enable_gpu"]) == ("false", "true")
    assert (inference["kernel_type"], inference["code_file"]) == ("script", "infer.py")
    for kind in ("inference", "training"):
        metadata = json.loads((bundle / "kernels" / kind / "kernel-metadata.json").read_text())
        assert metadata["id"] == f"somebody/sartorius-bundle-{kind}"
        assert metadata["title"].replace(" ", "-") == metadata["id"].split("/")[1]
        assert metadata["dataset_sources"] == ["somebody/sartorius-bundle"]
        assert metadata["competition_sources"] == ["sartorius-cell-instance-segmentation"]
        assert (bundle / "kernels" / kind / metadata["code_file"]).is_file()


def test_a_notebook_writes_the_script_and_runs_it_and_fails_with_it(tmp_path, monkeypatch):
    made = json.loads(notebook("import sys\nsys.exit(3)\n", "infer.py"))
    assert (made["nbformat"], [cell["cell_type"] for cell in made["cells"]]) == (
        4,
        ["markdown", "code", "code"],
    )
    magic, script = "".join(made["cells"][1]["source"]).split("\n", 1)
    assert magic == "%%writefile infer.py"
    monkeypatch.chdir(tmp_path)
    Path("infer.py").write_text(script)
    with pytest.raises(Exception, match="exit status 3"):
        exec("".join(made["cells"][2]["source"]))


def test_a_folder_that_holds_something_else_is_refused(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious.txt").write_text("precious")
    with pytest.raises(UserError, match="holds something that is no bundle"):
        write_bundle(ensemble(tmp_path / "configs"), tmp_path / "mine", target_here(), NAMING)
    (tmp_path / "mine" / "sartorius-manifest.json").write_text("{}")
    with pytest.raises(UserError, match=r"precious\.txt is no part of a bundle"):
        write_bundle(ensemble(tmp_path / "again"), tmp_path / "mine", target_here(), NAMING)
    assert (tmp_path / "mine" / "precious.txt").read_text() == "precious"


@pytest.mark.parametrize("name", ["tuned.yaml", "weights_old.pth", "mine.whl"])
def test_files_beside_an_earlier_bundle_that_it_does_not_list_are_the_users_own(bundle, tmp_path, name):
    shutil.copytree(bundle, tmp_path / "out")
    (tmp_path / "out" / name).write_text("precious")
    with pytest.raises(UserError, match=rf"{name} is no part of a bundle"):
        write_bundle(ensemble(tmp_path / "configs"), tmp_path / "out", target_here(), NAMING)
    assert (tmp_path / "out" / name).read_text() == "precious"


def test_an_earlier_bundle_is_replaced(bundle, tmp_path):
    shutil.copytree(bundle, tmp_path / "out")
    (tmp_path / "out" / "README.md").write_text("earlier")
    write_bundle(ensemble(tmp_path / "configs"), tmp_path / "out", target_here(), NAMING)
    assert filecmp.cmp(bundle / "README.md", tmp_path / "out" / "README.md", shallow=False)


def test_missing_weights_leave_an_earlier_bundle_as_it_was(bundle, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sartorius-manifest.json").write_text("{}")
    path = ensemble(tmp_path / "configs")
    (tmp_path / "configs" / "weights.pth").unlink()
    with pytest.raises(UserError, match=r"weights\.pth: no such weights file, which .*mine\.yaml names"):
        write_bundle(path, tmp_path / "out", target_here(), NAMING)
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["sartorius-manifest.json"]


def test_weights_that_are_cut_short_are_refused(tmp_path):
    path = ensemble(tmp_path)
    path.write_text(path.read_text().replace("weights.pth", "weights.safetensors"))
    whole = (PROJECT / "models" / "starter" / "model.safetensors").read_bytes()
    (tmp_path / "weights.safetensors").write_bytes(whole[:100_000])
    with pytest.raises(UserError, match=r"weights\.safetensors: these weights cannot be read"):
        write_bundle(path, tmp_path / "out", target_here(), NAMING)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--user", "a b"], "--user expects your name on Kaggle"),
        (["--name", "Bundle"], "--name expects 6 to 40 small letters"),
        (["--python", "three"], "--python expects a version"),
        (["--platform", "win-amd64"], "--platform expects x86_64-manylinux_2_28, or another Linux"),
        (["--platform", "sparc-linux"], "--platform expects x86_64-manylinux_2_28, or another Linux"),
        (["--image", "nowhere.txt"], "--image nowhere.txt: expected a text file"),
    ],
)
def test_bad_arguments_end_with_one_message(monkeypatch, capsys, tmp_path, arguments, message):
    monkeypatch.setattr(
        sys,
        "argv",
        ["sartorius", "bundle", str(ensemble(tmp_path)), "--out", str(tmp_path / "out"), *arguments],
    )
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_command_says_what_takes_the_bundle_to_a_submission(monkeypatch, capsys, tmp_path):
    (tmp_path / "image.txt").write_text("".join(f"{name}=={at}\n" for name, at in target_here().has.items()))
    options = ["--python", target_here().python, "--image", tmp_path / "image.txt", "--user", "somebody"]
    assert run(monkeypatch, "bundle", ensemble(tmp_path), "--out", tmp_path / "out", *options) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].endswith("wheels; now")
    assert [line.split()[:3] for line in told[1:]] == [
        ["kaggle", "datasets", "create"], ["kaggle", "kernels", "push"], ["kaggle", "kernels", "status"],
        ["kaggle", "competitions", "submit"],
    ]  # fmt: skip
    assert "-k somebody/sartorius-bundle-inference -v 1 -f submission.csv" in told[-1]


def test_an_image_list_is_read_as_pip_writes_it(tmp_path):
    (tmp_path / "image.txt").write_text(
        "# comment\nTorch==2.10.0+cu128\ncucim @ file:///cucim.whl\n-e .\nPyYAML==6.0.3  # why\n\n"
    )
    assert read_target(tmp_path / "image.txt", "3.12", "x86_64-manylinux_2_28") == Target(
        "3.12", "x86_64-manylinux_2_28", {"torch": "2.10.0+cu128", "pyyaml": "6.0.3"}
    )
    (tmp_path / "image.txt").write_text("nothing here\n")
    with pytest.raises(UserError, match=r"expected lines such as numpy==2\.0\.2"):
        read_target(tmp_path / "image.txt", "3.12", "x86_64-manylinux_2_28")
