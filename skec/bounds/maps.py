"""Linear maps between hidden values, as functions of their weight."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from .norms import most_copies, padded_norm_bound, spectral_norm_bound
from .outward import error_of_sum, up

_LARGEST_WINDOW = 2**20  # entries of a window of average pooling


class LinearMap:
    """A linear map of the values of one sample, for any weight of a given shape.

    The values have shape (1, ...). A map for the absolute value of a weight has the absolute values
    of the entries of the map.
    """

    def apply(self, weight: Tensor, values: Tensor) -> Tensor:
        """The map of some values."""
        raise NotImplementedError

    def n_terms(self, weight: Tensor) -> int:
        """Number of products that are summed for one result, at most."""
        raise NotImplementedError

    def norm(self, weight: Tensor, values: Tensor) -> float:
        """An upper bound of the operator norm for inputs in the shape of ``values``."""
        raise NotImplementedError

    def row_norms(self, weight: Tensor, values: Tensor) -> Tensor:
        """Upper bounds of the Euclidean norm of the row of the map behind each result."""
        squares = self.apply(weight.square(), torch.ones_like(values))
        return squares.sqrt() * (1 + error_of_sum(self.n_terms(weight)))


@dataclass(frozen=True)
class Blocks(LinearMap):
    """A block-diagonal matrix; weight of shape (n_blocks, n_out, n_in)."""

    def apply(self, weight: Tensor, values: Tensor) -> Tensor:
        parts = values.reshape(len(weight), weight.shape[2], 1)
        return torch.bmm(weight, parts).reshape(1, -1)

    def n_terms(self, weight: Tensor) -> int:
        return weight.shape[2]

    def norm(self, weight: Tensor, values: Tensor) -> float:
        return spectral_norm_bound(weight)


@dataclass(frozen=True)
class Diagonal(LinearMap):
    """A factor for each entry, or for each channel; the weight is broadcast to the values."""

    def apply(self, weight: Tensor, values: Tensor) -> Tensor:
        return weight * values

    def n_terms(self, weight: Tensor) -> int:
        return 1

    def norm(self, weight: Tensor, values: Tensor) -> float:
        return up(float(weight.abs().max()))


@dataclass(frozen=True)
class Convolution(LinearMap):
    """A convolution with the geometry of a layer.

    Attributes
    ----------
    geometry : tuple
        Stride, padding, dilation and padding mode: equal for two equal maps.
    layer : torch.nn.Conv1d or Conv2d
    """

    geometry: tuple[object, ...]
    layer: nn.Conv1d | nn.Conv2d = field(compare=False)

    def apply(self, weight: Tensor, values: Tensor) -> Tensor:
        copy = _without_values(self.layer, weight)
        return copy(values)

    def n_terms(self, weight: Tensor) -> int:
        return weight[0].numel()

    def norm(self, weight: Tensor, values: Tensor) -> float:
        return padded_norm_bound(self.layer, weight, tuple(values.shape[2:]))

    def row_norms(self, weight: Tensor, values: Tensor) -> Tensor:
        copies = most_copies(self.layer, tuple(values.shape[2:]))  # a row may read an input twice
        return super().row_norms(weight, values) * math.sqrt(copies) * (1 + error_of_sum(1))


def _without_values(layer: nn.Conv1d | nn.Conv2d, weight: Tensor) -> Callable[[Tensor], Tensor]:
    """The function of a convolution with another weight and without a bias."""
    with torch.device("meta"):
        copy = type(layer)(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size,  # pyright: ignore[reportArgumentType]
            layer.stride,  # pyright: ignore[reportArgumentType]
            layer.padding,  # pyright: ignore[reportArgumentType]
            layer.dilation,  # pyright: ignore[reportArgumentType]
            bias=False,
            padding_mode=layer.padding_mode,
        )
    copy.weight = nn.Parameter(weight, requires_grad=False)
    return copy


@dataclass(frozen=True)
class Average(LinearMap):
    """The averages of a pooling module; the weight is a factor of shape (1,).

    Attributes
    ----------
    description : str
        Equal for two equal modules.
    pooling : torch.nn.Module
    """

    description: str
    pooling: nn.Module = field(compare=False)

    def apply(self, weight: Tensor, values: Tensor) -> Tensor:
        return weight * self.pooling(values)

    def n_terms(self, weight: Tensor) -> int:
        return _LARGEST_WINDOW

    def norm(self, weight: Tensor, values: Tensor) -> float:
        """The root of the largest sums of a row and of a column, ``‖A‖² ≤ ‖A‖_1 ‖A‖_∞``."""
        with torch.enable_grad():
            ones = torch.ones_like(values, requires_grad=True)
            rows = self.pooling(ones)
            (columns,) = torch.autograd.grad(rows.sum(), ones)
        largest = float(rows.detach().max() * columns.max()) ** 0.5 * float(weight.abs())
        return up(largest * (1 + error_of_sum(_LARGEST_WINDOW)))

    def row_norms(self, weight: Tensor, values: Tensor) -> Tensor:
        """The sums of the rows, which are larger."""
        rows = self.apply(weight.abs(), torch.ones_like(values))
        return rows * (1 + error_of_sum(self.n_terms(weight)))
