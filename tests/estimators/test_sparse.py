"""Sparse features."""

import tracemalloc
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from skorch.callbacks import EpochScoring
from skorch.dataset import Dataset, ValidSplit
from torch.utils.data import DataLoader

from skec import ECPruner, PrunedMLPClassifier, PrunedMLPRegressor
from skec.utils import LazyRows, lazy_rows

FORMATS = ["csr_matrix", "csr_array", "csc_matrix", "coo_array", "dok_matrix", "lil_array"]


@pytest.fixture(params=["small", "large"])
def size(request, monkeypatch):
    """Whether a matrix is made dense as a whole, or batch by batch."""
    if request.param == "large":
        monkeypatch.setattr(lazy_rows, "_SMALL", 0)
    return request.param


@pytest.fixture
def table(case):
    """Features of which most are zero, so that they need less memory as a sparse matrix."""
    rng = np.random.default_rng(3)
    X = np.zeros((len(case.X), 5))
    columns = rng.integers(0, 5, len(X))
    X[np.arange(len(X)), columns] = case.X[:, 0]
    return X


SETTINGS = [
    {},
    {"early_stopping": True},
    {"method": "taylor", "batch_size": -1},
    {"method": "surgeon", "compensation": "network"},
    {"train_split": ValidSplit(4)},
    {"iterator_train": DataLoader, "iterator_train__shuffle": False, "iterator_valid": DataLoader},
    {"callbacks": [EpochScoring("neg_mean_absolute_error", on_train=True)]},
    {"method": "ec_exact", "hidden_layer_sizes": (3,), "calibration_samples": 30},
    {"granularity": "neuron", "method": "elimination"},
]


@pytest.mark.filterwarnings("ignore::skec.PruningWarning")
@pytest.mark.parametrize("parameters", SETTINGS, ids=lambda settings: " ".join(settings))
def test_sparse_features_are_the_same_as_dense_ones(case, table, size, parameters):
    weights = np.arange(len(table)) % 3
    found = []
    for X in (table, scipy.sparse.csr_matrix(table)):
        estimator = case.make(**parameters).fit(X, case.y, sample_weight=weights)
        results = [case.outputs(estimator, X)]
        estimator.prune(pruning_ratio=0.6).refit(X, case.y).partial_fit(X, case.y)
        results.append(case.outputs(estimator, X))
        estimator.prune(X, case.y, pruning_ratio=0.4)
        results += [case.outputs(estimator, X), estimator.score(X, case.y)]
        found.append(results)
    for dense, sparse in zip(*found, strict=True):
        np.testing.assert_allclose(sparse, dense, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_the_format_does_not_matter(case, table, size, kind, dtype):
    whole = (3 * table).astype(dtype)
    matrix = getattr(scipy.sparse, kind)(whole)
    before = matrix.toarray().copy()
    estimator = case.make().fit(matrix, case.y)
    expected = case.make().fit(whole, case.y)
    np.testing.assert_allclose(
        case.outputs(estimator, matrix), case.outputs(expected, whole), rtol=1e-4, atol=1e-4
    )
    np.testing.assert_array_equal(matrix.toarray(), before)
    # a fitted estimator takes both
    np.testing.assert_array_equal(case.outputs(estimator, matrix), case.outputs(estimator, whole))


def test_the_fast_loop_trains_on_sparse_features(case, table, size):
    estimator = case.make().fit(scipy.sparse.csr_matrix(table), case.y)
    assert all(len(row["batches"]) <= 1 for row in estimator.history)
    lazy = isinstance(estimator._calibration_.X, LazyRows)
    assert lazy == (size == "large")


def test_later_changes_of_the_matrix_do_not_matter(case, table, size):
    matrix = scipy.sparse.csr_matrix(table.astype(np.float32))
    estimator = case.make(calibration_samples=None).fit(matrix, case.y)
    before = case.outputs(estimator.prune(pruning_ratio=0.3), table)
    matrix.data[:] = 100.0
    np.testing.assert_array_equal(case.outputs(estimator.prune(pruning_ratio=0.3), table), before)


@pytest.mark.parametrize("kind", [PrunedMLPRegressor, PrunedMLPClassifier])
def test_the_matrix_is_never_dense_as_a_whole(kind):
    n, p = 3000, 10_000
    X = scipy.sparse.random(n, p, 1e-3, format="csr", random_state=0)
    y = np.asarray(X[:, :50].sum(1)).ravel() + np.arange(n) % 2
    y = y if kind is PrunedMLPRegressor else y > 0.5
    estimator = kind((4,), max_epochs=1, refit_epochs=1, batch_size=64, random_state=0)
    dense = 4 * n * p
    clone(estimator).fit(X[:200], y[:200]).predict(X[:9])  # imports what a first fit needs
    tracemalloc.start()
    try:
        estimator.fit(X, y).refit(X, y).prune(pruning_ratio=0.5)
        trained = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        estimator.predict(X)
        predicted = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert max(trained, predicted) < 0.5 * dense


def frame(n=200):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "colour": rng.choice(["red", "green", "blue"], n),
            "town": rng.choice([f"town {i}" for i in range(40)], n),
            "size": rng.normal(size=n),
        }
    )


def test_a_column_transformer_with_one_hot_columns(size):
    X = frame()
    y = (X["colour"] == "red") + X["size"]
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["colour", "town"]), (StandardScaler(), ["size"])
    )
    assert scipy.sparse.issparse(columns.fit_transform(X))
    net = PrunedMLPRegressor((16,), max_epochs=30, pruning_ratio=0.5, random_state=0)
    pipeline = make_pipeline(columns, net).fit(X, y)
    assert pipeline.score(X, y) > 0.8
    search = GridSearchCV(pipeline, {"prunedmlpregressor__pruning_ratio": [0.2, 0.8]}, cv=2)
    assert search.fit(X, y).best_score_ > 0.5


@pytest.mark.parametrize("output", ["hidden", "features", "output"])
def test_the_pruner_takes_sparse_features(classification, table, size, output):
    X, y = scipy.sparse.csr_matrix(table), classification.y
    pruner = ECPruner(classification.make(), pruning_ratio=0.5, output=output, refit_epochs=1)
    pipeline = make_pipeline(pruner, LogisticRegression()).fit(X, y)
    dense = make_pipeline(pruner, LogisticRegression()).fit(table, y)
    np.testing.assert_allclose(pipeline.predict_proba(X), dense.predict_proba(table), atol=1e-3)


def test_a_dataset_class_gets_a_small_matrix_as_array(case):
    class Own(Dataset):
        given: ClassVar[list] = []

        def __init__(self, X, y=None, length=None):
            self.given.append(type(X))
            super().__init__(X, y, length)

    dense = case.X * (np.abs(case.X) > 0.5)
    y = case.y.astype(np.float32)[:, None] if case.y.dtype.kind == "f" else case.y
    net, expected = (
        case.make(dataset=Own).fit(X, y) for X in (scipy.sparse.csr_matrix(dense), dense)
    )
    assert set(Own.given) == {np.ndarray}
    np.testing.assert_array_equal(case.outputs(net, dense), case.outputs(expected, dense))
