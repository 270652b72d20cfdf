"""Classifiers with several labels per sample."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
import torch
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neural_network import MLPClassifier
from skorch.callbacks import EpochScoring
from torch import nn
from torch.utils.data import TensorDataset

import skec
from skec import ECPruner, PrunedMLPClassifier
from skec.calibration import metric_for

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 4))
Y = np.column_stack([X[:, 0] > 0, X[:, 1] + X[:, 2] > 0.5, X[:, 3] ** 2 > 1]).astype(int)
WEIGHTS = RNG.integers(0, 3, len(X)).astype(float)


def make(**parameters):
    settings = {
        "lr": 0.01,
        "dropout": 0.0,
        "max_epochs": 25,
        "refit_epochs": 5,
        "pruning_ratio": 0.4,
        "random_state": 0,
    }
    return PrunedMLPClassifier((24,), **(settings | parameters))


@pytest.fixture(scope="module")
def net():
    return make().fit(X, Y)


def test_as_the_classifier_of_scikit_learn(net):
    mlp = MLPClassifier((24,), max_iter=300, random_state=0).fit(X, Y)
    for estimator in (mlp, net):
        np.testing.assert_array_equal(estimator.classes_, [0, 1, 2])
        labels, probabilities = estimator.predict(X), estimator.predict_proba(X)
        assert labels.shape == probabilities.shape == Y.shape
        assert labels.dtype == np.int64
        np.testing.assert_array_equal(labels, probabilities > 0.5)
        np.testing.assert_allclose(estimator.predict_log_proba(X), np.log(probabilities))
        assert estimator.score(X, Y) == accuracy_score(Y, labels)
        assert estimator.score(X, Y, WEIGHTS) == accuracy_score(Y, labels, sample_weight=WEIGHTS)
        assert estimator.score(X, Y) > 0.75
    assert net.__sklearn_tags__().classifier_tags.multi_label
    assert net.sparsity_ == pytest.approx(0.4, abs=0.01)


def test_the_loss_is_the_binary_cross_entropy(net):
    assert type(net.criterion_) is nn.BCEWithLogitsLoss
    assert type(metric_for("auto", net.criterion_)).__name__ == "BernoulliMetric"
    p = net.predict_proba(X)
    loss = -np.mean(Y * np.log(p) + (1 - Y) * np.log(1 - p))
    samples = net.calibration_data(X, Y)
    with torch.no_grad():
        found = nn.BCEWithLogitsLoss()(net.module_(samples.X), samples.y)
    assert float(found) == pytest.approx(loss, rel=1e-5)


FORMS = {
    "bool": lambda Y: Y > 0,
    "float": lambda Y: Y.astype(float),
    "list": lambda Y: Y.tolist(),
    "pandas": pd.DataFrame,
    "pandas nullable": lambda Y: pd.DataFrame(Y).convert_dtypes(),
    "polars": pl.DataFrame,
    "csr": scipy.sparse.csr_matrix,
    "coo": scipy.sparse.coo_array,
    "tensor": torch.from_numpy,
}


@pytest.mark.parametrize("form", FORMS)
def test_the_form_of_the_matrix_does_not_matter(net, form):
    target = FORMS[form](Y)
    estimator = make().fit(X, target)
    np.testing.assert_array_equal(estimator.predict_proba(X), net.predict_proba(X))
    assert isinstance(estimator.predict(X), np.ndarray)
    if form not in ("tensor", "pandas nullable"):  # metrics of scikit-learn do not take them
        assert estimator.score(X, target) == net.score(X, Y)


@pytest.mark.parametrize(
    ("granularity", "method"),
    [
        *(("weight", method) for method in ("ec", "taylor", "surgeon", "magnitude")),
        *(("neuron", method) for method in ("ec", "elimination", "l2")),
    ],
)
@pytest.mark.filterwarnings("ignore::skec.PruningWarning")
def test_every_phase(granularity, method):
    estimator = make(granularity=granularity, method=method, early_stopping=True)
    estimator.fit(X, Y, sample_weight=WEIGHTS).prune(pruning_ratio=0.3)
    estimator.refit(X, Y, WEIGHTS).partial_fit(X, Y).compact()
    assert estimator.prune(X, Y, pruning_ratio=0.1).score(X, Y) > 0.3


@pytest.mark.parametrize("two", [False, True])
def test_a_weight_is_a_number_of_rows(two):
    labels = Y[:, :2] if two else Y
    weighted = make(batch_size=-1).fit(X, labels, sample_weight=WEIGHTS)
    n = WEIGHTS.astype(int)
    repeated = make(batch_size=-1).fit(np.repeat(X, n, axis=0), np.repeat(labels, n, axis=0))
    np.testing.assert_array_equal(weighted.predict_proba(X), repeated.predict_proba(X))


def test_partial_fit_and_its_classes():
    estimator = make().partial_fit(X[:100], Y[:100], classes=[0, 1, 2]).partial_fit(X, 0 * Y)
    assert estimator.predict(X).shape == Y.shape
    with pytest.raises(ValueError, match=r"classes=\[0, 1\] are not the columns of y"):
        make().partial_fit(X, Y, classes=[0, 1])


def test_a_dataset_of_labels():
    dataset = TensorDataset(torch.from_numpy(X).float(), torch.from_numpy(Y).float())
    estimator = make().fit(dataset)
    assert estimator.predict_proba(X).shape == Y.shape
    assert estimator.score(X, Y) > 0.7


def test_callbacks_and_searches():
    scoring = EpochScoring("accuracy", name="subset", on_train=True)
    estimator = make(callbacks=[scoring]).fit(X, Y)
    assert 0.3 < estimator.history[-1]["subset"] <= 1.0
    assert cross_val_score(make(), X, Y, cv=3).min() > 0.4
    search = GridSearchCV(make(), {"pruning_ratio": [0.1, 0.5]}, cv=2).fit(X, Y)
    assert search.predict(X).shape == Y.shape


def test_one_classifier_for_each_label_is_still_possible():
    several = MultiOutputClassifier(make(max_epochs=3)).fit(X, Y)
    assert np.shape(several.predict_proba(X)) == (3, 200, 2)


def test_pickles_and_files(net, tmp_path):
    again = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(again.predict(X), net.predict(X))
    for safetensors in (False, True):
        file = {"f_params": tmp_path / f"weights{safetensors}", "use_safetensors": safetensors}
        net.save_params(**file)
        new = make(module__n_features=4, module__n_outputs=3).initialize()
        new.load_params(**file)
        np.testing.assert_array_equal(new.predict_proba(X), net.predict_proba(X))
        np.testing.assert_array_equal(new.predict(X), net.predict(X))


def test_the_pruner_and_the_conversions(net):
    pruner = ECPruner(make(), pruning_ratio=0.5, refit_epochs=2, random_state=0).fit(X, Y)
    assert pruner.predict(X).shape == Y.shape
    assert pruner.score(X, Y) > 0.4
    mlp = MLPClassifier((24,), max_iter=200, random_state=0).fit(X, Y)
    np.testing.assert_allclose(
        skec.from_sklearn(mlp).predict_proba(X), mlp.predict_proba(X), atol=1e-6
    )
    for labels in (Y, Y[:, :2]):
        plain = {"feature_scaling": None, "feature_embedding": None}
        relu = make(activation="relu", **plain).fit(X, labels)
        back = skec.to_sklearn(relu)
        np.testing.assert_allclose(back.predict_proba(X), relu.predict_proba(X), atol=1e-5)
        np.testing.assert_array_equal(back.predict(X), relu.predict(X))


def test_a_network_whose_outputs_are_labels():
    module = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    estimator = PrunedMLPClassifier.from_network(module, criterion=nn.BCEWithLogitsLoss)
    with torch.no_grad():
        expected = torch.sigmoid(module(torch.from_numpy(X).float()))
    np.testing.assert_allclose(estimator.predict_proba(X), expected, rtol=1e-5)
    assert estimator.predict(X).shape == Y.shape


BAD = {
    "class_weight": ({"class_weight": "balanced"}, Y, r"class_weight='balanced'.*one class"),
    "criterion": ({"criterion": nn.NLLLoss}, Y, r"NLLLoss is the loss of one class.*BCEWithLogits"),
    "values": ({}, 2 * Y - 1, r"zeros and ones.*\[-1 +1\]"),
    "several classes": ({}, np.arange(600).reshape(200, 3) % 3, r"1d array"),
    "sparse column": ({}, scipy.sparse.csr_matrix(Y[:, :1]), r"Sparse y.*toarray"),
}


@pytest.mark.parametrize("bad", BAD)
def test_what_does_not_fit(bad):
    parameters, target, message = BAD[bad]
    estimator = make(**parameters)
    with pytest.raises((ValueError, TypeError), match=message):
        estimator.fit(X, target)
    assert not hasattr(estimator, "module_")
    assert not hasattr(estimator, "classes_")


def test_the_kind_of_the_targets_stays(net):
    one = make(max_epochs=2).fit(X, Y[:, 0])
    for method in ("refit", "partial_fit", "prune"):
        with pytest.raises(ValueError, match=r"several labels per sample, but .* one class"):
            getattr(one, method)(X, Y)
        with pytest.raises(ValueError, match=r"one class per sample, but .* several labels"):
            getattr(net, method)(X, Y[:, 0])
        with pytest.raises(ValueError, match=r"y has 2 labels, but .* fitted with 3"):
            getattr(net, method)(X, Y[:, :2])
    refitted = make(max_epochs=2).fit(X, Y).fit(X, Y[:, 0])  # a new fit takes anything
    assert type(refitted.criterion_) is nn.CrossEntropyLoss
    assert refitted.predict_proba(X).shape == (200, 2)
