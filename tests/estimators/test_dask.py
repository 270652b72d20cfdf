"""Predictions for Dask collections, and errors of the methods that need data in memory."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import skec
from skec import (
    ECPruner,
    PrunedMLPClassifier,
    PrunedMLPClassifierCV,
    PrunedMLPRegressor,
)

dask = pytest.importorskip("dask", reason="needs dask")
da = pytest.importorskip("dask.array", reason="needs dask")
dd = pytest.importorskip("dask.dataframe", reason="needs dask.dataframe")

SMALL = {"hidden_layer_sizes": (8,), "max_epochs": 2, "refit_epochs": 0, "random_state": 0}
rng = np.random.default_rng(0)
X = rng.normal(size=(300, 4)).astype(np.float32)
NUMBERS = X[:, 0] + X[:, 1] ** 2
LABELS = np.where(NUMBERS > 1, "large", "small")
FRAME = pd.DataFrame(X, columns=list("abcd"))


@pytest.fixture(autouse=True)
def synchronous():
    with dask.config.set(scheduler="synchronous"):
        yield


def assert_same(lazy, expected):
    """Bit for bit, and what is known of the lazy array before it is computed is true."""
    assert isinstance(lazy, da.Array)
    computed = lazy.compute()
    assert type(computed) is np.ndarray
    assert lazy.dtype == computed.dtype == expected.dtype
    assert lazy.ndim == expected.ndim
    assert lazy.shape[1:] == expected.shape[1:]
    assert all(sum(c) == n for c, n in zip(lazy.chunks[1:], expected.shape[1:], strict=True))
    np.testing.assert_array_equal(computed, expected)


PREDICTORS = {
    "regressor": (PrunedMLPRegressor(**SMALL), NUMBERS, ["predict"]),
    "two outputs": (PrunedMLPRegressor(**SMALL), np.c_[NUMBERS, X[:, 2]], ["predict"]),
    "classifier": (
        PrunedMLPClassifier(**SMALL),
        LABELS,
        ["predict", "predict_proba", "predict_log_proba"],
    ),
    "labels": (PrunedMLPClassifier(**SMALL), np.c_[X[:, 0] > 0, X[:, 1] > 0] * 1, ["predict"]),
    "search": (
        PrunedMLPClassifierCV((8,), pruning_ratios=(0.5,), cv=2, max_epochs=2, random_state=0),
        LABELS,
        ["predict", "predict_proba"],
    ),
    "pruner": (
        ECPruner(PrunedMLPRegressor(**SMALL), random_state=0),
        NUMBERS,
        ["predict", "transform"],
    ),
    "pipeline in a pruner": (
        ECPruner(make_pipeline(StandardScaler(), PrunedMLPClassifier(**SMALL))),
        LABELS,
        ["predict", "predict_proba", "transform"],
    ),
}


@pytest.mark.parametrize("name", PREDICTORS)
class TestPredictions:
    def test_are_those_of_arrays(self, name):
        estimator, y, methods = PREDICTORS[name]
        estimator.fit(X, y)
        for chunks in ((300, 4), (7, 4), ((100, 0, 200), 3)):
            for method in methods:
                lazy = getattr(estimator, method)(da.from_array(X, chunks=chunks))
                assert lazy.chunks[0] == da.from_array(X, chunks=chunks).chunks[0]
                assert_same(lazy, getattr(estimator, method)(X))

    def test_are_those_of_frames(self, name):
        estimator, y, methods = PREDICTORS[name]
        estimator.fit(FRAME, y)
        frame = dd.from_pandas(FRAME, npartitions=4)
        for method in methods:
            predict = getattr(estimator, method)
            assert_same(predict(frame), predict(FRAME))
            # partitions of unknown lengths, one of them without rows
            few = (FRAME.a > 0) & (FRAME.index > 90)
            assert_same(predict(frame[(frame.a > 0) & (frame.index > 90)]), predict(FRAME[few]))

    def test_are_lazy(self, name):
        def fail(block):
            raise RuntimeError("computed")

        estimator, y, methods = PREDICTORS[name]
        estimator.fit(X, y)
        for method in methods:
            lazy = getattr(estimator, method)(da.from_array(X).map_blocks(fail, meta=X[:0]))
            with pytest.raises(RuntimeError, match="computed"):
                lazy.compute()


def test_a_subclass_is_called_once_for_each_row():
    class Doubled(PrunedMLPRegressor):
        def predict(self, X):
            return 2 * super().predict(X)

    net = Doubled(**SMALL).fit(X, NUMBERS)
    assert_same(net.predict(da.from_array(X, chunks=(90, 4))), net.predict(X))


def test_a_step_that_knows_no_zeros_gets_the_first_row():
    codes = rng.integers(1, 4, size=(300, 2))
    model = make_pipeline(OneHotEncoder(sparse_output=False), PrunedMLPRegressor(**SMALL))
    pruner = ECPruner(model).fit(codes, NUMBERS)
    assert_same(pruner.predict(da.from_array(codes, chunks=(100, 1))), pruner.predict(codes))


def test_the_estimator_is_in_the_graph_once_and_without_its_samples():
    net = PrunedMLPRegressor(**SMALL).fit(np.tile(X, (10, 1)), np.tile(NUMBERS, 10))
    lazy = net.predict(da.from_array(X, chunks=(10, 4)))
    graph = dict(lazy.__dask_graph__())
    calls = [value for value in graph.values() if "_Call object" in repr(value)]
    assert len(calls) == 1
    assert len(pickle.dumps(calls[0])) < len(pickle.dumps(net)) / 2
    assert hasattr(net, "dense_module_")  # the estimator itself is as it was
    net.prune(pruning_ratio=0.5)


def test_the_score_of_an_estimator():
    net = PrunedMLPRegressor(**SMALL).fit(X, NUMBERS)
    on_dask = da.from_array(X, chunks=(90, 4)), da.from_array(NUMBERS, chunks=100)
    assert net.score(*on_dask) == net.score(X, NUMBERS)


class TestErrors:
    def test_of_features_come_at_once(self):
        net = PrunedMLPRegressor(**SMALL).fit(FRAME, NUMBERS)
        frame = dd.from_pandas(FRAME, npartitions=4)
        with pytest.raises(ValueError, match="feature names should match"):
            net.predict(frame[list("bacd")])
        with pytest.raises(ValueError, match="X has 3 features"):
            net.predict(da.from_array(X)[:, :3])
        with pytest.raises(ValueError, match="Expected 2D array"):
            net.predict(da.from_array(X)[:, 0])
        with pytest.raises(TypeError, match="can be a Dask Array, DataFrame or Series"):
            net.predict(dask.delayed(X))

    def test_of_values_are_those_in_memory(self):
        net = PrunedMLPRegressor(**SMALL).fit(X, NUMBERS)
        bad = X.copy()
        bad[-1, 0] = np.nan
        for predict in (net.predict, lambda X: net.predict(da.from_array(X)).compute()):
            with pytest.raises(ValueError, match="Input X contains NaN"):
                predict(bad)

    def test_of_an_estimator_that_is_not_fitted(self):
        for estimator in (PrunedMLPRegressor(), ECPruner(PrunedMLPRegressor())):
            with pytest.raises(NotFittedError):
                estimator.predict(da.from_array(X))

    @pytest.mark.parametrize(
        "call",
        [
            lambda net, X: net.fit(X, NUMBERS),
            lambda net, X: net.fit(X.compute(), da.from_array(NUMBERS)),
            lambda net, X: net.refit(X, NUMBERS),
            lambda net, X: net.partial_fit(X, NUMBERS),
            lambda net, X: net.prune(X),
            lambda net, X: net.pruning_path(X, NUMBERS),
            lambda net, X: net.forward(X),
            lambda net, X: skec.PrunedMLPRegressorCV().fit(X, NUMBERS),
            lambda net, X: ECPruner(net).fit(X, NUMBERS),
            lambda net, X: ECPruner(net, prefit=True).fit(X.compute()).score(X, NUMBERS),
        ],
    )
    def test_of_methods_that_need_data_in_memory(self, call):
        net = PrunedMLPRegressor(**SMALL).fit(X, NUMBERS)
        with pytest.raises(TypeError, match="got a Dask Array, and works on data in memory"):
            call(net, da.from_array(X, chunks=(100, 4)))


def test_an_estimator_takes_the_result_for_a_dask_array():
    net, other = (PrunedMLPRegressor(**SMALL).fit(X, NUMBERS) for _ in range(2))
    result = skec.prune(net.network_, da.from_array(X, chunks=(90, 4)), pruning_ratio=0.9)
    net.install(result, net.network_)
    other.install(skec.prune(other.network_, X, pruning_ratio=0.9), other.network_)
    assert net.sparsity_ == pytest.approx(0.9, abs=0.02)
    assert all(torch.equal(net.masks_[name], mask) for name, mask in other.masks_.items())
