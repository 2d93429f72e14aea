from collections.abc import Iterator

import numpy as np
import pytest
import torch
from detectron2.layers import FrozenBatchNorm2d
from detectron2.modeling import build_model
from tiny_models import TINY

from sartorius.config.members import ViewSettings
from sartorius.detectron.joining import join_for_inference
from sartorius.detectron.memory import placed
from sartorius.detectron.predictor import Predictor
from sartorius.detectron.settings import detectron_config

FROZEN = TINY.model_copy(update={"detectron": {}})
IMAGE = np.random.default_rng(1).integers(0, 255, (64, 96), dtype=np.uint8)


def norms(model: torch.nn.Module) -> Iterator[FrozenBatchNorm2d]:
    return (layer for layer in model.modules() if isinstance(layer, FrozenBatchNorm2d))


def network(cascade: bool = False) -> torch.nn.Module:
    """A network whose frozen norms all do something."""
    torch.manual_seed(8)
    settings = FROZEN.model_copy(update={"cascade": cascade})
    model = build_model(detectron_config(settings, "cpu")).eval()
    for norm in norms(model):
        norm.weight.uniform_(0.7, 1.0)
        norm.bias.uniform_(-0.1, 0.1)
        norm.running_mean.uniform_(-0.1, 0.1)
        norm.running_var.uniform_(0.8, 1.4)
    model.roi_heads.mask_head.predictor.weight.data *= 300  # far from .5, where untrained masks all lie
    return model


@pytest.mark.parametrize("cascade", [False, True])
def test_a_joined_network_finds_what_it_found_before(cascade: bool) -> None:
    plain, joined = network(cascade), network(cascade)
    join_for_inference(joined, torch.float32)
    assert list(norms(joined)) == []
    assert len(list(norms(plain))) > 50
    expected = Predictor(plain, FROZEN)(IMAGE, "p", ViewSettings())
    found = Predictor(joined, FROZEN)(IMAGE, "p", ViewSettings())
    assert len(found) == len(expected) > 5
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
    np.testing.assert_allclose(found.soft_boxes_xyxy, expected.soft_boxes_xyxy, atol=0.01)
    np.testing.assert_allclose(found.soft_masks.astype(int), expected.soft_masks, atol=2)


def test_a_joined_networks_kernels_have_the_dtype_and_a_pixels_channels_side_by_side() -> None:
    joined = network()
    join_for_inference(joined, torch.float16)
    for parameter in joined.parameters():
        assert parameter.dtype == torch.float16
        assert not parameter.requires_grad
        assert parameter.dim() != 4 or parameter.is_contiguous(memory_format=torch.channels_last)


def test_half_precision_weights_are_float32_on_the_cpu_and_themselves_again_afterwards() -> None:
    joined = network()
    join_for_inference(joined, torch.float16)
    before = {name: weight.clone() for name, weight in joined.named_parameters()}
    with placed(joined, on_cpu=True):
        assert {weight.dtype for weight in joined.parameters()} == {torch.float32}
        found = Predictor(joined, FROZEN)(IMAGE, "p", ViewSettings())
    assert len(found) > 5
    for name, weight in joined.named_parameters():
        assert weight.dtype == torch.float16
        assert torch.equal(weight, before[name])


def test_a_predictor_of_a_network_in_training_leaves_it_as_it_was() -> None:
    model = network().train()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    Predictor(model, FROZEN)(IMAGE, "p", ViewSettings())
    assert model.training
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
