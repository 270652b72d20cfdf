"""Certificates from rows that were held out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from ..utils import check_choice
from .binomial import change_at_rate, check_enough, check_share, rate_upper_bound
from .certificates import ChangeCertificate, LossCertificate
from .changes import NORMS, QUANTITIES, answers, changes, check_pair, check_rows_given, unwrapped
from .losses import RowLoss, row_loss
from .max_change import check_epsilon, quantity
from .means import bernstein_upper_bound, betting_upper_bound, t_upper_bound
from .rows import check_new_rows

_ALPHA = 0.01  # of a certificate for which neither epsilon nor alpha is given
_INTERVALS = ("auto", "t", "bernstein", "betting")


def certify(
    pruned: Any,
    dense: Any,
    X: Any,
    y: Any = None,
    *,
    of: Literal["auto", "predictions", "labels", "probabilities", "loss"] = "auto",
    epsilon: float | None = None,
    alpha: float | None = None,
    delta: float = 0.05,
    norm: Literal["euclidean", "max"] = "euclidean",
    loss: str | Callable[[Any, np.ndarray], np.ndarray] = "auto",
    loss_range: tuple[float, float] | None = None,
    interval: Literal["auto", "t", "bernstein", "betting"] = "auto",
    check_rows: bool = True,
) -> ChangeCertificate | LossCertificate:
    """Bound how much a pruned network differs from the dense one on new rows.

    The rows of ``X`` must be independent of each other and of both networks, and drawn as the new
    rows are. Nothing is assumed of the networks or of the distribution of the rows, except for the
    bounds of a mean loss that name an assumption.

    Parameters
    ----------
    pruned, dense : estimators, torch modules or a PruningResult
        Two fitted regressors, two fitted classifiers (of this library, of scikit-learn or others
        with ``predict``) or two modules. The result does not depend on which one is pruned.
    X : array-like of shape (n_rows, n_features)
        Rows that were used neither to train, to prune nor to choose the networks.
    y : array-like of shape (n_rows,) or (n_rows, n_outputs), default=None
        Targets. Needed for the loss. Otherwise their standard deviation is the scale of a change.
    of : {"auto", "predictions", "labels", "probabilities", "loss"}, default="auto"
        What changes. ``"auto"`` is ``"loss"`` if ``y`` is given without epsilon and alpha. If not,
        it is ``"predictions"`` for regressors and modules. For classifiers it is ``"labels"``, or
        ``"probabilities"`` with epsilon.
    epsilon : float, default=None
        A change, in the units of the predictions. The certificate bounds the share of new rows
        that change by more (Clopper and Pearson). It must be chosen without these rows.
    alpha : float, default=None
        A share of new rows. Without epsilon, the certificate gives the change that at most this
        share exceeds (an order statistic); None takes 0.01. With epsilon, and for labels, it is
        the wished share, and ``holds`` says whether it is shown.
    delta : float, default=0.05
        One minus the confidence. Each certificate holds with confidence 1 − delta by itself.
    norm : {"euclidean", "max"}, default="euclidean"
        How the changes of several outputs are put together; see :func:`skec.bounds.changes`.
    loss : {"auto", "squared_error", "absolute_error", "zero_one", "log_loss"} or callable, \
