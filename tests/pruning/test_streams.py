"""Calibration data that come in batches give what the arrays give."""

import copy
import weakref

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import skec
from skec.compensation import COMPENSATIONS
from skec.compensation.units import UNIT_COMPENSATIONS
from skec.criteria import CRITERIA
from skec.criteria.units import UNIT_CRITERIA

N = 100
SETTINGS = [
    *({"method": name, "compensation": "none"} for name in sorted(CRITERIA)),
    *({"method": "magnitude", "compensation": name} for name in sorted(COMPENSATIONS)),
    *(
        {"granularity": "neuron", "method": name, "compensation": "none"}
        for name in sorted(UNIT_CRITERIA)
    ),
    *(
        {"granularity": "neuron", "method": "l2", "compensation": name}
        for name in sorted(UNIT_COMPENSATIONS)
    ),
]


@pytest.fixture
def network():
    torch.manual_seed(0)
    layers = nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 2)
    return nn.Sequential(*layers).double()


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    X, y = (torch.randn(N, n, generator=generator, dtype=torch.float64) for n in (4, 2))
    return X, y, torch.rand(N, generator=generator, dtype=torch.float64)


def in_batches(*parts, size=30):
    return [tuple(p[i : i + size] for p in parts) for i in range(0, len(parts[0]), size)]


def assert_same(found, expected, atol=0.0):
    for name, score in expected.scores.items():
        torch.testing.assert_close(found.scores[name], score, rtol=0.0, atol=atol)
    state = found.module.state_dict()
    for name, value in expected.module.state_dict().items():
        torch.testing.assert_close(state[name], value, rtol=0.0, atol=atol)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: " ".join(setting.values()))
def test_every_method_gives_the_same_bits(network, data, setting):
    X, y, weights = data
    setting = setting | {"pruning_ratio": 0.5, "batch_size": 32, "n_steps": 2, "random_state": 0}
    expected = skec.prune(network, X, y, sample_weight=weights, **setting)
    found = skec.prune(network, in_batches(X, y, weights), **setting)
    assert_same(found, expected)
    assert found.predicted_error == expected.predicted_error


class Anew(IterableDataset):
    def __init__(self, *parts):
        self.parts = parts

    def __iter__(self):
        yield from in_batches(*self.parts, size=7)


class Items(torch.utils.data.Dataset):
    """Samples with weights, in the form that skorch expects."""

    def __init__(self, X, y, weights):
        self.parts = X, y, weights

    def __len__(self):
        return len(self.parts[0])

    def __getitem__(self, row):
        X, y, weights = (part[row] for part in self.parts)
        return {"X": X, "sample_weight": weights}, y


@pytest.mark.parametrize(
    "form",
    [
        lambda *parts: TensorDataset(*parts),
        lambda *parts: DataLoader(TensorDataset(*parts), batch_size=9),
        lambda *parts: Anew(*parts),
        lambda *parts: Items(*parts),
        lambda *parts: DataLoader(Items(*parts), batch_size=9),
        lambda *parts: in_batches(*(part.numpy() for part in parts)),
    ],
    ids=["dataset", "loader", "iterable", "items", "loader of items", "arrays"],
)
def test_every_form(network, data, form):
    X, y, weights = data
    setting = {"pruning_ratio": 0.5, "method": "taylor", "compensation": "network"}
    expected = skec.prune(network, X, y, sample_weight=weights, **setting)
    assert_same(skec.prune(network, form(*data), **setting), expected, atol=1e-10)


def test_the_order_of_a_shuffling_loader_does_not_matter(network, data):
    X, y, _ = data
    loader = DataLoader(TensorDataset(X, y), batch_size=7, shuffle=True)
    for setting, atol in (({"method": "ec"}, 1e-10), ({"compensation": "network"}, 1e-5)):
        expected = skec.prune(network, X, pruning_ratio=0.5, **setting)
        assert_same(skec.prune(network, loader, pruning_ratio=0.5, **setting), expected, atol)


