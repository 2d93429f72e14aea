import pytest
import torch
from detectron2.engine.train_loop import TrainerBase
from torch import nn

from sartorius.config import ModelSettings
from sartorius.detectron.clipping import clip_each
from sartorius.detectron.optimizers import LRScheduler
from sartorius.detectron.settings import detectron_config
from sartorius.detectron.trainer import CellTrainer
from sartorius.errors import UserError


def rates(settings: ModelSettings) -> list[float]:
    """The learning rate of every step of a run."""
    cfg = detectron_config(settings, "cpu")
    optimizer = CellTrainer.build_optimizer(cfg, nn.Linear(2, 1))
    scheduler = CellTrainer.build_lr_scheduler(cfg, optimizer)
    found = []
    for _ in range(settings.iterations):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_the_rate_warms_up_and_falls_along_a_cosine() -> None:
    found = rates(ModelSettings(iterations=100, warmup_iterations=10, base_lr=0.01))
    assert found[0] < 0.001
    assert found[:11] == sorted(found[:11])
    assert found[10:] == sorted(found[10:], reverse=True)
    assert found[50] == pytest.approx(0.005)
    assert found[-1] < 0.0001


def test_a_short_run_warms_up_for_no_more_than_a_quarter_of_it() -> None:
    found = rates(ModelSettings(iterations=40, warmup_iterations=500, base_lr=0.01))
    assert max(found) == found[10] > 0.008
    assert rates(ModelSettings(iterations=3, warmup_iterations=500, base_lr=0.01))[1] > 0.007


def test_the_rate_falls_to_a_tenth_at_each_step() -> None:
    steps = ModelSettings(
        schedule="steps", iterations=10, warmup_iterations=0, base_lr=0.01, step_fractions=(0.5, 0.8)
    )
    assert rates(steps) == pytest.approx([0.01] * 5 + [0.001] * 3 + [0.0001] * 2)


@pytest.mark.parametrize(("norm", "moved"), [(None, 500.0), (2.0, 0.2)])
def test_a_clipped_gradient_moves_a_parameter_no_further_than_its_norm(
    norm: float | None, moved: float
) -> None:
    layer = nn.Linear(2, 1, bias=False)
    settings = ModelSettings(clip_gradient_norm=norm, base_lr=0.1, weight_decay=0, warmup_iterations=0)
    optimizer = CellTrainer.build_optimizer(detectron_config(settings, "cpu"), layer)
    before = layer.weight.detach().clone()
    layer.weight.grad = torch.tensor([[3000.0, 4000.0]])
    optimizer.step()
    assert float((layer.weight.detach() - before).norm()) == pytest.approx(moved, rel=1e-4)


def test_each_gradient_is_clipped_by_its_own_norm_as_torch_clips_one() -> None:
    long, short = (nn.Parameter(torch.zeros(2)) for _ in range(2))
    long.grad, short.grad = torch.tensor([30.0, 40.0]), torch.tensor([0.3, 0.4])
    clip_each([long, short, nn.Parameter(torch.zeros(1))], 2.0)
    assert long.grad.tolist() == pytest.approx([1.2, 1.6])
    assert short.grad.tolist() == pytest.approx([0.3, 0.4])
    alone = nn.Parameter(torch.zeros(2))
    alone.grad = torch.tensor([30.0, 40.0])
    nn.utils.clip_grad_norm_(alone, 2.0)
    assert torch.equal(alone.grad, long.grad)


def test_gradients_are_clipped_in_one_way_only() -> None:
    own = {"SOLVER.CLIP_GRADIENTS.ENABLED": True, "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": "full_model"}
    detectron_config(ModelSettings(detectron=own), "cpu")
    with pytest.raises(
        UserError, match=r"SOLVER\.CLIP_GRADIENTS\.ENABLED has no effect beside clip_gradient_norm"
    ):
        detectron_config(ModelSettings(detectron=own, clip_gradient_norm=1.0), "cpu")


class _Parts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.bottom_up = nn.Linear(2, 1)
        self.head = nn.Linear(2, 1)


def test_the_residual_network_learns_at_its_own_rate() -> None:
    settings = ModelSettings(
        base_lr=0.1, backbone_lr_factor=0.01, weight_decay=0, iterations=10, warmup_iterations=0
    )
    network, cfg = _Parts(), detectron_config(settings, "cpu")
    optimizer = CellTrainer.build_optimizer(cfg, network)
    scheduler = CellTrainer.build_lr_scheduler(cfg, optimizer)
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    for weight in network.parameters():
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    for name, weight in network.named_parameters():
        expected = 0.001 if name.startswith("backbone.bottom_up.") else 0.1
        torch.testing.assert_close(before[name] - weight, torch.full_like(weight, expected))
    for _ in range(5):
        scheduler.step()
    slow, fast = sorted({group["lr"] for group in optimizer.param_groups})
    assert (slow, fast) == pytest.approx((0.0005, 0.05))


def test_adamw_takes_steps_of_the_rate_whatever_the_gradient() -> None:
    layer = nn.Linear(2, 1, bias=False)
    settings = ModelSettings(optimizer="adamw", base_lr=0.1, weight_decay=0, warmup_iterations=0)
    optimizer = CellTrainer.build_optimizer(detectron_config(settings, "cpu"), layer)
    before = layer.weight.detach().clone()
    layer.weight.grad = torch.tensor([[3000.0, 0.004]])
    optimizer.step()
    torch.testing.assert_close(before - layer.weight.detach(), torch.full((1, 2), 0.1), rtol=1e-3, atol=0)


def test_a_run_begun_with_detectron2s_own_schedule_goes_on_at_its_rate() -> None:
    cfg = detectron_config(ModelSettings(iterations=100), "cpu")
    optimizer = CellTrainer.build_optimizer(cfg, nn.Linear(2, 1))
    scheduler = CellTrainer.build_lr_scheduler(cfg, optimizer)
    run = TrainerBase()
    run.register_hooks([LRScheduler(optimizer, scheduler)])
    run.load_state_dict({"iteration": 70, "hooks": {"LRScheduler": {"last_epoch": 70}}})
    assert scheduler.last_epoch == 70
