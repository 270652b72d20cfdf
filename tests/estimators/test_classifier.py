"""What only the classifier has."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.utils.class_weight import compute_sample_weight

from skec import PrunedMLPClassifier

EXACT = {  # a linear network trained to the minimum of its loss
    "hidden_layer_sizes": (),
    "pruning_ratio": 0.0,
    "optimizer": torch.optim.LBFGS,
    "optimizer__max_iter": 200,
    "optimizer__line_search_fn": "strong_wolfe",
    "optimizer__tolerance_grad": 0.0,
    "optimizer__tolerance_change": 0.0,
    "lr": 1.0,
    "lr_schedule": "constant",
    "max_epochs": 2,
    "batch_size": -1,
    "dtype": "float64",
}


@pytest.fixture
def noisy(classification):
    """Classes that no line separates, so that the likelihood has a maximum."""
    noise = np.random.default_rng(3).normal(size=len(classification.X))
    classification.y = np.digitize(classification.X[:, 0] + noise, [0.0, 1.0])
    return classification


@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 1.0, 1: 3.0, 2: 0.5}], ids=str)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_linear_network_is_logistic_regression(noisy, class_weight, n_classes):
    X, y = noisy.X, np.minimum(noisy.y, n_classes - 1)
    if isinstance(class_weight, dict):
        class_weight = {label: class_weight[label] for label in range(n_classes)}
    weights = np.random.default_rng(0).uniform(0.5, 2.0, size=len(X))
    network = noisy.make(class_weight=class_weight, **EXACT).fit(X, y, weights)
    if class_weight == "balanced":  # the classes' totals are those of the weighted samples
        totals = np.bincount(y, weights)
        weights = weights / totals[y]
    elif class_weight is not None:
        weights = weights * compute_sample_weight(class_weight, y)
    model = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000).fit(X, y, weights)
    np.testing.assert_allclose(network.predict_proba(X), model.predict_proba(X), atol=1e-5)


def test_the_network_learns_what_is_not_linear():
    rng = np.random.default_rng(0)
    X, X_test = rng.uniform(-1, 1, size=(2, 400, 2))
    y, y_test = (np.where(Z[:, 0] * Z[:, 1] > 0, "same", "other") for Z in (X, X_test))
    network = PrunedMLPClassifier(
        (32,), max_epochs=60, refit_epochs=30, lr=0.02, pruning_ratio=0.3, random_state=0
    ).fit(X, y)
    assert LogisticRegression().fit(X, y).score(X_test, y_test) < 0.65
    assert network.score(X_test, y_test) > 0.9


def test_probabilities_are_a_distribution_over_the_classes(classification):
    estimator = classification.fit()
    probabilities = estimator.predict_proba(classification.X)
    assert probabilities.shape == (120, 3)
    assert probabilities.dtype == np.float64
    assert (probabilities > 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-14)
    labels = estimator.classes_[probabilities.argmax(axis=1)]
    np.testing.assert_array_equal(estimator.predict(classification.X), labels)
    assert estimator.score(classification.X, classification.y) == accuracy_score(
        classification.y, labels
    )


def test_probabilities_do_not_overflow(classification):
    estimator = classification.fit(lr=1.0, max_epochs=30)
    probabilities = estimator.predict_proba(1e4 * classification.X)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-12)


def test_classes_can_be_named_before_they_come(classification):
    X, y = classification.X, classification.y
    first = y < 2
    estimator = classification.make().partial_fit(X[first], y[first], classes=[2, 0, 1, 5])
    np.testing.assert_array_equal(estimator.classes_, [0, 1, 2, 5])
    assert estimator.predict_proba(X).shape == (120, 4)
    before = estimator.predict_proba(X)[:, 2].mean()
    for _ in range(3):
        estimator.partial_fit(X, y)
    assert estimator.predict_proba(X)[:, 2].mean() > before


def test_a_class_of_one_sample_is_learnt_from(classification):
    y = classification.y.copy()
    y[0] = 9
    estimator = classification.make(early_stopping=True, validation_fraction=0.5)
    estimator.fit(classification.X, y)
    np.testing.assert_array_equal(estimator.classes_, [0, 1, 2, 9])
    others = classification.make(early_stopping=True, validation_fraction=0.5).partial_fit(
        classification.X[1:], y[1:], classes=[0, 1, 2, 9]
    )
    X = classification.X[:1]
    assert estimator.predict_proba(X)[0, 3] > others.predict_proba(X)[0, 3]


def test_the_output_metric_follows_the_loss(classification):
    auto = classification.fit(output_metric="auto")
    fisher = classification.fit(output_metric="fisher")
    identity = classification.fit(output_metric="identity")
    for name, mask in auto.masks_.items():
        assert torch.equal(mask, fisher.masks_[name])
    assert any(not torch.equal(auto.masks_[name], identity.masks_[name]) for name in auto.masks_)
