"""Modes of torch that the caller has set: the result is the same, and it can be trained on."""

from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
import torch
from torch import nn


class Own(nn.Module):
    """A network that draws from torch's global generator."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.first, self.drop = nn.Linear(n_features, 8), nn.Dropout(0.1)
        self.last = nn.Linear(8, n_outputs)

    def forward(self, X):
        return self.last(self.drop(torch.relu(self.first(X))))


@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def deterministic():
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


MODES = {
    "inference": torch.inference_mode,
    "no_grad": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "deterministic": deterministic,
}
SETTINGS = {
    "default": {},
    "surgeon": {"method": "surgeon"},
    "own module": {"module": Own},
    "batch norm": {"batch_norm": True, "dropout": 0.2},
    "neurons": {"granularity": "neuron", "method": "elimination"},
    "validation": {"early_stopping": True, "refit_strategy": "rewind"},
    "slow": {"iterator_train": torch.utils.data.DataLoader},
}


def life(case, mode, settings):
    with mode():
        estimator = case.fit(**settings)
        first = case.outputs(estimator)
        estimator.prune(pruning_ratio=0.5)
        estimator.refit(case.X, case.y)
        outputs = case.outputs(estimator)
    np.testing.assert_array_equal(case.outputs(estimator), outputs)
    estimator.partial_fit(case.X, case.y)
    if "module" not in settings:
        with mode():
            estimator.compact()
        estimator.partial_fit(case.X, case.y)
    return [first, outputs, case.outputs(estimator)]


@pytest.mark.parametrize("mode", sorted(MODES))
@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_the_result_is_the_same(case, mode, name):
    if name == "own module" and mode in ("float64", "bfloat16"):
        pytest.skip("its initial weights are drawn in the default precision")
    expected = life(case, nullcontext, SETTINGS[name])
    for outputs, same in zip(life(case, MODES[mode], SETTINGS[name]), expected, strict=True):
        np.testing.assert_array_equal(outputs, same)


@pytest.mark.parametrize("mode", ["inference", "no_grad", "autocast"])
def test_a_net_that_is_initialised_or_pruned_there_can_be_trained(case, mode):
    n_outputs = 1 if hasattr(case.make(), "normalize_y") else 3
    size = {"module__n_features": 5, "module__n_outputs": n_outputs}
    with MODES[mode]():
        estimator = case.make(**size).initialize()
        estimator.set_params(lr=0.02, optimizer=torch.optim.SGD)
    estimator.partial_fit(case.X, case.y)
    with MODES[mode]():
        estimator.prune(case.X, case.y)
    estimator.refit(case.X, case.y)
