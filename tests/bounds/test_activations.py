"""Values and slopes of activations on intervals, against dense grids."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from skec.bounds.activations import activation_of, cosine_image, smooth_limit
from skec.networks import ACTIVATIONS

MODULES = [
    nn.ReLU(), nn.LeakyReLU(), nn.LeakyReLU(0.3), nn.LeakyReLU(-0.5), nn.LeakyReLU(2.0), nn.ELU(),
    nn.ELU(0.3), nn.ELU(2.5), nn.GELU(), nn.SiLU(), nn.Mish(), nn.Tanh(), nn.Sigmoid(),
]  # fmt: skip
LIPSCHITZ = {nn.GELU: 1.1289042, nn.SiLU: 1.0998394, nn.Mish: 1.0884983, nn.Sigmoid: 0.25}


def grid(low, width):
    return torch.linspace(low, low + width, 2001, dtype=torch.float64).clamp(low, low + width)


def test_every_activation_of_the_library_is_supported():
    for name, kind in ACTIVATIONS.items():
        assert name == "identity" or activation_of(kind()) is not None


@pytest.mark.parametrize("module", MODULES, ids=str)
@settings(max_examples=60, deadline=None)
@given(low=st.floats(-60, 60), width=st.floats(0, 20))
def test_interval_images_hold_and_are_tight(module, low, width):
    points = grid(low, width).requires_grad_()
    values = module(points)
    if isinstance(module, nn.Mish):  # torch replaces the softplus of large numbers by the number
        values = points * torch.tanh(torch.logaddexp(points, torch.zeros_like(points)))
    (slopes,) = torch.autograd.grad(values.sum(), points)
    activation = activation_of(module)
    ends = points.detach()[:1], points.detach()[-1:]
    for found, (least, most) in (
        (values.detach(), activation.image(*ends)),
        (slopes, activation.slope_range(*ends)),
    ):
        assert float(least) <= float(found.min()) and float(found.max()) <= float(most)
        if low > 0 or low + width < 0:  # a jump of the slope at zero is not on the grid
            step = 2 * width / 2000 + 1e-6
            assert float(least) >= float(found.min()) - step * max(1.0, abs(float(found.min())))
            assert float(most) <= float(found.max()) + step * max(1.0, abs(float(found.max())))


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_lipschitz_constants(module):
    least, most = activation_of(module).slope_range(
        *(torch.tensor([x], dtype=torch.float64) for x in (-50.0, 50.0))
    )
    steepest = max(abs(float(least)), abs(float(most)))
    known = LIPSCHITZ.get(type(module), max(1.0, abs(getattr(module, "negative_slope", 0.0))))
    known = max(known, getattr(module, "alpha", 0.0))
    assert known - 1e-6 <= steepest <= known + 1e-6


def test_points_next_to_a_turn():
    for module in (nn.SiLU(), nn.GELU(), nn.Mish()):
        activation = activation_of(module)
        for turn in (*activation.values.turns, *activation.slopes.turns):
            middle = (turn.left + turn.right) / 2
            points = torch.linspace(middle - 3e-6, middle + 3e-6, 601, dtype=torch.float64)
            for piecewise in (activation.values, activation.slopes):
                values = piecewise.value(points)
                for i in range(0, 600, 50):
                    least, most = piecewise.image(points[i : i + 1], points[i + 50 : i + 51])
                    part = values[i : i + 51]
                    assert float(least) <= float(part.min()) and float(part.max()) <= float(most)


@settings(max_examples=200, deadline=None)
@given(low=st.floats(-1e4, 1e4), width=st.floats(0, 10))
def test_cosines(low, width):
    points = grid(low, width)
    least, most = cosine_image(points[:1], points[-1:])
    assert float(least) <= float(points.cos().min()) and float(points.cos().max()) <= float(most)
    assert float(most) <= float(points.cos().max()) + width**2 / 1e6 + 1e-9 * (1 + abs(low))


@pytest.mark.parametrize("limit", [3.0, math.inf])
def test_smooth_limit(limit):
    points = grid(-20.0, 50.0).requires_grad_()
    values = points / torch.sqrt(1 + (points / limit) ** 2)
    (slopes,) = torch.autograd.grad(values.sum(), points)
    values = values.detach()
    activation = smooth_limit(torch.tensor(limit))
    ends = points.detach()[:1], points.detach()[-1:]
    least, most = activation.image(*ends)
    assert float(least) <= float(values.min()) and float(values.max()) <= float(most) < 30 + 1e-9
    least, most = activation.slope_range(*ends)
    assert float(least) <= float(slopes.min()) and float(slopes.max()) <= float(most) < 1 + 1e-9
