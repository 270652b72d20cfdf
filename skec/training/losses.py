"""Losses with their gradients, for training without an autograd graph of the network."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from ..networks import weighted_loss

# Takes targets and weights of a batch; returns a function of the outputs that returns the loss and
# its gradient.
LossFunction: TypeAlias = Callable[[Any, Tensor | None], Callable[[Tensor], tuple[Tensor, Tensor]]]


def loss_with_gradient(criterion: nn.Module, loss: Callable | None = None) -> LossFunction:
    """Make a function of a batch's targets and weights that returns a function of its outputs.

    The latter returns the loss and its gradient with respect to the outputs.

    Parameters
    ----------
    criterion : torch.nn.Module
        Any loss of outputs and targets. The mean squared error is written out; others go through
        autograd, which here sees the loss alone.
    loss : callable, default=None
        Takes outputs, targets and weights; by default the weighted mean of ``criterion``.
    """
    if loss is None and type(criterion) is nn.MSELoss and criterion.reduction == "mean":
        return lambda targets, weights: partial(_squared_error, targets=targets, weights=weights)

    def evaluate(outputs, targets, weights):
        outputs = outputs.detach().requires_grad_()
        with torch.enable_grad():
            if loss is None:
                value = weighted_loss(criterion, outputs, targets, weights)
            else:
                value = loss(outputs, targets, weights)
        (grad,) = torch.autograd.grad(value, outputs)
        return value.detach(), grad

    return lambda targets, weights: partial(evaluate, targets=targets, weights=weights)


def _squared_error(outputs, targets, weights):
    difference = outputs.reshape(targets.shape) - targets
    scale = 1.0 / difference.numel()
    weighted = difference if weights is None else difference * weights[:, None]
    value = torch.dot(weighted.view(-1), difference.view(-1)) * scale
    return value, (weighted * (2.0 * scale)).view_as(outputs)
