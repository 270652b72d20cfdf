"""Searches, calibration and predictions on the processes of a cluster, one of them killed."""

import copy
import os
import time

import joblib
import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV, KFold
from skorch.callbacks import Callback
from torch import nn

import skec
from skec import PrunedMLPRegressor, PrunedMLPRegressorCV

dask = pytest.importorskip("dask", reason="needs dask")
da = pytest.importorskip("dask.array", reason="needs dask")
distributed = pytest.importorskip("distributed", reason="needs distributed")

SMALL = {"hidden_layer_sizes": (8,), "max_epochs": 4, "random_state": 0}
rng = np.random.default_rng(0)
X = rng.normal(size=(400, 4))
Y = X[:, 0] + X[:, 1] ** 2


@pytest.fixture(scope="module")
def cluster():
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "60s"}),
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            silence_logs=50,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def client(cluster):
    """A client of a cluster whose workers are all alive."""
    cluster.wait_for_workers(2, timeout=120)
    return cluster


@pytest.fixture
def killing(tmp_path):
    """A function that kills the worker that calls it first, and whether it has done so."""
    marker, here = str(tmp_path / "killed"), os.getpid()

    def kill():
        if os.getpid() == here:
            return
        try:
            os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        os._exit(1)

    return kill, lambda: os.path.exists(marker)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 12), nn.Tanh(), nn.Linear(12, 1))


def blocks(kill=lambda: None, chunks=(90, 4)):
    def passed(block):
        kill()
        return block

    return da.from_array(X, chunks=chunks).map_blocks(passed, meta=X[:0])


def assert_same(found, expected):
    for name, score in expected.scores.items():
        torch.testing.assert_close(found.scores[name], score, rtol=1e-10, atol=0.0)
        assert torch.equal(found.masks[name], expected.masks[name])


@pytest.mark.parametrize("killed", [False, True])
def test_calibration(client, killing, killed):
    kill, has_killed = killing
    settings = {"pruning_ratio": 0.5, "batch_size": 4}
    X_dask = blocks(*([kill] if killed else []))
    found = skec.prune(network(), X_dask, da.from_array(Y, chunks=50), method="taylor", **settings)
    assert_same(found, skec.prune(network(), X, Y, method="taylor", **settings))
    assert has_killed() == killed


@pytest.mark.parametrize("killed", [False, True])
def test_predictions(client, killing, killed):
    kill, has_killed = killing
    net = PrunedMLPRegressor(**SMALL).fit(X, Y)
    found = net.predict(blocks(*([kill] if killed else []), chunks=(20, 4))).compute()
    np.testing.assert_array_equal(found, net.predict(X))
    assert has_killed() == killed


def test_a_network_does_not_go_along_with_each_block(client, tmp_path):
    log = tmp_path / "log"

    class Logged(nn.Sequential):
        def __setstate__(self, state):
            super().__setstate__(state)
            with open(log, "a") as file:
                file.write(f"{os.getpid()}\n")

        def __deepcopy__(self, memo):
            return Logged(*(copy.deepcopy(layer, memo) for layer in self))

    module = Logged(*network())
    skec.prune(module, blocks(chunks=(20, 4)), pruning_ratio=0.5, n_steps=1, batch_size=2)
    workers = {str(pid) for pid in client.run(os.getpid).values()}
    arrivals = [pid for pid in log.read_text().split() if pid in workers]
    assert 0 < len(arrivals) <= 2 * len(workers) < 400 // 32  # parts


class TestSearches:
    def test_of_scikit_learn(self, client, tmp_path):
        net = PrunedMLPRegressor(**SMALL, memory=str(tmp_path / "memory"))
        search = GridSearchCV(net, {"pruning_ratio": [0.3, 0.8]}, cv=3)
        with joblib.parallel_config(backend="dask"):
            search.fit(X, Y)
        folder = list((tmp_path / "memory").rglob("*.pkl"))
        assert folder  # the workers share it
        local = GridSearchCV(net.set_params(memory=None), search.param_grid, cv=3).fit(X, Y)
        for fold in range(3):
            name = f"split{fold}_test_score"
            np.testing.assert_array_equal(search.cv_results_[name], local.cv_results_[name])
        np.testing.assert_array_equal(search.predict(X), local.predict(X))

    def test_of_scikit_learn_survive_a_worker(self, client, killing):
        kill, has_killed = killing
        folds = [(train.tolist(), test.tolist()) for train, test in KFold(3).split(X)]
        net = PrunedMLPRegressor(**SMALL, callbacks=[killer(kill)])
        search = GridSearchCV(net, {"pruning_ratio": [0.3, 0.8]}, cv=folds, refit=False)
        with joblib.parallel_config(backend="dask", scatter=[X, Y]):
            search.fit(X, Y)
        assert has_killed()
        net = PrunedMLPRegressor(**SMALL)
        local = GridSearchCV(net, search.param_grid, cv=folds, refit=False).fit(X, Y)
        name = "mean_test_score"
        np.testing.assert_array_equal(search.cv_results_[name], local.cv_results_[name])

    def test_of_this_library_survive_a_worker(self, client, killing):
        kill, has_killed = killing
        kwargs = SMALL | {"pruning_ratios": (0.3, 0.8), "methods": ("ec", "magnitude"), "cv": 3}
        search = PrunedMLPRegressorCV(**kwargs, callbacks=[killer(kill)])
        with joblib.parallel_config(backend="dask"):
            search.fit(X, Y)
        assert has_killed()
        local = PrunedMLPRegressorCV(**kwargs).fit(X, Y)
        # with callbacks, networks are fine-tuned one after the other, which differs by rounding
        np.testing.assert_allclose(search.scores_, local.scores_, rtol=1e-5)
        np.testing.assert_array_equal(search.predict(X), local.predict(X))


def killer(kill):
    class Killer(Callback):
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 2:
                time.sleep(0.2)  # the other jobs have begun
                kill()

    return Killer()
