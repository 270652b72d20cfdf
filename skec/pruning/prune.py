# pyright: strict
"""The function ``prune``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import nn

from ..allocation import Schedule, Scope, UnitScope
from ..calibration import OutputMetric
from ..compensation import Compensation, UnitCompensation
from ..criteria import Criterion, UnitCriterion
from ..training import threads_for
from ..utils import plain_tensors
from .request import resolve
from .result import PruningResult, make_result, warn_about_cuts
from .steps import AfterStep, run_steps


def prune(
    module: nn.Module,
    X: Any = None,
    y: Any = None,
    *,
    pruning_ratio: float,
    granularity: Literal["weight", "neuron"] = "weight",
    method: str | Criterion | UnitCriterion = "ec",
    compensation: str | Compensation | UnitCompensation = "auto",
    method_params: Mapping[str, Any] | None = None,
    compensation_params: Mapping[str, Any] | None = None,
    scope: str | Mapping[str, float] | Scope | UnitScope = "auto",
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
    progress: bool = False,
) -> PruningResult:
    """Remove weights or units of a trained network and compensate for them.

    Parameters
    ----------
    module : torch.nn.Module
        A trained network, float32 or float64. Its linear layers and convolutions (``Conv1d``,
        ``Conv2d``) are pruned. It is not changed. For ``granularity="neuron"`` they must follow
        each other in a ``torch.nn.Sequential``, nested or not, with activations, dropout, batch
        normalisation and pooling between them, and a ``Flatten`` after the last convolution.
        If it returns a tuple, list or dict, all floating-point tensors in it with one row per
        sample are outputs.
    X : array-like or tensor of shape (n_samples, n_features), tuple, dict, or batches, default=None
        Calibration data, in the form that the network takes: an array, a list, or a frame of pandas
        or polars. A tuple of arrays holds the inputs of a network with several, and a dict holds
        them by name. Batches are a torch ``Dataset`` or ``DataLoader``, a list of batches, or an
        iterable of them that can be read several times (see Notes). The blocks of a Dask array or
        dataframe stay where they are. Ignored by ``"magnitude"``,
        ``"lamp"``, ``"l1"``, ``"l2"``, ``"geometric_median"`` and ``"random"`` with compensation
        ``"none"``, ``"merging"`` or ``"lbyl"``.
    y : array-like or tensor, default=None
        Targets, needed by ``"gradient"`` and ``"taylor"`` only: floats for the mean squared
        error, integer class labels for the cross-entropy of logits, or the targets of ``loss``.
        None for batches, which contain them.
    pruning_ratio : float
        Fraction of the weights or units to remove, in [0, 1). The number of removed weights is
        rounded to the nearest integer. Of n units ``n (1 − pruning_ratio)`` are kept, rounded down.
    granularity : {"weight", "neuron"}, default="weight"
        Whether to remove single weights, or hidden units with all their incoming and outgoing
        weights.
    method : str, Criterion or UnitCriterion, default="ec"
        The criterion that scores weights or units: a name in ``skec.criteria.CRITERIA``, for units
        in ``skec.criteria.units.UNIT_CRITERIA``, or your own object.
    compensation : str, Compensation or UnitCompensation, default="auto"
        How the remaining parameters compensate for removed ones: a name in
        ``skec.compensation.COMPENSATIONS``, for units in
        ``skec.compensation.units.UNIT_COMPENSATIONS``, or your own object. ``"auto"`` follows the
        method: ``"bias"`` for ``"ec"``, ``"network"`` for ``"surgeon"`` and ``"ec_network"``,
        ``"least_squares"`` for ``"elimination"``, ``"none"`` for most others. A layer without a
        bias gets one if the compensation needs it.
    method_params, compensation_params : dict, default=None
        Parameters of a criterion or compensation that is given by name, such as
        ``{"damping": 0.01}``.
    scope : str, mapping of layer name to float, Scope or UnitScope, default="auto"
        The group of weights of which those with the lowest scores are removed: ``"global"`` (the
        default for weights), ``"layer"``, ``"row"`` (the incoming weights of one unit), a pattern
        such as ``"2:4"``, or each layer with a ratio by ``"erdos_renyi"`` or ``"lamp"`` (see
        :func:`skec.allocation.allocate`). For units ``"layer"`` (the default) or ``"global"``.
        A pattern, or a mapping with a ratio for each layer, replaces ``pruning_ratio``; layers that
        a mapping does not name are not pruned. Your own object is also possible.
    n_steps : int or "auto", default="auto"
        Number of pruning steps. The scores are recomputed after each step. ``"auto"`` takes the
        number that the method recommends: 15 for ``"surgeon"``, ``"ec_network"`` and
        ``compensation="network"``, 5 for ``"ec"``, ``"obd"``, ``"taylor"`` and ``"gradient"``, and
        1 for all others.
    schedule : {"geometric", "linear", "cubic"} or Schedule, default="geometric"
        How the ratio grows over the steps.
    output_metric : {"auto", "identity", "fisher"} or OutputMetric, default="auto"
        How a change of the outputs is measured. ``"identity"`` is the squared change. ``"fisher"``
        is the Fisher metric of the distribution that ``loss`` assumes: categorical (softmax) for
        ``CrossEntropyLoss``, None or your own loss, Bernoulli for ``BCEWithLogitsLoss``, Poisson
        for ``PoissonNLLLoss`` of log rates. ``"auto"`` is ``"fisher"`` if ``loss`` is one of these
        three classes, the network returns one tensor and the method is not ``"surgeon"``, and
        ``"identity"`` otherwise.
    n_probes : int, "auto" or None, default="auto"
        Number of random combinations of the outputs that are differentiated instead of each
        output. None differentiates each output; ``"auto"`` takes 16 for networks of more than 32
        outputs.
    loss : torch.nn.Module, default=None
        The loss for methods that need ``y``; it also selects the output metric. Called with the
        outputs, of shape (n_samples, n_outputs), and ``y``. If the network returns several tensors,
        the first argument is the network's return value. None is the mean squared error for float
        targets and the cross-entropy for integer targets.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weights of the calibration samples. None for batches.
    layers : sequence of str, default=None
        Names of the layers to prune, as in ``module.named_modules()``, or patterns such as
        ``"features.*"``. None takes all. The outputs of the network are never removed.
    batch_size : int, default=512
        Calibration samples processed at a time. It bounds the memory, which does not grow with the
        number of samples. ``"surgeon"`` and the compensations ``"weights"`` and ``"network"``
        also hold one matrix of the inputs for each unit, or the inputs of all samples where these
        take less memory (see their ``max_memory``).
    after_step : callable, default=None
        Called as ``after_step(module, masks)`` after each step but the last. It may fine-tune the
        module in place, and should keep removed weights at zero. Compensations that fit outputs or
        pre-activations always fit those of the network before pruning.
    random_state : int, RandomState or None, default=None
        Used by ``method="random"`` and for the probes.
    progress : bool, default=False
        Whether to show a progress bar of the steps on standard error.

    Returns
    -------
    PruningResult

    Raises
    ------
    ValueError, TypeError
        If a parameter is invalid, the data do not fit the network, or the network cannot be pruned
        with this granularity.

    Notes
    -----
    Source of ``"ec"``: arXiv:2602.20467. Each step costs about one backpropagation per output. The
    documentation of the other criteria names their sources.

    A batch is ``X``, ``(X,)``, ``(X, y)`` or ``(X, y, sample_weight)``, in the forms of one call; a
    ``Dataset`` returns such samples. A list is a list of batches if its first entry is a tuple or a
    list that begins with an array of two or more dimensions, or with a tuple or a dict of arrays;
    any other list is an array. The batches are read once for the checks, and again for each pass
    over the data, and few are in memory at a time. Their rows are grouped anew by ``batch_size``,
    so the result is that of the whole arrays, up to rounding. Only ``"ec_exact"`` loads all rows.

    A small network is pruned on one thread: one without convolutions and without a linear layer of
    2**18 weights or more (see :func:`skec.training.threads_for`). For others torch uses the number
    of threads that you have set. ``torch.inference_mode`` and ``torch.autocast`` have no effect.

    Examples
    --------
    >>> import torch, skec
    >>> _ = torch.manual_seed(0)
    >>> net = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
    >>> result = skec.prune(net, torch.randn(100, 4), pruning_ratio=0.5)
    >>> result.sparsity
    0.5
    >>> {name: int(mask.sum()) for name, mask in result.masks.items()}
    {'0': 27, '2': 13}

    Remove half of the units without data, and make the network smaller:

    >>> result = skec.prune(
    ...     net, granularity="neuron", method="l2", compensation="lbyl", pruning_ratio=0.5
    ... )
    >>> result.compact().module
    Sequential(
      (0): Linear(in_features=4, out_features=8, bias=True)
      (1): Tanh()
      (2): Linear(in_features=8, out_features=1, bias=True)
    )
    """
    with plain_tensors():
        request = resolve(
            module,
            X,
            y,
            sample_weight,
            pruning_ratio=pruning_ratio,
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
        with threads_for(request.calibration.dense):
            result = make_result(request, run_steps(request, after_step, progress), module)
            warn_about_cuts(result)
            return result
