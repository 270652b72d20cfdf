"""Modules with several inputs give what a module with one input of all columns gives."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import skec
from skec.compensation import COMPENSATIONS
from skec.criteria import CRITERIA

N = 90
SETTINGS = [
    *({"method": name, "compensation": "none"} for name in sorted(CRITERIA)),
    *({"method": "magnitude", "compensation": name} for name in sorted(COMPENSATIONS)),
]


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(3, 6), nn.Linear(6, 2)

    def forward(self, left, right):
        return self.c(torch.tanh(self.a(left) + self.b(right)))


class Joined(Two):
    """The same function of the inputs side by side."""

    def forward(self, both):
        return super().forward(both[:, :4], both[:, 4:])


class Embedded(nn.Module):
    """Numbers and a category, as most tables have them."""

    def __init__(self):
        super().__init__()
        self.embedding, self.layer = nn.Embedding(5, 3), nn.Linear(7, 2)

    def forward(self, numbers, category):
        return self.layer(torch.cat([numbers, self.embedding(category)], 1))


@pytest.fixture
def networks():
    torch.manual_seed(0)
    two = Two().double()
    joined = Joined().double()
    joined.load_state_dict(two.state_dict())
    return two, joined


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    sizes = (4, 3, 2)
    left, right, y = (torch.randn(N, n, generator=generator, dtype=torch.float64) for n in sizes)
    return left, right, y


FORMS = {
    "tuple": lambda a, b: (a, b),
    "arrays": lambda a, b: (a.numpy(), b.numpy()),
    "dict": lambda a, b: {"right": b, "left": a},
}


@pytest.mark.parametrize("form", sorted(FORMS))
@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: " ".join(setting.values()))
def test_every_method(networks, data, setting, form):
    left, right, y = data
    setting = setting | {"pruning_ratio": 0.5, "batch_size": 32, "n_steps": 2, "random_state": 0}
    weights = torch.arange(N) % 3.0
    two, joined = networks
    both = torch.cat([left, right], 1)
    expected = skec.prune(joined, both, y, sample_weight=weights, **setting)
    inputs = FORMS[form](left, right)
    found = skec.prune(two, inputs, y, sample_weight=weights, **setting)
    for name, score in expected.scores.items():
        torch.testing.assert_close(found.scores[name], score, rtol=0.0, atol=1e-12)
        torch.testing.assert_close(found.masks[name], expected.masks[name])
    torch.testing.assert_close(found.module(left, right), expected.module(both))


def test_in_batches(networks, data):
    left, right, y = data
    loader = DataLoader(list(zip(zip(left, right, strict=True), y, strict=True)), batch_size=8)
    rows = [slice(start, start + 20) for start in range(0, N, 20)]
    named = [({"left": left[part], "right": right[part]}, y[part]) for part in rows]
    expected = skec.prune(networks[0], (left, right), y, pruning_ratio=0.5, method="surgeon")
    for batches in (loader, named, [((left, right), y)]):
        found = skec.prune(networks[0], batches, pruning_ratio=0.5, method="surgeon")
        for name, score in expected.scores.items():
            assert torch.equal(found.scores[name], score)


def test_the_path(networks, data):
    left, right, y = data
    expected = skec.pruning_path(networks[1], torch.cat([left, right], 1), y)
    found = skec.pruning_path(networks[0], (left, right), y)
    np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-12)


def test_integers_for_embeddings_in_one_dimension():
    torch.manual_seed(0)
    module, numbers, category = Embedded(), torch.randn(N, 4), torch.arange(N) % 5
    with torch.no_grad():
        both = torch.cat([numbers, module.embedding(category)], 1)
    for form in ((numbers, category), {"numbers": numbers.numpy(), "category": category.tolist()}):
        found = skec.prune(module, form, pruning_ratio=0.5)
        expected = skec.prune(module.layer, both, pruning_ratio=0.5)
        assert torch.equal(found.scores["layer"], expected.scores[""])


def test_a_tuple_of_one_array_is_the_array(data):
    module = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 1)).double()
    expected = skec.prune(module, data[0], pruning_ratio=0.5)
    for X in ((data[0],), {"input": data[0]}):
        found = skec.prune(module, X, pruning_ratio=0.5)
        torch.testing.assert_close(found.module[0].weight, expected.module[0].weight)
        skec.prune(module, X, pruning_ratio=0.5, compensation="network")


@pytest.mark.parametrize(
    ("form", "error", "message"),
    [
        (lambda a, b: a, TypeError, r"shape \(61, 4\).*tuple or a dict"),
        (lambda a, b: (a, b, b), TypeError, r"\(\(61, 4\), \(61, 3\), \(61, 3\)\)"),
        (lambda a, b: {"left": a, "wrong": b}, TypeError, r"\{'left': .*wrong"),
        (lambda a, b: (a, b[:5]), ValueError, r"X\[0\] and X\[1\].* got 90 and 5"),
        (lambda a, b: {"left": a, "right": b * np.nan}, ValueError, r"X\['right'\] contains NaN"),
        (lambda a, b: {"left": a, "right": 1.0}, ValueError, r"X\['right'\] must have one row"),
        (lambda a, b: {"left": a, "right": "b"}, TypeError, r"X\['right'\] must be"),
        (lambda a, b: {}, ValueError, "X is an empty dict"),
    ],
)
def test_errors_name_the_input(networks, data, form, error, message):
    with pytest.raises(error, match=message):
        skec.prune(networks[0], form(*data[:2]), pruning_ratio=0.5)
