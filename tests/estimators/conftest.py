"""Small data, small estimators and what several test files look at."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback

from skec import PrunedMLPClassifier, PrunedMLPRegressor
from skec.estimators import phases

SMALL = {
    "hidden_layer_sizes": (16,),
    "activation": "silu",
    "feature_scaling": None,
    "feature_embedding": None,
    "feature_weights": None,
    "dropout": 0.0,
    "pruning_ratio": 0.5,
    "method": "ec",
    "scope": "global",
    "n_steps": 1,
    "refit_strategy": "finetune",
    "refit_epochs": 2,
    "refit_lr": 0.005,
    "refit_weight_decay": None,
    "lr": 0.01,
    "lr_schedule": "cosine",
    "optimizer": torch.optim.AdamW,
    "max_epochs": 4,
    "batch_size": 50,
    "early_stopping": False,
    "random_state": 0,
}


@dataclass
class Case:
    """An estimator with small settings, and data that it takes."""

    kind: type
    X: np.ndarray = field(repr=False)
    y: np.ndarray = field(repr=False)

    def make(self, **parameters):
        own = {"label_smoothing": 0.0} if self.kind is PrunedMLPClassifier else {}
        return self.kind(**(SMALL | own | parameters))

    def fit(self, **parameters):
        return self.make(**parameters).fit(self.X, self.y)

    def outputs(self, estimator, X=None):
        """The finest numbers that the estimator predicts."""
        X = self.X if X is None else X
        if self.kind is PrunedMLPClassifier:
            return estimator.predict_proba(X)
        return estimator.predict(X)


def _regression_case():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 5))
    return Case(PrunedMLPRegressor, X, 2.0 * X[:, 0] + np.sin(3.0 * X[:, 1]) + 5.0)


def _classification_case():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(120, 5))
    return Case(PrunedMLPClassifier, X, np.digitize(X[:, 0] + X[:, 1] ** 2, [0.3, 1.2]))


@pytest.fixture
def regression():
    return _regression_case()


@pytest.fixture
def classification():
    return _classification_case()


@pytest.fixture(params=["regressor", "classifier"])
def case(request):
    return _regression_case() if request.param == "regressor" else _classification_case()


@pytest.fixture
def weights_of():
    """A copy of all weights of a network, by name."""

    def weights_of(network):
        return {name: value.detach().clone() for name, value in network.state_dict().items()}

    return weights_of


@pytest.fixture
def assert_same_weights(weights_of):
    def assert_same_weights(a, b, *, atol=0.0):
        a, b = weights_of(a), weights_of(b)
        assert list(a) == list(b)
        for name in a:
            torch.testing.assert_close(a[name], b[name], rtol=0.0, atol=atol)

    return assert_same_weights


@pytest.fixture
def count_revived():
    """The number of removed weights that are not exactly zero."""

    def count_revived(estimator, network=None):
        network = estimator.module_ if network is None else network
        return sum(
            int(network.get_submodule(name).weight[~mask].count_nonzero())
            for name, mask in estimator.masks_.items()
        )

    return count_revived


@pytest.fixture
def dense_fits(monkeypatch):
    """A function that returns the number of dense trainings so far."""
    trained, train = [], phases.train

    def counting(net, name, *args, **settings):
        trained.append(name)
        return train(net, name, *args, **settings)

    monkeypatch.setattr(phases, "train", counting)
    return lambda: trained.count("dense")


class _Epochs(Callback):
    """Counts the epochs that began."""

    began = 0

    def on_epoch_begin(self, net, **kwargs):
        self.began += 1


class _EveryBatch(Callback):
    """Asks for every batch and does nothing with it."""

    def on_batch_end(self, net, **kwargs):
        pass


@pytest.fixture
def epoch_counter():
    return _Epochs()


@pytest.fixture
def every_batch():
    return _EveryBatch()
