"""The largest pruning ratio that is shown to change predictions little."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from sklearn.base import is_classifier
from sklearn.utils import Bunch
from torch import nn

from ..bounds import ChangeCertificate, MaxChange, changes, check_enough, equal_rows, rate_p_value
from ..pruning import PruningResult
from ..utils import Samples
from .auto_ratio import RATIOS, check_equal_weights, outputs_of, take_network
from .prune_estimator import PruningSettings, ratio_pruner

_ABOUT = "before any fine-tuning"


def check_change(net: Any, settings: PruningSettings) -> None:
    """Raise unless the wished bound for a change is possible for an estimator, and its rows."""
    wish = settings.max_change
    if wish is None:
        return
    _quantity(net, wish)
    kept, used = getattr(net, "_held_out_", None), getattr(net, "_calibration_", None)
    if kept is None:
        return
    advice = "Fit with a higher validation_fraction, or raise alpha or delta."
    check_enough(len(kept), wish.alpha, wish.delta, advice)
    check_equal_weights(net, kept)
    if used is None:
        return
    n_equal = int(equal_rows(kept.X.cpu().numpy(), used.X.cpu().numpy()).sum())
    if n_equal:
        raise ValueError(
            f"max_change tests the pruning on held-out rows, and {n_equal} of these {len(kept)} "
            f"rows are equal to calibration samples. Call fit with max_change, which keeps them "
            f"apart, or pass calibration data without them to prune."
        )


def prune_by_change(net: Any, settings: PruningSettings) -> PruningResult:
    """Replace the network by the dense network, pruned at the largest ratio that passes a test.

    The hypothesis of a ratio is that more than the share alpha of new rows changes by more than
    epsilon. It is tested at the level delta with the exact binomial test on the held-out rows. The
    ratios are tested in the fixed order of their size, up to the first that is not rejected. So
    the probability that any true hypothesis is rejected is at most delta. If the first one is not
    rejected, the network stays dense, with a warning.

    Parameters
    ----------
    net : PrunedMLP
        With a dense network, calibration samples and held-out rows.
    settings : PruningSettings

    References
    ----------
    .. [1] Angelopoulos, Bates, Candès, Jordan, Lei, "Learn then test: calibrating predictive
       algorithms to achieve risk control", arXiv:2110.01052, section on fixed sequence testing.
    """
    wish, samples = settings.max_change, getattr(net, "_calibration_", None)
    assert wish is not None
    of, epsilon = _quantity(net, wish), wish.epsilon or 0.0
    pruner, held_out = ratio_pruner(net, settings, samples), net._held_out_
    before = _answers(net, pruner.dense, held_out, of)
    tested: list[tuple[float, int, float, bool]] = []
    best, ratio = None, 0.0
    for next_ratio in RATIOS:
        result = pruner.prune(next_ratio)
        size = changes(_answers(net, result.module, held_out, of), before, wish.norm)
        n_exceeding = int((size > epsilon).sum())
        p_value = rate_p_value(n_exceeding, len(held_out), wish.alpha)
        tested.append((next_ratio, n_exceeding, p_value, p_value <= wish.delta))
        if p_value > wish.delta:
            break
        best, ratio = result, next_ratio
    certificate = None
    if best is None:
        best = pruner.prune(0.0)
        _warn_dense(wish, tested, len(held_out))
    else:
        n_exceeding = next(count for tried, count, _, _ in tested if tried == ratio)
        certificate = ChangeCertificate(
            epsilon=float(epsilon),
            alpha=wish.alpha,
            delta=wish.delta,
            n_rows=len(held_out),
            n_exceeding=n_exceeding,
            of=of,
            norm=wish.norm,
            n_outputs=1 if before.ndim == 1 else before.shape[1],
            scale=_scale(net) if of == "predictions" else None,
            about=_ABOUT,
        )
    take_network(net, best, samples, ratio)
    ratios, counts, p_values, accepted = zip(*tested, strict=True)
    net.pruning_curve_ = Bunch(
        pruning_ratios=np.array(ratios),
        n_exceeding=np.array(counts),
        p_values=np.array(p_values),
        accepted=np.array(accepted),
        n_samples=len(held_out),
        certificate=certificate,
    )
    return best


def _quantity(net: Any, wish: MaxChange) -> str:
    return wish.quantity("classifier" if is_classifier(net) else "regressor")


@torch.no_grad()
def _answers(net: Any, module: nn.Module, samples: Samples, of: str) -> np.ndarray:
    """Predictions, probabilities or labels for samples; the module is set to evaluation."""
    found = []
    for outputs, _, _ in outputs_of(net, module, samples):
        first = outputs[0] if isinstance(outputs, tuple) else outputs
        found.append(net._answers(first, of))
    return np.concatenate(found)


def _scale(net: Any) -> float | None:
    """The standard deviation of the only target; None for several and for a constant one."""
    return float(net.y_scale_[0]) or None if len(net.y_scale_) == 1 else None


def _warn_dense(wish: MaxChange, tested: list[tuple[float, int, float, bool]], n_rows: int) -> None:
    ratio, n_exceeding, p_value, _ = tested[0]
    warnings.warn(
        f"The network stays dense. With pruning_ratio={ratio}, {n_exceeding} of {n_rows} held-out "
        f"rows change by more than max_change allows, which does not show a share of at most "
        f"{wish.alpha} of new rows (p-value {p_value:.3g}, allowed {wish.delta}). Raise epsilon or "
        f"alpha of {wish!r}, or hold out more rows with validation_fraction.",
        UserWarning,
        stacklevel=2,
    )
