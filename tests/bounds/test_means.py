"""Bounds for a mean: formulas, invariances and coverage."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from skec.bounds import bernstein_upper_bound, betting_upper_bound, t_upper_bound

samples = arrays(np.float64, st.integers(2, 60), elements=st.floats(0, 1))
BOUNDED = [bernstein_upper_bound, betting_upper_bound]


@given(samples, st.floats(0.01, 0.5))
def test_t_is_that_of_scipy(values, delta):
    found = t_upper_bound(values, delta)
    if values.std() < 1e-6:
        assert found == pytest.approx(values.mean(), abs=1e-5)
    else:
        interval = stats.ttest_1samp(values, 0.0, alternative="less").confidence_interval(1 - delta)
        assert found == pytest.approx(interval.high, rel=1e-9)


@given(samples, st.floats(0.01, 0.5))
def test_bernstein_is_the_published_formula(values, delta):
    n = len(values)
    pairs = sum((a - b) ** 2 for a in values for b in values) / (2 * n * (n - 1))
    expected = values.mean() + np.sqrt(2 * pairs * np.log(2 / delta) / n)
    expected += 7 * np.log(2 / delta) / (3 * (n - 1))
    assert bernstein_upper_bound(values, 0, 1, delta) == pytest.approx(min(expected, 1.0))


@given(samples, st.floats(0.01, 0.5))
def test_betting_is_the_largest_mean_that_is_not_refuted(values, delta):
    """Row by row, as the gambler plays, at means around the bound."""

    def refuted(mean):
        capital, m, total, squares = 1.0, 1 - mean, 0.5, 0.25
        variance = 0.25
        for i, x in enumerate(1 - values, start=1):
            bet = np.sqrt(2 * np.log(1 / delta) / (len(values) * variance))
            capital *= 1 + min(bet, 0.75 / m) * (x - m)
            if capital >= 1 / delta:
                return True
            total += x
            squares += (x - total / (i + 1)) ** 2
            variance = squares / (i + 1)
        return False

    bound = betting_upper_bound(values, 0, 1, delta)
    assert refuted(bound + 1e-9) or bound >= 1 - 1e-9
    assert not refuted(bound - 1e-9)


@pytest.mark.parametrize("bound", BOUNDED)
@given(samples, st.floats(-5, 5), st.floats(0.1, 10))
def test_bounds_move_with_the_units(bound, values, shift, factor):
    found = bound(factor * values + shift, shift - 1e-9, shift + factor + 1e-9, 0.1)
    assert found == pytest.approx(shift + factor * bound(values, 0, 1, 0.1), abs=1e-5 * factor)


@pytest.mark.parametrize("bound", BOUNDED)
@given(samples)
def test_bounds_lie_between_the_mean_and_the_end_of_the_range(bound, values):
    assert values.mean() - 1e-9 <= bound(values, 0, 1, 0.1) <= 1.0


@given(samples, st.floats(0.01, 0.5), st.floats(0.01, 0.5))
def test_bounds_with_a_formula_are_monotone_in_delta(values, delta, other):
    small, large = sorted([delta, other])
    assert t_upper_bound(values, large) <= t_upper_bound(values, small)
    assert bernstein_upper_bound(values, 0, 1, large) <= bernstein_upper_bound(values, 0, 1, small)


def test_betting_is_tighter_than_bernstein_on_rare_changes():
    values = np.random.default_rng(0).binomial(1, 0.02, 500).astype(float)
    exact = stats.binomtest(int(values.sum()), 500, alternative="less").proportion_ci(0.95).high
    betting, bernstein = (bound(values, 0, 1) for bound in BOUNDED[::-1])
    assert exact < betting < bernstein


@pytest.mark.parametrize("bound", BOUNDED)
@pytest.mark.parametrize("rate", [0.02, 0.3, 0.9])
def test_bounds_cover_the_mean(bound, rate):
    """Two values are the hardest distribution with this mean."""
    rng, delta, n_repeats = np.random.default_rng(1), 0.1, 2000
    draws = rng.binomial(1, rate, (n_repeats, 60)).astype(float)
    failures = sum(bound(row, 0, 1, delta) < rate for row in draws)
    assert failures <= stats.binom.isf(1e-6, n_repeats, delta)


def test_t_covers_the_mean_of_skewed_differences():
    rng, delta, n_repeats = np.random.default_rng(2), 0.1, 2000
    draws = -rng.exponential(size=(n_repeats, 200))
    failures = sum(t_upper_bound(row, delta) < -1.0 for row in draws)
    assert abs(failures / n_repeats - delta) < 0.03


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: t_upper_bound([1.0]), "at least 2 finite numbers"),
        (lambda: t_upper_bound([1.0, np.inf]), "at least 2 finite numbers"),
        (lambda: t_upper_bound([1.0, 2.0], 1.0), "delta must be a number"),
        (lambda: betting_upper_bound([0.0, 2.0], 0, 1), r"must lie in the stated range \[0, 1\]"),
        (lambda: bernstein_upper_bound([0.0, 1.0], 1, 0), "finite with low < high"),
        (lambda: bernstein_upper_bound([0.0, 1.0], 0, np.inf), "finite with low < high"),
    ],
)
def test_impossible_values_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
