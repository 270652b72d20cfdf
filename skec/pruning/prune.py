"""``prune``: a network and calibration data in, a smaller network out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import nn

from ..allocation import Schedule, Scope, UnitScope
from ..calibration import OutputMetric
from ..compensation import Compensation, UnitCompensation
from ..criteria import Criterion, UnitCriterion
from .request import resolve
from .result import PruningResult, make_result
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
) -> PruningResult:
    """Remove weights or units of a trained network and make up for them.

    Parameters
    ----------
    module : torch.nn.Module
        A trained network, float32 or float64. Its linear layers and convolutions (``Conv1d``,
        ``Conv2d``) are pruned. It is not changed. For ``granularity="neuron"`` they must follow
        each other in a ``torch.nn.Sequential``, nested or not, with activations, dropout, batch
        normalisation and pooling between them, and a ``Flatten`` after the last convolution.
        Of a tuple, list or dict that it returns, all floating-point tensors with one row per
        sample count as outputs.
    X : array or tensor of shape (n_samples, n_features), default=None
        Calibration data, in the form that the network takes. Not needed, and not looked at, by
        ``"magnitude"``, ``"lamp"``, ``"l1"``, ``"l2"``, ``"geometric_median"`` and ``"random"``
        with compensation ``"none"``, ``"merging"`` or ``"lbyl"``.
    y : array or tensor, default=None
        Targets, needed by ``"gradient"`` and ``"taylor"`` alone: floats for the mean squared
        error, integer class labels for the cross-entropy of logits, or what ``loss`` takes.
    pruning_ratio : float
        Fraction of the weights or units to remove, in [0, 1). The number of weights removed is
        exact to one weight; of n units ``n (1 − pruning_ratio)`` stay, rounded down.
    granularity : {"weight", "neuron"}, default="weight"
        What is removed as one: a single weight, or a hidden unit with all that it reads and all
        that reads it.
    method : str, Criterion or UnitCriterion, default="ec"
        The score of a weight or unit, with the compensation that goes with it: one of
        ``skec.criteria.CRITERIA``, for units of ``skec.criteria.units.UNIT_CRITERIA``, or an own
        object.
    compensation : str, Compensation or UnitCompensation, default="auto"
        What stays makes up for what goes: one of ``skec.compensation.COMPENSATIONS``, for units of
        ``skec.compensation.units.UNIT_COMPENSATIONS``, or an own object. ``"auto"`` takes the one
        that goes with the score: the bias for ``"ec"``, all that is left for ``"surgeon"``, least
        squares for ``"elimination"``, none for most others. A layer built with ``bias=False`` gets
        a bias when it is compensated by one.
    method_params, compensation_params : dict, default=None
        Parameters of a score or compensation that is given by its name, such as
        ``{"damping": 0.01}``.
    scope : str or mapping of layer name to float, default="auto"
        Where weights compete: ``"global"``, which is what ``"auto"`` stands for, ``"layer"``,
        ``"row"`` (the incoming weights of one unit), a pattern such as ``"2:4"``, or per layer
        with ratios by ``"erdos_renyi"`` or ``"lamp"`` (see :func:`skec.allocation.allocate`).
        Units compete in their ``"layer"``, which ``"auto"`` stands for, or over the network
        (``"global"``). A pattern, or a mapping that gives each layer a ratio of its own, takes the
        place of ``pruning_ratio``; layers that a mapping does not name stay whole.
    n_steps : int or "auto", default="auto"
        Number of steps. The scores are computed again after each step. ``"auto"`` takes as many as
        the method recommends: 15 for ``"surgeon"`` and ``compensation="network"``, 5 for ``"ec"``,
        ``"obd"``, ``"taylor"`` and ``"gradient"``, and 1 for all others.
    schedule : {"geometric", "linear", "cubic"}, default="geometric"
        How the ratio grows over the steps.
    output_metric : {"auto", "identity", "fisher"}, default="auto"
        How a change of the outputs is measured: by its square, or by the Fisher metric of the
        distribution that ``loss`` assumes: of a softmax for a ``CrossEntropyLoss``, None or an
        own loss, of independent answers for a ``BCEWithLogitsLoss``, of counts for a
        ``PoissonNLLLoss`` of log rates. ``"auto"`` is ``"fisher"`` if ``loss`` is one of these
        three, the network returns one tensor and the method is not ``"surgeon"``, and
        ``"identity"`` otherwise.
    n_probes : int, "auto" or None, default="auto"
        Random combinations of the outputs that are looked at in place of each of them. None looks
        at each; ``"auto"`` takes 16 for networks of more than 32 outputs.
    loss : torch.nn.Module, default=None
        The loss of the methods that need ``y``; the output metric follows it. Called with the
        outputs, of shape (n_samples, n_outputs), and ``y``; with all that the network returns if
        that is several tensors. None is the mean squared error for float targets and the
        cross-entropy for integer targets.
    sample_weight : array of shape (n_samples,), default=None
        Non-negative weights of the calibration samples.
    layers : sequence of str, default=None
        Names of the layers that lose weights or units, as in ``module.named_modules()``, or
        patterns such as ``"features.*"``. None takes all; the outputs of the network are no units
        that go.
    batch_size : int, default=512
        Calibration samples processed at a time; bounds the memory.
    after_step : callable, default=None
        Called as ``after_step(module, masks)`` after each step but the last, with the network as it
        is then: may train it in place, with removed weights kept at zero. Compensations that fit
        the network's outputs or pre-activations fit them to those before any pruning.
    random_state : int, RandomState or None, default=None
        Used by ``method="random"`` and for the probes.

    Returns
    -------
    PruningResult

    Raises
    ------
    ValueError, TypeError
        For a parameter out of its range, data that do not fit, or a network without layers that
        can be pruned as asked; before anything is computed.

    Notes
    -----
    Source of ``"ec"``: arXiv:2602.20467. Its cost is about that of one backpropagation per output.
    Sources of the others are in their classes.

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

    Half of the units, without any data, and the smaller network:

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
    return make_result(request, run_steps(request, after_step), module)
