import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skec.utils import equal_up_to_rounding, without_rounding

scores = st.lists(st.floats(0.0, 1e30, allow_subnormal=False), min_size=1, max_size=40)
dtypes = st.sampled_from([torch.float16, torch.float32, torch.float64])


def precision(dtype):
    return min(torch.finfo(dtype).eps, 2.0**-23)


@given(values=scores, dtype=dtypes)
def test_no_score_changes_by_more_than_rounding(values, dtype):
    before = torch.tensor(values, dtype=torch.float64)
    after = equal_up_to_rounding(before, dtype)
    assert after.dtype == before.dtype
    assert torch.equal(before, torch.tensor(values, dtype=torch.float64))
    assert ((before - after).abs() <= 64.0 * precision(dtype) * before).all()


@given(values=scores, dtype=dtypes)
def test_the_order_is_kept(values, dtype):
    before = torch.tensor(values, dtype=torch.float64).sort().values
    assert (equal_up_to_rounding(before, dtype).diff() >= 0).all()


@given(values=st.lists(st.integers(1, 1000), min_size=2, max_size=30, unique=True), dtype=dtypes)
def test_noise_is_removed_and_other_differences_stay(values, dtype):
    distinct = torch.tensor(values, dtype=torch.float64)
    generator = torch.Generator().manual_seed(len(values))
    noise = torch.rand(3, len(values), generator=generator, dtype=torch.float64)
    noisy = distinct * (1.0 + 8.0 * precision(dtype) * noise)
    found = equal_up_to_rounding(noisy, dtype)
    assert (found == found[0]).all()
    assert len(found[0].unique()) == len(values)


def test_a_long_chain_stays_as_it_is():
    step = 2.0**-22
    chain = torch.cumprod(torch.full((500,), 1.0 + step, dtype=torch.float64), 0)
    assert torch.equal(equal_up_to_rounding(chain, torch.float32), chain)


def test_scores_that_lie_too_close_stay_as_they_are():
    dense = torch.linspace(1.0, 2.0, 600_000, dtype=torch.float64)
    assert equal_up_to_rounding(dense, torch.float32) is dense


def test_a_matrix_stays_a_matrix():
    matrix = torch.tensor([[1.0, 2.0], [1.0 + 1e-8, 3.0]], dtype=torch.float64)
    expected = torch.tensor([[1.0, 2.0], [1.0, 3.0]], dtype=torch.float64)
    assert torch.equal(equal_up_to_rounding(matrix, torch.float32), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("ulps", [0, 1, 2])
def test_a_scatter_of_rounding_errors_is_zero(dtype, ulps):
    values = torch.full((100,), 0.3, dtype=dtype)
    step = np.spacing(values[0].numpy())
    values[::2] += ulps * step
    deviations = values.double() - values.double().mean()
    scatter, power = deviations.square().sum()[None], values.double().square().sum()[None]
    assert without_rounding(scatter, power, dtype) == 0.0
    assert without_rounding(scatter + 1e4 * step**2 * 100, power, dtype) > 0.0
