from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from command_line import run
from detectron2.modeling import build_model
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_models import TINY, write_tiny_data

from sartorius.config.members import ViewSettings
from sartorius.detectron.initial_weights import load_initial
from sartorius.detectron.int8 import weight_steps
from sartorius.detectron.predictor import Predictor
from sartorius.detectron.settings import detectron_config
from sartorius.detectron.stored_bytes import byte_steps, from_bytes, to_bytes
from sartorius.detectron.weights import export, load_trained, read_ranges, read_weights
from sartorius.errors import UserError

FC = "roi_heads.box_head.fc1.weight"


def large(*rows: list[float]) -> torch.Tensor:
    """Rows that are repeated until there are enough numbers to become bytes."""
    return torch.tensor(rows).repeat(1, 4096 // len(rows[0]))


def there_and_back(weight: torch.Tensor) -> torch.Tensor:
    return from_bytes(to_bytes({"weight": weight}), Path("some.safetensors"))["weight"]


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(8)
    return build_model(detectron_config(TINY, "cpu")).eval()


@pytest.fixture(scope="module")
def folder(model: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, and the files that were exported from it."""
    folder = tmp_path_factory.mktemp("run")
    torch.save({"model": model.state_dict()}, folder / "model_final.pth")
    for dtype in ("float32", "int8"):
        export(folder, folder / f"{dtype}.safetensors", dtype)
    return folder


@pytest.fixture(scope="module")
def stored(folder: Path) -> Path:
    return folder / "int8.safetensors"


def test_each_channel_has_its_own_step() -> None:
    weight = large([127.0, -3.0], [-254.0, 6.0])
    found = to_bytes({"weight": weight})
    assert found["weight.int8_steps"].tolist() == [1.0, 2.0]
    assert found["weight"].dtype == torch.int8
    assert found["weight"][:, :2].tolist() == [[127, -3], [-127, 3]]
    assert torch.equal(there_and_back(weight), weight)


def test_numbers_go_to_the_nearest_byte() -> None:
    weight = large([127.0, 0.4, 0.6, -0.6])
    assert to_bytes({"weight": weight})["weight"][0, :4].tolist() == [127, 0, 1, -1]


@given(st.integers(0, 2**32 - 1), st.sampled_from([(6, 80, 3, 3), (6, 720)]), st.floats(1e-6, 1e6))
def test_a_weight_comes_back_within_half_a_step(seed: int, shape: tuple[int, ...], size: float) -> None:
    weight = torch.from_numpy(size * np.random.default_rng(seed).normal(size=shape)).float()
    steps, found = byte_steps(weight), there_and_back(weight)
    assert found.dtype == torch.float32
    assert ((found - weight).abs().flatten(1) <= 0.50001 * steps[:, None]).all()
    assert (steps <= 2 * weight.abs().flatten(1).amax(1) / 127).all()


def test_8_bit_convolutions_round_stored_bytes_no_further() -> None:
    weight = torch.from_numpy(np.random.default_rng(0).normal(size=(6, 80, 3, 3))).float()
    stored = there_and_back(weight)
    torch.testing.assert_close(weight_steps(stored), byte_steps(weight), rtol=1e-6, atol=0)
    torch.testing.assert_close(there_and_back(stored), stored, rtol=1e-6, atol=0)


@pytest.mark.parametrize("sign", [None, 1])
def test_weights_that_are_whole_steps_keep_them_however_often_they_are_rounded(sign: int | None) -> None:
    torch.manual_seed(0)
    weight = torch.randn(256, 33, 3, 3) if sign is None else torch.rand(256, 33, 3, 3) + 0.5
    steps = weight_steps(weight)
    whole = (weight / steps[:, None, None, None]).round()
    assert set(whole.abs().amax((1, 2, 3)).int().tolist()) <= set(range(60, 128))
    torch.testing.assert_close(weight_steps(whole * steps[:, None, None, None]), steps, rtol=1e-6, atol=0)
    scaled = whole * steps[:, None, None, None] * 0.37  # as a norm joined in does
    torch.testing.assert_close(weight_steps(scaled), steps * 0.37, rtol=1e-6, atol=0)


@pytest.mark.parametrize("nothing", [0.0, 1e-44])
def test_a_channel_of_zeros_stays_one(nothing: float) -> None:
    weight = large([nothing, -nothing], [1.0, 0.5])
    found = there_and_back(weight)
    assert not found[0].any()
    assert torch.allclose(found[1], weight[1], atol=0.5 / 127)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.rand(5000),
        torch.rand(4095, 1),
        torch.rand(8).half().double(),
        torch.rand(0, 3),
        torch.tensor(2.0),
        large([1.0, float("nan")]),
        large([1.0, float("inf")]),
        torch.arange(5000).view(2, -1),
    ],
)
def test_vectors_small_and_broken_tensors_and_counts_keep_every_bit(tensor: torch.Tensor) -> None:
    found = to_bytes({"any": tensor})
    assert found.keys() == {"any"}
    assert found["any"].dtype == (torch.float32 if tensor.is_floating_point() else tensor.dtype)
    assert torch.equal(found["any"].nan_to_num(7), tensor.to(found["any"].dtype).nan_to_num(7))
    assert from_bytes(found, Path("some.safetensors"))["any"] is found["any"]


def test_no_tensors_are_no_bytes() -> None:
    assert to_bytes({}) == from_bytes({}, Path("some.safetensors")) == {}


def test_what_is_given_stays_as_it_is() -> None:
    given = {"weight": large([1.0, -3.0])}
    bytes_given = to_bytes(given)
    from_bytes(bytes_given, Path("some.safetensors"))
    assert torch.equal(given["weight"], large([1.0, -3.0]))
    assert bytes_given.keys() == {"weight", "weight.int8_steps"}


def test_the_file_has_a_quarter_of_the_size_and_says_what_its_bytes_are(stored: Path) -> None:
    assert 0.25 < stored.stat().st_size / stored.with_name("float32.safetensors").stat().st_size < 0.3
    with safe_open(stored, "pt") as opened:
        assert "int8_steps" in opened.metadata()["int8"]


def test_a_model_of_bytes_finds_what_it_found_in_float32(model: torch.nn.Module, stored: Path) -> None:
    other = build_model(detectron_config(TINY, "cpu")).eval()
    load_trained(other, stored)
    picture = np.random.default_rng(1).integers(0, 255, (64, 96), dtype=np.uint8)
    tensor = torch.from_numpy(picture).float().expand(1, 3, 64, 96) / 60 - 2
    with torch.inference_mode():
        for name, level in model.backbone(tensor).items():
            assert (other.backbone(tensor)[name] - level).norm() < 0.2 * level.norm(), name
    ours, theirs = (Predictor(network, TINY)(picture, "p", ViewSettings()) for network in (other, model))
    assert len(ours) == len(theirs) > 0
    assert np.allclose(ours.scores, theirs.scores, atol=0.01)


def test_a_training_starts_from_bytes(folder: Path, stored: Path) -> None:
    started = build_model(detectron_config(TINY, "cpu"))
    load_initial(started, "r50_thin", stored)
    exact = load_file(folder / "float32.safetensors")
    for name, tensor in started.state_dict().items():
        assert (tensor - exact[name]).norm() <= 0.02 * exact[name].norm(), name


def test_ranges_of_8_bit_convolutions_lie_beside_bytes(folder: Path, tmp_path: Path) -> None:
    export(folder, tmp_path / "out.safetensors", "int8", lambda _: {"layer": (-1.0, 2.5)})
    assert read_ranges(tmp_path / "out.safetensors") == {"layer": (-1.0, 2.5)}


def test_bytes_that_are_exported_again_hardly_change(stored: Path, tmp_path: Path) -> None:
    export(stored, tmp_path / "again.safetensors", "int8")
    once, again = read_weights(stored)["model"], read_weights(tmp_path / "again.safetensors")["model"]
    for name, tensor in once.items():
        assert (again[name] - tensor).norm() <= 0.006 * tensor.norm(), name


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (None, "the file has no such tensor"),
        (torch.ones(15), r"the file has one of shape \(15,\)"),
        (torch.ones(16, 1), r"the file has one of shape \(16, 1\)"),
        (torch.tensor(1.0), r"the file has one of shape \(\)"),
    ],
)
def test_bytes_without_a_step_for_each_channel_are_refused(
    steps: torch.Tensor | None, message: str, stored: Path, tmp_path: Path
) -> None:
    tensors = load_file(stored)
    del tensors[f"{FC}.int8_steps"]
    save_file(tensors | ({} if steps is None else {f"{FC}.int8_steps": steps}), tmp_path / "odd.safetensors")
    expected = rf"^\S+odd\.safetensors: {FC} is stored as int8 and needs {FC}\.int8_steps of shape \(16,\), {message}"
    fresh = build_model(detectron_config(TINY, "cpu"))
    with pytest.raises(UserError, match=expected):
        load_trained(fresh, tmp_path / "odd.safetensors")
    with pytest.raises(UserError, match=expected):
        load_initial(fresh, "r50_thin", tmp_path / "odd.safetensors")


def test_the_command_exports_bytes_that_a_training_goes_on_from(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, config = tmp_path / "out.safetensors", tmp_path / "tiny.yaml"
    assert run(monkeypatch, "export", folder, "--out", out, "--dtype", "int8") == 0
    assert capsys.readouterr().out == f"{out} ({out.stat().st_size / 1e6:.1f} MB)\n"
    assert load_file(out)[FC].dtype == torch.int8
    settings = TINY.model_copy(update={"iterations": 1})
    config.write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    data = write_tiny_data(tmp_path / "data")
    arguments = ("train", config, "--data", data, "--weights", out, "--runs", tmp_path / "runs")
    assert run(monkeypatch, *arguments) == 0
    trained = tmp_path / "runs" / "tiny" / "all" / "model.safetensors"
    assert load_file(trained).keys() == load_file(folder / "float32.safetensors").keys()


def test_the_command_names_the_types_it_can_write(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.safetensors"
    assert run(monkeypatch, "export", folder, "--out", out, "--dtype", "int4") == 2
    assert "--dtype expects one of float16, float32, int8, got 'int4'" in capsys.readouterr().err
    assert not out.exists()
