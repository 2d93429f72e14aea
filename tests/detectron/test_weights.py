import pickle
from pathlib import Path
from typing import BinaryIO
from urllib.error import URLError

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from safetensors.torch import load_file, save_file
from tiny_models import TINY

from sartorius.config import ModelSettings
from sartorius.data.leakage import read_trained_on, write_trained_on
from sartorius.detectron.initial_weights import load_initial, model_zoo
from sartorius.detectron.settings import detectron_config
from sartorius.detectron.weights import (
    BEST,
    LAST_AVERAGE,
    CellCheckpointer,
    export,
    load_trained,
    read_ranges,
)
from sartorius.errors import UserError


def tiny_model() -> torch.nn.Module:
    return build_model(detectron_config(TINY, "cpu"))


def test_an_exported_checkpoint_loads_into_the_same_model(tmp_path: Path) -> None:
    model = tiny_model()
    torch.save({"model": model.state_dict(), "iteration": 3}, tmp_path / "model_final.pth")
    export(tmp_path, tmp_path / "out.safetensors", "float32")
    other = tiny_model()
    load_trained(other, tmp_path / "out.safetensors")
    for key, tensor in model.state_dict().items():
        assert torch.equal(other.state_dict()[key], tensor), key


def test_float16_halves_the_file_and_keeps_three_digits(tmp_path: Path) -> None:
    model = tiny_model()
    torch.save({"model": model.state_dict()}, tmp_path / "model_best.pth")
    for dtype in ("float16", "float32"):
        export(tmp_path / "model_best.pth", tmp_path / f"{dtype}.safetensors", dtype)
    sizes = [(tmp_path / f"{dtype}.safetensors").stat().st_size for dtype in ("float16", "float32")]
    assert sizes[0] < 0.55 * sizes[1]
    halved = load_file(tmp_path / "float16.safetensors")
    for key, tensor in model.state_dict().items():
        assert torch.allclose(halved[key].float(), tensor.float(), rtol=1e-3, atol=1e-6), key


def test_numbers_beyond_float16_stay_in_float32(tmp_path: Path) -> None:
    variances = torch.tensor([2.0, 83_614.75])  # as in the first norm of ImageNet's ResNet-50
    torch.save({"model": {"running_var": variances, "weight": torch.ones(2)}}, tmp_path / "model_best.pth")
    export(tmp_path, tmp_path / "out.safetensors", "float16")
    stored = load_file(tmp_path / "out.safetensors")
    assert torch.equal(stored["running_var"], variances)
    assert stored["weight"].dtype == torch.float16


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    broken = tiny_model().state_dict()
    name = "roi_heads.box_predictor.cls_score.bias"
    broken[name][0] = value
    save_file(broken, tmp_path / "broken.safetensors")
    with pytest.raises(
        UserError, match=rf"broken\.safetensors: expected finite weights, got others in {name}: "
    ):
        load_trained(tiny_model(), tmp_path / "broken.safetensors")
    with pytest.raises(UserError, match="expected finite weights"):
        load_initial(tiny_model(), "r50_thin", tmp_path / "broken.safetensors")
    with pytest.raises(UserError, match="expected finite weights"):
        export(tmp_path / "broken.safetensors", tmp_path / "out.safetensors", "float32")


def test_the_best_checkpoint_of_a_run_is_exported(tmp_path: Path) -> None:
    for name, value in (("model_final", 1.0), ("model_best", 2.0)):
        torch.save({"model": {"weight": torch.tensor([value])}}, tmp_path / f"{name}.pth")
    export(tmp_path, tmp_path / "out.safetensors", "float32")
    assert load_file(tmp_path / "out.safetensors")["weight"].tolist() == [2.0]


def test_a_folder_without_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"expected model_best\.pth, model_swa\.pth or model_final\.pth of"):
        export(tmp_path, tmp_path / "out.safetensors", "float16")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_dtype_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expects one of float16, float32, int8, got 'int4'"):
        export(tmp_path, tmp_path / "out.safetensors", "int4")


def test_weights_are_exported_under_a_name_that_tells_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"weights file ending in \.safetensors, got 'out\.pth'"):
        export(tmp_path, tmp_path / "out.pth", "float32")


