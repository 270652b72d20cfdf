"""One network pruned at several ratios, and the function ``pruning_path``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.utils import Bunch
from torch import nn

from ..allocation import Schedule, Scope, UnitScope
from ..calibration import OutputMetric
from ..compensation import Compensation, UnitCompensation
from ..criteria import Criterion, UnitCriterion
from ..networks import (
    call,
    default_loss,
    is_elementwise,
    loss_arguments,
    output_tensors,
    weighted_loss,
)
from ..training import threads_for
from ..utils import BatchedSamples, Samples, check_ratio, plain_tensors
from .dask_samples import samples_for
from .granularity import Scoring
from .request import Request, resolve
from .result import PruningResult, make_result
from .steps import AfterStep, run_steps, score_dense

PATH_RATIOS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
_ANY_RATIO = 0.5  # of a request whose ratio is set later


def pruning_path(
    module: nn.Module,
    X: Any = None,
    y: Any = None,
    *,
    pruning_ratios: ArrayLike | None = None,
    granularity: Literal["weight", "neuron"] = "weight",
    method: str | Criterion | UnitCriterion = "ec",
    compensation: str | Compensation | UnitCompensation = "auto",
    method_params: Mapping[str, Any] | None = None,
    compensation_params: Mapping[str, Any] | None = None,
    scope: str | Scope | UnitScope = "auto",
    n_steps: int | Literal["auto"] = "auto",
    schedule: str | Schedule = "geometric",
    output_metric: str | OutputMetric = "auto",
    n_probes: int | Literal["auto"] | None = "auto",
    loss: nn.Module | None = None,
    sample_weight: Any = None,
    layers: Sequence[str] | None = None,
    batch_size: int = 512,
    after_step: AfterStep | None = None,
    random_state: Any = None,
) -> Bunch:
    """Prune a network at several ratios, and measure the loss at each.

    Each ratio is pruned from the given network, exactly as :func:`prune` does it. What does not
    depend on the ratio is computed once: the checks, and the scores of the network.

    Parameters
    ----------
    module : torch.nn.Module
        A trained network. It is not changed.
    X : array-like or tensor of shape (n_samples, n_features), tuple, dict, or batches, default=None
        As in :func:`prune`.
    y : array-like or tensor, default=None
        Targets, for the losses and for the methods that need them.
    pruning_ratios : array-like of floats, default=None
        Ratios in [0, 1). None takes 0, 0.1, …, 0.9, 0.95 and 0.98.
    granularity, method, compensation, method_params, compensation_params
        As in :func:`prune`.
    scope, n_steps, schedule, output_metric, n_probes
        As in :func:`prune`. A scope with ratios of its own, such as ``"2:4"``, has no path.
    loss : torch.nn.Module, default=None
        The loss of ``losses``, and the loss in :func:`prune`. None is the mean squared error for
        float targets and the cross-entropy for integer targets.
    sample_weight, layers, batch_size, after_step
        As in :func:`prune`.
    random_state : int, RandomState or None, default=None
        As in :func:`prune`. One seed is drawn from it, for all ratios.

    Returns
    -------
    Bunch
        A dictionary with attributes. All but the last have one entry for each ratio:

        pruning_ratios : float array
            The given ratios.
        sparsities : float array
            Fraction of removed weights.
        n_weights : int array
            Number of weights left in the layers that are pruned.
        predicted_errors : float array
            Predicted mean squared change of the outputs; nan if the method predicts none.
        losses : float array
            Mean loss per sample on X and y, weighted with ``sample_weight``. nan without X or y.
        dense_loss : float
            The same for the network before pruning.

    Raises
    ------
    ValueError, TypeError
        As :func:`prune`, and if a ratio is invalid, or the loss does not take the outputs and y.

    Notes
    -----
    There is no :class:`PruningWarning` for the ratios of a path: its losses show what they cost.
    The losses are those on the calibration data, before any fine-tuning. To choose a ratio, compare
    losses on data that the network was not trained on.

    Examples
    --------
    >>> import torch, skec
    >>> _ = torch.manual_seed(0)
    >>> net = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
    >>> X = torch.randn(100, 4)
    >>> path = skec.pruning_path(net, X, net(X).detach(), pruning_ratios=[0.0, 0.5, 0.9])
    >>> path.n_weights
    array([80, 40,  8])
    >>> bool(path.losses[0] < path.losses[1] < path.losses[2])
    True
    """
    ratios = check_path(pruning_ratios)
    with plain_tensors():
        request = resolve(
            module,
            X,
            y,
            sample_weight,
            pruning_ratio=_ANY_RATIO,
            granularity=granularity,
            method=method,
            compensation=compensation,
            method_params=method_params,
            compensation_params=compensation_params,
            scope=scope,
            n_steps=n_steps,
            schedule=schedule,
            output_metric=output_metric,
            n_probes=n_probes,
            loss=loss,
            layers=layers,
            batch_size=batch_size,
            random_state=random_state,
        )
        samples = request.calibration.samples
        if samples is None and X is not None:  # the method needs none, the losses do
            samples = samples_for(module, X, y, sample_weight)
        measured = partial(_mean_loss, loss, samples, batch_size)
        return RatioPruner(request, module, after_step).path(ratios, measured)


class RatioPruner:
    """Prunes a network at any ratio; what does not depend on the ratio is computed once.

    Parameters
    ----------
    request : Request
        Its pruning ratio is not used.
    module : torch.nn.Module
        The network of the request, with the modes that the results get.
    after_step : callable, default=None
        As in :func:`prune`.

    Raises
    ------
    ValueError
        If the scope of the request ignores the pruning ratio.
    """

    def __init__(self, request: Request, module: nn.Module, after_step: AfterStep | None = None):
        check_scope(request.granularity.scope, "A pruning path")
        self.request, self.module, self.after_step = request, module, after_step

    @property
    def dense(self) -> nn.Module:
        """A copy of the network before pruning, in evaluation mode."""
        return self.request.calibration.dense

    @cached_property
    def _first(self) -> tuple[Scoring, torch.Tensor]:
        """The scores of the network, and the state of the random generator after them."""
        scoring = score_dense(self.request)
        return scoring, self.request.generator.get_state()

    def prune(self, ratio: float) -> PruningResult:
        """The same as :func:`prune` with this ratio, without its warnings."""
        request = replace(self.request, pruning_ratio=ratio)
        with plain_tensors(), threads_for(self.dense):
            first, generator_state = self._first
            request.generator.set_state(generator_state)
            run = run_steps(request, self.after_step, first=first)
            return make_result(request, run, self.module)

    def path(self, ratios: Sequence[float], loss: Callable[[nn.Module], float]) -> Bunch:
        """The sparsity, the errors and the losses at each ratio, see :func:`pruning_path`.

        Parameters
        ----------
        ratios : sequence of float
        loss : callable
            Takes a network, whose mode it may change, and returns its loss.
        """
        with plain_tensors(), threads_for(self.dense):
            dense_loss = loss(self.dense)
            rows: list[tuple[float, int, float, float]] = []
            for ratio in ratios:
                result = self.prune(ratio)
                n_weights = sum(int(mask.sum()) for mask in result.masks.values())
                error = np.nan if result.predicted_error is None else result.predicted_error
                rows.append((result.sparsity, n_weights, error, loss(result.module)))
        sparsities, n_weights, errors, losses = zip(*rows, strict=True)
        return Bunch(
            pruning_ratios=np.array(ratios, np.float64),
            sparsities=np.array(sparsities, np.float64),
            n_weights=np.array(n_weights, np.int64),
            predicted_errors=np.array(errors, np.float64),
            losses=np.array(losses, np.float64),
            dense_loss=dense_loss,
        )


def check_path(ratios: ArrayLike | None) -> list[float]:
    """The ratios of a path; raise unless they are one or more numbers in [0, 1)."""
    if ratios is None:
        return list(PATH_RATIOS)
    values = np.asarray(ratios)
    if values.ndim != 1 or not values.size:
        raise ValueError(
            f"pruning_ratios must be a list of at least one ratio in [0, 1); got {ratios!r}. Pass "
            f"a list such as [0.5, 0.9], or None for the default."
        )
    listed: list[float] = values.tolist()
    for ratio in listed:
        check_ratio(ratio, "Each of pruning_ratios")
    return listed


def check_scope(scope: Scope | UnitScope, needed_by: str) -> None:
    """Raise if a scope ignores the pruning ratio.

    Parameters
    ----------
    scope : Scope or UnitScope
    needed_by : str
        What needs a ratio, for the message.
    """
    if scope.replaces_ratio:
        raise ValueError(
            f"{needed_by} compares pruning ratios, and scope={type(scope).__name__} replaces the "
            f"ratio by its own. Use a scope that follows the ratio, such as 'global' or 'layer'."
        )


def _mean_loss(loss: nn.Module | None, samples: Any, batch_size: int, module: nn.Module) -> float:
    """Weighted mean of the losses of the samples; nan without targets."""
    if samples is None or samples.head(1).y is None:
        return np.nan
    module.eval()
    work = partial(_summed_loss, loss, batch_size)
    total, weight = samples.reduce(work, (module,), _added, batch_size)
    return total / weight


def _added(sums: Sequence[tuple[float, float]]) -> tuple[float, float]:
    totals, weights = zip(*sums, strict=True)
    return sum(totals), sum(weights)


@torch.no_grad()
def _summed_loss(
    loss: nn.Module | None,
    batch_size: int,
    networks: tuple[nn.Module],
    samples: Samples | BatchedSamples,
    first_run: int,
) -> tuple[float, float]:
    """The sum of the losses of samples, and of their weights."""
    (module,), total, kind = networks, 0.0, loss
    for X, y, weights in samples.batches(batch_size):
        assert y is not None
        returned = call(module, X)
        kind = default_loss(loss, y, len(output_tensors(returned, len(y))))
        try:
            outputs, targets = loss_arguments(kind, returned, y)
            if is_elementwise(kind) and outputs.shape != targets.shape:  # torch would broadcast
                raise ValueError(f"the outputs have shape {tuple(outputs.shape)}")
            value = weighted_loss(kind, outputs, targets, weights)
        except (RuntimeError, IndexError, TypeError, ValueError) as error:
            if "reduction" in str(error):  # sample weights need another loss
                raise
            raise ValueError(
                f"loss={type(kind).__name__} does not take the outputs of the network together "
                f"with y of shape {tuple(y.shape)} and {y.dtype}: {error}. Pass "
                f"targets that fit, another loss, or no y."
            ) from error
        total += float(value.sum() if _is_sum(kind) else value.mean() * len(y))
    return total, samples.total_weight


def _is_sum(loss: nn.Module) -> bool:
    return getattr(loss, "reduction", None) == "sum"
