"""Activations: their values and slopes on intervals."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn

from .outward import EPS, outward

_ROUNDING = 32.0 * EPS  # error of a computed value v, over 1 + |v|


@dataclass(frozen=True)
class Turn:
    """A place where a function changes between rising and falling, or jumps.

    Attributes
    ----------
    left, right : float
        The place is between them.
    low, high : float
        Bounds of the function from ``left`` to ``right``.
    """

    left: float
    right: float
    low: float
    high: float


@dataclass(frozen=True)
class Piecewise:
    """A function that is monotone between its turns.

    Attributes
    ----------
    value : callable
        Maps a float64 tensor to the values of the function, with an error of at most
        ``32 EPS (1 + |value|)``.
    turns : tuple of Turn
    """

    value: Callable[[Tensor], Tensor]
    turns: tuple[Turn, ...] = ()

    def image(self, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        """Bounds of the values between ``lower`` and ``upper``, exact up to rounding."""
        first, last = self.value(lower), self.value(upper)
        least, most = torch.minimum(first, last), torch.maximum(first, last)
        for turn in self.turns:
            inside = (lower <= turn.right) & (upper >= turn.left)
            least = torch.where(inside, least.clamp(max=turn.low), least)
            most = torch.where(inside, most.clamp(min=turn.high), most)
        return outward(least, most, _ROUNDING * (1 + torch.maximum(least.abs(), most.abs())))


@dataclass(frozen=True)
class Activation:
    """A function that acts on each entry.

    Attributes
    ----------
    name : str
        Two activations are the same if their names are; it contains the parameters.
    values, slopes : Piecewise
        The function and its derivative.
    """

    name: str
    values: Piecewise = field(compare=False)
    slopes: Piecewise = field(compare=False)

    def at(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """The values at some points, and bounds of their rounding errors."""
        values = self.values.value(points)
        return values, 2 * _ROUNDING * (1 + values.abs())

    def image(self, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        """Bounds of the values on intervals."""
        return self.values.image(lower, upper)

    def slope_range(self, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        """Bounds of the derivative on intervals."""
        return self.slopes.image(lower, upper)


@dataclass(frozen=True)
class CosineOfColumns(Activation):
    """The cosine of all columns but the first one of each feature."""

    n_features: int = 1

    def _merged(self, columns: Tensor, cosines: Tensor) -> Tensor:
        shape = (self.n_features, -1)
        first = columns.reshape(shape)[:, :1]
        return torch.cat([first, cosines.reshape(shape)[:, 1:]], 1).reshape(columns.shape)

    def at(self, points: Tensor) -> tuple[Tensor, Tensor]:
        values = self._merged(points, points.cos())
        return values, 2 * _ROUNDING * (1 + values.abs())

    def image(self, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        least, most = cosine_image(lower, upper)
        return self._merged(lower, least), self._merged(upper, most)

    def slope_range(self, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        least, most = cosine_image(lower + math.pi / 2, upper + math.pi / 2)  # −sin x
        one = torch.ones_like(lower)
        return self._merged(one, least), self._merged(one, most)


def cosine_image(lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    """Bounds of the cosine on intervals.

    Examples
    --------
    >>> low, high = cosine_image(torch.tensor([3.0]), torch.tensor([4.0]))
    >>> float(low), bool((high - torch.tensor(4.0).cos()).abs() < 1e-6)
    (-1.0, True)
    """
    lower, upper = outward(lower, upper, 8 * EPS * (1 + torch.maximum(lower.abs(), upper.abs())))
    first, last = lower.cos(), upper.cos()
    margin = 2 * _ROUNDING * (1 + torch.maximum(lower.abs(), upper.abs()))  # of the angle too
    least, most = torch.minimum(first, last) - margin, torch.maximum(first, last) + margin
    turns, half = 2 * math.pi, math.pi
    slack = 1e-9
    highest = (upper / turns + slack).floor() >= (lower / turns - slack).ceil()
    lowest = ((upper - half) / turns + slack).floor() >= ((lower - half) / turns - slack).ceil()
    far = torch.maximum(lower.abs(), upper.abs()) > 1e6  # the slack would not be enough
    most = torch.where(highest | far, 1.0, most.clamp(max=1.0))
    return torch.where(lowest | far, -1.0, least.clamp(min=-1.0)), most


def cosines(n_features: int) -> CosineOfColumns:
    """The cosine of all columns but the first one of each feature."""
    plain = Piecewise(torch.cos)
    return CosineOfColumns(f"cosines of {n_features} features", plain, plain, n_features)


def _linear_on_both_sides(name: str, slope: float) -> Activation:
    """The slope is one for positive numbers, and ``slope`` for negative ones."""

    def value(x: Tensor) -> Tensor:
        return torch.where(x > 0, x, slope * x)

    def derivative(x: Tensor) -> Tensor:
        return torch.where(x > 0, torch.ones_like(x), slope)

    jump = Turn(0.0, 0.0, min(slope, 1.0), max(slope, 1.0))
    turn = Turn(0.0, 0.0, 0.0, 0.0)
    return Activation(name, Piecewise(value, (turn,)), Piecewise(derivative, (jump,)))


def _leaky(slope: float) -> Activation:
    return _linear_on_both_sides(f"LeakyReLU({slope})", slope)


def _elu(alpha: float) -> Activation:
    def value(x: Tensor) -> Tensor:
        return torch.where(x > 0, x, alpha * torch.expm1(x.clamp(max=0.0)))

    def derivative(x: Tensor) -> Tensor:
        return torch.where(x > 0, torch.ones_like(x), alpha * x.clamp(max=0.0).exp())

    jump = Turn(0.0, 0.0, min(alpha, 1.0), max(alpha, 1.0))
    turn = Turn(0.0, 0.0, 0.0, 0.0)
    return Activation(f"ELU({alpha})", Piecewise(value, (turn,)), Piecewise(derivative, (jump,)))


def _turn(place: float, value: float) -> Turn:
    """A turn known to many digits, with room for those that are not printed."""
    return Turn(place - 1e-6, place + 1e-6, value - 1e-11, value + 1e-11)


def _silu() -> Activation:
    def derivative(x: Tensor) -> Tensor:
        s = torch.sigmoid(x)
        return s * (1 + x * torch.sigmoid(-x))

    turns = (
        _turn(-2.399357280515468, -0.099839320128867),
        _turn(2.399357280515468, 1.099839320128867),
    )
    values = Piecewise(
        lambda x: x * torch.sigmoid(x), (_turn(-1.278464542761074, -0.278464542761074),)
    )
    return Activation("SiLU", values, Piecewise(derivative, turns))


def _gelu() -> Activation:
    def normal(x: Tensor) -> Tensor:
        return 0.5 * torch.special.erfc(-x / math.sqrt(2))

    def derivative(x: Tensor) -> Tensor:
        return normal(x) + x * torch.exp(-x.square() / 2) / math.sqrt(2 * math.pi)

    root = math.sqrt(2)
    turns = (_turn(-root, -0.128904145185155), _turn(root, 1.128904145185155))
    values = Piecewise(lambda x: x * normal(x), (_turn(-0.751791524693564, -0.169971207479904),))
    return Activation("GELU", values, Piecewise(derivative, turns))


def _mish() -> Activation:
    def softplus(x: Tensor) -> Tensor:
        return torch.logaddexp(x, torch.zeros_like(x))

    def derivative(x: Tensor) -> Tensor:
        t = torch.tanh(softplus(x))
        return t + x * torch.sigmoid(x) * (1 - t.square())

    turns = (
        _turn(-2.256376396360793, -0.112526122389463),
        _turn(1.490571179485428, 1.088498161251728),
    )
    values = Piecewise(
        lambda x: x * torch.tanh(softplus(x)), (_turn(-1.192431214515495, -0.308843413017250),)
    )
    return Activation("Mish", values, Piecewise(derivative, turns))


def _tanh() -> Activation:
    def derivative(x: Tensor) -> Tensor:
        return 1 - torch.tanh(x).square()

    return Activation("Tanh", Piecewise(torch.tanh), Piecewise(derivative, (Turn(0, 0, 1, 1),)))


def _sigmoid() -> Activation:
    def derivative(x: Tensor) -> Tensor:
        return torch.sigmoid(x) * torch.sigmoid(-x)

    slopes = Piecewise(derivative, (Turn(0, 0, 0.25, 0.25),))
    return Activation("Sigmoid", Piecewise(torch.sigmoid), slopes)


def smooth_limit(limits: Tensor) -> Activation:
    """``z / sqrt(1 + (z / limit)²)``, as :class:`skec.networks.FeatureScaling` limits features."""
    limit = float(limits)

    def value(z: Tensor) -> Tensor:
        return z / torch.hypot(z / limit, torch.ones_like(z))

    def derivative(z: Tensor) -> Tensor:
        return torch.hypot(z / limit, torch.ones_like(z)) ** -3.0

    slopes = Piecewise(derivative, (Turn(0, 0, 1, 1),))
    return Activation(f"smooth limit {limit!r}", Piecewise(value), slopes)


_BY_KIND: dict[type[nn.Module], Callable[[nn.Module], Activation]] = {
    nn.ReLU: lambda _: _linear_on_both_sides("ReLU", 0.0),
    nn.LeakyReLU: lambda part: _leaky(cast(nn.LeakyReLU, part).negative_slope),
    nn.ELU: lambda part: _elu(cast(nn.ELU, part).alpha),
    nn.GELU: lambda _: _gelu(),
    nn.SiLU: lambda _: _silu(),
    nn.Mish: lambda _: _mish(),
    nn.Tanh: lambda _: _tanh(),
    nn.Sigmoid: lambda _: _sigmoid(),
}
SUPPORTED = (*(kind.__name__ for kind in _BY_KIND), "Identity")


def activation_of(part: nn.Module) -> Activation | None:
    """The activation that a module computes; None if it is not one of the supported ones.

    Examples
    --------
    >>> activation = activation_of(nn.SiLU())
    >>> low, high = activation.image(torch.tensor([-3.0]), torch.tensor([1.0]))
    >>> round(float(low), 4), round(float(high), 4)
    (-0.2785, 0.7311)
    """
    if type(part) is nn.GELU and part.approximate != "none":
        return None
    build = _BY_KIND.get(type(part))
    return None if build is None else build(part)
