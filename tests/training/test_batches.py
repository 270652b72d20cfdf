import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from skec.training import TensorBatches
from skec.utils import Samples

n_samples, sizes = st.integers(1, 40), st.integers(1, 50)


def dataset(n, targets=True, weights=True):
    rows = torch.arange(n, dtype=torch.float32)
    return Samples(
        torch.stack([rows, rows + 0.5], 1),
        rows[:, None] * 10 if targets else None,
        rows * 100 if weights else None,
    )


def as_tuple(batch):
    X, y = batch
    return (X["X"], y, X["sample_weight"]) if isinstance(X, dict) else (X, y)


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("batch_size", [1, 4, 10, 12])
def test_batches_are_those_of_a_data_loader(batch_size, weights, drop_last):
    data = dataset(10, weights=weights)
    found = TensorBatches(data, batch_size, drop_last=drop_last)
    expected = DataLoader(data, batch_size, drop_last=drop_last)
    assert len(found) == len(expected)
    for left, right in zip(found, expected, strict=True):
        left, right = as_tuple(left), as_tuple(right)
        assert len(left) == len(right)
        assert [part.shape for part in left] == [part.shape for part in right]
        assert all(map(torch.equal, left, right))


def test_targets_that_are_missing_are_those_of_a_data_loader():
    data = dataset(10, targets=False, weights=False)
    (_, found), (_, expected) = next(iter(TensorBatches(data, 4))), next(iter(DataLoader(data, 4)))
    assert torch.equal(found, expected)


@given(n=n_samples, batch_size=sizes, shuffle=st.booleans(), drop_last=st.booleans())
def test_every_row_comes_once_an_epoch(n, batch_size, shuffle, drop_last):
    generator = torch.Generator().manual_seed(0)
    batches = TensorBatches(dataset(n), batch_size, shuffle, drop_last, generator)
    for _ in range(2):
        parts = list(batches.tensors())
        assert len(parts) == len(batches)
        assert all(len(part[0]) == batch_size for part in parts[:-1])
        rows = torch.cat([part[0][:, 0] for part in parts]) if parts else torch.zeros(0)
        assert len(rows) == (n - n % batch_size if drop_last else n)
        assert len(set(rows.tolist())) == len(rows)
        for X, y, w in parts:
            assert torch.equal(X[:, 1], X[:, 0] + 0.5)
            assert torch.equal(y[:, 0], X[:, 0] * 10)
            assert torch.equal(w, X[:, 0] * 100)


def order(batches):
    return torch.cat([X[:, 0] for X, _, _ in batches.tensors()]).tolist()


def test_the_generator_decides_the_order():
    def epochs(seed):
        generator = torch.Generator().manual_seed(seed)
        batches = TensorBatches(dataset(30), 7, shuffle=True, generator=generator)
        return [order(batches) for _ in range(2)]

    first, again, other = epochs(0), epochs(0), epochs(1)
    assert first == again
    assert first != other
    assert first[0] != first[1] != sorted(first[1])


def test_the_order_is_kept_without_shuffling():
    batches = TensorBatches(dataset(30), 7)
    assert order(batches) == order(batches) == list(range(30))


@pytest.mark.parametrize("rows", [slice(2, 5), torch.tensor([3, 0, 3])])
def test_take(rows):
    data, part = dataset(10), dataset(10).take(rows)
    assert len(part) == 3
    assert torch.equal(part.X, data.X[rows])
    assert torch.equal(part.y, data.y[rows])
    assert torch.equal(part.sample_weight, data.sample_weight[rows])
    bare = dataset(10, targets=False, weights=False).take(rows)
    assert bare.y is None
    assert bare.sample_weight is None
