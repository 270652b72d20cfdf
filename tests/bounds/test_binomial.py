"""Exact bounds for rates and order statistics, against scipy, enumeration and simulation."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from skec.bounds import (
    certificate_sample_size,
    change_at_rate,
    rate_p_value,
    rate_upper_bound,
)

shares = st.floats(0.001, 0.999)


def exact_cdf(k, n, p):
    """P(Bin(n, p) ≤ k) in rational numbers."""
    p = Fraction(p)
    return sum(comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1))


@given(st.integers(1, 400), shares, shares)
def test_the_rate_bound_is_that_of_scipy(n, share, delta):
    k = int(share * n)
    interval = binomtest(k, n, alternative="less").proportion_ci(1 - delta, method="exact")
    assert rate_upper_bound(k, n, delta) == pytest.approx(interval.high, rel=1e-9)
    assert rate_upper_bound(n, n, delta) == 1.0


@given(st.integers(1, 200), shares, shares, shares)
def test_the_rate_bound_is_monotone(n, share, delta, other):
    k, (small, large) = int(share * n), sorted([delta, other])
    assert rate_upper_bound(k, n, large) <= rate_upper_bound(k, n, small)
    assert rate_upper_bound(k, n, delta) <= rate_upper_bound(min(k + 1, n), n, delta)


@given(st.integers(1, 60), shares, shares, shares)
def test_the_p_value_and_the_bound_decide_alike(n, share, alpha, delta):
    k = int(share * n)
    p_value, bound = rate_p_value(k, n, alpha), rate_upper_bound(k, n, delta)
    assert p_value == pytest.approx(float(exact_cdf(k, n, alpha)), rel=1e-9, abs=1e-300)
    if abs(p_value - delta) > 1e-9:
        assert (p_value <= delta) == (bound <= alpha)


@given(st.integers(1, 60), shares, shares)
@settings(deadline=None)
def test_the_rank_is_that_of_brute_force(n, alpha, delta):
    """The largest number of rows left out whose probability is at most delta, in exact numbers."""
    allowed = [m for m in range(n) if exact_cdf(m, n, alpha) <= Fraction(delta)]
    if not allowed:
        with pytest.raises(ValueError, match=r"needs at least \d+ rows"):
            change_at_rate(np.arange(n), alpha, delta)
    else:
        assert change_at_rate(np.arange(n), alpha, delta) == n - 1 - max(allowed)


@pytest.mark.parametrize("values", [[0.1] * 10, [0.05] * 4 + [0.6, 0.2], [0.97, 0.03], [1.0]])
@pytest.mark.parametrize(("n", "alpha", "delta"), [(6, 0.4, 0.1), (7, 0.35, 0.05), (5, 0.5, 0.2)])
def test_the_order_statistic_is_valid_with_ties(values, n, alpha, delta):
    """Its exact failure probability for a discrete distribution, from that of the maximum ranks."""
    probabilities = np.asarray(values) / np.sum(values)
    m = next(m for m in reversed(range(n)) if binom.cdf(m, n, alpha) <= delta)
    failure = 0.0
    for above in 1 - np.cumsum(probabilities):
        if above > alpha + 1e-12:  # the result fails if it is this value or less
            failure = binom.cdf(m, n, above)  # at most m rows are larger
    assert failure <= delta
    rng = np.random.default_rng(0)
    draws = rng.choice(len(values), size=(4000, n), p=probabilities)
    found = np.array([change_at_rate(row, alpha, delta) for row in draws]).astype(int)
    rates = (1 - np.cumsum(probabilities))[found]
    assert abs((rates > alpha + 1e-12).mean() - failure) < 0.02


@given(st.lists(st.floats(0, 10), min_size=300, max_size=320), st.data())
def test_the_order_statistic_is_monotone(values, data):
    small, large = sorted(data.draw(st.tuples(*[st.floats(0.02, 0.5)] * 2)))
    assert change_at_rate(values, large, 0.05) <= change_at_rate(values, small, 0.05)
    assert change_at_rate(values, 0.05, large) <= change_at_rate(values, 0.05, small)
    assert change_at_rate(values, small, 0.05) in values


@given(st.floats(0.001, 0.9), st.floats(0.001, 0.9), st.integers(0, 20))
def test_the_sample_size_is_the_smallest(alpha, delta, n_exceeding):
    n = certificate_sample_size(alpha, delta, n_exceeding=n_exceeding)
    assert binom.cdf(n_exceeding, n, alpha) <= delta
    assert n == n_exceeding + 1 or binom.cdf(n_exceeding, n - 1, alpha) > delta


def test_the_sample_size_of_the_largest_value():
    assert certificate_sample_size(0.01) == 299  # (1 - 0.01)**299 < 0.05 < (1 - 0.01)**298
    assert certificate_sample_size(0.05, 0.05) == 59  # Wilks (1941)
    assert certificate_sample_size(0.05, 0.05, n_exceeding=1) == 93


@pytest.mark.parametrize("rate", [0.0, 0.003, 0.02, 0.3, 1.0])
@pytest.mark.parametrize("delta", [0.05, 0.2])
def test_the_coverage_of_the_rate_bound_is_exact(rate, delta):
    n = 120
    bounds = np.array([rate_upper_bound(k, n, delta) for k in range(n + 1)])
    failure = binom.pmf(np.arange(n + 1), n, rate)[bounds < rate].sum()
    assert failure <= delta


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rate_upper_bound(5, 4), "n_exceeding must be at most n_rows=4; got 5"),
        (lambda: rate_upper_bound(-1, 4), "n_exceeding must be a non-negative integer"),
        (lambda: rate_upper_bound(0, 0), "n_rows must be a positive integer"),
        (lambda: rate_upper_bound(0, 4, 0.0), r"delta must be a number in \(0, 1\); got 0.0"),
        (lambda: rate_p_value(0, 4, 1), r"alpha must be a number in \(0, 1\); got 1"),
        (lambda: rate_p_value(0, 4, "a"), "alpha must be a number"),
        (lambda: change_at_rate(np.ones(298), 0.01), "needs at least 299 rows; got 298"),
        (lambda: change_at_rate(np.ones((400, 2)), 0.01), "one-dimensional"),
        (lambda: change_at_rate([np.nan] * 400, 0.01), "without nan"),
        (lambda: certificate_sample_size(True), "alpha must be a number"),
        (lambda: certificate_sample_size(0.1, n_exceeding=1.5), "n_exceeding must be"),
    ],
)
def test_impossible_numbers_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