def test_random_probes_are_the_same(network, data):
    X = data[0]
    setting = {"pruning_ratio": 0.5, "n_probes": 1, "random_state": 0, "batch_size": 16}
    assert_same(skec.prune(network, in_batches(X), **setting), skec.prune(network, X, **setting))


def test_the_path(network, data):
    X, y, weights = data
    for method in ("ec", "magnitude"):
        expected = skec.pruning_path(network, X, y, sample_weight=weights, method=method)
        found = skec.pruning_path(network, in_batches(*data), method=method)
        np.testing.assert_array_equal(found.losses, expected.losses)
        assert found.dense_loss == expected.dense_loss
    assert np.isnan(skec.pruning_path(network, in_batches(X)).losses).all()


def test_no_more_than_a_few_batches_are_in_memory(network, data):
    X, made, alive = data[0], [], []

    class Counted:
        def __iter__(self):
            for (part,) in in_batches(X, size=10):
                batch = part.clone()
                made.append(weakref.ref(batch))
                alive.append(sum(one() is not None for one in made))
                yield (batch,)
                del batch

    skec.prune(network, Counted(), pruning_ratio=0.5, batch_size=10, compensation="weights")
    assert len(made) >= 20  # every pass reads the batches again
    assert max(alive) <= 3


def test_nothing_is_changed(network, data):
    before, batches = copy.deepcopy(network.state_dict()), in_batches(*data)
    kept = copy.deepcopy(batches)
    skec.prune(network, batches, pruning_ratio=0.5, compensation="network")
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
    for batch, other in zip(batches, kept, strict=True):
        assert all(map(torch.equal, batch, other))


class TestErrors:
    @pytest.mark.parametrize(
        ("form", "error", "message"),
        [
            (lambda X, y: (b for b in [(X, y)]), TypeError, "generator.*read only once.*DataLoad"),
            (lambda X, y: [(X, y), (X[:, :3], y)], ValueError, r"Batch 1.*\(3,\).*\(4,\)"),
            (lambda X, y: [(X, y), (X,)], ValueError, "Batch 1.*no y"),
            (lambda X, y: [(X,), (X, y)], ValueError, "Batch 1.*has y"),
            (lambda X, y: [(X, y), (X.float() * np.nan, y)], ValueError, "Batch 1.*X contains NaN"),
            (lambda X, y: [(X, y), (X, y[:5])], ValueError, "Batch 1.*number of rows"),
            (lambda X, y: [(X, y, y, y)], ValueError, r"Batch 0.*4 parts.*\(X, y, sample_weight\)"),
            (lambda X, y: [(X, y, y[:, 0] * 0)], ValueError, "not all zero"),
            (lambda X, y: [(X, y), (X, y.long())], ValueError, "Batch 1.*same type"),
            (lambda X, y: [(X, y), (X[:0], y[:0])], ValueError, "Batch 1.*no samples"),
            (lambda X, y: Anew(X[:0]), ValueError, "no samples"),
        ],
    )
    def test_of_batches_name_the_batch(self, network, data, form, error, message):
        with pytest.raises(error, match=message):
            skec.prune(network, form(*data[:2]), pruning_ratio=0.5)

    @pytest.mark.parametrize("name", ["y", "sample_weight"])
    def test_targets_and_weights_are_in_the_batches(self, network, data, name):
        X, y, weights = data
        argument = {"y": y, "sample_weight": weights}[name]
        for batches in ([(X, y)], TensorDataset(X, y)):
            with pytest.raises(ValueError, match=f"{name} cannot be combined.*batches"):
                skec.prune(network, batches, pruning_ratio=0.5, **{name: argument})

    def test_of_missing_targets(self, network, data):
        with pytest.raises(ValueError, match="needs the targets"):
            skec.prune(network, in_batches(data[0]), pruning_ratio=0.5, method="gradient")
