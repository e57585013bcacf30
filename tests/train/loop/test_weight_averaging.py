"""The weights that are kept, and their mean."""

import pytest
import torch
from torch import nn

from distill.train.loop.weight_averaging import (
    WeightAverager,
    interpolate_weights,
    load_weights,
    save_weights,
)

VALUES = {5: 0.2, 10: 0.6, 15: 0.6, 20: 0.1, 25: 0.5}


def model_of(weight: float) -> nn.Module:
    model = nn.Linear(2, 2)
    model.register_buffer("places", torch.arange(3))
    with torch.no_grad():
        model.weight.fill_(weight)
        model.bias.fill_(-weight)
    return model


@pytest.mark.parametrize(
    ("keep", "count", "steps"),
    [("last", 2, [20, 25]), ("best", 1, [10]), ("best", 3, [10, 15, 25])],
)
def test_last_or_the_best_are_kept_and_averaged(tmp_path, keep, count, steps):
    kept = WeightAverager(tmp_path, keep, count)
    for step, value in VALUES.items():
        kept.add(model_of(step), step, value)
    for step in (15, 20, 25):  # as a run that resumes adds them again
        kept.add(model_of(step), step, VALUES[step])
    assert kept.list_steps() == steps
    model = model_of(0)
    kept.average(model)
    mean = sum(steps) / len(steps)
    assert torch.allclose(model.weight, torch.full((2, 2), mean))
    assert torch.allclose(model.bias, torch.full((2,), -mean))
    assert model.places.tolist() == [0, 1, 2]


@pytest.mark.parametrize(("share", "weight"), [(0, 0.1), (0.25, 0.175), (1, 0.4)])
def test_interpolation_goes_from_the_start_to_the_trained_weights(share, weight):
    model = model_of(0.4)
    interpolate_weights(model, model_of(0.1), share)
    for name, value in model_of(weight).state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=0, atol=1e-8)


def test_tied_weights_are_interpolated_once():
    """Token vectors that a model also reads by another name, as those of T5."""
    models = [model_of(weight) for weight in (0.4, 0.1)]
    for model in models:
        model.shared = nn.Linear(2, 2)
        model.shared.weight = model.weight
    trained, start = models
    assert {"weight", "shared.weight"} < set(trained.state_dict())
    interpolate_weights(trained, start, 0.5)
    torch.testing.assert_close(trained.weight, torch.full((2, 2), 0.25))


def test_tied_weights_are_averaged_once(tmp_path):
    kept = WeightAverager(tmp_path, "last", 2)
    for step in (10, 20):
        model = model_of(step)
        model.shared = nn.Linear(2, 2, bias=False)
        model.shared.weight = model.weight
        kept.add(model, step, None)
    kept.average(model)
    torch.testing.assert_close(model.shared.weight, torch.full((2, 2), 15.0))
    assert model.shared.weight is model.weight


def test_average_of_one_is_kept_to_the_bit(tmp_path):
    model, other = nn.Linear(7, 5), nn.Linear(7, 5)
    kept = WeightAverager(tmp_path, "best", 1)
    kept.add(model, 1, 0.5)
    kept.average(other)
    assert torch.equal(model.weight, other.weight)
    save_weights(model, tmp_path / "deep" / "one.safetensors")
    load_weights(other, tmp_path / "deep" / "one.safetensors")
    assert torch.equal(model.bias, other.bias)
