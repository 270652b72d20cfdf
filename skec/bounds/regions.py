"""The inputs over which two networks are compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..networks import PRUNABLE, FeatureModule, InputColumns, is_convolution
from ..utils import check_count, check_number
from .enclosure import Enclosure, Pair
from .outward import norm_above, outward


def region_of(
    module: nn.Module, radius: Any, center: Any, bounds: Any, input_shape: Any
) -> tuple[Pair, str]:
    """The inputs of two networks, which are the same, and words for the region.

    Raises
    ------
    ValueError
        If not exactly one of ``radius`` and ``bounds`` is given, or one does not fit the network.
    """
    if (radius is None) == (bounds is None):
        got = "neither" if radius is None else "both"
        raise ValueError(
            f"Give either radius=..., for a ball, or bounds=(lower, upper), for a box; got {got}."
        )
    if radius is not None:
        check_number("radius", radius)
        shape = _shape(module, center, "center", input_shape)
        middle = torch.zeros(1, *shape) if center is None else _numbers(center, "center", shape)
        middle = middle.double()
        low, high = outward(middle, middle, float(radius))
        region = Enclosure.of(low, high, middle, float(radius))
        about = "" if center is None else " around the given centre"
        words = f"the ball of radius {radius:g}{about} in {math.prod(shape)} inputs"
    else:
        if center is not None:
            raise ValueError("center goes with radius, not with bounds. Leave it out.")
        low, high, shape = _box(module, bounds, input_shape)
        middle = (low + high) / 2
        half = torch.maximum(high - middle, middle - low)
        region = Enclosure.of(low, high, middle, norm_above(half))
        words = f"the given box of {math.prod(shape)} inputs"
    zero = torch.zeros_like(region.center)
    return Pair(region, region, Enclosure(zero, zero, zero, 0.0)), words


def _box(
    module: nn.Module, bounds: Any, input_shape: Any
) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """Lower and upper limits of the inputs, and the shape of a sample."""
    try:
        lower, upper = bounds
    except (TypeError, ValueError):
        raise ValueError(
            f"bounds must be a pair (lower, upper) of numbers or arrays; got {bounds!r}."
        ) from None
    largest = max(lower, upper, key=np.ndim)
    shape = _shape(module, largest if np.ndim(largest) else None, "bounds", input_shape)
    low, high = (_numbers(each, "bounds", shape) for each in (lower, upper))
    wrong = torch.nonzero((low > high).flatten()).flatten().tolist()
    if wrong:
        i = wrong[0]
        raise ValueError(
            f"bounds=(lower, upper) must have lower <= upper; {len(wrong)} inputs do not, first "
            f"input {i}: {float(low.flatten()[i]):g} > {float(high.flatten()[i]):g}."
        )
    return low, high, shape


def _numbers(values: Any, name: str, shape: tuple[int, ...]) -> Tensor:
    """Finite float64 numbers of shape (1, *shape)."""
    try:
        numbers = np.broadcast_to(np.asarray(values, np.float64), shape)
    except (TypeError, ValueError):
        raise ValueError(
            f"{name} must hold one number for each input, in the shape {shape} of a sample; got "
            f"{np.shape(values)}."
        ) from None
    if not np.isfinite(numbers).all():
        raise ValueError(f"{name} must be finite; it contains NaN or infinity.")
    return torch.from_numpy(numbers.copy())[None]


def _shape(module: nn.Module, values: Any, name: str, input_shape: Any) -> tuple[int, ...]:
    """The shape of a sample."""
    n_inputs, first = _first_inputs(module)
    maps = is_convolution(first)
    given: Sequence[int] | None = None
    if input_shape is not None:
        given = tuple(input_shape)
        for length in given:
            check_count("input_shape", length)
    elif values is not None:
        given = np.shape(values)
    elif not maps and n_inputs is not None:
        given = (n_inputs,)
    if given is None:
        raise ValueError(
            "input_shape=None is not enough for this network: the size of its inputs is not known "
            "from the layers. Give input_shape=(n_channels, ...), the shape of a sample."
        )
    n_dims = 1 + len(first.kernel_size) if isinstance(first, nn.Conv1d | nn.Conv2d) else 1
    if n_inputs is not None and (len(given) != n_dims or given[0] != n_inputs):
        wanted = f"({n_inputs}, ...) with {n_dims} numbers" if maps else f"({n_inputs},)"
        where = "input_shape" if input_shape is not None else f"the shape of {name}"
        raise ValueError(f"{where} must be {wanted}, that of a sample; got {tuple(given)}.")
    return tuple(given)


def _first_inputs(module: nn.Module) -> tuple[int | None, nn.Module]:
    """Number of input columns or channels, None if not known, and the first layer."""
    n_inputs: int | None = None
    known = False
    for part in module.modules():
        if isinstance(part, PRUNABLE):
            if not known:
                conv = isinstance(part, nn.Conv1d | nn.Conv2d)
                n_inputs = part.in_channels if conv else part.in_features
            return n_inputs, part
        if not known and isinstance(part, FeatureModule | InputColumns):
            n_inputs, known = part.n_features, True
        if not known and isinstance(part, nn.Flatten | nn.Unflatten):
            known = True
    raise AssertionError("a network has a layer")
