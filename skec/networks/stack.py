"""Several networks of equal shapes as one network."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn


class StackedLinear(nn.Linear):
    """Linear layers of equal shapes, one for each network of a stack.

    It maps inputs of shape (n_samples, n_in), or (n_networks, n_samples, n_in), to outputs of
    shape (n_networks, n_samples, n_out).

    Parameters
    ----------
    layers : sequence of torch.nn.Linear

    Examples
    --------
    >>> StackedLinear([nn.Linear(3, 2), nn.Linear(3, 2)])(torch.zeros(5, 3)).shape
    torch.Size([2, 5, 2])
    """

    def __init__(self, layers: Sequence[nn.Linear]):
        nn.Module.__init__(self)
        self.in_features, self.out_features = layers[0].in_features, layers[0].out_features
        self.weight = _stacked([layer.weight for layer in layers])
        biases = [layer.bias for layer in layers if layer.bias is not None]
        self.bias = _stacked(biases) if biases else None

    def forward(self, inputs: Tensor) -> Tensor:
        return stacked_linear(inputs, self.weight, self.bias)


def stacked_linear(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``torch.nn.functional.linear`` for each network of a stack; shapes as in its layer."""
    inputs = inputs.expand(len(weight), *inputs.shape[-2:])
    if bias is None:
        return torch.bmm(inputs, weight.mT)
    return torch.baddbmm(bias[:, None], inputs, weight.mT)


def stacked(networks: Sequence[nn.Module]) -> nn.Module:
    """One network that computes the outputs of several, stacked along a new first dimension.

    All networks have the same layers with the same shapes. Their layers are linear, elementwise,
    or those of :mod:`skec.networks` that act on features. A sum of the losses of all networks has
    the gradients of each of them, so one training step trains all of them, with fewer and larger
    operations.

    Parameters
    ----------
    networks : sequence of torch.nn.Module
        They are not changed. Buffers are those of the first one.

    Returns
    -------
    torch.nn.Module
        Its modules have the names of the first network's. Its parameters are new.

    Examples
    --------
    >>> networks = [nn.Sequential(nn.Linear(3, 2), nn.ReLU()) for _ in range(4)]
    >>> stacked(networks)(torch.zeros(5, 3)).shape
    torch.Size([4, 5, 2])
    """
    whole = copy.deepcopy(networks[0])
    for name, part in networks[0].named_modules():
        parts = [network.get_submodule(name) for network in networks]
        if isinstance(part, nn.Linear):
            owner, _, attribute = name.rpartition(".")
            setattr(whole.get_submodule(owner), attribute, StackedLinear(cast(Any, parts)))
            continue
        own = [dict(each.named_parameters(recurse=False)) for each in parts]
        for attribute in own[0]:
            stack = _stacked([parameters[attribute] for parameters in own])
            setattr(whole.get_submodule(name), attribute, stack)
    return whole


@torch.no_grad()
def unstack(stack: nn.Module, networks: Sequence[nn.Module]) -> None:
    """Copy the parameters of a stack back into its networks."""
    for network in networks:
        network.train(stack.training)
    each = [dict(network.named_parameters()) for network in networks]
    for name, values in stack.named_parameters():
        for parameters, value in zip(each, values, strict=True):
            parameters[name].copy_(value)


def _stacked(parameters: Sequence[Tensor]) -> nn.Parameter:
    return nn.Parameter(torch.stack([parameter.detach() for parameter in parameters]))
