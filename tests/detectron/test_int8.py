import json
from functools import partial
from pathlib import Path

import command_line
import numpy as np
import pytest
import torch
import yaml
from detectron2.layers import FrozenBatchNorm2d
from detectron2.modeling import build_model
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_models import TINY, write_tiny_data

from sartorius.config import ModelSettings
from sartorius.config.members import ViewSettings
from sartorius.data.images import read_image
from sartorius.data.leakage import write_trained_on
from sartorius.detectron import calibration
from sartorius.detectron import predictor as predictor_module
from sartorius.detectron.calibration import ranges_of_run, ranges_on
from sartorius.detectron.convolution import QuickConv2d
from sartorius.detectron.int8 import (
    Int8Conv2d,
    Scale,
    as_bytes,
    byte_layers,
    int8_works,
    scale_of,
    weight_steps,
)
from sartorius.detectron.predictor import Predictor, load_predictor
from sartorius.detectron.processes import Machines
from sartorius.detectron.settings import detectron_config
from sartorius.detectron.trainer import train
from sartorius.detectron.training_data import read_training_data
from sartorius.detectron.weights import RANGES, export, load_trained, read_ranges
from sartorius.errors import UserError

needs_int8 = pytest.mark.skipif(
    not int8_works(), reason="torch without 8-bit convolutions for this processor"
)

#: With frozen norms, as trained networks have them.
FLOAT = TINY.model_copy(update={"detectron": {}, "freeze_stages": 2})
INT8 = FLOAT.model_copy(update={"cpu_convolutions": "int8"})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """A finished run of a network whose norms do something, trained on three of the four images."""
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(2)
    network = build_model(detectron_config(FLOAT, "cpu"))
    for norm in network.modules():
        if isinstance(norm, FrozenBatchNorm2d):
            norm.weight.copy_(torch.rand_like(norm.weight) + 0.2)
            norm.bias.copy_(torch.rand_like(norm.bias) - 0.5)
    torch.save({"model": network.state_dict()}, folder / "model_final.pth")
    (folder / "config.yaml").write_text(yaml.safe_dump(FLOAT.model_dump(mode="json")))
    write_trained_on(folder, {f"image{number}": data / "train" / f"image{number}.png" for number in range(3)})
    return folder


@pytest.fixture(scope="module")
def calibrated(run: Path, data: Path) -> Path:
    path = run / "calibrated.safetensors"
    export(run, path, "float32", partial(ranges_of_run, data))
    return path


def predictor(settings: ModelSettings, weights: Path) -> Predictor:
    path = weights.with_name("settings.yaml")
    path.write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    return load_predictor(path, weights, "cpu")


def seen_by(predictor: Predictor, image: Path) -> dict[str, torch.Tensor]:
    """The pyramid and what the proposal network thinks of it."""
    tensor = torch.from_numpy(np.repeat(read_image(image)[None].astype(np.float32), 3, axis=0))
    network = predictor._model
    with torch.inference_mode():
        pyramid: dict[str, torch.Tensor] = network.backbone(
            network.preprocess_image([{"image": tensor}]).tensor
        )
        logits, deltas = network.proposal_generator.rpn_head(list(pyramid.values()))
    found = {f"logits {name}": level for name, level in zip(pyramid, logits, strict=True)}
    return pyramid | found | {f"deltas {name}": level for name, level in zip(pyramid, deltas, strict=True)}


