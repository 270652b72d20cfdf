"""What only the regressor has."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score
from torch import nn

from skec import PrunedMLPRegressor

EXACT = {  # a linear network trained to the minimum of its loss
    "hidden_layer_sizes": (),
    "pruning_ratio": 0.0,
    "optimizer": torch.optim.LBFGS,
    "optimizer__max_iter": 200,
    "optimizer__tolerance_grad": 0.0,
    "optimizer__tolerance_change": 0.0,
    "optimizer__line_search_fn": "strong_wolfe",
    "lr": 1.0,
    "lr_schedule": "constant",
    "max_epochs": 2,
    "batch_size": -1,
    "dtype": "float64",
}
WEIGHTS = np.random.default_rng(0).uniform(0.1, 2.0, size=120)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_a_linear_network_is_least_squares(regression, weights, n_outputs):
    X, y = regression.X, np.column_stack([regression.y, 100 * regression.y**2])
    y = y[:, 0] if n_outputs == 1 else y
    network = regression.make(**EXACT).fit(X, y, weights)
    expected = LinearRegression().fit(X, y, weights).predict(X)
    np.testing.assert_allclose(network.predict(X), expected, rtol=1e-6, atol=1e-6)


def waves(n=400, seed=0):
    """Targets without noise, and without a linear part."""
    X = np.random.default_rng(seed).uniform(-1, 1, size=(n, 2))
    return X, np.sin(4 * X[:, 0]) * X[:, 1]


WAVES = {"max_epochs": 40, "refit_epochs": 20, "lr": 0.02, "batch_size": 32, "random_state": 0}


def test_the_network_learns_what_is_not_linear():
    X, y = waves()
    network = PrunedMLPRegressor((32, 32), pruning_ratio=0.3, refit_weight_decay=None, **WAVES).fit(
        X[:200], y[:200]
    )
    assert LinearRegression().fit(X[:200], y[:200]).score(X[200:], y[200:]) < 0.1
    assert network.score(X[200:], y[200:]) > 0.9
    assert network.sparsity_ == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize("width", [8, 32])
def test_a_network_that_learnt_little_does_not_lose_that_in_the_refit(width):
    """What a small network leaves unexplained need not be noise."""
    X, y = waves()
    settings = WAVES | {"pruning_ratio": 0.1, "early_stopping": "auto", "random_state": 1}
    settings |= {"refit_weight_decay": "auto", "hidden_layer_sizes": (width,)}
    pruned = PrunedMLPRegressor(refit_strategy="none", **settings).fit(X, y)
    refitted = PrunedMLPRegressor(refit_strategy="finetune", **settings).fit(X, y)
    unseen = waves(n=1000, seed=1)
    assert pruned.score(*unseen) > 0.2, "it learnt nothing that could be lost"
    assert refitted.score(*unseen) > 0.8 * pruned.score(*unseen)


def test_the_score_is_r2(regression):
    estimator = regression.fit()
    expected = r2_score(regression.y, estimator.predict(regression.X))
    assert estimator.score(regression.X, regression.y) == pytest.approx(expected)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_targets_are_standardised_by_their_weighted_moments(regression, weights):
    y = np.column_stack([regression.y, 1e3 * regression.X[:, 0] - 50])
    estimator = regression.make().fit(regression.X, y, weights)
    mean = np.average(y, axis=0, weights=weights)
    variance = np.average((y - mean) ** 2, axis=0, weights=weights)
    np.testing.assert_allclose(estimator.y_mean_, mean)
    np.testing.assert_allclose(estimator.y_scale_, np.sqrt(variance))


def test_targets_can_be_left_as_they_are(regression):
    estimator = regression.fit(normalize_y=False, batch_size=-1, module__zero_output=True)
    np.testing.assert_array_equal([estimator.y_mean_, estimator.y_scale_], [[0.0], [1.0]])
    first = estimator.history[0]["train_loss"]  # of a network that predicts zero
    assert first == pytest.approx(np.mean(regression.y**2), rel=1e-5)


def test_outputs_of_any_scale_count_alike(regression):
    y = np.column_stack([regression.y, 1e6 * regression.y - 3e6])
    predicted = regression.make().fit(regression.X, y).predict(regression.X)
    np.testing.assert_allclose(predicted[:, 1], 1e6 * predicted[:, 0] - 3e6, rtol=1, atol=3e6)
    scores = r2_score(y, predicted, multioutput="raw_values")
    assert abs(scores[0] - scores[1]) < 0.2


@pytest.mark.parametrize("constant", [0.0, 3.3, -1e9, 1e-12])
@pytest.mark.parametrize("batch_size", [50, -1])
def test_a_constant_is_predicted_with_a_warning(regression, constant, batch_size):
    y = np.full(len(regression.X), constant)
    with pytest.warns(UserWarning, match="y is constant"):
        estimator = regression.make(batch_size=batch_size).fit(regression.X, y)
    np.testing.assert_allclose(estimator.predict(3.0 * regression.X), constant, rtol=1e-12)


@pytest.mark.filterwarnings("ignore::skec.PruningWarning")
def test_one_constant_output_does_not_disturb_the_others(regression):
    y = np.column_stack([regression.y, np.full(len(regression.X), 7.1)])
    with pytest.warns(UserWarning, match="y is constant in 1 of 2 outputs"):
        predicted = regression.make().fit(regression.X, y).predict(regression.X)
    np.testing.assert_allclose(predicted[:, 1], 7.1, rtol=1e-12)
    assert r2_score(regression.y, predicted[:, 0]) > 0


class Flat(nn.Module):
    """A network of one output that returns it without a column."""

    def __init__(self, n_features):
        super().__init__()
        self.hidden, self.output = nn.Linear(n_features, 8), nn.Linear(8, 1)

    def forward(self, X):
        return self.output(torch.tanh(self.hidden(X)))[:, 0]


class Column(Flat):
    def forward(self, X):
        return super().forward(X)[:, None]


@pytest.mark.parametrize("slow", [False, True], ids=["fast", "every_batch"])
@pytest.mark.parametrize("method", ["ec", "taylor"])
@pytest.mark.parametrize("criterion", [nn.MSELoss, nn.L1Loss])
def test_outputs_may_lack_the_column(
    regression, slow, method, criterion, every_batch, assert_same_weights
):
    settings = {"method": method, "criterion": criterion}
    settings |= {"callbacks": [("every", every_batch)]} if slow else {}
    flat = regression.fit(module=Flat, **settings)
    column = regression.fit(module=Column, **settings)
    assert_same_weights(flat.module_, column.module_, atol=1e-6)
    np.testing.assert_allclose(
        flat.predict(regression.X), column.predict(regression.X), rtol=1e-5, atol=1e-6
    )


def test_there_are_no_probabilities(regression):
    estimator = regression.fit()
    assert not hasattr(estimator, "predict_proba")
    assert not hasattr(estimator, "classes_")
    with pytest.raises(AttributeError, match="use predict"):
        estimator.predict_proba(regression.X)
