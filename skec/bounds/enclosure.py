"""What is known of the hidden values of two networks, and of their difference."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .activations import Activation
from .outward import EPS, error_of_sum, norm_above, outward, up
from .steps import Activated, Affine, MaxPooled, Rearranged


@dataclass(frozen=True)
class Enclosure:
    """A set that contains some values of shape (1, ...): a box, intersected with a ball.

    Attributes
    ----------
    lower, upper : float64 tensor of shape (1, ...)
        Bounds of each entry.
    center : float64 tensor of shape (1, ...)
    radius : float
        Bound of the Euclidean distance from the centre.
    """

    lower: Tensor
    upper: Tensor
    center: Tensor
    radius: float

    @classmethod
    def of(cls, lower: Tensor, upper: Tensor, center: Tensor, radius: float) -> Enclosure:
        """An enclosure whose box and ball are made smaller by each other."""
        low, high = outward(center, center, up(radius))
        low, high = torch.maximum(lower, low), torch.minimum(upper, high)
        reach = torch.maximum(high - center, center - low).clamp(min=0.0) * (1 + 4 * EPS)
        return cls(low, high, center, min(radius, norm_above(reach)))

    def around(self, center: Tensor) -> Enclosure:
        """The same set with a ball around another centre."""
        return Enclosure.of(self.lower, self.upper, center, self.radius_around(center))

    def radius_around(self, center: Tensor) -> float:
        """An upper bound of the distance from a point."""
        reach = torch.maximum((self.upper - center).abs(), (self.lower - center).abs())
        by_ball = up(norm_above((self.center - center).abs() * (1 + 4 * EPS)) + self.radius)
        return min(norm_above(reach * (1 + 4 * EPS)), by_ball)

    @property
    def norm(self) -> float:
        """An upper bound of the Euclidean norm."""
        return self.radius_around(torch.zeros_like(self.center))

    def plus(self, other: Enclosure) -> Enclosure:
        """The sums of a value of each."""
        center = self.center + other.center
        rounding = norm_above(center.abs() * (4 * EPS))
        lower, upper = outward(self.lower + other.lower, self.upper + other.upper)
        return Enclosure.of(lower, upper, center, up(self.radius + other.radius + rounding))

    def within(self, lower: Tensor, upper: Tensor) -> Enclosure:
        """The values that lie in a box too."""
        lower, upper = torch.maximum(self.lower, lower), torch.minimum(self.upper, upper)
        return Enclosure.of(lower, upper, self.center, self.radius)

    def intersection(self, other: Enclosure) -> Enclosure:
        """The values in both; of the two balls the smaller one is kept."""
        smaller = min(self, other, key=lambda each: each.norm)
        lower, upper = (
            torch.maximum(self.lower, other.lower),
            torch.minimum(self.upper, other.upper),
        )
        return Enclosure.of(lower, upper, smaller.center, smaller.radius)


@dataclass(frozen=True)
class Pair:
    """The hidden values of two networks for all inputs of a region.

    Attributes
    ----------
    dense, pruned : Enclosure
    change : Enclosure
        Of the values of the pruned network minus those of the dense one, for the same input.
    """

    dense: Enclosure
    pruned: Enclosure
    change: Enclosure

    def consistent(self) -> Pair:
        """Each of the three sets, made smaller by the other two."""
        dense, pruned, change = self.dense, self.pruned, self.change
        lower, upper = outward(pruned.lower - dense.upper, pruned.upper - dense.lower)
        change = change.within(lower, upper)
        lower, upper = outward(dense.lower + change.lower, dense.upper + change.upper)
        pruned = pruned.within(lower, upper)
        lower, upper = outward(pruned.lower - change.upper, pruned.upper - change.lower)
        dense = dense.within(lower, upper)
        center = pruned.center - dense.center
        radius = up(pruned.radius + dense.radius + norm_above(center.abs() * (4 * EPS)))
        difference = Enclosure.of(change.lower, change.upper, center, radius)
        return Pair(dense, pruned, change.intersection(difference))


def affine_image(
    step: Affine, weight: Tensor, bias: Tensor, values: Enclosure, doubt: Tensor | None = None
) -> Enclosure:
    """An enclosure of ``map(weight, values) + bias``.

    ``doubt`` bounds an error of each weight; relative errors of a few roundings need none.
    """
    apply, absolute = step.map.apply, weight.abs()
    gamma = error_of_sum(step.map.n_terms(weight))
    middle = (values.lower + values.upper) / 2
    half = torch.maximum(values.upper - middle, middle - values.lower) * (1 + 4 * EPS)
    spread = apply(absolute, half)
    margin = gamma * (apply(absolute, middle.abs()) + spread + bias.abs())
    lower, upper = outward(
        apply(weight, middle) + bias - spread, apply(weight, middle) + bias + spread, margin
    )
    center = apply(weight, values.center) + bias
    rounding = gamma * (apply(absolute, values.center.abs()) + bias.abs())
    reach = step.map.row_norms(weight, values.center) * values.radius
    low, high = outward(center - reach, center + reach, rounding * 2)
    norm = step.map.norm(weight, values.center)
    radius = up(up(norm * values.radius) + norm_above(rounding * 2))
    image = Enclosure.of(torch.maximum(lower, low), torch.minimum(upper, high), center, radius)
    if doubt is None:
        return image
    error = apply(doubt, middle.abs() + half) * (1 + gamma)
    zero = torch.zeros_like(center)
    return image.plus(Enclosure.of(-error, error, zero, norm_above(error)))


@dataclass(frozen=True)
class LayerEffect:
    """What a linear step does to the change of the values.

    Attributes
    ----------
    carried : float
        Bound of the norm of what earlier layers changed, after this step.
    own : float
        Bound of the norm of what the step itself changes.
    total : float
        Bound of the norm of both together.
    """

    carried: float
    own: float
    total: float


def through_affine(dense: Affine, pruned: Affine, values: Pair) -> tuple[Pair, LayerEffect]:
    """The values after a linear step, and its effect.

    The change is ``W̃ d + (W̃ − W) h + b̃ − b``, and also ``W d + (W̃ − W) h̃ + b̃ − b``, with ``h``
    and ``h̃`` the values of the dense and the pruned network and ``d`` their difference.
    """
    removed, shift = pruned.weight - dense.weight, pruned.bias - dense.bias
    doubt = None
    if dense.rounded:
        doubt = 16 * EPS * (removed != 0) * (pruned.weight.abs() + dense.weight.abs())
    after_dense = affine_image(dense, dense.weight, dense.bias, values.dense)
    after_pruned = affine_image(pruned, pruned.weight, pruned.bias, values.pruned)
    nothing = torch.zeros_like(shift)
    ways = [
        (
            affine_image(dense, carrier, nothing, values.change),
            affine_image(dense, removed, shift, source, doubt),
        )
        for carrier, source in ((pruned.weight, values.dense), (dense.weight, values.pruned))
    ]
    first, second = (carried.plus(own) for carried, own in ways)
    after = Pair(after_dense, after_pruned, first.intersection(second)).consistent()
    carried, own = min(ways, key=lambda way: way[0].norm + way[1].norm)
    return after, LayerEffect(carried.norm, own.norm, after.change.norm)


def _activated(activation: Activation, values: Enclosure) -> Enclosure:
    """An enclosure of the values of an activation."""
    lower, upper = activation.image(values.lower, values.upper)
    center, rounding = activation.at(values.center)
    low = torch.minimum(values.lower, values.center)
    high = torch.maximum(values.upper, values.center)
    slope = _steepest(activation, low, high)
    radius = up(slope * values.radius + norm_above(rounding))
    return Enclosure.of(lower, upper, center, radius)


def _steepest(activation: Activation, lower: Tensor, upper: Tensor) -> float:
    """The largest absolute slope on some intervals."""
    least, most = activation.slope_range(lower, upper)
    return up(float(torch.maximum(least.abs(), most.abs()).max()))


def _through_activation(step: Activated, values: Pair) -> Pair:
    """The values after an activation.

    By the mean value theorem, the change is a slope times the change before. The slope is one
    between the smallest and the largest value of both networks.
    """
    dense, pruned = (_activated(step.activation, each) for each in (values.dense, values.pruned))
    low = torch.minimum(values.dense.lower, values.pruned.lower)
    high = torch.maximum(values.dense.upper, values.pruned.upper)
    least, most = step.activation.slope_range(low, high)
    before = values.change
    products = torch.stack([s * d for s in (least, most) for d in (before.lower, before.upper)])
    lower, upper = outward(products.amin(0), products.amax(0))
    steepest = _steepest(step.activation, low, high)
    zero = torch.zeros_like(before.center)
    around_zero = Enclosure.of(lower, upper, zero, up(steepest * before.norm))
    # s d = m e + (s − m) e + s (d − e), with e the centre of d and m that of the slopes s
    center = (least + most) / 2 * before.center
    width = (most - least) / 2 * before.center.abs() * (1 + 8 * EPS) + 8 * EPS * center.abs()
    radius = up(up(steepest * before.radius) + norm_above(width))
    change = around_zero.intersection(Enclosure.of(lower, upper, center, radius))
    return Pair(dense, pruned, change).consistent()


def _through_maximum(step: MaxPooled, values: Pair) -> Pair:
    """The values after max pooling: the change of a maximum is at most the largest change."""
    growth = up(math.sqrt(step.shared))

    def pooled(each: Enclosure, change: bool) -> Enclosure:
        smallest = -step.pooling(-each.lower) if change else step.pooling(each.lower)
        center = torch.zeros_like(smallest) if change else step.pooling(each.center)
        radius = up(growth * (each.norm if change else each.radius))
        return Enclosure.of(smallest, step.pooling(each.upper), center, radius)

    dense, pruned = (pooled(each, False) for each in (values.dense, values.pruned))
    return Pair(dense, pruned, pooled(values.change, True)).consistent()


def _rearranged(step: Rearranged, values: Pair) -> Pair:
    def one(each: Enclosure) -> Enclosure:
        lower, upper, center = map(step.function, (each.lower, each.upper, each.center))
        return Enclosure.of(lower, upper, center, each.radius)

    return Pair(one(values.dense), one(values.pruned), one(values.change))


def through(step: Activated | MaxPooled | Rearranged, values: Pair) -> Pair:
    """The values after a step without parameters."""
    if isinstance(step, Activated):
        return _through_activation(step, values)
    if isinstance(step, MaxPooled):
        return _through_maximum(step, values)
    return _rearranged(step, values)
