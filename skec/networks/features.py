"""Modules between the features and the first layer: selection, scaling, embeddings."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..utils import weighted_quantiles
from .layers import runs_in_order

_SPREADS = (  # quantiles, and their distance in standard deviations of a normal distribution
    ((0.25, 0.75), 1.349),
    ((0.1, 0.9), 2.563),
    ((0.02, 0.98), 4.107),
    ((0.0, 1.0), 2.0),  # for an indicator of a rare event
)
_LOST_DIGITS = 1e-3  # rounding error of float32, over the scale, from which float64 is needed


class FeatureModule(nn.Module):
    """A module that acts on each feature separately, before the first layer.

    Attributes
    ----------
    n_features : int
        Number of columns that it takes.
    """

    n_features: int

    @property
    def width(self) -> int:
        """Number of columns that it returns for each feature, one feature after the other."""
        return 1

    def select(self, features: Tensor) -> None:
        """Keep only some features, given as bool tensor of shape (n_features,)."""
        every = [*self.named_parameters(recurse=False), *self.named_buffers(recurse=False)]
        for name, old in every:
            if old.ndim and len(old) == self.n_features:
                new = old.detach()[features].clone()
                setattr(self, name, nn.Parameter(new) if isinstance(old, nn.Parameter) else new)
        self.n_features = int(features.sum())


class InputColumns(nn.Module):
    """Selects input columns.

    The first module of a network that no longer reads all input columns.

    Parameters
    ----------
    mask : bool tensor of shape (n_features,)
        True marks a selected column.
    dim : int, default=-1
        The dimension of the inputs that holds the columns; 1 for channels.

    Examples
    --------
    >>> InputColumns(torch.tensor([True, False, True]))(torch.tensor([[1.0, 2.0, 3.0]]))
    tensor([[1., 3.]])
    """

    def __init__(self, mask: Tensor, dim: int = -1):
        super().__init__()
        self.n_features, self.dim = len(mask), dim
        self.index: Tensor
        self.register_buffer("index", torch.nonzero(mask).flatten())

    @property
    def mask(self) -> Tensor:
        """The selected columns, bool of shape (n_features,)."""
        mask = torch.zeros(self.n_features, dtype=torch.bool, device=self.index.device)
        mask[self.index] = True
        return mask

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.index_select(self.dim, self.index)

    def extra_repr(self) -> str:
        return f"{len(self.index)} of {self.n_features}"


class FeatureScaling(FeatureModule):
    """Robust scaling of each feature, and a smooth limit for outliers.

    With the median m and the interquartile range over 1.349, s, of the training data, a feature x
    becomes ``z / sqrt(1 + (z / limit)²)`` with ``z = (x − m) / s``. Where the quartiles are equal,
    quantiles further out take their place. Before ``fit``, the features pass unchanged. Inputs of
    float64 are scaled in this precision; the outputs have that of the buffers.

    Parameters
    ----------
    n_features : int
    limit : float, default=3.0
        Bound of the outputs.
    dtype : torch.dtype, default=None
        Type of the outputs. None is the default of torch.

    Attributes
    ----------
    center, scale : tensor of shape (n_features,)
    limit : tensor of shape ()
        Infinite before ``fit``.
    wide : tensor of shape ()
        One if float32 would lose digits of the features, as for dates in nanoseconds; else zero.

    References
    ----------
    .. [1] Holzmüller, Grinsztajn, Steinwart, "Better by default: strong pre-tuned MLPs and boosted
       trees on tabular data", arXiv:2407.04491 (2024).

    Examples
    --------
    >>> scaling = FeatureScaling(1).fit(np.array([[1e9], [2e9], [3e9], [4e9], [1e15]]))
    >>> scaling(torch.tensor([[3e9], [1e15]])).round(decimals=3)
    tensor([[0.],
            [3.]])
    """

    def __init__(self, n_features: int, limit: float = 3.0, dtype: torch.dtype | None = None):
        super().__init__()
        self.n_features, self.bound = n_features, limit
        self.center: Tensor
        self.remainder: Tensor  # what rounding the centre to this dtype has left out
        self.scale: Tensor
        self.limit: Tensor
        self.wide: Tensor
        self.register_buffer("center", torch.zeros(n_features, dtype=dtype))
        self.register_buffer("remainder", torch.zeros(n_features, dtype=dtype))
        self.register_buffer("scale", torch.ones(n_features, dtype=dtype))
        self.register_buffer("limit", torch.tensor(math.inf, dtype=dtype))
        self.register_buffer("wide", torch.tensor(0.0, dtype=dtype))

    @property
    def is_fitted(self) -> bool:
        """Whether ``fit`` has set centre and scale."""
        return bool(torch.isfinite(self.limit))

    def fit(self, X: Any, sample_weight: Any = None) -> FeatureScaling:
        """Set centre and scale from data.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
        sample_weight : array of shape (n_samples,), default=None
            Integer weights count as repeated rows.

        Returns
        -------
        self
        """
        levels = [0.5, *(level for pair, _ in _SPREADS for level in pair)]
        median, *quantiles = weighted_quantiles(X, levels, sample_weight)
        scale = np.ones(self.n_features)
        for (_, width), low, high in reversed(
            list(zip(_SPREADS, quantiles[::2], quantiles[1::2], strict=True))
        ):
            scale = np.where(high > low, (high - low) / width, scale)
        rounding = np.abs(median) * np.finfo(np.float32).eps
        self.center.copy_(torch.from_numpy(median))
        self.remainder.copy_(torch.from_numpy(median) - self.center.double().cpu())
        self.scale.copy_(torch.from_numpy(scale))
        self.limit.fill_(self.bound)
        self.wide.fill_(bool((rounding > _LOST_DIGITS * scale).any()) and X.dtype == np.float64)
        return self

    def forward(self, inputs: Tensor) -> Tensor:
        z = (inputs - self.center - self.remainder) / self.scale
        z = z.to(self.scale.dtype)
        return z / torch.hypot(z / self.limit, torch.ones_like(self.limit))

    def extra_repr(self) -> str:
        return f"{self.n_features}, limit={self.bound:g}"


class PeriodicEmbedding(FeatureModule):
    """Each feature, followed by linear functions of its cosines with learned frequencies.

    A feature x becomes ``(x, A cos(f x + p) + b)``.

    Parameters
    ----------
    n_features : int
    n_frequencies : int, default=16
        Number of cosines for each feature.
    size : int, default=3
        Number of linear functions of the cosines.
    sigma : float, default=0.1
        Standard deviation of the initial values of ``f / 2π``.
    generator : torch.Generator, default=None
        Source of the initial values. None is the global generator of torch.
    dtype : torch.dtype, default=None
        Type of the parameters. None is the default of torch.

    References
    ----------
    .. [1] Gorishniy, Rubachev, Babenko, "On embeddings for numerical features in tabular deep
       learning", NeurIPS 2022.
    .. [2] Holzmüller, Grinsztajn, Steinwart, "Better by default: strong pre-tuned MLPs and boosted
       trees on tabular data", arXiv:2407.04491 (2024).

    Examples
    --------
    >>> PeriodicEmbedding(2)(torch.zeros(5, 2)).shape
    torch.Size([5, 8])
    """

    def __init__(
        self,
        n_features: int,
        n_frequencies: int = 16,
        size: int = 3,
        sigma: float = 0.1,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()

        def empty(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(n_features, *shape, dtype=dtype))

        self.n_features = n_features
        self.frequency, self.phase = empty(n_frequencies), empty(n_frequencies)
        self.weight, self.bias = empty(size, n_frequencies), empty(size)
        self.reset_parameters(sigma, generator)

    @torch.no_grad()
    def reset_parameters(self, sigma: float, generator: torch.Generator | None = None) -> None:
        """Draw new frequencies, phases and weights."""
        self.frequency.normal_(0.0, 2 * math.pi * sigma, generator=generator)
        self.phase.uniform_(-math.pi, math.pi, generator=generator)
        bound = self.weight.shape[2] ** -0.5
        for parameter in (self.weight, self.bias):
            parameter.uniform_(-bound, bound, generator=generator)

    @property
    def width(self) -> int:
        return 1 + self.weight.shape[1]

    def forward(self, inputs: Tensor) -> Tensor:
        # (feature, sample, cosine), in a stack with the network before
        x = inputs.t()[:, :, None]
        angles = torch.addcmul(self.phase[..., None, :], x, self.frequency[..., None, :])
        bias, weight = self.bias.flatten(0, -2)[:, None], self.weight.flatten(0, -3).mT
        periodic = torch.baddbmm(bias, angles.cos().flatten(0, -3), weight)
        periodic = periodic.view(*angles.shape[:-1], -1)
        x = x.expand_as(angles[..., :1])
        return torch.cat([x, periodic], -1).transpose(-3, -2).flatten(-2)

    def extra_repr(self) -> str:
        return f"{self.n_features}, n_frequencies={self.phase.shape[1]}, size={self.width - 1}"


class FeatureWeights(FeatureModule):
    """A learned factor for each column.

    Parameters
    ----------
    n_features : int
    rate : float, default=6.0
        The factor is this number times a parameter, so it learns that many times faster.
    dtype : torch.dtype, default=None
        Type of the parameter. None is the default of torch.

    References
    ----------
    .. [1] Holzmüller, Grinsztajn, Steinwart, "Better by default: strong pre-tuned MLPs and boosted
       trees on tabular data", arXiv:2407.04491 (2024).

    Examples
    --------
    >>> FeatureWeights(2)(torch.ones(1, 2)).detach()
    tensor([[1., 1.]])
    """

    def __init__(self, n_features: int, rate: float = 6.0, dtype: torch.dtype | None = None):
        super().__init__()
        self.n_features, self.rate = n_features, rate
        self.weight = nn.Parameter(torch.full((n_features,), 1.0 / rate, dtype=dtype))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * (self.rate * self.weight)[..., None, :]

    def extra_repr(self) -> str:
        return f"{self.n_features}, rate={self.rate:g}"


def fixed_part(module: nn.Module) -> tuple[nn.Sequential, nn.Sequential] | None:
    """The modules at the begin of a network that have no parameters, and the other ones.

    None if the network does not begin with a :class:`FeatureScaling`, with or without
    :class:`InputColumns`. Training applies the first part to the data only once.
    """
    parts = list(module) if runs_in_order(module) else []
    n_fixed = 0
    while n_fixed < len(parts) and type(parts[n_fixed]) in (InputColumns, FeatureScaling):
        n_fixed += 1
    if not any(type(part) is FeatureScaling for part in parts[:n_fixed]):
        return None
    return nn.Sequential(*parts[:n_fixed]), nn.Sequential(*parts[n_fixed:])


def input_dtype(module: nn.Module) -> torch.dtype:
    """The dtype in which a network takes its inputs.

    It is that of its parameters; float64 if the features lose digits in it.

    Examples
    --------
    >>> input_dtype(nn.Linear(3, 2))
    torch.float32
    """
    scalings = (part for part in module.modules() if isinstance(part, FeatureScaling))
    if any(bool(scaling.wide) for scaling in scalings):
        return torch.float64
    return next(module.parameters()).dtype
