import torch
from torch import nn

from sartorius.detectron.averaging import WeightAverage


def model_with_weight(value: float) -> nn.Linear:
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(value)
    return model


def test_the_average_forgets_the_start_soon_and_then_moves_slowly() -> None:
    model = model_with_weight(0.0)
    average = WeightAverage(model, decay=0.5)
    expected = 0.0
    for step in range(12):
        with torch.no_grad():
            model.weight.fill_(step + 1.0)
        average.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * (step + 1.0)
    with average.in_place():
        assert abs(model.weight.item() - expected) < 1e-5
    assert model.weight.item() == 12.0


def test_an_average_goes_on_from_the_one_that_a_checkpoint_kept() -> None:
    kept = WeightAverage(model_with_weight(4.0), decay=0.5).state_dict()
    model = model_with_weight(9.0)
    average = WeightAverage(model, decay=0.5)
    average.load_state_dict(kept)
    with average.in_place():
        assert model.weight.item() == 4.0


def test_frozen_parameters_are_left_alone() -> None:
    model = nn.Sequential(model_with_weight(1.0), model_with_weight(2.0))
    model[0].weight.requires_grad_(False)
    assert list(WeightAverage(model, 0.9).state_dict()["parameters"]) == ["1.weight"]


def test_weights_come_back_when_validation_fails() -> None:
    model = model_with_weight(3.0)
    average = WeightAverage(model, decay=0.9)
    with torch.no_grad():
        model.weight.fill_(7.0)
    try:
        with average.in_place():
            raise RuntimeError("out of memory")
    except RuntimeError:
        pass
    assert model.weight.item() == 7.0
