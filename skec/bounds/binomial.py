"""Exact bounds for a rate, from the number of rows of a sample for which something happens."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import beta, binom

from ..utils import check_count
from .bisection import smallest


def check_share(name: str, value: Any) -> None:
    """Raise unless a value is a number strictly between 0 and 1."""
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not 0 < float(value) < 1:
        raise ValueError(f"{name} must be a number in (0, 1); got {value!r}.")


def rate_upper_bound(n_exceeding: int, n_rows: int, delta: float = 0.05) -> float:
    """The one-sided bound of Clopper and Pearson for a rate.

    Among all samples of ``n_rows`` independent rows, at least the share 1 − delta gives a bound
    that is not below the true rate. This holds for every sample size and every rate.

    Parameters
    ----------
    n_exceeding : int
        Number of rows of the sample for which it happens.
    n_rows : int
        Number of rows of the sample.
    delta : float, default=0.05
        One minus the confidence.

    Returns
    -------
    float
        The largest rate p with P(Bin(n_rows, p) ≤ n_exceeding) ≥ delta; one if it happens for
        all rows.

    Raises
    ------
    ValueError
        If a number is not possible.

    References
    ----------
    .. [1] Clopper, Pearson, "The use of confidence or fiducial limits illustrated in the case of
       the binomial", Biometrika 26 (1934).

    Examples
    --------
    >>> round(rate_upper_bound(0, 299), 4), round(rate_upper_bound(3, 1000), 4)
    (0.01, 0.0077)
    """
    _check_counts(n_exceeding, n_rows)
    check_share("delta", delta)
    if n_exceeding == n_rows:
        return 1.0
    return float(beta.isf(delta, n_exceeding + 1, n_rows - n_exceeding))


def rate_p_value(n_exceeding: int, n_rows: int, alpha: float) -> float:
    """The p-value of the hypothesis that a rate is more than ``alpha``.

    Parameters
    ----------
    n_exceeding, n_rows : int
        As in :func:`rate_upper_bound`.
    alpha : float
        The rate.

    Returns
    -------
    float
        P(Bin(n_rows, alpha) ≤ n_exceeding). It is at most delta if and only if the bound of
        :func:`rate_upper_bound` is at most ``alpha``.

    Raises
    ------
    ValueError
        If a number is not possible.

    Examples
    --------
    >>> round(rate_p_value(0, 299, 0.01), 4)
    0.0495
    """
    _check_counts(n_exceeding, n_rows)
    check_share("alpha", alpha)
    return float(binom.cdf(n_exceeding, n_rows, alpha))


def n_allowed(n_rows: int, alpha: float, delta: float) -> int:
    """The largest number of rows with a p-value of at most delta; −1 if even zero has more."""
    count = int(binom.ppf(delta, n_rows, alpha))
    while count >= 0 and binom.cdf(count, n_rows, alpha) > delta:
        count -= 1
    while binom.cdf(count + 1, n_rows, alpha) <= delta:
        count += 1
    return count


def change_at_rate(changes: ArrayLike, alpha: float, delta: float = 0.05) -> float:
    """The order statistic that a new value exceeds with a probability of at most ``alpha``.

    With confidence 1 − delta, at most the share ``alpha`` of new values is larger than the result.
    It is the (n − m)-th smallest of the n values, where m is the largest number with
    P(Bin(n, alpha) ≤ m) ≤ delta. It may have ties and any distribution.

    Parameters
    ----------
    changes : array-like of shape (n_rows,)
        Values of independent rows.
    alpha : float
        The share of new rows that may exceed the result.
    delta : float, default=0.05
        One minus the confidence.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If a number is not possible, or the values are too few: see
        :func:`certificate_sample_size`.

    References
    ----------
    .. [1] Wilks, "Determination of sample sizes for setting tolerance limits", Annals of
       Mathematical Statistics 12 (1941).

    Examples
    --------
    >>> import numpy as np
    >>> change_at_rate(np.arange(1, 300), alpha=0.01)  # the largest of 299
    299.0
    >>> change_at_rate(np.arange(1, 1001), alpha=0.01)
    996.0
    """
    check_share("alpha", alpha)
    check_share("delta", delta)
    values = np.sort(np.asarray(changes, np.float64))
    if values.ndim != 1 or np.isnan(values).any():
        raise ValueError(
            f"changes must be a one-dimensional array of numbers without nan; got shape "
            f"{values.shape}."
        )
    check_enough(len(values), alpha, delta)
    return float(values[len(values) - 1 - n_allowed(len(values), alpha, delta)])


def certificate_sample_size(alpha: float, delta: float = 0.05, *, n_exceeding: int = 0) -> int:
    """Number of rows that a certificate needs.

    Parameters
    ----------
    alpha : float
        The share of new rows that may change by more than epsilon.
    delta : float, default=0.05
        One minus the confidence.
    n_exceeding : int, default=0
        Number of rows of the sample that may change by more than epsilon. More rows allow a
        smaller epsilon.

    Returns
    -------
    int
        The smallest n with P(Bin(n, alpha) ≤ n_exceeding) ≤ delta.

    Raises
    ------
    ValueError
        If a number is not possible.

    Examples
    --------
    >>> certificate_sample_size(0.01), certificate_sample_size(0.01, n_exceeding=5)
    (299, 1049)
    """
    check_share("alpha", alpha)
    check_share("delta", delta)
    check_count("n_exceeding", n_exceeding, least=0)
    return smallest(lambda n: bool(binom.cdf(n_exceeding, n, alpha) <= delta), n_exceeding)


def check_enough(n_rows: int, alpha: float, delta: float, advice: str = "") -> None:
    """Raise if rows are too few for any certificate with this rate and confidence.

    Parameters
    ----------
    n_rows : int
    alpha, delta : float
        As in :func:`certificate_sample_size`.
    advice : str, default=""
        The end of the message.
    """
    needed = certificate_sample_size(alpha, delta)
    if n_rows < needed:
        raise ValueError(
            f"A certificate for alpha={alpha} and delta={delta} needs at least {needed} rows; got "
            f"{n_rows}. " + (advice or "Pass more rows, or raise alpha or delta.")
        )


def _check_counts(n_exceeding: Any, n_rows: Any) -> None:
    check_count("n_rows", n_rows)
    check_count("n_exceeding", n_exceeding, least=0)
    if n_exceeding > n_rows:
        raise ValueError(
            f"n_exceeding must be at most n_rows={n_rows}; got {n_exceeding}. It counts rows of "
            f"the sample."
        )