def test_the_checkpoint_is_never_overwritten_by_its_export(tmp_path: Path) -> None:
    whole = tmp_path / "model.safetensors"
    save_file({"weight": torch.ones(1)}, whole)
    with pytest.raises(UserError, match="expected another file than the input"):
        export(whole, whole, "float16")
    assert load_file(whole)["weight"].dtype == torch.float32


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    wide = build_model(detectron_config(TINY.model_copy(update={"pyramid_channels": 32}), "cpu"))
    save_file(wide.state_dict(), tmp_path / "wide.safetensors")
    with pytest.raises(UserError, match=r"another architecture than the settings: .*the model needs"):
        load_trained(tiny_model(), tmp_path / "wide.safetensors")


def test_a_missing_weights_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.safetensors: no such weights file"):
        load_trained(tiny_model(), tmp_path / "gone.safetensors")


def test_a_truncated_weights_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    save_file(tiny_model().state_dict(), path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"cut\.safetensors: expected"):
        load_trained(tiny_model(), path)


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return print, ("code ran",)

    (tmp_path / "evil.pkl").write_bytes(pickle.dumps({"model": Evil()}))
    with pytest.raises(UserError, match=r"builtins\.print is not allowed"):
        load_initial(tiny_model(), "r50_thin", tmp_path / "evil.pkl")


def test_backbone_weights_start_a_model_whose_heads_stay_random(tmp_path: Path) -> None:
    donor = tiny_model()
    prefix = "backbone.bottom_up."
    arrays = {
        key.removeprefix(prefix): tensor.numpy()
        for key, tensor in donor.state_dict().items()
        if key.startswith(prefix)
    }
    (tmp_path / "backbone.pkl").write_bytes(
        pickle.dumps({"model": arrays, "__author__": "a test", "matching_heuristics": True})
    )
    model = tiny_model()
    head = "roi_heads.box_predictor.cls_score.weight"
    before = model.state_dict()[head].clone()
    load_initial(model, "r50_thin", tmp_path / "backbone.pkl")
    for key in arrays:
        assert np.array_equal(model.state_dict()[prefix + key].numpy(), arrays[key]), key
    assert torch.equal(model.state_dict()[head], before)


def test_a_backbone_of_another_width_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.pkl").write_bytes(
        pickle.dumps({"model": {"stem.conv1.weight": np.zeros((8, 3, 7, 7), dtype=np.float32)}})
    )
    with pytest.raises(UserError, match="weights of another architecture"):
        load_initial(tiny_model(), "r50_thin", tmp_path / "other.pkl")


def test_a_backbone_that_no_model_zoo_has_asks_for_a_file() -> None:
    with pytest.raises(UserError, match="--weights FILE"):
        load_initial(tiny_model(), "r50_thin", None)


def test_weights_that_cannot_be_downloaded_name_the_file_and_the_option(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import sartorius.detectron.initial_weights as module

    def refuse(*arguments: object, **keywords: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(module, "urlopen", refuse)
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    address = r"^https://dl\.fbaipublicfiles\.com/detectron2/ImageNetPretrained/MSRA/R-50\.pkl"
    with pytest.raises(UserError, match=rf"{address} cannot be downloaded.*--weights FILE"):
        load_initial(tiny_model(), "r50", None)
    assert capfd.readouterr().err == ""


def test_a_weights_file_without_any_content_is_named_with_a_reason(tmp_path: Path) -> None:
    empty = tmp_path / "zero.pth"
    empty.touch()
    with pytest.raises(UserError, match=r"zero\.pth: expected \.safetensors.* cannot be read: \w+"):
        load_initial(tiny_model(), "r50", empty)


def test_torchvision_weights_compute_the_same_features_in_our_backbone(tmp_path: Path) -> None:
    from torchvision.models import resnet50

    torch.manual_seed(0)
    theirs = resnet50(weights=None).eval()
    torch.save(theirs.state_dict(), tmp_path / "resnet50.pth")
    settings = ModelSettings(detectron={"MODEL.RESNETS.STRIDE_IN_1X1": False})
    ours = build_model(detectron_config(settings, "cpu")).eval()
    load_initial(ours, "r50", tmp_path / "resnet50.pth")
    picture = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        found = ours.backbone.bottom_up(picture)["res5"]
        x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(picture))))
        expected = theirs.layer4(theirs.layer3(theirs.layer2(theirs.layer1(x))))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.max()))


