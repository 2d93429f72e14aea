"""Weights know the cell types that they were trained for."""

import shutil
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from tiny_models import TINY

from sartorius.detectron.predictor import predictor_of
from sartorius.detectron.processes import Machines
from sartorius.detectron.requirements import Plan, require_possible
from sartorius.detectron.settings import detectron_config
from sartorius.detectron.weight_types import types_of
from sartorius.detectron.weights import export
from sartorius.errors import UserError
from sartorius.experiment import write_provenance

TURNED = TINY.model_copy(update={"cell_types": TINY.cell_types[::-1]})


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a training."""
    folder = tmp_path / "run"
    folder.mkdir()
    write_provenance(folder, TINY, {})
    model = build_model(detectron_config(TINY, "cpu"))
    torch.save({"model": model.state_dict()}, folder / "model_final.pth")
    return folder


def test_an_exported_file_names_them_also_when_it_is_exported_again(run: Path, tmp_path: Path) -> None:
    first, again = tmp_path / "first.safetensors", tmp_path / "again.safetensors"
    export(run, first, "float16")
    export(first, again, "int8")
    assert types_of(run / "model_final.pth") == types_of(first) == types_of(again) == TINY.cell_types


def test_nothing_is_known_of_weights_of_another_program(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(run / "model_final.pth", other)
    (other / "config.yaml").write_text("MODEL: {DEVICE: cpu}\n")
    export(other, other / "out.safetensors", "float32")
    assert types_of(other / "model_final.pth") is None
    assert types_of(other / "out.safetensors") is None
    predictor_of(TURNED, other / "out.safetensors", "cpu")


@pytest.mark.parametrize("exported", [False, True])
def test_cells_are_not_given_other_types_names(run: Path, exported: bool) -> None:
    weights = run / "model_final.pth"
    if exported:
        export(run, weights := run / "model.safetensors", "float32")
    predictor_of(TINY, weights, "cpu")
    with pytest.raises(
        UserError, match=r"was trained for the cell types shsy5y, astro, cort, in this order; the"
    ):
        predictor_of(TURNED, weights, "cpu")


def test_heads_are_not_trained_alone_on_a_box_head_for_other_types(run: Path) -> None:
    alone = {"train_only": ("mask_head",)}
    for settings in (TURNED, TINY.model_copy(update=alone)):
        require_possible(Plan(settings, run / "model_final.pth", False, Machines(), True))
    with pytest.raises(UserError, match="its cells would have other types' names"):
        require_possible(
            Plan(TURNED.model_copy(update=alone), run / "model_final.pth", False, Machines(), True)
        )


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    weights = tmp_path / "broken.safetensors"
    weights.write_bytes(b"broken")
    alone = TINY.model_copy(update={"train_only": ("mask_head",)})
    with pytest.raises(UserError, match=r"broken\.safetensors: these weights cannot be read: .*header"):
        require_possible(Plan(alone, weights, False, Machines(), True))


def test_of_a_run_of_an_older_version_only_the_types_are_read(run: Path, tmp_path: Path) -> None:
    config = run / "config.yaml"
    config.write_text(config.read_text() + "a_key_of_those_days: 1.0\n")
    export(run, tmp_path / "out.safetensors", "float32")
    assert types_of(tmp_path / "out.safetensors") == TINY.cell_types
    config.write_text("cell_types: 3\n")
    assert types_of(run / "model_final.pth") is None
