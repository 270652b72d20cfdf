"""``prune``: a network and calibration data in, a smaller network out."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Literal

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import Tensor, nn

from .allocation import SCOPES, allocate, allocate_ratios
from .calibration import CalibrationData, collect
from .compensation import Compensation, get_compensation
from .connectivity import alive_units, chain_of_layers
from .criteria import Criterion, get_criterion
from .network import OUTPUT_METRICS, prunable_layers
from .report import PruningReport
from .schedule import SCHEDULES, ratio_at


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
        True marks a kept weight.
    scores : dict of layer name to float64 tensor of shape (n_out, n_in)
        The scores of the unpruned network's weights.
    report : PruningReport
        One row per layer.
    sparsity : float
        Removed weights over all weights of the prunable layers that were considered.
    predicted_error : float or None
        The mean squared output change that the scores foresee: the sum of the scores of the
        removed weights. None where the criterion's scores are not output errors.
    """

    module: nn.Module = field(repr=False)
    masks: dict[str, Tensor] = field(repr=False)
    scores: dict[str, Tensor] = field(repr=False)
    report: PruningReport = field(repr=False)
    sparsity: float
    predicted_error: float | None


def prune(
    module: nn.Module,
    X=None,
    y=None,
    *,
    pruning_ratio: float,
    method: str | Criterion = "ec",
    compensation: str | Compensation = "auto",
    scope: Literal["global", "layer", "row"] | Mapping[str, float] = "global",
    n_steps: int = 1,
    schedule: Literal["geometric", "linear", "cubic"] = "geometric",
    output_metric: Literal["auto", "identity", "fisher"] = "auto",
    loss: nn.Module | None = None,
    sample_weight=None,
    layers: Sequence[str] | None = None,
    batch_size: int = 512,
    random_state=None,
) -> PruningResult:
    """Remove weights of a trained network and make up for them.

    Parameters
    ----------
    module : torch.nn.Module
        A trained network, float32 or float64. Its linear layers are pruned. It is not changed.
    X : array or tensor of shape (n_samples, n_features), default=None
        Calibration data, in the form that the network takes. Not needed by ``"magnitude"`` and
        ``"random"`` without compensation.
    y : array or tensor, default=None
        Targets, needed by ``"gradient"`` and ``"taylor"`` alone: floats for the mean squared
        error, integer class labels for the cross-entropy of logits, or what ``loss`` takes.
    pruning_ratio : float
        Fraction of the weights to remove, in [0, 1); the number removed is exact to one weight.
    method : str or Criterion, default="ec"
        The score of a weight: one of ``skec.criteria.CRITERIA`` or an own object.
    compensation : str or Compensation, default="auto"
        ``"bias"``, ``"none"`` or an own object. ``"auto"`` takes the method's own: the bias for
        ``"ec"`` and none for the others. A layer built with ``bias=False`` gets a bias when it is
        compensated.
    scope : {"global", "layer", "row"} or mapping of layer name to float, default="global"
        Whether weights compete over the whole network, in their layer, or in their row (the
        incoming weights of one unit). A mapping gives each layer a ratio of its own in place of
        ``pruning_ratio``; layers that it does not name stay whole.
    n_steps : int, default=1
        Number of steps. After each one the scores are computed anew on the network as it is then.
    schedule : {"geometric", "linear", "cubic"}, default="geometric"
        How the ratio grows over the steps.
    output_metric : {"auto", "identity", "fisher"}, default="auto"
        How a change of the outputs is measured: by its square, or by the Fisher metric of a
        softmax over them. ``"auto"`` is ``"fisher"`` if ``loss`` is a ``CrossEntropyLoss`` and
        ``"identity"`` otherwise.
    loss : torch.nn.Module, default=None
        The loss of the methods that need ``y``. None is the mean squared error for float targets
        and the cross-entropy for integer targets.
    sample_weight : array of shape (n_samples,), default=None
        Non-negative weights of the calibration samples.
    layers : sequence of str, default=None
        Names of the layers to prune, as in ``module.named_modules()``. None takes all.
    batch_size : int, default=512
        Calibration samples processed at a time; bounds the memory.
    random_state : int, RandomState or None, default=None
        Used by ``method="random"``.

    Returns
    -------
    PruningResult

    Raises
    ------
    ValueError, TypeError
        For a parameter out of its range, data that do not fit, or a network without linear
        layers; before anything is computed.

    Notes
    -----
    Source of ``"ec"``: arXiv:2602.20467. Its cost is about that of one backpropagation per output.

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
    """
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"module must be a torch.nn.Module; got {type(module).__name__}. Use skec.ECPruner for "
            f"estimators."
        )
    criterion = get_criterion(method)
    compensator = get_compensation(
        criterion.compensation
        if isinstance(compensation, str) and compensation == "auto"
        else compensation
    )
    names = list(prunable_layers(module, layers))
    check_ratio(pruning_ratio)
    check_scope(scope, names)
    check_choice("schedule", schedule, SCHEDULES)
    check_choice("output_metric", output_metric, ("auto", *OUTPUT_METRICS))
    for name, value in (("n_steps", n_steps), ("batch_size", batch_size)):
        if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be a positive integer; got {value!r}.")
    if output_metric == "auto":
        output_metric = "fisher" if isinstance(loss, nn.CrossEntropyLoss) else "identity"
    metric = OUTPUT_METRICS[output_metric]
    statistics = tuple(dict.fromkeys(criterion.requires + compensator.requires))
    data = _calibration_data(module, X, y, sample_weight, batch_size, statistics, criterion)
    if loss is None and any(statistic.needs_loss_gradient for statistic in statistics):
        loss = nn.MSELoss() if data.y.is_floating_point() else nn.CrossEntropyLoss()
    seed = int(check_random_state(random_state).randint(np.iinfo(np.int32).max))
    generator = torch.Generator().manual_seed(seed)

    pruned = copy.deepcopy(module)
    modes = [(child, child.training) for child in pruned.modules()]
    pruned.eval()
    targets = {name: pruned.get_submodule(name) for name in names}
    masks = {n: torch.ones_like(layer.weight, dtype=torch.bool) for n, layer in targets.items()}
    first_scores: dict[str, Tensor] = {}
    errors = dict.fromkeys(names, 0.0)
    for step in range(1, n_steps + 1):
        measured = collect(pruned, targets, data, statistics, metric=metric, loss=loss)
        scores = _scores(criterion, targets, measured, generator)
        first_scores = first_scores or scores
        kept = _masks_at(step, n_steps, schedule, pruning_ratio, scope, scores, masks)
        for name, layer in targets.items():
            removed = masks[name] & ~kept[name]
            errors[name] += float(scores[name][removed].sum())
            _remove(layer, removed, kept[name], compensator, measured[name])
        masks = kept

    for child, training in modes:
        child.training = training
    chain = chain_of_layers(pruned, targets)
    _warn_about_cuts(masks, chain)
    n_weights = sum(mask.numel() for mask in masks.values())
    n_left = sum(int(mask.sum()) for mask in masks.values())
    return PruningResult(
        module=pruned,
        masks=masks,
        scores=first_scores,
        report=_report(masks, errors if criterion.scores_are_errors else None, chain),
        sparsity=(n_weights - n_left) / n_weights,
        predicted_error=sum(errors.values()) if criterion.scores_are_errors else None,
    )


