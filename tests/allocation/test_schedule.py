from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skec.allocation import SCHEDULES, ratio_at

names = st.sampled_from(sorted(SCHEDULES))
ratios = st.floats(0.01, 0.99)
n_steps = st.integers(1, 30)


@given(name=names, ratio=ratios, n=n_steps)
def test_ends_exactly_at_the_ratio_and_never_falls(name, ratio, n):
    path = [ratio_at(name, ratio, step, n) for step in range(1, n + 1)]
    assert path[-1] == ratio
    assert path[0] > 0
    assert path == sorted(path)


@given(ratio=ratios, n=n_steps)
def test_geometric_keeps_the_same_fraction_at_each_step(ratio, n):
    kept = [1.0] + [1 - ratio_at("geometric", ratio, step, n) for step in range(1, n + 1)]
    for before, after in pairwise(kept):
        assert after / before == pytest.approx((1 - ratio) ** (1 / n))


@given(ratio=ratios, n=n_steps)
def test_linear_removes_the_same_number_at_each_step(ratio, n):
    for step in range(1, n + 1):
        assert ratio_at("linear", ratio, step, n) == pytest.approx(step * ratio / n)


@given(ratio=ratios, n=n_steps)
def test_cubic_is_that_of_zhu_and_gupta(ratio, n):
    initial = 0.0
    for step in range(1, n + 1):
        expected = ratio + (initial - ratio) * (1 - step / n) ** 3
        assert ratio_at("cubic", ratio, step, n) == pytest.approx(expected)
