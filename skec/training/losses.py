"""Losses with their gradients, for training without an autograd graph of the network."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from ..networks import weighted_loss

# Takes the outputs of a batch; returns the loss and its gradient with respect to the outputs.
OutputLoss: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]
# Takes the targets and weights of a batch; returns the loss of its outputs.
LossFunction: TypeAlias = Callable[[Any, Tensor | None], OutputLoss]


def loss_with_gradient(
    criterion: nn.Module, loss: Callable[[Tensor, Any, Tensor | None], Tensor] | None = None
) -> LossFunction:
    """Return a loss function that also computes its gradient with respect to the outputs.

    Parameters
    ----------
    criterion : torch.nn.Module
        Any loss of outputs and targets. The gradient of the mean squared error is computed
        directly. Other losses use autograd, for the loss alone.
    loss : callable, default=None
        Takes outputs, targets and weights; by default the weighted mean of ``criterion``.

    Returns
    -------
    callable
        Takes the targets and weights of a batch. Returns a function of the outputs, which returns
        the loss and its gradient.
    """
    if loss is None and type(criterion) is nn.MSELoss and criterion.reduction == "mean":
        return lambda targets, weights: partial(_squared_error, targets=targets, weights=weights)

    def evaluate(outputs: Tensor, targets: Any, weights: Tensor | None) -> tuple[Tensor, Tensor]:
        outputs = outputs.detach().requires_grad_()
        with torch.enable_grad():
            if loss is None:
                value = weighted_loss(criterion, outputs, targets, weights)
            else:
                value = loss(outputs, targets, weights)
        (grad,) = torch.autograd.grad(value, outputs)
        return value.detach(), grad

    return lambda targets, weights: partial(evaluate, targets=targets, weights=weights)


def _squared_error(
    outputs: Tensor, targets: Tensor, weights: Tensor | None
) -> tuple[Tensor, Tensor]:
    difference = outputs.reshape(targets.shape) - targets
    scale = 1.0 / difference.numel()
    weighted = difference if weights is None else difference * weights[:, None]
    value = torch.dot(weighted.view(-1), difference.view(-1)) * scale
    return value, (weighted * (2.0 * scale)).view_as(outputs)
