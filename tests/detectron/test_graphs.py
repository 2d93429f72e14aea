"""A backbone that is replayed computes what it computes without, and leaves no trace."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from tiny_models import TINY, write_tiny_data
from torch import Tensor, nn

from sartorius.config import ModelSettings
from sartorius.detectron.graphs import replayed, require_recordable
from sartorius.detectron.initial_weights import RANDOM
from sartorius.detectron.packing import packed, unpacked
from sartorius.detectron.precision import computing_in, require_bfloat16
from sartorius.detectron.processes import Machines
from sartorius.detectron.settings import detectron_config
from sartorius.detectron.stream import Pictures, Place
from sartorius.detectron.trainer import CellTrainer, train
from sartorius.detectron.training_data import TrainingData, read_training_data
from sartorius.errors import UserError


class Recordings:
    """Stands for `torch.cuda.make_graphed_callables` on a CPU: one memory for what goes in and comes out."""

    def __init__(self) -> None:
        self.replays = 0

    def __call__(self, function: Callable[..., dict[str, Tensor]], sample: tuple[Tensor, ...]) -> Any:
        backbone = inspect.getclosurevars(function).nonlocals["backbone"]
        sample = (sample[0].contiguous(), *sample[1:])  # laid out as pictures on a CPU: the same rounding
        first = function(*sample)
        outputs = [output.detach().clone() for output in first.values()]
        trained = [tensor for tensor in sample if tensor.requires_grad]
        gradients = [torch.empty_like(tensor) for tensor in trained]
        recordings = self

        class Replayed(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, *given: Tensor) -> tuple[Tensor, ...]:
                recordings.replays += 1
                for static, tensor in zip(sample, given, strict=True):
                    if static.data_ptr() != tensor.data_ptr():
                        assert not static.requires_grad, "a weight has moved"
                        static.copy_(tensor)
                itself = vars(backbone).pop("forward")  # a real recording does not call the module again
                with torch.enable_grad():
                    ctx.results = list(function(*sample).values())
                backbone.forward = itself
                for static, result in zip(outputs, ctx.results, strict=True):
                    static.copy_(result)
                return tuple(output.detach() for output in outputs)

            @staticmethod
            def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
                for static, found in zip(
                    gradients, torch.autograd.grad(ctx.results, trained, given), strict=True
                ):
                    static.copy_(found)
                left = iter(gradients)
                return tuple(next(left).detach() if tensor.requires_grad else None for tensor in sample)

        return lambda *given: dict(zip(first, Replayed.apply(*given), strict=True))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    """Three images, one of which is validated on."""
    folder = write_tiny_data(tmp_path_factory.mktemp("data") / "tiny", images=3)
    read = read_training_data([folder], TINY.cell_types, None, None)
    return TrainingData(read.training, read.training[:1], read.training_truth)


@pytest.fixture
def recordings(monkeypatch: pytest.MonkeyPatch) -> Recordings:
    made = Recordings()
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", made)
    return made


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return build_model(detectron_config(TINY, "cpu")).train()


@pytest.mark.parametrize(
    ("machines", "changes", "hint"),
    [
        (Machines(), {}, "--gpus 1"),
        (Machines(gpus=2), {}, "one process"),
        (Machines(gpus=1), {"crop_px": None}, "crop_px"),
    ],
)
def test_what_cannot_be_recorded_is_refused(machines: Machines, changes: dict[str, Any], hint: str) -> None:
    with pytest.raises(UserError, match=hint):
        require_recordable(TINY.model_copy(update={"cuda_graphs": True} | changes), machines)
    require_recordable(TINY.model_copy(update=changes), machines)


def test_one_gpu_and_crops_can_be_recorded() -> None:
    require_recordable(TINY.model_copy(update={"cuda_graphs": True}), Machines(gpus=1))


def test_a_run_on_a_cpu_refuses_before_it_begins(data: TrainingData, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cuda_graphs"):
        train(TINY.model_copy(update={"cuda_graphs": True}), data, tmp_path / "run", RANDOM, Machines())
    assert not (tmp_path / "run").exists()


def test_only_training_on_pictures_of_the_recorded_shape_is_replayed(
    model: nn.Module, recordings: Recordings
) -> None:
    backbone = model.backbone
    fitting, smaller, fewer = (
        torch.randn(shape) for shape in ((2, 3, 64, 64), (2, 3, 64, 32), (1, 3, 64, 64))
    )
    expected = backbone(fitting)
    with replayed(backbone, pictures=2, crop_px=50, precision="float32"):  # 50 is padded to 64
        found = backbone(fitting)
        assert recordings.replays == 1
        assert list(found) == list(expected)
        assert all(torch.equal(found[name], level) for name, level in expected.items())
        backbone(smaller), backbone(fewer)
        model.eval()
        backbone(fitting)
        assert recordings.replays == 1
        model.train()
        backbone(fitting)
        assert recordings.replays == 2
    backbone(fitting)
    assert recordings.replays == 2, "after the context the backbone computes by itself"


def test_pictures_that_go_around_the_recording_are_told_of_once(
    model: nn.Module, recordings: Recordings, caplog: pytest.LogCaptureFixture
) -> None:
    with replayed(model.backbone, pictures=1, crop_px=64, precision="float32"):
        model.backbone(torch.randn(1, 3, 64, 64))
        model.eval()
        model.backbone(torch.randn(1, 3, 64, 32))
        assert not [one for one in caplog.records if one.levelname == "WARNING"]
        model.train()
        for _ in range(2):
            model.backbone(torch.randn(1, 3, 64, 32))
    (told,) = (one.getMessage() for one in caplog.records if one.levelname == "WARNING")
    assert "(1, 3, 64, 32)" in told
    assert "(1, 3, 64, 64)" in told


def test_a_recording_leaves_the_statistics_of_batch_norms_as_they_were(recordings: Recordings) -> None:
    settings = TINY.model_copy(update={"detectron": {"MODEL.RESNETS.NORM": "BN"}})
    model = build_model(detectron_config(settings, "cpu")).train()
    before = {name: buffer.clone() for name, buffer in model.backbone.named_buffers()}
    assert any(name.endswith("running_mean") for name in before)
    with replayed(model.backbone, pictures=2, crop_px=64, precision="float32"):
        after = dict(model.backbone.named_buffers())
        assert all(torch.equal(after[name], value) for name, value in before.items())
        model.backbone(torch.randn(2, 3, 64, 64))
        assert not all(torch.equal(after[name], value) for name, value in before.items())


def test_a_recording_is_no_part_of_the_model(model: nn.Module, recordings: Recordings) -> None:
    before, modules = list(model.state_dict()), list(model.modules())
    with replayed(model.backbone, pictures=1, crop_px=64, precision="float32"):
        assert list(model.state_dict()) == before
        assert list(model.modules()) == modules
    assert "forward" not in vars(model.backbone)


def test_weights_written_in_place_are_seen_by_the_next_replay(
    model: nn.Module, recordings: Recordings
) -> None:
    x = torch.randn(1, 3, 64, 64)
    with replayed(model.backbone, pictures=1, crop_px=64, precision="float32"):
        model.load_state_dict({name: 0.5 * value for name, value in model.state_dict().items()})
        found = model.backbone(x)
        assert recordings.replays == 1
    assert torch.equal(found["p2"], model.backbone(x)["p2"])


def test_kernels_are_recorded_without_the_cache_of_autocast(
    model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bool, bool]] = []

    def asked(function: object, sample: object) -> object:
        seen.append((torch.is_autocast_enabled("cpu"), torch.is_autocast_cache_enabled()))
        return function

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", asked)
    for precision in ("float32", "bfloat16"):
        with replayed(model.backbone, pictures=1, crop_px=64, precision=precision):
            pass
    assert seen == [(False, True), (True, False)]


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_replayed_run_takes_the_steps_of_a_plain_one(
    accumulation: int, data: TrainingData, tmp_path: Path, recordings: Recordings
) -> None:
    """Validated after each step with averaged weights: evaluation comes between replays."""
    weights = []
    for graphs in (False, True):
        changes = {"accumulation": accumulation, "cuda_graphs": graphs, "average_decay": 0.9, "iterations": 3}
        settings = TINY.model_copy(update=changes | {"evaluation_period": 1, "precision": "float32"})
        weights.append(trained(tmp_path / str(graphs), data, settings))
    assert recordings.replays == 3 * accumulation
    plain, replays = weights
    assert list(plain) == list(replays)
    for name, value in plain.items():
        torch.testing.assert_close(replays[name], value, rtol=1e-4, atol=1e-6, msg=name)


def trained(folder: Path, data: TrainingData, settings: ModelSettings) -> dict[str, Tensor]:
    """The weights after a run that does not ask for a GPU."""
    cfg = detectron_config(settings, "cpu").clone()
    cfg.defrost()
    folder.mkdir()
    cfg.OUTPUT_DIR, cfg.SEED = str(folder), 3
    torch.manual_seed(0)
    training = CellTrainer(cfg, settings, data)
    training.start(RANDOM, resume=False)
    training.train()
    return training.model.state_dict()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU to record")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_three_passes_on_a_gpu_give_the_losses_and_gradients_of_plain_ones(
    precision: str, data: TrainingData
) -> None:
    device = torch.device("cuda")
    if precision == "bfloat16":
        require_bfloat16(device)
    settings = TINY.model_copy(update={"precision": precision})
    torch.manual_seed(0)
    model = build_model(detectron_config(settings, "cuda")).train().to(memory_format=torch.channels_last)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    plain = three_passes(model, data, settings)
    model.load_state_dict(start)
    launched = 0

    def count(*_: object) -> None:
        nonlocal launched
        launched += 1

    model.backbone.bottom_up.register_forward_pre_hook(count)
    with replayed(model.backbone, pictures=2, crop_px=64, precision=precision):
        for_recording = launched
        replays = three_passes(model, data, settings)
    assert launched == for_recording, "no pass goes around the recording"
    for (losses, gradients), (expected, others) in zip(replays, plain, strict=True):
        torch.testing.assert_close(losses, expected, rtol=1e-3, atol=1e-4)
        assert list(gradients) == list(others)
        for name, gradient in gradients.items():  # the pooling of proposals adds up in any order
            away = float((gradient - others[name]).norm() / (others[name].norm() + 1e-6))
            assert away < (1e-2 if precision == "float32" else 5e-2), name


def three_passes(
    model: nn.Module, data: TrainingData, settings: ModelSettings
) -> list[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    """Losses of three passes and gradients added up so far; weights change by the same factor after each."""
    found = []
    made = Pictures(data.training, settings, seed=4)
    model.zero_grad()
    for step in range(3):
        pack = packed([made[Place(2 * step + n, (step + n) % 3)] for n in range(2)])
        pictures = unpacked(pack, torch.device("cuda"))
        with EventStorage(), computing_in(settings.precision, torch.device("cuda")):
            losses = model(pictures)
        sum(losses.values()).backward()
        gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        found.append(({name: loss.detach().float() for name, loss in losses.items()}, gradients))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(0.99)
    return found
