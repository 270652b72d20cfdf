"""ECPruner around a pipeline whose last step is a network."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from skorch import NeuralNetRegressor
from torch import nn

from skec import ECPruner, PrunedMLPClassifier, PrunedMLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 6)) * [1.0, 10.0, 0.1, 1.0, 100.0, 1.0] + 3.0
Y = np.sin(X[:, 0]) + X[:, 1] / 10.0
SMALL = {"hidden_layer_sizes": (10,), "random_state": 0}

QUICK = {"hidden_layer_sizes": (16,), "lr": 0.03, "max_epochs": 10}


def skec_net(**parameters):
    return PrunedMLPRegressor(max_epochs=4, **(SMALL | parameters))


def perceptron(**parameters):
    return MLPRegressor(max_iter=5, **(SMALL | parameters))


def skorch_net(**parameters):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 1), nn.Flatten(0))
    return NeuralNetRegressor(module, max_epochs=2, verbose=0, train_split=None, **parameters)


kinds = pytest.mark.parametrize("make", [skec_net, perceptron, skorch_net])


@parametrize_with_checks(
    [
        ECPruner(make_pipeline(StandardScaler(), PrunedMLPClassifier(**QUICK))),
        ECPruner(make_pipeline(StandardScaler(), MLPClassifier((12,), learning_rate_init=0.03))),
    ],
    expected_failed_checks=lambda pruner: {
        f"check_sample_weight_equivalence_on_{kind}_data": "weights do not reach the scaler"
        for kind in ("dense", "sparse")
    },
)
def test_conformance(estimator, check):
    check(estimator)


@kinds
@pytest.mark.parametrize("settings", [{}, {"granularity": "neuron"}, {"refit_epochs": 2}], ids=str)
def test_is_the_same_as_pruning_behind_the_earlier_steps(make, settings):
    settings = {"pruning_ratio": 0.5, "random_state": 0, **settings}
    whole = ECPruner(make_pipeline(StandardScaler(), make()), **settings).fit(X, Y)
    last = make_pipeline(StandardScaler(), ECPruner(make(), **settings)).fit(X, Y)
    assert type(whole.estimator_) is Pipeline
    np.testing.assert_array_equal(whole.predict(X), last.predict(X))
    np.testing.assert_array_equal(whole.transform(X), last.transform(X))
    assert whole.score(X, Y) == last.score(X, Y)
    for name, mask in last[-1].masks_.items():
        assert torch.equal(whole.masks_[name], mask)
    smaller = pickle.loads(pickle.dumps(whole)).compact()
    np.testing.assert_allclose(smaller.predict(X), whole.predict(X), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(whole.predict(X), last.predict(X))


@kinds
def test_the_given_pipeline_is_never_changed(make):
    pipeline = make_pipeline(StandardScaler(), make())
    ECPruner(pipeline, refit_epochs=1, random_state=0).fit(X, Y).compact()
    with pytest.raises(NotFittedError):
        pipeline.predict(X)
    assert not hasattr(pipeline[0], "mean_")


@pytest.mark.parametrize("make", [skec_net, perceptron])
def test_a_fitted_pipeline(make):
    pipeline = make_pipeline(StandardScaler(), make()).fit(X, Y)
    before = pipeline.predict(X)
    frozen = FrozenEstimator(pipeline)
    for pruner in (ECPruner(pipeline, prefit=True), ECPruner(frozen)):
        pruner.set_params(pruning_ratio=0.9).fit(X)
        assert pruner.sparsity_ == pytest.approx(0.9, abs=0.02)
        assert not np.array_equal(pruner.predict(X), before)
    np.testing.assert_array_equal(pipeline.predict(X), before)
    with pytest.raises(NotFittedError):
        ECPruner(clone(pipeline), prefit=True).fit(X)


def test_frames_with_columns_of_all_kinds():
    frame = pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "kind": np.where(Y > 0.0, "x", "z")})
    columns = ColumnTransformer(
        [("numbers", StandardScaler(), ["a", "b"]), ("kinds", OneHotEncoder(), ["kind"])],
        sparse_threshold=0.0,
    )
    pruner = ECPruner(make_pipeline(columns, skec_net())).fit(frame, Y)
    assert list(pruner.feature_names_in_) == ["a", "b", "kind"]
    assert pruner.predict(frame).shape == (120,)
    assert pruner.transform(frame).shape == (120, len(pruner.get_feature_names_out()))
    with pytest.raises(ValueError, match="columns are missing"):
        pruner.predict(frame.rename(columns={"a": "c"}))


def test_the_columns_of_x_are_not_those_of_the_network():
    pruner = ECPruner(make_pipeline(PCA(), skec_net()), output="features").fit(X, Y)
    for call in (lambda: pruner.transform(X), pruner.get_support):
        with pytest.raises(ValueError, match="make the pruner the last step"):
            call()


def test_sample_weights_go_to_the_network():
    weight = RNG.integers(0, 2, 120).astype(float)
    pruner = ECPruner(make_pipeline(StandardScaler(), skec_net()), refit_epochs=1)
    plain, weighted = (clone(pruner).fit(X, Y, sample_weight=w) for w in (None, weight))
    assert not np.array_equal(plain.predict(X), weighted.predict(X))
    by_name = clone(pruner).fit(
        X, Y, prunedmlpregressor__sample_weight=weight, standardscaler__sample_weight=weight
    )
    expected = np.average(X, axis=0, weights=weight)
    np.testing.assert_allclose(by_name.estimator_[0].mean_, expected)
    with pytest.raises(ValueError, match="sample_weight"):
        ECPruner(make_pipeline(StandardScaler(), skorch_net())).fit(X, Y, sample_weight=weight)


def test_parameters_and_memory(tmp_path):
    pipeline = Pipeline([("scale", StandardScaler()), ("net", skec_net())], memory=str(tmp_path))
    grid = {"estimator__net__lr": [0.01, 0.03], "pruning_ratio": [0.2, 0.6]}
    search = GridSearchCV(ECPruner(pipeline, random_state=0), grid, cv=2).fit(X, Y)
    assert search.predict(X).shape == (120,)
    assert search.best_estimator_.estimator_.named_steps["scale"].mean_.shape == (6,)


def test_random_steps_are_seeded():
    pipeline = make_pipeline(
        PCA(3, svd_solver="randomized", iterated_power=0, n_oversamples=1),
        skec_net(random_state=None),
    )
    a, b = (ECPruner(pipeline, random_state=3).fit(X, Y).predict(X) for _ in range(2))
    np.testing.assert_array_equal(a, b)


def test_a_pipeline_of_one_step():
    pruner = ECPruner(make_pipeline(skec_net()), random_state=0).fit(X, Y)
    np.testing.assert_array_equal(
        pruner.predict(X), ECPruner(skec_net(), random_state=0).fit(X, Y).predict(X)
    )
