"""Estimators made from a trained network, and networks pruned outside of an estimator."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from torch import nn

import skec
from skec import PrunedMLPClassifier, PrunedMLPRegressor

CLASSES = np.array(["blue", "green", "red"])


@pytest.fixture
def network(case):
    """A torch network that was trained a little on the data of the case, without skec."""
    torch.manual_seed(0)
    labels = case.kind is PrunedMLPClassifier
    module = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 3 if labels else 1))
    X = torch.tensor(case.X, dtype=torch.float32)
    y = torch.tensor(case.y) if labels else torch.tensor(case.y, dtype=torch.float32)[:, None]
    loss, optimizer = (
        nn.CrossEntropyLoss() if labels else nn.MSELoss(),
        torch.optim.Adam(module.parameters(), lr=0.05),
    )
    for _ in range(30):
        optimizer.zero_grad()
        loss(module(X), y).backward()
        optimizer.step()
    return module.eval()


@pytest.fixture
def settings():
    return {"pruning_ratio": 0.5, "max_epochs": 3, "lr": 0.01, "random_state": 0}


@pytest.fixture
def estimator(case, network, settings):
    return case.kind.from_network(network, **settings)


@torch.no_grad()
def outputs_of(network, X):
    outputs = network(torch.tensor(X, dtype=torch.float32)).double()
    return (outputs.softmax(1) if outputs.shape[1] > 1 else outputs[:, 0]).numpy()


def test_it_predicts_what_the_network_gives(case, network, estimator):
    np.testing.assert_allclose(case.outputs(estimator), outputs_of(network, case.X), atol=1e-5)
    assert (estimator.n_features_in_, estimator.n_outputs_) == (5, network[-1].out_features)
    assert not hasattr(estimator, "masks_")


def test_an_mlp_of_the_library_needs_no_module(case):
    network = skec.networks.MLP(5, 3, (4,), zero_output=False)
    estimator = PrunedMLPClassifier.from_network(network, hidden_layer_sizes=(4,))
    assert estimator.module is skec.networks.MLP
    np.testing.assert_allclose(
        estimator.predict_proba(case.X), outputs_of(network.eval(), case.X), atol=1e-5
    )


def test_the_given_network_is_not_changed(case, network, estimator, assert_same_weights):
    before = copy.deepcopy(network)
    estimator.prune(case.X).refit(case.X, case.y)
    assert_same_weights(network, before)


def test_it_can_be_pruned_and_fine_tuned(case, network, estimator, count_revived):
    assert estimator.prune(case.X).sparsity_ == pytest.approx(0.5, abs=0.01)
    pruned = case.outputs(estimator)
    estimator.refit(case.X, case.y, epochs=2).partial_fit(case.X, case.y)
    assert count_revived(estimator) == 0
    assert not np.array_equal(case.outputs(estimator), pruned)
    # prune starts from the given network, and replaces the fine-tuned one
    np.testing.assert_array_equal(case.outputs(estimator.prune(case.X)), pruned)


def test_it_can_be_pickled(case, estimator):
    estimator.prune(case.X)
    again = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_array_equal(case.outputs(again), case.outputs(estimator))
    assert again.sparsity_ == estimator.sparsity_


def test_a_clone_has_the_parameters_and_is_not_fitted(case, estimator, settings):
    again = clone(estimator)
    assert {name: again.get_params()[name] for name in settings} == settings
    assert isinstance(again.module, nn.Sequential)
    with pytest.raises(NotFittedError):
        again.predict(case.X)
    assert again.fit(case.X, case.y).n_outputs_ == estimator.n_outputs_


def test_names_of_features(case, network):
    names = ["a", "b", "c", "d", "e"]
    estimator = case.kind.from_network(network, feature_names_in=names)
    np.testing.assert_array_equal(estimator.feature_names_in_, names)


@pytest.mark.parametrize("case", ["classifier"], indirect=True)
def test_labels_of_classes(case, network):
    estimator = PrunedMLPClassifier.from_network(network, classes=CLASSES)
    expected = CLASSES[outputs_of(network, case.X).argmax(1)]
    np.testing.assert_array_equal(estimator.predict(case.X), expected)
    with pytest.raises(ValueError, match=r"classes has 2 labels.* network has 3 outputs"):
        PrunedMLPClassifier.from_network(network, classes=CLASSES[:2])


def test_several_outputs_of_a_regressor():
    network = nn.Linear(4, 2)
    X = np.random.default_rng(0).normal(size=(7, 4))
    predictions = PrunedMLPRegressor.from_network(network).predict(X)
    expected = network(torch.tensor(X, dtype=torch.float32)).detach().numpy()
    np.testing.assert_allclose(predictions, expected, atol=1e-5)


class TestInstall:
    @pytest.fixture
    def installed(self, case):
        """A fitted estimator, its dense network, and a result of ``prune`` that it was given."""
        estimator = case.fit(pruning_ratio=0.0, refit_strategy="none")
        dense = estimator.network_
        samples = estimator.calibration_data(case.X, case.y)
        result = skec.prune(dense, samples.X, pruning_ratio=0.75, loss=nn.MSELoss())
        assert estimator.install(result, dense, samples) is estimator
        return estimator, dense, result

    def test_predictions_are_those_of_the_result(self, case, installed):
        estimator, _, result = installed
        with torch.no_grad():
            outputs = result.module.eval()(torch.tensor(case.X, dtype=torch.float32)).double()
        if case.kind is PrunedMLPClassifier:
            expected = outputs.softmax(1).numpy()
        else:
            expected = outputs[:, 0].numpy() * estimator.y_scale_ + estimator.y_mean_
        np.testing.assert_allclose(case.outputs(estimator), expected, atol=1e-5)

    def test_attributes(self, installed):
        estimator, _, result = installed
        assert estimator.sparsity_ == result.sparsity
        assert estimator.predicted_error_ == result.predicted_error
        assert estimator.masks_ is result.masks
        assert [row["layer"] for row in estimator.pruning_report_] == list(result.masks)
        assert estimator.history[-1]["phase"] == "prune"
        n_removed = sum(int((~mask).sum()) for mask in result.masks.values())
        assert estimator.n_nonzero_parameters_ <= estimator.n_parameters_ - n_removed

    def test_removed_weights_stay_zero_in_training(self, case, installed, count_revived):
        estimator, _, _ = installed
        before = case.outputs(estimator)
        estimator.partial_fit(case.X, case.y)
        assert count_revived(estimator) == 0
        assert not np.array_equal(case.outputs(estimator), before)
        assert count_revived(estimator.refit(case.X, case.y)) == 0

    def test_prune_starts_from_the_dense_network(self, installed, assert_same_weights):
        estimator, dense, _ = installed
        assert estimator.dense_module_ is not dense
        assert_same_weights(estimator.prune(pruning_ratio=0.0).network_, dense)
