"""Losses: arguments, weighted means, gradients, and the distributions of the targets."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .outputs import output_tensors

# Losses that compare outputs with targets of the same shape, entry by entry.
_ELEMENTWISE = (
    nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.PoissonNLLLoss, nn.BCELoss,
    nn.BCEWithLogitsLoss,
)  # fmt: skip

# Losses of torch without a distribution whose Fisher metric is implemented.
_NO_DISTRIBUTION = (
    nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.GaussianNLLLoss, nn.PoissonNLLLoss,
    nn.BCELoss,
)  # fmt: skip

# Losses by output activation, for networks that do not apply this activation themselves.
LOSSES_BY_ACTIVATION: dict[str, type[nn.Module]] = {
    "identity": nn.MSELoss,
    "softmax": nn.CrossEntropyLoss,
    "logistic": nn.BCEWithLogitsLoss,
    "exp": nn.PoissonNLLLoss,
}


def is_elementwise(loss: nn.Module) -> bool:
    """Whether a loss compares outputs with targets of the same shape, entry by entry."""
    return isinstance(loss, _ELEMENTWISE)


Distribution = Literal["categorical", "bernoulli", "poisson", "none", "unknown"]


def distribution_of(loss: nn.Module | None) -> Distribution:
    """The distribution of the targets that a loss assumes.

    ``"none"`` for losses of torch without a distribution whose Fisher metric is implemented, and
    ``"unknown"`` for None and for other losses.

    Examples
    --------
    >>> distribution_of(nn.CrossEntropyLoss()), distribution_of(nn.HuberLoss())
    ('categorical', 'none')
    """
    if isinstance(loss, nn.CrossEntropyLoss):
        return "categorical"
    if isinstance(loss, nn.BCEWithLogitsLoss):
        return "bernoulli"
    if isinstance(loss, nn.PoissonNLLLoss) and loss.log_input:
        return "poisson"
    return "none" if isinstance(loss, _NO_DISTRIBUTION) else "unknown"


class LogProbabilityLoss(nn.Module):
    """A loss on log-probabilities, for a network that returns probabilities.

    Parameters
    ----------
    loss : torch.nn.Module
        Such as ``NLLLoss``. It is copied.
    """

    def __init__(self, loss: nn.Module):
        super().__init__()
        self.loss, self.reduction = copy.copy(loss), getattr(loss, "reduction", None)

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        loss = _with_reduction(self.loss, self.reduction)
        return loss(torch.log(outputs + torch.finfo(outputs.dtype).eps), targets)


def loss_of_outputs(loss: nn.Module, classifier: bool) -> nn.Module:
    """The loss of a skorch net as a function of the outputs of its module.

    The module of a classifier with ``NLLLoss`` returns probabilities, whose logarithm skorch
    passes to the loss.
    """
    return LogProbabilityLoss(loss) if classifier and isinstance(loss, nn.NLLLoss) else loss


def default_loss(loss: nn.Module | None, y: Tensor, n_tensors: int) -> nn.Module:
    """The given loss, or the default for targets.

    Parameters
    ----------
    loss : torch.nn.Module or None
    y : tensor
        The default is the mean squared error for floats and the cross-entropy for integers.
    n_tensors : int
        Number of output tensors of the network.

    Raises
    ------
    ValueError
        If the loss compares one tensor with the targets and the network returns several.
    """
    if n_tensors > 1 and (loss is None or type(loss).__module__.startswith("torch.nn.")):
        got = "None" if loss is None else f"{type(loss).__name__}()"
        raise ValueError(
            f"loss={got} compares one tensor with the targets; this network returns {n_tensors} "
            f"tensors. Pass a torch.nn.Module whose forward(outputs, y) accepts all of them."
        )
    if loss is None:
        return nn.MSELoss() if y.is_floating_point() else nn.CrossEntropyLoss()
    return loss


def match_targets(y: Tensor, outputs: Tensor, loss: nn.Module | None = None) -> Tensor:
    """Reshape targets as the loss needs them for outputs of shape (n_samples, n_outputs).

    Targets of shape (n_samples,) become a column if there is a single output. For element-wise
    losses of torch, such as ``BCEWithLogitsLoss``, targets become floats in the outputs' shape.

    Examples
    --------
    >>> labels, outputs = torch.tensor([0, 1, 1]), torch.zeros(3, 1)
    >>> match_targets(labels, outputs, nn.BCEWithLogitsLoss()).shape
    torch.Size([3, 1])
    """
    if isinstance(loss, _ELEMENTWISE):
        y = y.to(outputs.dtype)
        return y.reshape(outputs.shape) if y.numel() == outputs.numel() else y
    if y.is_floating_point() and y.ndim == 1 and outputs.ndim == 2 and outputs.shape[1] == 1:
        return y[:, None]
    return y


def weighted_loss(
    criterion: nn.Module, outputs: Any, targets: Tensor, weights: Tensor | None
) -> Tensor:
    """Mean loss of a batch; with weights, the mean of the weighted losses of the samples.

    The criterion is not changed.

    Raises
    ------
    ValueError
        If there are weights and the criterion cannot return the loss of each sample.

    Examples
    --------
    >>> import torch
    >>> outputs, targets = torch.zeros(2, 1), torch.tensor([[1.0], [3.0]])
    >>> weighted_loss(torch.nn.MSELoss(), outputs, targets, torch.tensor([0.0, 2.0]))
    tensor(9.)
    """
    if weights is None:
        return criterion(outputs, targets)
    check_reduction(criterion)
    return sample_losses(criterion, outputs, targets, weights).mean()


def check_reduction(
    criterion: nn.Module,
    needed_by: str = "sample_weight",
    instead: str = "fit without sample_weight",
) -> None:
    """Raise unless a criterion can return the loss of each sample.

    Parameters
    ----------
    criterion : torch.nn.Module
    needed_by, instead : str
        What needs the losses of the samples, and what to do without them, for the message.
    """
    reduction = getattr(criterion, "reduction", None)
    if reduction not in ("mean", "none"):
        raise ValueError(
            f"{needed_by} needs a criterion with reduction='mean' or 'none'; "
            f"{type(criterion).__name__} has reduction={reduction!r}. Use a loss of torch.nn with "
            f"its default reduction, or {instead}."
        )


def sample_losses(
    criterion: nn.Module, outputs: Any, targets: Tensor, weights: Tensor | None = None
) -> Tensor:
    """The loss of each sample, times its weight; the mean over several outputs.

    The criterion is not changed. It needs a ``reduction`` (see :func:`check_reduction`).

    Examples
    --------
    >>> import torch
    >>> outputs, targets = torch.zeros(2, 2), torch.tensor([[1.0, 1.0], [3.0, 1.0]])
    >>> sample_losses(torch.nn.MSELoss(), outputs, targets)
    tensor([1., 5.])
    """
    losses = _with_reduction(criterion, "none")(outputs, targets)
    losses = losses.reshape(len(targets), -1).mean(1)
    return losses if weights is None else losses * weights


def _with_reduction(criterion: nn.Module, reduction: Any) -> nn.Module:
    """A shallow copy with another reduction."""
    same = copy.copy(criterion)
    same.reduction = reduction
    return same


def summed_gradients(
    loss: nn.Module,
    returned: Any,
    y: Tensor,
    sample_weight: Tensor | None,
    weights: Sequence[Tensor],
) -> Sequence[Tensor]:
    """Gradients of the batch's summed, weighted loss; zero where it does not depend on a weight.

    Parameters
    ----------
    loss : torch.nn.Module
    returned : tensor, or tuple, list or dict of tensors
        The return value of the network.
    y : tensor with n_samples rows
    sample_weight : tensor of shape (n_samples,) or None
    weights : sequence of tensors
        The parameters with respect to which to differentiate.
    """
    outputs, targets = loss_arguments(loss, returned, y)
    reduction, n_samples = getattr(loss, "reduction", None), len(y)
    plain_mean = reduction == "mean" and isinstance(loss, _ELEMENTWISE)
    if sample_weight is None and reduction in ("mean", "none") and not plain_mean:
        # unit weights make it a sum over samples, which does not depend on the batches
        parameter = weights[0]
        sample_weight = torch.ones(n_samples, dtype=parameter.dtype, device=parameter.device)
    if sample_weight is None and reduction == "sum":
        total = loss(outputs, targets)
    else:
        total = weighted_loss(loss, outputs, targets, sample_weight) * n_samples
    return torch.autograd.grad(total, weights, allow_unused=True, materialize_grads=True)


def loss_arguments(loss: nn.Module, returned: Any, y: Tensor) -> tuple[Any, Tensor]:
    """Outputs and targets for the loss; several output tensors are passed on unchanged."""
    tensors = output_tensors(returned, len(y))
    if len(tensors) > 1:
        return returned, y
    outputs = tensors[0].reshape(len(y), -1)
    return outputs, match_targets(y, outputs, loss)
