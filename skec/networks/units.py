"""The units of a hidden layer: incoming weights, normalisation and outgoing weights."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from .chain import HiddenLayer
from .layers import layer_of


@dataclass(frozen=True)
class Normalization:
    """Batch normalisation of each unit in evaluation mode, ``γ (z − μ) / σ + β``.

    Attributes
    ----------
    gamma, beta, mu, sigma : float64 tensors of shape (n_units,)
        ``σ`` is the square root of the running variance plus epsilon.
    """

    gamma: Tensor
    beta: Tensor
    mu: Tensor
    sigma: Tensor

    def of_pre_activations(self, bias: Tensor | None) -> Normalization:
        """The same normalisation as a function of ``W a`` instead of ``W a + b``."""
        return self if bias is None else replace(self, mu=self.mu - bias)


@dataclass(frozen=True)
class Units:
    """The weights of the units of one hidden layer.

    For a convolution the units are its filters, and the filters are flattened.

    Attributes
    ----------
    name : str
        The name of the layer, for messages.
    weight : float64 tensor of shape (n_units, n_in)
        Incoming weights before any layer is changed in this step.
    bias : float64 tensor of shape (n_units,) or None
    normalization : Normalization or None
        The normalisation between the layer and its activation.
    next_weight : float64 tensor of shape (n_next, n_units * block)
        Outgoing weights.
    next_bias : float64 tensor of shape (n_next,) or None
    kept : bool tensor of shape (n_units,)
        The units that earlier steps have kept.
    block : int, default=1
        Number of consecutive columns of ``next_weight`` that belong to each unit.
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
        """Mask of the columns of ``next_weight`` that belong to the units of a mask."""
        return units.repeat_interleave(self.block)

    @property
    def rows(self) -> Tensor:
        """Incoming weights with the bias as a last column, shape (n_units, n_in or n_in + 1)."""
        if self.bias is None:
            return self.weight
        return torch.cat([self.weight, self.bias[:, None]], dim=1)


@torch.no_grad()
def units_of(module: nn.Module, hidden: HiddenLayer, kept: Tensor) -> Units:
    """The units of a hidden layer, with copies of their weights.

    Parameters
    ----------
    module : torch.nn.Module
    hidden : HiddenLayer
    kept : bool tensor of shape (n_units,)
    """
    layer, reader = (layer_of(module, name) for name in (hidden.name, hidden.next_name))
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
    """The batch normalisation of a layer's pre-activations; None if there is none."""
    for name in hidden.between:
        part = module.get_submodule(name)
        if isinstance(part, nn.Identity | nn.Dropout | nn.Dropout1d | nn.Dropout2d):
            continue
        if not isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            return None
        if part.running_mean is None or part.running_var is None:
            return None
        mu, variance = _copy(part.running_mean), _copy(part.running_var)
        return Normalization(
            torch.ones_like(mu) if part.weight is None else _copy(part.weight),
            torch.zeros_like(mu) if part.bias is None else _copy(part.bias),
            mu,
            (variance + part.eps).sqrt(),
        )
    return None
