import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skec.training import LR_SCHEDULES, LearningRate

names = st.sampled_from(sorted(LR_SCHEDULES))


def optimizer():
    return torch.optim.SGD([{"params": [torch.zeros(1)], "lr": lr} for lr in (0.1, 0.02)])


def rates_of(name, n_steps, n_taken=None):
    target = optimizer()
    rate, rates = LearningRate(target, name, n_steps), []
    for _ in range(n_steps if n_taken is None else n_taken):
        rate.step()
        rates.append([group["lr"] for group in target.param_groups])
    return target, rate, rates


def test_cosine_is_that_of_torch():
    reference = optimizer()
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(reference, T_max=10)
    _, _, rates = rates_of("cosine", 10)
    for found in rates:
        assert found == pytest.approx([group["lr"] for group in reference.param_groups])
        reference.step()
        scheduler.step()


def test_multicycle_has_four_cycles_of_doubling_length():
    edges = [(2**k - 1) / 15 for k in range(5)]
    function = LR_SCHEDULES["multicycle"]
    assert [function(edge) for edge in edges] == pytest.approx([0] * 5, abs=1e-12)
    for k, edge in enumerate(edges[:-1]):
        middle = (2 ** (k + 0.5) - 1) / 15
        assert edge < middle < edges[k + 1]
        assert function(middle) == pytest.approx(1)
    for progress in (0.1, 0.3, 0.77):
        phase = math.log2(1 + 15 * progress)
        assert function(progress) == pytest.approx(math.sin(math.pi * phase) ** 2)


@given(name=names, n_steps=st.integers(1, 50))
def test_rates_are_positive_fractions_of_the_initial_ones(name, n_steps):
    _, _, rates = rates_of(name, n_steps)
    for first, second in rates:
        assert 0 < first <= 0.1 + 1e-12
        assert second == pytest.approx(0.2 * first)


@given(name=names, n_steps=st.integers(1, 20), n_taken=st.integers(0, 25))
def test_restore_puts_the_initial_rates_back(name, n_steps, n_taken):
    target, rate, _ = rates_of(name, n_steps, n_taken)
    rate.restore()
    assert [group["lr"] for group in target.param_groups] == [0.1, 0.02]


@pytest.mark.parametrize("name", ["cosine", "multicycle"])
def test_beyond_the_last_step_the_rate_is_zero(name):
    _, _, rates = rates_of(name, 5, n_taken=8)
    assert rates[-1] == pytest.approx([0, 0])


def test_constant_leaves_the_rates_to_the_user():
    target = optimizer()
    rate = LearningRate(target, "constant", 5)
    target.param_groups[0]["lr"] = 0.7
    rate.step()
    rate.restore()
    assert [group["lr"] for group in target.param_groups] == [0.7, 0.02]
