"""Rows that become tensors when they are read."""

import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given
from hypothesis import strategies as st

from skec.utils import LazyRows, Samples, in_dtype, small_when_dense

TABLE = np.random.default_rng(0).integers(-2, 3, size=(12, 5)).astype(np.float64)
FORMS = [np.asarray, scipy.sparse.csr_matrix, scipy.sparse.csr_array]


@pytest.mark.parametrize("form", FORMS)
@given(
    rows=st.one_of(
        st.integers(-12, 11),
        st.builds(slice, st.integers(0, 12), st.integers(0, 15), st.integers(1, 3)),
        st.lists(st.integers(0, 11), min_size=1),
        st.lists(st.integers(0, 11), min_size=1).map(torch.tensor),
    )
)
def test_rows_are_those_of_the_dense_tensor(form, rows):
    lazy, tensor = LazyRows(form(TABLE)), torch.tensor(TABLE, dtype=torch.float32)
    assert torch.equal(lazy[rows], tensor[rows])
    if not isinstance(rows, int):
        taken = lazy.take(rows)
        assert isinstance(taken, LazyRows)
        assert taken.shape == tensor[rows].shape
        assert torch.equal(taken[:], tensor[rows])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_row_that_is_changed_leaves_the_table_alone(form, dtype):
    values = form(TABLE.astype(str(dtype).removeprefix("torch.")))
    lazy = LazyRows(values, dtype)
    lazy[:].fill_(7.0)
    lazy[2:4].fill_(7.0)
    assert torch.equal(lazy[:], torch.tensor(TABLE, dtype=dtype))


@pytest.mark.parametrize("form", FORMS)
def test_numbers_that_do_not_fit_into_the_dtype(form):
    values = form(np.where(TABLE == 2.0, 1e300, TABLE))
    with pytest.raises(ValueError, match=r"X has values too large for dtype='float32'.*1e\+300"):
        LazyRows(values)[:]
    with pytest.raises(ValueError, match="X has values too large"):
        in_dtype(values, "float32")
    assert torch.equal(
        LazyRows(values, torch.float64)[:].max(), torch.tensor(1e300, dtype=torch.float64)
    )


def test_samples_take_lazy_rows_and_read_batches():
    samples = Samples(LazyRows(scipy.sparse.csr_matrix(TABLE)), torch.arange(12))
    part = samples.take(torch.tensor([7, 1, 3]))
    assert isinstance(part.X, LazyRows)
    batches = list(part.batches(2))
    assert all(type(X) is torch.Tensor for X, _, _ in batches)
    assert torch.equal(
        torch.cat([X for X, _, _ in batches]).double(), torch.tensor(TABLE)[[7, 1, 3]]
    )
    x, y = samples[5]
    assert torch.equal(x.double(), torch.tensor(TABLE)[5])
    assert y == 5


def test_what_is_small_is_kept_dense():
    small = scipy.sparse.random(100, 50, 0.01, format="csr")
    large = scipy.sparse.random(20_000, 10_000, 1e-5, format="csr")
    full = scipy.sparse.csr_matrix(np.ones((3000, 3000)))
    assert small_when_dense(small)
    assert small_when_dense(full)
    assert not small_when_dense(large)
    assert isinstance(LazyRows(small).in_memory(), torch.Tensor)
    assert isinstance(LazyRows(large).in_memory(), LazyRows)
