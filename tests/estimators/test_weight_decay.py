"""``refit_weight_decay``."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback
from torch.utils.data import TensorDataset

from skec import PrunedMLPRegressor


class Decay(Callback):
    """Records the weight decay of each phase."""

    def on_epoch_end(self, net, **kwargs):
        seen = {} if not hasattr(self, "seen") else self.seen
        self.seen = seen | {net._phase.name: net.optimizer_.param_groups[0]["weight_decay"]}


@pytest.fixture
def noise():
    """Targets that a network can only learn by heart."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(200, 5)).astype(np.float32), rng.normal(size=200).astype(np.float32)


@pytest.mark.parametrize("as_dataset", [False, True])
def test_noise_raises_it_for_arrays_and_datasets(noise, as_dataset):
    X, y = noise
    data = (TensorDataset(torch.tensor(X), torch.tensor(y)),) if as_dataset else noise
    decay = Decay()
    estimator = PrunedMLPRegressor(
        (32,), max_epochs=20, lr=0.05, random_state=0, callbacks=[("decay", decay)]
    ).fit(*data)
    assert estimator.dense_epochs_ <= 0.6 * 20
    assert decay.seen["refit"] > 0.5 * 1500 / len(X) > decay.seen["dense"]
    assert estimator.optimizer_.param_groups[0]["weight_decay"] == decay.seen["dense"]
