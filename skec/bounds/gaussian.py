"""Tail bounds for the norms of random matrices, with explicit constants."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from scipy.optimize import brentq
from scipy.special import ndtri

from .bisection import smallest

_UPWARDS = 1.0 + 1e-9  # more than the rounding errors and tolerances of the computation
_EPSILONS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)


def relative_entropy(q: float, p: float) -> float:
    """Kullback–Leibler divergence between Bernoulli distributions of probabilities q and p."""
    first = q * math.log(q / p) if q > 0 else 0.0
    second = (1 - q) * math.log((1 - q) / (1 - p)) if q < 1 else 0.0
    return first + second


def full_norm(n_rows: int, n_columns: int, delta: float) -> float:
    """Bound of the norm of a standard Gaussian matrix, with probability 1 − δ.

    ``√m + √n + √(2 log 1/δ)`` (Davidson and Szarek, 2001, theorem II.13).

    Examples
    --------
    >>> round(full_norm(100, 100, 0.05), 2)
    22.45
    """
    return _UPWARDS * (
        math.sqrt(n_rows) + math.sqrt(n_columns) + math.sqrt(2 * math.log(1 / delta))
    )


def largest_count(n_groups: int, size: int, n_chosen: int, delta: float) -> int:
    """Bound of the largest number of chosen items in a group, with probability 1 − δ.

    ``n_chosen`` of ``n_groups · size`` items are chosen at random, without replacement. The tail of
    the hypergeometric distribution is at most ``exp(−size · KL(c / size, p))``, as for the binomial
    one (Hoeffding, 1963, theorem 1 and section 6). The union is over all groups.

    Examples
    --------
    >>> largest_count(100, 100, 1000, 0.05)
    23
    """
    most = min(size, n_chosen)
    p = n_chosen / (n_groups * size)
    wanted = math.log(n_groups / delta)

    def bounds_all(count: int) -> bool:
        share = (count + 1) / size  # at least so much of a group is unlikely
        return share > p and size * relative_entropy(min(share, 1.0), p) >= wanted

    return smallest(bounds_all, above=math.ceil(p * size) - 1, known=most)


def threshold_level(n_weights: int, n_removed: int, delta: float) -> float:
    """The level that the (k+1)-th smallest of n uniform numbers does not exceed, with 1 − δ.

    It does if at most k of them are below: ``P ≤ exp(−n KL(k / n, u))`` (Chernoff's bound).

    Examples
    --------
    >>> 0.5 < threshold_level(10_000, 5000, 0.05) < 0.52
    True
    """
    if n_removed >= n_weights:
        return 1.0
    q, wanted = n_removed / n_weights, math.log(1 / delta) / n_weights
    top = 1 - 1e-16
    if relative_entropy(q, top) <= wanted:
        return 1.0
    level = _root(lambda u: relative_entropy(q, u) - wanted, max(q, 1e-300), top)
    return min(level * _UPWARDS, 1.0)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    return float(brentq(function, low, high, xtol=1e-300, rtol=1e-14, maxiter=1000))  # pyright: ignore


@dataclass(frozen=True)
class WeightLaw:
    """The law of independent weights: Gaussian, or uniform on an interval around zero.

    Attributes
    ----------
    gaussian : bool
    scale : float
        Standard deviation of the Gaussian, or half of the length of the interval.
    """

    gaussian: bool
    scale: float

    @property
    def dominating(self) -> float:
        """Standard deviation of the Gaussian that dominates the law in convex order."""
        return self.scale if self.gaussian else math.sqrt(math.pi / 8) * self.scale

    def dominating_below(self, level: float) -> float:
        """The same for a weight, given that its absolute value is below a quantile of it.

        It is ``√(π/2)`` times the mean absolute value.

        Examples
        --------
        >>> law = WeightLaw(gaussian=True, scale=1.0)
        >>> round(law.dominating_below(0.5), 3), round(law.dominating_below(1.0), 3)
        (0.407, 1.0)
        """
        if not self.gaussian:
            return math.sqrt(math.pi / 8) * self.scale * level
        threshold = float(ndtri((1 + level) / 2))
        if math.isinf(threshold):
            return self.scale
        inside = math.erf(threshold / math.sqrt(2))
        return self.scale * min(1.0, -math.expm1(-(threshold**2) / 2) / inside * _UPWARDS)


def masked_norm(n_rows: int, n_columns: int, n_kept: int, delta: float) -> tuple[float, str]:
    """Bound of the norm of a Gaussian matrix of which only k random entries are left, with 1 − δ.

    The smallest of four bounds, and its name. Which one is the smallest depends on the arguments
    only, so no union over them is needed.

    Parameters
    ----------
    n_rows, n_columns, n_kept : int
        The k entries are a random subset, or the law of the entries given the subset is as here.
    delta : float

    Examples
    --------
    >>> bound, name = masked_norm(1000, 1000, 1000, 0.05)
    >>> round(bound, 1), name
    (13.4, 'matrix series')
    """
    m, n = min(n_rows, n_kept), min(n_columns, n_kept)  # rows and columns with an entry
    if not n_kept:
        return 0.0, "nothing removed"
    counts = (
        largest_count(n_rows, n_columns, n_kept, delta / 4),
        largest_count(n_columns, n_rows, n_kept, delta / 4),
    )
    rest = delta / 2
    series = math.sqrt(2 * max(counts) * math.log((m + n) / rest))
    roots = sum(math.sqrt(count) for count in counts)
    logarithm = math.sqrt(math.log(max(min(m, n), 2)))
    moment = min(
        (1 + e) * (roots + 5 / math.sqrt(math.log1p(e)) * logarithm) for e in _EPSILONS
    ) + math.sqrt(2 * math.log(1 / rest))
    candidates = {
        "full matrix": full_norm(m, n, delta),
        "Frobenius norm": _chi(n_kept, delta),
        "matrix series": series * _UPWARDS,
        "moments": moment * _UPWARDS,
    }
    name = min(candidates, key=lambda each: candidates[each])
    return candidates[name], name


def _chi(n: int, delta: float) -> float:
    """Bound of the norm of a standard Gaussian vector: the Chernoff bound of its square."""
    wanted = 2 * math.log(1 / delta) / n

    def missing(x: float) -> float:
        return x - 1 - math.log(x) - wanted

    return math.sqrt(n * _root(missing, 1.0, 4.0 + 4.0 * wanted)) * _UPWARDS
