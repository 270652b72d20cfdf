"""``prune``: a network and calibration data in, a smaller network out."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import Tensor, nn

from ..allocation.schedule import SCHEDULES, ratio_at
from ..allocation.scopes import n_of_m
from ..calibration.collect import CalibrationData
from ..calibration.metric import (
    OUTPUT_METRICS,
    fisher_metric,
    identity_metric,
    metric_for,
    probes_for,
)
from ..calibration.statistics import NetworkStatistic
from ..compensation import Compensation
from ..criteria import Criterion
from ..networks.chain import alive_units, chain_of_layers
from ..networks.compaction import compact, feature_mask
from ..networks.layers import output_tensors
from ..utils.validation import check_choice, check_count, check_probes, check_ratio
from .granularity import GRANULARITIES, Granularity, Pruning, get_granularity
from .report import PruningReport


class PruningWarning(UserWarning):
    """Pruning did what was asked, and the result probably is not what was meant."""


@dataclass(frozen=True)
class PruningResult:
    """What :func:`prune` returns.

    Attributes
    ----------
    module : torch.nn.Module
        The pruned, compensated copy of the network; it trains or evaluates as that does.
    masks : dict of layer name to bool tensor of shape (n_out, n_in)
        True marks a kept weight; in the shape of the weight for a convolution.
    scores : dict of layer name to float64 tensor of shape (n_out, n_in) or (n_units,)
        The scores of the unpruned network's weights or units.
    report : PruningReport
        One row per layer.
    sparsity : float
        Removed weights over all weights of the layers in ``masks``; also where units were removed.
    predicted_error : float or None
        The mean squared output change that the scores foresee: the sum of the scores of the
        removed weights or units. None where the criterion's scores are not output errors.
    probe_error : float or None
        Standard error of the sensitivities behind the scores, relative to them, where they were
        estimated by random probes: the mean over the units, weighted by their sensitivity. None
        where they are exact, or the scores read none.
    granularity : str
        ``"weight"`` or ``"neuron"``.
    n_steps : int
        Number of pruning steps.
    unit_masks : dict of layer name to bool tensor of shape (n_units,), or None
        True marks a kept unit of the network before pruning. None where weights were removed.
    """

    module: nn.Module = field(repr=False)
    masks: dict[str, Tensor] = field(repr=False)
    scores: dict[str, Tensor] = field(repr=False)
    report: PruningReport = field(repr=False)
    sparsity: float
    predicted_error: float | None
    probe_error: float | None = None
    granularity: str = "weight"
    n_steps: int = 1
    unit_masks: dict[str, Tensor] | None = field(default=None, repr=False)
    _scope: str | Mapping[str, float] = field(default="global", repr=False)
    _weights: dict[str, Tensor] = field(default_factory=dict, repr=False)

    @property
    def feature_mask(self) -> Tensor:
        """Which columns of the input the network takes in, bool of shape (n_features,)."""
        return feature_mask(self.module)

    def compact(self) -> PruningResult:
        """The same function as a smaller network; see :func:`skec.compact`.

        Returns
        -------
        PruningResult
            With a smaller ``module``, which still takes all columns of X, and the ``masks`` of its
            layers. Scores, report and sparsity stay those of the pruning.

        Raises
        ------
        ValueError
            If the layers of the network do not simply follow each other.

        Examples
        --------
        >>> import torch, skec
        >>> _ = torch.manual_seed(0)
        >>> net = torch.nn.Sequential(
        ...     torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1)
        ... )
        >>> result = skec.prune(net, granularity="neuron", method="l2", pruning_ratio=0.75)
        >>> result.compact().module[0]
        Linear(in_features=4, out_features=4, bias=True)
        """
        module, masks = compact(self.module, self.masks)
        return replace(self, module=module, masks=masks)

    def forecast(self, ratios, scope: str | Mapping[str, float] = "auto") -> np.ndarray:
        """The output error that the scores expect of one-shot pruning at other ratios.

        Parameters
        ----------
        ratios : float or array-like of floats
            Pruning ratios in [0, 1).
        scope : str or mapping, default="auto"
            As in :func:`prune`; ``"auto"`` is the scope of the pruning.

        Returns
        -------
        float64 array in the shape of ``ratios``
            Mean squared change of the outputs in the output metric, as ``predicted_error`` is for
            the ratio that was pruned to.

        Raises
        ------
        ValueError
            If a ratio is not in [0, 1), or the scores are not output errors.

        Examples
        --------
        >>> import torch, skec
        >>> _ = torch.manual_seed(0)
        >>> result = skec.prune(torch.nn.Linear(4, 2), torch.randn(100, 4), pruning_ratio=0.5)
        >>> bool(abs(result.forecast(0.5) - result.predicted_error) < 1e-12)
        True
        """
        if self.predicted_error is None:
            raise ValueError(
                "The scores of this method are not output errors, so they forecast none. Prune "
                "with method='ec', 'obd' or 'surgeon', or units with 'ec' or 'elimination'."
            )
        kind = GRANULARITIES[self.granularity]
        if isinstance(scope, str) and scope == "auto":
            scope = self._scope
        kind.check_scope(scope, list(self.scores))
        ratios = np.asarray(ratios, dtype=np.float64)
        for ratio in ratios.flat:
            check_ratio(float(ratio), "ratios")
        return np.vectorize(lambda ratio: self._expected(float(ratio), scope), otypes=[float])(
            ratios
        )

    def _expected(self, ratio: float, scope) -> float:
        ratio = _ratio_at(1, 1, "linear", ratio, scope)
        scores = {n: s.flatten(1) if s.ndim > 2 else s for n, s in self.scores.items()}
        kept = GRANULARITIES[self.granularity].allocate(scores, ratio, scope, self._weights)
        return sum(float(scores[name][~mask].sum()) for name, mask in kept.items())


def prune(
    module: nn.Module,
    X=None,
    y=None,
    *,
    pruning_ratio: float,
    granularity: Literal["weight", "neuron"] = "weight",
    method: str | Criterion = "ec",
    compensation: str | Compensation = "auto",
    method_params: Mapping | None = None,
    compensation_params: Mapping | None = None,
    scope: str | Mapping[str, float] = "auto",
    n_steps: int | Literal["auto"] = "auto",
    schedule: Literal["geometric", "linear", "cubic"] = "geometric",
    output_metric: Literal["auto", "identity", "fisher"] = "auto",
    n_probes: int | Literal["auto"] | None = "auto",
    loss: nn.Module | None = None,
    sample_weight=None,
    layers: Sequence[str] | None = None,
    batch_size: int = 512,
    after_step: Callable[[nn.Module, dict[str, Tensor]], None] | None = None,
    random_state=None,
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
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"module must be a torch.nn.Module; got {type(module).__name__}. Use skec.ECPruner for "
            f"estimators."
        )
    kind = get_granularity(granularity, method, compensation, method_params, compensation_params)
    criterion = kind.criterion
    names = kind.layers(module, layers)
    scope = kind.resolve(scope)
    check_ratio(pruning_ratio)
    kind.check_scope(scope, names)
    check_choice("schedule", schedule, SCHEDULES)
    check_choice("output_metric", output_metric, ("auto", *OUTPUT_METRICS))
    check_probes(n_probes)
    if n_steps == "auto":
        n_steps = kind.n_steps
    check_count("n_steps", n_steps, also="'auto'")
    check_count("batch_size", batch_size)
    if output_metric == "auto" and criterion.output_metric is not None:
        output_metric = criterion.output_metric
    metric = metric_for(output_metric, loss)
    data = _calibration_data(module, X, y, sample_weight, batch_size, kind)
    seed = int(check_random_state(random_state).randint(np.iinfo(np.int32).max))
    generator = torch.Generator().manual_seed(seed)

    dense = copy.deepcopy(module).eval()
    backward = any(statistic.needs_backward() for statistic in kind.statistics)
    needs_loss = any(statistic.needs_loss_gradient for statistic in kind.statistics)
    outputs = []
    runs_itself = all(issubclass(statistic, NetworkStatistic) for statistic in kind.statistics)
    if data is not None and not (runs_itself and metric is identity_metric):
        outputs = _outputs(dense, data)
        metric = metric_for(output_metric, loss, len(outputs))
        if metric is fisher_metric and outputs[0].ndim > 2:
            if output_metric == "fisher":
                raise ValueError(
                    f"output_metric='fisher' is the metric of one softmax for each sample; this "
                    f"network returns outputs of shape {tuple(outputs[0].shape)}. Use "
                    f"output_metric='identity'."
                )
            metric = identity_metric
    if needs_loss:
        loss = _loss_for(loss, data, len(outputs))
    pruning = Pruning(copy.deepcopy(dense), dense, data, metric, loss, generator)
    if backward:
        n_outputs = sum(output[0].numel() for output in outputs)
        metric.check(n_outputs)
        probes = probes_for(n_outputs, n_probes)
        if probes is not None:
            pruning.metric, pruning.probed = metric.probed(probes, generator), True
    kind.begin(pruning, names)
    weights = {name: dense.get_submodule(name).weight.detach().flatten(1) for name in names}
    errors = dict.fromkeys(names, 0.0)
    for step in range(1, n_steps + 1):
        scores = kind.score(pruning)
        _check_scores(scores, pruning.kept)
        if step == 1:
            first_scores, probe_error = scores, pruning.probe_error
        ratio = _ratio_at(step, n_steps, schedule, pruning_ratio, scope)
        ranked = {n: s.masked_fill(~pruning.kept[n], -torch.inf) for n, s in scores.items()}
        kept = kind.allocate(ranked, ratio, scope, weights)
        for name, score in scores.items():
            errors[name] += float(score[pruning.kept[name] & ~kept[name]].sum())
        kind.remove(pruning, kept)
        if after_step is not None and step < n_steps:
            after_step(pruning.module, kind.masks(pruning))
            pruning.module.eval()

    for child, original in zip(pruning.module.modules(), module.modules(), strict=True):
        child.training = original.training
    masks = kind.masks(pruning)
    _warn_about_cuts(masks, pruning)
    n_weights = sum(mask.numel() for mask in masks.values())
    n_left = sum(int(mask.sum()) for mask in masks.values())
    return PruningResult(
        module=pruning.module,
        masks=masks,
        scores={n: s.view_as(masks[n]) if s.ndim == 2 else s for n, s in first_scores.items()},
        report=_report(kind, pruning, errors),
        sparsity=(n_weights - n_left) / n_weights,
        predicted_error=sum(errors.values()) if criterion.scores_are_errors else None,
        probe_error=probe_error,
        granularity=granularity,
        n_steps=n_steps,
        unit_masks=pruning.kept if granularity == "neuron" else None,
        _scope=scope,
        _weights=weights,
    )


def _outputs(module: nn.Module, data: CalibrationData) -> list[Tensor]:
    """What the network returns for a batch."""
    X, _, _ = next(iter(data))
    with torch.no_grad():
        try:
            outputs = module(X.clone())
        except (RuntimeError, IndexError) as error:
            raise ValueError(
                f"The network does not take X of shape {tuple(X.shape)}: {error}. Pass X in the "
                f"form that its forward takes."
            ) from error
    return output_tensors(outputs, len(X))


def _loss_for(loss: nn.Module | None, data: CalibrationData, n_tensors: int) -> nn.Module:
    """The given loss or the default, or raise if it cannot take what the network returns."""
    if n_tensors > 1 and (loss is None or type(loss).__module__.startswith("torch.nn.")):
        got = "None" if loss is None else f"{type(loss).__name__}()"
        raise ValueError(
            f"loss={got} compares one tensor with the targets; this network returns {n_tensors}. "
            f"Pass a torch.nn.Module whose forward(outputs, y) takes all that the network returns."
        )
    if loss is None:
        return nn.MSELoss() if data.y.is_floating_point() else nn.CrossEntropyLoss()
    return loss


def _calibration_data(module, X, y, sample_weight, batch_size, kind: Granularity):
    """Check that the data which the statistics need are there, and convert them."""
    if not kind.statistics:
        return None
    method = kind.criterion.name or type(kind.criterion).__name__
    if X is None:
        raise ValueError(
            f"method={method!r} with compensation={kind.compensation.name!r} needs calibration "
            f"data; got X=None. Pass X, or use {kind.without_data}."
        )
    if y is None and any(statistic.needs_loss_gradient for statistic in kind.statistics):
        raise ValueError(
            f"method={method!r} needs the targets of the calibration data; got y=None. Pass y, or "
            f"use method='ec', which needs none."
        )
    return CalibrationData.of(module, X, y, sample_weight, batch_size)


def _ratio_at(step: int, n_steps: int, schedule: str, ratio: float, scope):
    """The ratio after a step, or one for each layer that the scope names."""
    if isinstance(scope, Mapping):
        return {name: ratio_at(schedule, r, step, n_steps) for name, r in scope.items()}
    pattern = n_of_m(scope)
    if pattern is not None:
        ratio = 1.0 - pattern[0] / pattern[1]
    return ratio_at(schedule, ratio, step, n_steps)


def _check_scores(scores: Mapping[str, Tensor], kept: Mapping[str, Tensor]) -> None:
    for name, score in scores.items():
        if score.shape != kept[name].shape or not torch.isfinite(score).all():
            raise ValueError(
                f"The scores of layer {name!r} are not finite numbers in the shape "
                f"{tuple(kept[name].shape)}. The network's weights or outputs are NaN, infinite or "
                f"far too large. Lower lr, the learning rate, and train it again."
            )


def _warn_about_cuts(masks: Mapping[str, Tensor], pruning: Pruning) -> None:
    """Warn about layers without weights and about outputs that no input reaches."""
    advice = "Lower pruning_ratio, take scope='layer' or 'row', or raise n_steps."
    empty = [name for name, mask in masks.items() if not mask.any()]
    if empty:
        warnings.warn(
            f"Layers {empty} have no weight left. {advice}",
            PruningWarning,
            stacklevel=3,
        )
        return
    if not chain_of_layers(pruning.module, {name: pruning.layer(name) for name in masks}):
        return
    *_, outputs = alive_units(masks, chain=True).values()
    if not outputs.all():
        lost = torch.nonzero(~outputs).flatten().tolist()
        warnings.warn(
            f"Outputs {lost} no longer depend on the inputs. {advice}",
            PruningWarning,
            stacklevel=3,
        )


def _report(kind: Granularity, pruning: Pruning, errors: Mapping[str, float]) -> PruningReport:
    rows = kind.report(pruning)
    if kind.criterion.scores_are_errors:
        rows = [row | {"predicted_error": errors[row["layer"]]} for row in rows]
    return PruningReport(rows)
