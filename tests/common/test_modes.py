"""Modes of torch that the caller has set do not change a pruning, whatever the method."""

from contextlib import contextmanager

import pytest
import torch

import skec
from skec.compensation import COMPENSATIONS
from skec.compensation.units import UNIT_COMPENSATIONS
from skec.criteria import CRITERIA
from skec.criteria.units import UNIT_CRITERIA
from skec.networks import MLP

METHODS = [
    *({"method": method} for method in sorted(CRITERIA)),
    *({"method": "magnitude", "compensation": name} for name in sorted(COMPENSATIONS)),
    *({"method": method, "granularity": "neuron"} for method in sorted(UNIT_CRITERIA)),
    *(
        {"method": "l2", "compensation": name, "granularity": "neuron"}
        for name in sorted(UNIT_COMPENSATIONS)
    ),
]


@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


MODES = {
    "inference_mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "float64 by default": lambda: default_dtype(torch.float64),
    "bfloat16 by default": lambda: default_dtype(torch.bfloat16),
}
every_mode = pytest.mark.parametrize("mode", sorted(MODES))


def network():
    generator = torch.Generator().manual_seed(0)
    module = MLP(4, 2, (8, 6), batch_norm=True, zero_output=False, generator=generator)
    return module.float()


def data():
    generator = torch.Generator().manual_seed(1)
    X = torch.randn(60, 4, generator=generator, dtype=torch.float32)
    return X, (X[:, :1] * X[:, 1:2]).repeat(1, 2)


def pruned(module, X, y, kwargs):
    return skec.prune(module, X, y, pruning_ratio=0.5, n_steps=2, random_state=0, **kwargs)


@every_mode
@pytest.mark.parametrize("kwargs", METHODS, ids=lambda kwargs: "-".join(kwargs.values()))
def test_pruning_is_the_same_in_every_mode(kwargs, mode):
    module, (X, y) = network(), data()
    expected = pruned(module, X, y, kwargs)
    before = torch.get_rng_state()
    with MODES[mode]():
        found = pruned(module, X, y, kwargs)
        if mode == "inference_mode":  # a network and data that were made in it
            again = pruned(network(), *data(), kwargs)
            assert str(again.report) == str(found.report)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.is_inference_mode_enabled() is torch.is_autocast_enabled("cpu") is False
    left, right = found.module.state_dict(), expected.module.state_dict()
    assert all(torch.equal(left[name], right[name]) for name in right)
    found.module(X).sum().backward()  # it can be trained


@every_mode
def test_compaction_is_the_same_in_every_mode(mode):
    module, (X, _) = network().eval(), data()
    with torch.no_grad():
        module[0].weight[:3] = 0.0
        module[0].weight[:, 1] = 0.0
    expected, _ = skec.compact(module)
    with MODES[mode]():
        found, _ = skec.compact(module)
    assert torch.equal(found(X), expected(X))
    found(X).sum().backward()
