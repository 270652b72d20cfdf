"""Upper confidence bounds for a mean, each named for what it assumes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t

from .binomial import check_share

_MOST = 0.75  # share of the capital that a bet may lose
_HALVINGS = 50


def t_upper_bound(values: ArrayLike, delta: float = 0.05) -> float:
    """The one-sided bound of Student's t for a mean.

    It assumes that the mean of the values is about normal: the confidence is approximate. It is
    reliable for some hundred values without rare, large ones. If all values are equal, the bound
    is this value, and says little.

    Parameters
    ----------
    values : array-like of shape (n_rows,)
        Of independent rows; at least two.
    delta : float, default=0.05
        One minus the confidence.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If the values are not finite numbers, or fewer than two.

    Examples
    --------
    >>> round(t_upper_bound([0.0, 1.0, 2.0]), 3)
    2.686
    """
    values = _checked(values, delta)
    n = len(values)
    return float(values.mean() + t.isf(delta, n - 1) * values.std(ddof=1) / math.sqrt(n))


def bernstein_upper_bound(values: ArrayLike, low: float, high: float, delta: float = 0.05) -> float:
    """The empirical Bernstein bound for the mean of bounded values.

    It holds for every number of rows and every distribution on [low, high].
    :func:`betting_upper_bound` assumes the same and is usually smaller. This bound has a formula,
    and does not depend on the order of the rows.

    Parameters
    ----------
    values : array-like of shape (n_rows,)
        Of independent rows; at least two.
    low, high : float
        The range that all values lie in, also those of new rows.
    delta : float, default=0.05
        One minus the confidence.

    Returns
    -------
    float
        At most ``high``.

    Raises
    ------
    ValueError
        If a value lies outside the range, or there are fewer than two.

    References
    ----------
    .. [1] Maurer, Pontil, "Empirical Bernstein bounds and sample-variance penalization", COLT
       2009, theorem 4. arXiv:0907.3740.

    Examples
    --------
    >>> import numpy as np
    >>> round(bernstein_upper_bound(np.zeros(1000), 0.0, 1.0), 4)
    0.0086
    """
    values = _checked(values, delta, low, high)
    n, logarithm = len(values), math.log(2 / delta)
    spread = math.sqrt(2 * values.var(ddof=1) * logarithm / n)
    rest = 7 * (high - low) * logarithm / (3 * (n - 1))
    return min(float(values.mean() + spread + rest), float(high))


def betting_upper_bound(values: ArrayLike, low: float, high: float, delta: float = 0.05) -> float:
    """The bound by betting for the mean of bounded values.

    A gambler bets, row by row, that the mean is below m. If the mean is m or more, his capital is
    ever multiplied by 1 / delta with a probability of at most delta (Ville's inequality). If that
    happens, m is refuted. The bound is the smallest m above which all are refuted. It holds for
    every number of rows and every distribution on [low, high]. It depends on the order of the rows,
    which must not be chosen by their values.

    Parameters
    ----------
    values : array-like of shape (n_rows,)
        Of independent rows; at least two.
    low, high : float
        The range that all values lie in, also those of new rows.
    delta : float, default=0.05
        One minus the confidence.

    Returns
    -------
    float
        At most ``high``.

    Raises
    ------
    ValueError
        If a value lies outside the range, or there are fewer than two.

    References
    ----------
    .. [1] Waudby-Smith, Ramdas, "Estimating means of bounded random variables by betting",
       Journal of the Royal Statistical Society B 86 (2024). arXiv:2010.09686.

    Examples
    --------
    >>> import numpy as np
    >>> round(betting_upper_bound(np.zeros(1000), 0.0, 1.0), 4)
    0.004
    """
    values = _checked(values, delta, low, high)
    x = (high - values) / (high - low)  # a lower bound of their mean
    n, threshold = len(x), -math.log(delta)
    count = np.arange(1, n + 1)
    means = (0.5 + np.cumsum(x)) / (count + 1)
    variances = (0.25 + np.cumsum((x - means) ** 2)) / (count + 1)
    before = np.concatenate([[0.25], variances[:-1]])  # a bet knows the earlier rows only
    bets = np.sqrt(2 * threshold / (n * before))
    refuted, open_ = 0.0, 1.0
    for _ in range(_HALVINGS):  # the capital falls as m grows
        m = (refuted + open_) / 2
        capital = np.cumsum(np.log1p(np.minimum(bets, _MOST / m) * (x - m)))
        if capital.max() >= threshold:
            refuted = m
        else:
            open_ = m
    return float(high - refuted * (high - low))


def _checked(
    values: Any, delta: float, low: float | None = None, high: float | None = None
) -> np.ndarray:
    check_share("delta", delta)
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise ValueError(
            f"values must be a one-dimensional array of at least 2 finite numbers; got shape "
            f"{values.shape}."
        )
    if low is None or high is None:
        return values
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"The range must be finite with low < high; got ({low!r}, {high!r}).")
    if values.min() < low or values.max() > high:
        raise ValueError(
            f"values must lie in the stated range [{low}, {high}]; got values in "
            f"[{values.min():.6g}, {values.max():.6g}]. State a range that all values lie in, "
            f"also those of new rows."
        )
    return values
