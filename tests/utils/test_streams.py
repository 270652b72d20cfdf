"""Data that come in batches."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from skorch.helper import SliceDataset, SliceDict
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from skec.utils import BatchedSamples, LazyRows, Samples, is_stream, parts_of

X, Y = np.arange(12.0).reshape(6, 2), np.arange(6.0)
TENSORS = TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))


class Anew:
    """Batches without a length, which can be read again."""

    def __iter__(self):
        yield X, Y


class AnewInTorch(Anew, IterableDataset):
    pass


STREAMS = {
    "list": [(X, Y)],
    "list of lists": [[X, Y]],
    "list of tensors": list(DataLoader(TENSORS)),
    "features alone": [(X,), (X,)],
    "frames": [(pd.DataFrame(X), pd.Series(Y))],
    "sparse": [(sparse.csr_array(X), Y)],
    "several inputs": [((X, Y), Y)],
    "inputs by name": [({"a": X}, Y)],
    "loader": DataLoader(TENSORS),
    "object": Anew(),
    "torch": AnewInTorch(),
    "generator": (batch for batch in [(X, Y)]),
}
ARRAYS = {
    "array": X,
    "tensor": torch.from_numpy(X),
    "rows": X.tolist(),
    "tuples of numbers": [tuple(row) for row in X],
    "arrays as rows": list(X),
    "tensors as rows": list(torch.from_numpy(X)),
    "images": [[[0.0, 1.0], [2.0, 3.0]]],
    "channels of arrays": [[X[0], X[1]]],
    "no rows": [],
    "frame": pd.DataFrame(X),
    "sparse": sparse.csr_array(X),
    "tuple": (X, Y),
    "dict": {"a": X},
    "dataset": TENSORS,
    "slice dataset": SliceDataset(TENSORS),
    "slice dict": SliceDict(X=X),
    "lazy": LazyRows(X),
    "samples": Samples(torch.from_numpy(X)),
    "text": "abc",
    "number": 1.0,
    "nothing": None,
}


@pytest.mark.parametrize("form", sorted(STREAMS))
def test_batches_are_recognised(form):
    assert is_stream(STREAMS[form])


@pytest.mark.parametrize("form", sorted(ARRAYS))
def test_other_data_are_not(form):
    assert not is_stream(ARRAYS[form])


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        (X, (X, None, None)),
        ((X,), (X, None, None)),
        ([X, Y], (X, Y, None)),
        ((X, Y, Y), (X, Y, Y)),
        (({"X": X, "sample_weight": Y}, Y), (X, Y, Y)),
        ({"X": X}, (X, None, None)),
    ],
)
def test_the_parts_of_a_batch(batch, expected):
    assert all(a is b for a, b in zip(parts_of(batch), expected, strict=True))


def test_the_lists_of_a_loader_are_several_inputs():
    a, b = torch.zeros(3, 2), torch.zeros(3)
    inputs, y, _ = parts_of([[a, b], b])
    assert isinstance(inputs, tuple)
    assert y is b


@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=8), batch_size=st.integers(1, 12))
def test_rows_are_grouped_anew(sizes, batch_size):
    n_rows = sum(sizes)
    whole = Samples(torch.arange(2.0 * n_rows).reshape(n_rows, 2), torch.arange(n_rows))
    ends = np.cumsum(sizes)
    rows = [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]
    source = [(whole.X[part], whole.y[part]) for part in rows]
    batched = BatchedSamples(source, Samples)
    assert len(batched) == batched.total_weight == n_rows
    assert batched.facts.n_batches == len(sizes)
    found, expected = list(batched.batches(batch_size)), list(whole.batches(batch_size))
    for (a, b, _), (c, d, _) in zip(found, expected, strict=True):
        assert torch.equal(a, c)
        assert torch.equal(b, d)
    assert torch.equal(batched.in_memory().X, whole.X)
    assert torch.equal(batched.head(5).X, whole.X[:5])
    assert torch.equal(batched.mapped(torch.neg).in_memory().X, -whole.X)