def check_ratio(ratio, name: str = "pruning_ratio") -> None:
    """Raise unless a pruning ratio is in [0, 1)."""
    if not isinstance(ratio, Real) or isinstance(ratio, bool) or not 0 <= ratio < 1:
        raise ValueError(
            f"{name} must be the fraction of the weights to remove, in [0, 1); got {ratio!r}."
        )


def check_scope(scope, names: Sequence[str]) -> None:
    """Raise unless a scope is known, or maps layer names to ratios."""
    if not isinstance(scope, Mapping):
        check_choice("scope", scope, SCOPES)
        return
    unknown = [name for name in scope if name not in names]
    if unknown:
        raise ValueError(
            f"scope names layers {unknown} that cannot be pruned. The prunable layers are "
            f"{list(names)}."
        )
    for name, ratio in scope.items():
        check_ratio(ratio, f"scope[{name!r}]")


def check_choice(name: str, value, choices) -> None:
    """Raise unless a value is one of the choices."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name}={value!r} is unknown. Choose one of {sorted(choices)}.")


def _calibration_data(module, X, y, sample_weight, batch_size, statistics, criterion):
    """Check that the data which the statistics need are there, and convert them."""
    if not statistics:
        return None
    method = criterion.name or type(criterion).__name__
    if X is None:
        raise ValueError(
            f"method={method!r} with its compensation needs calibration data; got X=None. Pass X, "
            f"or use method='magnitude' with compensation='none'."
        )
    if y is None and any(statistic.needs_loss_gradient for statistic in statistics):
        raise ValueError(
            f"method={method!r} needs the targets of the calibration data; got y=None. Pass y, or "
            f"use method='ec', which needs none."
        )
    return CalibrationData.of(module, X, y, sample_weight, batch_size)


def _masks_at(step, n_steps, schedule, ratio, scope, scores, masks) -> dict[str, Tensor]:
    """The masks after a step; what went in an earlier one stays away."""
    ranked = {name: score.masked_fill(~masks[name], -torch.inf) for name, score in scores.items()}
    if isinstance(scope, Mapping):
        ratios = {name: ratio_at(schedule, r, step, n_steps) for name, r in scope.items()}
        return allocate_ratios(ranked, ratios)
    return allocate(ranked, ratio_at(schedule, ratio, step, n_steps), scope)


def _scores(criterion, targets, measured, generator) -> dict[str, Tensor]:
    scores = {
        name: criterion.score(layer.weight.detach().double(), measured[name], generator)
        for name, layer in targets.items()
    }
    for name, score in scores.items():
        if score.shape != targets[name].weight.shape or not torch.isfinite(score).all():
            raise ValueError(
                f"The scores of layer {name!r} are not finite numbers in the shape of its weight. "
                f"The network's weights or outputs are NaN, infinite or far too large. Lower lr, "
                f"the learning rate, and train it again."
            )
    return scores


@torch.no_grad()
def _remove(layer: nn.Linear, removed, kept, compensator: Compensation, statistics) -> None:
    """Remove weights of a layer in place and let the rest make up for them."""
    bias = None if layer.bias is None else layer.bias.double()
    weight, bias = compensator.apply(layer.weight.double(), bias, removed, statistics)
    layer.weight.copy_(weight.masked_fill(~kept, 0.0))
    if bias is None:
        return
    if layer.bias is None:
        layer.bias = nn.Parameter(torch.empty_like(layer.weight[:, 0]))
    layer.bias.copy_(bias)


def _warn_about_cuts(masks: Mapping[str, Tensor], chain: bool) -> None:
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
    if not chain:
        return
    *_, outputs = alive_units(masks, chain).values()
    if not outputs.all():
        lost = torch.nonzero(~outputs).flatten().tolist()
        warnings.warn(
            f"Outputs {lost} no longer depend on the inputs. {advice}",
            PruningWarning,
            stacklevel=3,
        )


def _report(masks: Mapping[str, Tensor], errors, chain: bool) -> PruningReport:
    alive = alive_units(masks, chain)
    report = PruningReport()
    for name, mask in masks.items():
        left = int(mask.sum())
        row = {
            "layer": name,
            "shape": "×".join(map(str, mask.shape)),
            "weights": mask.numel(),
            "weights_left": left,
            "sparsity": 1 - left / mask.numel(),
            "dead_units": int((~alive[name]).sum()),
        }
        report.append(row | ({} if errors is None else {"predicted_error": errors[name]}))
    return report
