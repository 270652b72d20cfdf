"""The largest pruning ratio that keeps the loss on held-out data."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from sklearn.utils import Bunch
from torch import nn

from ..bounds import MaxChange, certificate_sample_size
from ..networks import check_reduction, sample_losses
from ..pruning import PruningResult, warn_about_cuts
from ..utils import Samples
from .prune_estimator import PruningSettings, ratio_pruner

# The ratios of the search. Each half of them takes one pruning, so 6 prunings are enough for 49.
RATIOS = tuple(round(0.02 * i, 2) for i in range(1, 50))
_INSTEAD = "give pruning_ratio a number"


def check_search(net: Any, settings: PruningSettings, few: Samples) -> None:
    """Raise before any training if an automatic ratio is not possible.

    Parameters
    ----------
    net : PrunedMLP
        With a network.
    settings : PruningSettings
    few : Samples
        Some training data, in the network's units.
    """
    if net.step_epochs:
        raise ValueError(
            f"pruning_ratio='auto' prunes the dense network at several ratios, without training "
            f"between the steps; got step_epochs={net.step_epochs}. Set step_epochs=0, or "
            f"{_INSTEAD}."
        )
    if settings.max_change is not None:
        return  # it needs no loss
    criterion = net.criterion_
    check_reduction(criterion, "pruning_ratio='auto'", _INSTEAD)
    try:
        sample_losses_of(net, net.network_, few)
    except (RuntimeError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(
            f"pruning_ratio='auto' needs the loss of each row, and {type(criterion).__name__} does "
            f"not return it with reduction='none': {error}. Use a loss of torch.nn, or {_INSTEAD}."
        ) from error


def keep_held_out(net: Any, wish: MaxChange | None, train: Any, valid: Any) -> None:
    """Keep the validation data of the dense phase; raise if there are too few.

    Parameters
    ----------
    net : PrunedMLP
    wish : MaxChange or None
        With None, losses decide.
    train, valid : Dataset
        The two parts of the training data; ``valid`` may be None.
    """
    n_held_out = 0 if valid is None else len(valid)
    needed = 2 if wish is None else certificate_sample_size(wish.alpha, wish.delta)
    if n_held_out < needed:
        compares = "losses" if wish is None else "predictions"
        why = "" if wish is None else f" for alpha={wish.alpha} and delta={wish.delta}"
        raise ValueError(
            f"pruning_ratio='auto' compares {compares} on held-out rows and needs at least "
            f"{needed} of them{why}; of these {len(train) + n_held_out} rows {n_held_out} are held "
            f"out, with early_stopping={net.early_stopping!r}, train_split={net.train_split!r} and "
            f"validation_fraction={net.validation_fraction}. Set early_stopping=True "
            f"('auto' holds out rows from 100 on), train_split='auto' and a higher "
            f"validation_fraction, or {_INSTEAD}."
        )
    held_out = net._data.held_out(valid)
    if wish is not None:
        check_equal_weights(net, held_out)
    if held_out.sample_weight is not None:  # then means of weighted losses are weighted means
        held_out.sample_weight = held_out.sample_weight / held_out.sample_weight.mean()
    net._held_out_ = held_out


def check_equal_weights(net: Any, held_out: Samples) -> None:
    """Raise if held-out rows have weights other than those of classes, which the loss takes."""
    if held_out.sample_weight is not None and getattr(net, "class_weight", None) is None:
        raise ValueError(
            f"max_change counts held-out rows, and all of them must count the same; these rows "
            f"have weights, or some rows of few data are equal. Fit without sample_weight, or "
            f"{_INSTEAD}."
        )


def check_held_out(net: Any) -> None:
    """Raise if an estimator has no held-out rows, which an automatic ratio needs."""
    if not hasattr(net, "_held_out_"):
        raise ValueError(
            f"pruning_ratio='auto' needs rows on which the dense network was not trained. Only fit "
            f"with pruning_ratio='auto' keeps them; partial_fit and compact drop them. Call fit "
            f"with pruning_ratio='auto', or {_INSTEAD}."
        )


def prune_by_loss(net: Any, settings: PruningSettings) -> PruningResult:
    """Replace the network by the dense network, pruned at the largest acceptable ratio.

    A ratio is acceptable if the mean increase of the loss on the held-out rows, plus the standard
    error of this mean, is at most the allowed share of the dense network's loss. The ratio is found
    by bisection. If no ratio is acceptable, it is zero, with a warning.

    Parameters
    ----------
    net : PrunedMLP
        With a dense network, calibration samples and held-out rows.
    settings : PruningSettings
    """
    samples = getattr(net, "_calibration_", None)
    pruner = ratio_pruner(net, settings, samples)
    before = sample_losses_of(net, pruner.dense, net._held_out_)
    allowed = float(settings.max_loss_increase or 0.0) * abs(float(before.mean()))
    tried: list[tuple[float, float, float, bool]] = []
    best, ratio, low, high = None, 0.0, 0, len(RATIOS)
    while low < high:  # all ratios before low are accepted, all from high on are not
        middle = (low + high) // 2
        result = pruner.prune(RATIOS[middle])
        increase, error = paired(sample_losses_of(net, result.module, net._held_out_), before)
        accepted = increase + error <= allowed
        tried.append((RATIOS[middle], increase, error, accepted))
        if accepted:
            best, ratio, low = result, RATIOS[middle], middle + 1
        else:
            high = middle
    if best is None:
        best = pruner.prune(0.0)
        _warn_dense(settings, tried, allowed)
    take_network(net, best, samples, ratio)
    net.pruning_curve_ = _curve(tried, before)
    return best


def take_network(net: Any, best: PruningResult, samples: Samples | None, ratio: float) -> None:
    """Give an estimator the network of the ratio that was found.

    Parameters
    ----------
    net : PrunedMLP
    best : PruningResult
        Its network was run in evaluation mode, and gets the mode of the dense one.
    samples : Samples or None
        The calibration samples.
    ratio : float
    """
    warn_about_cuts(best)
    network = net.dense_module_
    for part, original in zip(best.module.modules(), network.modules(), strict=True):
        part.training = original.training
    net.install(best, network, samples, ratio)


@torch.no_grad()
def sample_losses_of(net: Any, module: nn.Module, samples: Samples) -> np.ndarray:
    """The loss of each sample times its weight, float64 of shape (n_samples,).

    Parameters
    ----------
    net : PrunedMLP
        Has the loss.
    module : torch.nn.Module
        Its mode becomes that of evaluation.
    samples : Samples
        With targets, in the network's units.
    """
    losses = []
    for outputs, y, weights in outputs_of(net, module, samples):
        criterion, outputs, targets = net._loss_arguments(outputs, y)
        losses.append(sample_losses(criterion, outputs, targets, weights).double())
    return torch.cat(losses).cpu().numpy()


def outputs_of(
    net: Any, module: nn.Module, samples: Samples
) -> Iterator[tuple[Any, Any, torch.Tensor | None]]:
    """Yield outputs, targets and weights of batches; the module is set to evaluation."""
    module.eval()
    for X, y, weights in samples.batches(net.calibration_batch_size):
        yield module(X.clone()), y, weights  # a forward may write into its input


def paired(after: np.ndarray, before: np.ndarray) -> tuple[float, float]:
    """The mean difference of the losses of the same rows, and its standard error.

    Examples
    --------
    >>> import numpy as np
    >>> increase, error = paired(np.array([3.0, 2.0, 3.0]), np.array([1.0, 2.0, 2.0]))
    >>> increase, round(error, 3)
    (1.0, 0.577)
    """
    difference = after - before
    error = difference.std(ddof=1) / math.sqrt(len(difference))
    return float(difference.mean()), float(error)


def _curve(tried: list[tuple[float, float, float, bool]], before: np.ndarray) -> Bunch:
    ratios, increases, errors, accepted = zip(*sorted(tried), strict=True)
    return Bunch(
        pruning_ratios=np.array(ratios),
        loss_increases=np.array(increases),
        standard_errors=np.array(errors),
        accepted=np.array(accepted),
        dense_loss=float(before.mean()),
        n_samples=len(before),
    )


def _warn_dense(
    settings: PruningSettings, tried: list[tuple[float, float, float, bool]], allowed: float
) -> None:
    ratio, increase, error, _ = min(tried)
    warnings.warn(
        f"The network stays dense. Even pruning_ratio={ratio} raises the loss on held-out rows by "
        f"{increase:.3g} with a standard error of {error:.3g}, and their sum may be {allowed:.3g} "
        f"with max_loss_increase={settings.max_loss_increase}. Raise max_loss_increase, hold out "
        f"more rows with validation_fraction for a smaller error, or {_INSTEAD}.",
        UserWarning,
        stacklevel=2,
    )
