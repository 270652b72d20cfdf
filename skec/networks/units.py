"""The units of a hidden layer: what they read, how they are normalised, who reads them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from .chain import HiddenLayer


@dataclass(frozen=True)
class Normalization:
    """What a batch normalisation in evaluation mode does to each unit: ``γ (z − μ) / σ + β``.

    Attributes
    ----------
    gamma, beta, mu, sigma : float64 tensors of shape (n_units,)
        ``σ`` is the root of the running variance plus epsilon.
    """

    gamma: Tensor
    beta: Tensor
    mu: Tensor
    sigma: Tensor

    def of_pre_activations(self, bias: Tensor | None) -> Normalization:
        """The same function of ``W a``, for a layer with a bias."""
        return self if bias is None else replace(self, mu=self.mu - bias)


@dataclass(frozen=True)
class Units:
    """The units of one hidden layer, as numbers.

    Attributes
    ----------
    name : str
        The layer, for messages.
    weight : float64 tensor of shape (n_units, n_in)
        Incoming weights, as they were before any layer of this step was changed.
    bias : float64 tensor of shape (n_units,) or None
    normalization : Normalization or None
        That between the layer and its activation.
    next_weight : float64 tensor of shape (n_next, n_units * block)
        Outgoing weights.
    next_bias : float64 tensor of shape (n_next,) or None
    kept : bool tensor of shape (n_units,)
        What earlier steps have left.
    block : int, default=1
        Number of columns of ``next_weight`` that belong to each unit, one after the other.

    For a convolution the units are its filters, and weights are those of the flattened filters.
    """

    name: str
    weight: Tensor
    bias: Tensor | None
    normalization: Normalization | None
    next_weight: Tensor
    next_bias: Tensor | None
    kept: Tensor
    block: int = 1

    def columns(self, units: Tensor) -> Tensor:
        """The columns of ``next_weight`` that belong to some units, as a mask like theirs."""
        return units.repeat_interleave(self.block)

    @property
    def rows(self) -> Tensor:
        """Incoming weights with the bias as a last column, shape (n_units, n_in or n_in + 1)."""
        if self.bias is None:
            return self.weight
        return torch.cat([self.weight, self.bias[:, None]], dim=1)


@torch.no_grad()
def units_of(module: nn.Module, hidden: HiddenLayer, kept: Tensor) -> Units:
    """Read the units of a hidden layer.

    Parameters
    ----------
    module : torch.nn.Module
    hidden : HiddenLayer
    kept : bool tensor of shape (n_units,)
    """
    layer, reader = (module.get_submodule(name) for name in (hidden.name, hidden.next_name))
    return Units(
        hidden.name,
        _copy(layer.weight.flatten(1)),
        None if layer.bias is None else _copy(layer.bias),
        _normalization(module, hidden),
        _copy(reader.weight.flatten(1)),
        None if reader.bias is None else _copy(reader.bias),
        kept,
        hidden.block,
    )


def _copy(values: Tensor) -> Tensor:
    return values.detach().to(torch.float64, copy=True)


def _normalization(module: nn.Module, hidden: HiddenLayer) -> Normalization | None:
    """The batch normalisation that follows the layer before anything that is not linear."""
    for name in hidden.between:
        part = module.get_submodule(name)
        if isinstance(part, nn.Identity | nn.Dropout | nn.Dropout1d | nn.Dropout2d):
            continue
        if not isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d) or part.running_mean is None:
            return None
        mu, variance = _copy(part.running_mean), _copy(part.running_var)
        return Normalization(
            torch.ones_like(mu) if part.weight is None else _copy(part.weight),
            torch.zeros_like(mu) if part.bias is None else _copy(part.bias),
            mu,
            (variance + part.eps).sqrt(),
        )
    return None
