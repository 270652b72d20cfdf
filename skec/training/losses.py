"""Losses with their gradients, for training without an autograd graph of the network."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias, cast

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
        Any loss of outputs and targets. The gradients of the mean squared error and, for classes
        as targets, of the cross-entropy are computed directly. Other losses use autograd, for the
        loss alone.
    loss : callable, default=None
        Takes outputs, targets and weights; by default the weighted mean of ``criterion``.

    Returns
    -------
    callable
        Takes the targets and weights of a batch. Returns a function of the outputs, which returns
        the loss and its gradient. For the two losses that are computed directly, the outputs may
        be those of a stack of networks. The loss is then the mean over the networks, and the
        gradient is that of their sum.
    """
    if loss is None and _is_plain_squared_error(criterion):
        return lambda targets, weights: partial(_squared_error, targets=targets, weights=weights)
    if loss is None and _is_plain_cross_entropy(criterion):
        smoothing = cast(nn.CrossEntropyLoss, criterion).label_smoothing
        return partial(_of_classes, smoothing, partial(_by_autograd, criterion, None))
    return partial(_by_autograd, criterion, loss)


def _by_autograd(
    criterion: nn.Module,
    loss: Callable[[Tensor, Any, Tensor | None], Tensor] | None,
    targets: Any,
    weights: Tensor | None,
) -> OutputLoss:
    """The loss of a batch with the gradient of autograd."""

    def evaluate(outputs: Tensor) -> tuple[Tensor, Tensor]:
        outputs = outputs.detach().requires_grad_()
        with torch.enable_grad():
            if loss is None:
                value = weighted_loss(criterion, outputs, targets, weights)
            else:
                value = loss(outputs, targets, weights)
        (grad,) = torch.autograd.grad(value, outputs)
        return value.detach(), grad

    return evaluate


def sums_over_stacks(criterion: nn.Module) -> bool:
    """Whether :func:`loss_with_gradient` takes the outputs of a stack of networks."""
    return _is_plain_squared_error(criterion) or _is_plain_cross_entropy(criterion)


def _is_plain_squared_error(criterion: nn.Module) -> bool:
    return type(criterion) is nn.MSELoss and criterion.reduction == "mean"


def _is_plain_cross_entropy(criterion: nn.Module) -> bool:
    return (
        type(criterion) is nn.CrossEntropyLoss
        and criterion.reduction == "mean"
        and criterion.weight is None
        and criterion.ignore_index < 0
    )


def _of_classes(
    smoothing: float, otherwise: LossFunction, targets: Tensor, weights: Tensor | None
) -> OutputLoss:
    """The cross-entropy of a batch, if the targets are classes."""
    if targets.ndim != 1 or targets.is_floating_point():
        return otherwise(targets, weights)

    def evaluate(outputs: Tensor) -> tuple[Tensor, Tensor]:
        if outputs.ndim < 2 or outputs.shape[-2] != len(targets):
            return otherwise(targets, weights)(outputs)
        return _cross_entropy(outputs, targets, weights, smoothing)

    return evaluate


def _cross_entropy(
    outputs: Tensor, targets: Tensor, weights: Tensor | None, smoothing: float
) -> tuple[Tensor, Tensor]:
    """Mean of ``−Σ_k t_k log p_k`` with ``t = (1 − smoothing) onehot + smoothing / n_classes``."""
    n_samples, n_classes = outputs.shape[-2:]
    wanted = outputs.new_full((n_samples, n_classes), smoothing / n_classes)
    ones = outputs.new_full((1, 1), 1.0 - smoothing).expand(n_samples, 1)
    wanted.scatter_add_(1, targets[:, None], ones)
    logs = torch.log_softmax(outputs, -1)
    gradient = logs.exp().sub_(wanted)
    if weights is not None:
        wanted, gradient = wanted.mul_(weights[:, None]), gradient.mul_(weights[:, None])
    value = torch.dot(wanted.expand_as(logs).reshape(-1), logs.view(-1))
    value = value * (-n_classes / logs.numel())
    return value, gradient.mul_(1.0 / n_samples)


def _squared_error(
    outputs: Tensor, targets: Tensor, weights: Tensor | None
) -> tuple[Tensor, Tensor]:
    stack = outputs.shape[:1] if outputs.ndim > targets.ndim else ()
    difference = outputs.reshape(*stack, *targets.shape) - targets
    scale = 1.0 / targets.numel()
    weighted = difference if weights is None else difference * weights[:, None]
    value = torch.dot(weighted.view(-1), difference.view(-1)) / difference.numel()
    return value, (weighted * (2.0 * scale)).view_as(outputs)