@pytest.mark.parametrize("backbone", ["r50", "r101", "r152", "x101_32x8d"])
def test_every_wide_backbone_has_weights_that_can_be_downloaded(backbone: str) -> None:
    assert model_zoo(backbone).endswith((".pkl", ".pth"))


def test_a_model_of_eight_cell_lines_starts_one_of_three_types(tmp_path: Path) -> None:
    lines = ("a172", "bt474", "bv2", "huh7", "mcf7", "shsy5y", "skbr3", "skov3")
    donor = build_model(detectron_config(TINY.model_copy(update={"cell_types": lines}), "cpu"))
    torch.save({"model": donor.state_dict()}, tmp_path / "model_final.pth")
    export(tmp_path, tmp_path / "livecell.safetensors", "float32")
    model = tiny_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    load_initial(model, "r50_thin", tmp_path / "livecell.safetensors")
    kept_random = {
        name for name, tensor in model.state_dict().items() if tensor.shape != donor.state_dict()[name].shape
    }
    assert kept_random == {
        f"roi_heads.{part}.{kind}"
        for part in ("box_predictor.cls_score", "box_predictor.bbox_pred", "mask_head.predictor")
        for kind in ("weight", "bias")
    }
    for name, tensor in model.state_dict().items():
        expected = before[name] if name in kept_random else donor.state_dict()[name]
        assert torch.equal(tensor, expected), name


def test_weights_of_a_checkpoint_are_its_averaged_ones(tmp_path: Path) -> None:
    model, name = tiny_model(), "roi_heads.box_predictor.cls_score.weight"
    raw = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    average = {"steps": 3, "parameters": {name: raw[name] + 5}}
    torch.save({"model": raw, "average": average}, tmp_path / "model_best.pth")
    for load in (
        lambda fresh: load_trained(fresh, tmp_path / "model_best.pth"),
        lambda fresh: load_initial(fresh, "r50_thin", tmp_path / "model_best.pth"),
    ):
        fresh = tiny_model()
        load(fresh)
        assert torch.equal(fresh.state_dict()[name], raw[name] + 5)


def test_a_run_goes_on_from_its_last_periodic_checkpoint(tmp_path: Path) -> None:
    checkpointer = CellCheckpointer(torch.nn.Linear(1, 1), str(tmp_path))
    checkpointer.save("model_0000001", iteration=1)
    for name in (BEST, LAST_AVERAGE):
        checkpointer.save(name)
        assert (tmp_path / f"{name}.pth").is_file()
    assert Path(checkpointer.get_checkpoint_file()).name == "model_0000001.pth"
    assert torch.load(tmp_path / "model_0000001.pth", weights_only=True)["iteration"] == 1


def test_a_checkpoint_that_cannot_be_written_leaves_the_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpointer = CellCheckpointer(torch.nn.Linear(1, 1), str(tmp_path))
    checkpointer.save(BEST)
    before = (tmp_path / f"{BEST}.pth").read_bytes()

    def killed(parts: object, file: BinaryIO) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpointer.save(BEST)
    assert [path.name for path in tmp_path.iterdir()] == [f"{BEST}.pth"]
    assert (tmp_path / f"{BEST}.pth").read_bytes() == before


def test_the_list_of_images_trained_on_goes_with_the_exported_weights(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    torch.save({"model": {"weight": torch.ones(1)}}, run / "model_final.pth")
    write_trained_on(run, {"a": "hash"})
    export(run, tmp_path / "shipped" / "model.safetensors", "float16")
    assert read_trained_on(tmp_path / "shipped" / "model.safetensors") == {"a": "hash"}


def test_an_exported_file_that_is_exported_again_keeps_its_ranges_unless_calibrated_anew(
    tmp_path: Path,
) -> None:
    torch.save({"model": tiny_model().state_dict()}, tmp_path / "model_final.pth")
    first, again, anew = (tmp_path / f"{name}.safetensors" for name in ("first", "again", "anew"))
    export(tmp_path / "model_final.pth", first, "float32", lambda checkpoint: {"stem": (0.0, 1.5)})
    export(first, again, "int8")
    export(first, anew, "float16", lambda checkpoint: {"stem": (-1.0, 2.0)})
    assert read_ranges(again) == {"stem": (0.0, 1.5)}
    assert read_ranges(anew) == {"stem": (-1.0, 2.0)}