default="auto"
        The loss of a row. ``"auto"`` is the squared error, or for classifiers the zero-one loss,
        whose mean is one minus the accuracy. A function takes ``y`` and what ``predict`` returns,
        and returns one number for each row.
    loss_range : tuple of two floats, default=None
        The range that the loss of every row lies in, also that of new ones. It is known for the
        zero-one loss.
    interval : {"auto", "t", "bernstein", "betting"}, default="auto"
        The bound for the mean change of the loss. ``"t"`` is the paired t, which assumes that the
        mean of the differences is about normal. The other two need the range of the loss and
        assume nothing else. ``"auto"`` is ``"betting"`` if the range is known, else ``"t"``.
    check_rows : bool, default=True
        Whether to refuse rows that the estimators were fitted to. Only rows that an estimator
        keeps can be seen: those of this library keep the calibration samples, and the held-out
        rows of an automatic ratio.

    Returns
    -------
    ChangeCertificate or LossCertificate
        Its ``str`` is a sentence.

    Raises
    ------
    ValueError
        If the rows are too few or not new, targets are missing, the networks have other inputs or
        outputs, predictions are not finite, or a parameter is not possible.
    TypeError
        If the networks are not of the same kind, or X is not an array.

    See Also
    --------
    certificate_sample_size : Number of rows that a certificate needs.

    Examples
    --------
    >>> from sklearn.datasets import make_regression
    >>> from sklearn.neural_network import MLPRegressor
    >>> from skec import ECPruner
    >>> from skec.bounds import certify
    >>> X, y = make_regression(800, 4, random_state=0)
    >>> dense = MLPRegressor(hidden_layer_sizes=16, random_state=0).fit(X[:400], y[:400])
    >>> pruner = ECPruner(dense, pruning_ratio=0.25, prefit=True).fit(X[:400])
    >>> certificate = certify(pruner, dense, X[400:], alpha=0.05)
    >>> certificate.n_rows, certificate.n_exceeding
    (400, 12)
    """
    pruned, dense = unwrapped(pruned), unwrapped(dense)
    kind = check_pair(pruned, dense)
    check_choice("of", of, ("auto", *QUANTITIES, "loss"))
    check_choice("norm", norm, NORMS)
    check_choice("interval", interval, _INTERVALS)
    check_epsilon(epsilon)
    check_share("delta", delta)
    if alpha is not None:
        check_share("alpha", alpha)
    n_rows = check_rows_given(X)
    if y is not None and len(y) != n_rows:
        raise ValueError(f"X has {n_rows} rows and y has {len(y)}. Pass one target for each row.")
    if of == "loss" or (of == "auto" and y is not None and epsilon is None and alpha is None):
        chosen = _checked_loss(kind, y, epsilon, alpha, loss, loss_range, interval)
        if check_rows:
            check_new_rows(X, pruned, dense)
        return _of_loss(pruned, dense, X, y, delta, *chosen)
    _check_no_loss(of, loss, loss_range, interval)
    what = quantity(of, kind, epsilon)
    if what != "labels" and epsilon is None:
        alpha = _ALPHA if alpha is None else alpha
        check_enough(n_rows, alpha, delta)
    if check_rows:
        check_new_rows(X, pruned, dense)
    return _of_change(
        answers(pruned, X, what),
        answers(dense, X, what),
        of=what,
        epsilon=epsilon,
        alpha=alpha,
        delta=delta,
        norm=norm,
        scale=_scale(dense, y) if what == "predictions" else None,
    )


def _of_change(
    after: np.ndarray,
    before: np.ndarray,
    *,
    of: str,
    epsilon: float | None,
    alpha: float | None,
    delta: float,
    norm: str,
    scale: float | None,
) -> ChangeCertificate:
    """The certificate of the change between two arrays of answers."""
    size = changes(after, before, norm)
    wished = None
    if of == "labels" or epsilon is not None:
        wished, limit = alpha, epsilon or 0.0
        exceeding = int((size > limit).sum())
        share = rate_upper_bound(exceeding, len(size), delta)
    else:
        assert alpha is not None
        limit, share = change_at_rate(size, alpha, delta), alpha
        exceeding = int((size > limit).sum())
    return ChangeCertificate(
        epsilon=float(limit),
        alpha=share,
        delta=delta,
        n_rows=len(size),
        n_exceeding=exceeding,
        of=of,
        norm=norm,
        n_outputs=1 if after.ndim == 1 else int(after[0].size),
        scale=scale,
        wished_alpha=wished,
    )


def _checked_loss(
    kind: str, y: Any, epsilon: Any, alpha: Any, loss: Any, loss_range: Any, interval: str
) -> tuple[RowLoss, tuple[float, float] | None, str]:
    """The loss, its range and the bound; raise if they are not possible."""
    if y is None:
        raise ValueError("of='loss' needs the targets. Pass y with one target for each row of X.")
    if epsilon is not None or alpha is not None:
        raise ValueError(
            f"epsilon and alpha are about changes of predictions; got epsilon={epsilon} and "
            f"alpha={alpha} with of='loss'. Leave them out: the certificate states the change of "
            f"the mean loss."
        )
    chosen = row_loss(loss, kind)
    bounds = chosen.range if loss_range is None else loss_range
    if bounds is not None:
        bounds = _range(bounds)
    if interval == "auto":
        interval = "t" if bounds is None else "betting"
    if interval != "t" and bounds is None:
        raise ValueError(
            f"interval={interval!r} needs loss_range, the range that the loss of every row lies "
            f"in. Give loss_range=(low, high), or choose interval='t'."
        )
    return chosen, bounds, interval


def _range(bounds: Any) -> tuple[float, float]:
    try:
        low, high = (float(value) for value in bounds)
    except (TypeError, ValueError):
        low = high = np.nan
    if not (np.isfinite([low, high]).all() and low < high):
        raise ValueError(f"loss_range must be (low, high) with low < high; got {bounds!r}.")
    return low, high


def _check_no_loss(of: str, loss: Any, loss_range: Any, interval: str) -> None:
    given = {"loss": loss, "loss_range": loss_range, "interval": interval}
    unused = {name: v for name, v in given.items() if v is not None and not _is_auto(v)}
    if unused:
        raise ValueError(
            f"{unused} are for the change of the loss; got of={of!r} without targets or with "
            f"epsilon or alpha. Pass y and of='loss', or leave them out."
        )


def _is_auto(value: Any) -> bool:
    return isinstance(value, str) and value == "auto"


def _of_loss(
    pruned: Any,
    dense: Any,
    X: Any,
    y: Any,
    delta: float,
    loss: RowLoss,
    bounds: tuple[float, float] | None,
    interval: str,
) -> LossCertificate:
    classes = getattr(dense, "classes_", None)
    first, second = answers(pruned, X, loss.of), answers(dense, X, loss.of)
    changes(first, second)  # raises unless the answers are finite and of the same shape
    after, before = (loss.values(y, each, classes) for each in (first, second))
    if not np.isfinite([after, before]).all():
        raise ValueError("The loss of some rows is not finite. Check y and the loss.")
    if bounds is None:
        increase = t_upper_bound(after - before, delta)
    else:
        low, high = bounds
        least, most = min(after.min(), before.min()), max(after.max(), before.max())
        if least < low or most > high:
            raise ValueError(
                f"The losses of these rows lie in [{least:.6g}, {most:.6g}], outside of "
                f"loss_range={bounds}. State a range that all losses lie in, or choose "
                f"interval='t' without loss_range."
            )
        if interval == "t":
            increase = t_upper_bound(after - before, delta)
        else:
            bound = bernstein_upper_bound if interval == "bernstein" else betting_upper_bound
            increase = bound(after - before, low - high, high - low, delta)
    return LossCertificate(
        increase=increase,
        mean_increase=float((after - before).mean()),
        dense_loss=float(before.mean()),
        pruned_loss=float(after.mean()),
        delta=delta,
        n_rows=len(after),
        loss=loss.name,
        interval=interval,
        loss_range=bounds,
    )


def _scale(dense: Any, y: Any) -> float | None:
    """The standard deviation of one target: of y, or of the data of fit; None if unknown."""
    if y is not None:
        targets = np.asarray(y, np.float64)
        known = np.std(targets) if targets.size == len(targets) else None
    else:
        scale = getattr(dense, "y_scale_", None)
        known = scale[0] if scale is not None and np.size(scale) == 1 else None
    return float(known) if known else None