@needs_int8
@pytest.mark.parametrize(("side", "groups"), [(1, 1), (3, 1), (3, 4)])
def test_sums_of_the_largest_bytes_are_exact(side: int, groups: int) -> None:
    """All bytes 255 and all weights of one sign: where a processor adds in 16 bits, nothing may be cut off."""
    torch.manual_seed(0)
    conv = QuickConv2d(32, 8, side, padding=side // 2, groups=groups)
    conv.weight.data = torch.rand_like(conv.weight) * 0.2 + 0.8
    steps = weight_steps(conv.weight.detach())[:, None, None, None]
    rounded = (conv.weight.detach() / steps).round()
    x = torch.full((1, 32, 5, 5), 255.0)
    exact = torch.nn.functional.conv2d(x, rounded * steps, conv.bias.detach(), 1, side // 2, 1, groups)
    conv.__class__ = Int8Conv2d
    with torch.inference_mode():
        conv.become(Scale(1.0, 0), None, relu=False)
        found = conv(x)
    assert torch.allclose(found, exact, rtol=1e-5)
    assert rounded.abs().max() > 60


@needs_int8
def test_a_sum_is_rounded_once() -> None:
    """The last product of a block, onto a shortcut whose bytes stand for something else."""
    torch.manual_seed(0)
    conv = QuickConv2d(8, 4, 1)
    pixels, total = torch.randint(0, 256, (1, 8, 5, 7)).float(), torch.randint(0, 256, (1, 4, 5, 7))
    total = total.contiguous(memory_format=torch.channels_last)
    given, shortcut, result = Scale(0.02, 100), Scale(0.05, 30), Scale(0.03, 0)
    floats = (pixels - given.zero) * given.step
    steps = weight_steps(conv.weight.detach())[:, None, None, None]
    weight = (conv.weight.detach() / steps).round() * steps
    exact = torch.nn.functional.conv2d(floats, weight, conv.bias.detach())
    exact = (exact + (total - shortcut.zero) * shortcut.step).relu()
    conv.__class__ = Int8Conv2d
    with torch.inference_mode():
        conv.become(given, result, relu=False)
        found = conv.onto(as_bytes(floats, given), total.to(torch.uint8), shortcut)
    assert (found * result.step - exact.clamp(max=255 * result.step)).abs().max() <= 0.51 * result.step
    assert exact.max() > 1


def test_floats_become_the_nearest_bytes() -> None:
    x = torch.tensor([-9.0, -0.51, 0.0, 0.26, 0.74, 1.0, 99.0]).view(1, 7, 1, 1)
    assert as_bytes(x, Scale(0.5, 1)).flatten().tolist() == [0, 0, 1, 2, 2, 3, 199]
    many = torch.rand(2, 3, 300, 200) * 300 - 20
    assert torch.equal(as_bytes(many, Scale(1.0, 10)), (many + 10.5).clamp(0, 255).to(torch.uint8))


def test_weights_whose_neighbours_are_small_keep_all_eight_bits() -> None:
    weight = torch.zeros(1, 4, 1, 1)
    weight[0, 0] = 1.0
    assert weight_steps(weight).tolist() == pytest.approx([1 / 127])
    weight[0, 1] = 0.91
    assert weight_steps(weight).tolist() == pytest.approx([1.91 / (32767 / 255 - 1)])
    assert weight_steps(weight[:, 1:]).tolist() == pytest.approx([0.91 / 127])  # an odd number of channels


@pytest.mark.parametrize(("low", "high"), [(0.0, 5.1), (-2.0, 3.1), (1.0, 5.1), (-4.0, -1.0), (0.0, 0.0)])
def test_a_scale_reaches_over_its_range_and_has_a_byte_for_nothing(low: float, high: float) -> None:
    step, zero = scale_of(low, high)
    assert 0 <= zero <= 255
    assert (0 - zero) * step <= low + step / 2
    assert (255 - zero) * step >= high - step / 2


@needs_int8
def test_the_network_in_bytes_says_what_the_one_in_float32_says(calibrated: Path, data: Path) -> None:
    image = data / "train" / "image3.png"  # not among those of the calibration
    exact, rounded = (seen_by(predictor(settings, calibrated), image) for settings in (FLOAT, INT8))
    assert len(exact) == 3 * 5
    for name, level in exact.items():
        error = (level - rounded[name]).norm() / level.norm()
        assert 0 < error < 0.3, (name, float(error))


@needs_int8
def test_every_layer_from_the_stem_to_the_proposals_computes_in_bytes(calibrated: Path) -> None:
    network = predictor(INT8, calibrated)._model
    names = {name for name, layer in network.named_modules() if isinstance(layer, QuickConv2d)}
    in_bytes = {name for name, layer in network.named_modules() if isinstance(layer, Int8Conv2d)}
    assert {name for name in names - in_bytes if not name.startswith("roi_heads.")} == {
        "backbone.bottom_up.stem.conv1"
    }
    assert len(in_bytes) == 3 * 16 + 4 + 2 * 4 + 1


def test_cells_do_not_depend_on_what_was_looked_at_before(calibrated: Path, data: Path) -> None:
    finder = predictor(INT8, calibrated)
    images = [read_image(data / "train" / f"image{number}.png") for number in (0, 3)]
    alone = finder(images[1], "p", ViewSettings())
    finder(images[0], "p", ViewSettings())
    after = finder(images[1], "p", ViewSettings())
    assert len(alone) > 0
    assert np.array_equal(alone.scores, after.scores)
    assert np.array_equal(alone.soft_masks, after.soft_masks)


def test_calibration_leaves_the_weights_as_they_are(run: Path, calibrated: Path) -> None:
    export(run, run / "plain.safetensors", "float32")
    plain, ours = load_file(run / "plain.safetensors"), load_file(calibrated)
    assert plain.keys() == ours.keys()
    assert all(torch.equal(plain[name], ours[name]) for name in plain)


def test_ranges_are_those_of_what_becomes_bytes(
    run: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By hand for a block, and for the layer that sees every pyramid level."""
    monkeypatch.setattr(calibration, "EACH", 1)
    ranges = ranges_of_run(data, run / "model_final.pth")
    network = build_model(detectron_config(FLOAT, "cpu")).eval()
    load_trained(network, run / "model_final.pth")
    of_block, of_levels = [], []
    for number in range(3):
        pixels = torch.from_numpy(read_image(data / "train" / f"image{number}.png").astype(np.float32))
        with torch.no_grad():
            picture = network.preprocess_image([{"image": pixels[None].expand(3, -1, -1)}]).tensor
            of_block.append(float(network.backbone.bottom_up(picture)["res3"].max()))
            of_levels.append(max(float(level.max()) for level in network.backbone(picture).values()))
    assert ranges["backbone.bottom_up.res3.3"][1] == pytest.approx(np.mean(of_block), rel=1e-4)
    assert ranges["proposal_generator.rpn_head.conv"][1] == pytest.approx(np.mean(of_levels), rel=1e-4)


def test_a_rare_value_does_not_make_the_steps_of_all_others_coarse() -> None:
    values = torch.linspace(-1, 1, 7 * 300_000).view(1, 3, 700, 1000)
    values[0, 1, 100, ::7] = 50.0
    low, high = calibration._range(values)
    assert (low, high) == pytest.approx((-1, 1), abs=1e-3)
    assert calibration._range(torch.tensor([3.0, 5.0])) == (3.0, 3.0)


def test_a_training_run_that_asks_for_bytes_exports_the_ranges(run: Path, data: Path, tmp_path: Path) -> None:
    settings = INT8.model_copy(update={"iterations": 1, "base_lr": 1e-5})
    images = read_training_data([data], settings.cell_types, None, None)
    exported = train(settings, images, tmp_path / "run", run / "model_final.pth", Machines())
    found = read_ranges(exported)
    again = ranges_on(
        [image.pixels for image in images.training], settings, tmp_path / "run" / "model_final.pth"
    )
    assert found == {name: pytest.approx(values) for name, values in again.items()}


def test_a_training_run_that_could_not_compute_in_bytes_never_starts(data: Path, tmp_path: Path) -> None:
    settings = TINY.model_copy(update={"cpu_convolutions": "int8"})
    images = read_training_data([data], settings.cell_types, None, None)
    with pytest.raises(UserError, match="knows bottleneck blocks with frozen norms"):
        train(settings, images, tmp_path / "run", "random", Machines())
    assert not (tmp_path / "run").exists()


def test_a_run_is_exported_with_its_ranges_by_the_command(
    run: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.safetensors"
    assert command_line.run(monkeypatch, "export", run, "--out", out, "--calibrate", data) == 0
    assert "MB)" in capsys.readouterr().out
    assert read_ranges(out) == ranges_of_run(data, run / "model_final.pth")


def test_weights_without_ranges_are_refused(run: Path) -> None:
    export(run, run / "plain.safetensors", "float16")
    with pytest.raises(
        UserError, match=r"plain\.safetensors: `cpu_convolutions: int8` needs weights that were exported"
    ):
        predictor(INT8, run / "plain.safetensors")


@needs_int8
def test_ranges_of_another_network_are_refused(calibrated: Path, run: Path) -> None:
    with safe_open(calibrated, "pt") as opened:
        ranges = json.loads(opened.metadata()[RANGES])
    del ranges["backbone.fpn_output2"]
    save_file(load_file(calibrated), run / "other.safetensors", {RANGES: json.dumps(ranges)})
    with pytest.raises(UserError, match=r"not this network's, see 'backbone\.fpn_output2'"):
        predictor(INT8, run / "other.safetensors")


@pytest.mark.parametrize("key", ["RESNETS", "FPN"])
def test_norms_that_cannot_be_joined_in_are_refused(key: str) -> None:
    settings = FLOAT.model_copy(update={"detectron": {f"MODEL.{key}.NORM": "GN"}, "pyramid_channels": 32})
    network = build_model(detectron_config(settings, "cpu"))
    with pytest.raises(
        UserError, match=r"knows bottleneck blocks with frozen norms, .* is QuickConv2d with GroupNorm"
    ):
        byte_layers(network)


def test_a_processor_without_such_convolutions_computes_in_float32_and_says_so(
    calibrated: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(predictor_module, "int8_works", lambda: False)
    finder = predictor(INT8, calibrated)
    assert "float32" in caplog.text
    assert finder.config["cpu_convolutions"] == "float32"
    assert not any(isinstance(layer, Int8Conv2d) for layer in finder._model.modules())


def test_calibration_needs_an_image_that_was_trained_on(run: Path, tmp_path: Path) -> None:
    other = write_tiny_data(tmp_path / "other", images=1)
    (other / "train" / "image0.png").rename(other / "train" / "unknown.png")
    with pytest.raises(
        UserError, match=r"other: expected images that the run was trained on, found none of the 3 that"
    ):
        ranges_of_run(other, run / "model_final.pth")
