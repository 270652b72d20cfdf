"""Estimators whose network is made as small as it can be."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from skec.networks import InputColumns, feature_mask
from skec.training import Chain

pytestmark = pytest.mark.filterwarnings("ignore::skec.PruningWarning")  # most is gone

SPARSE = {"pruning_ratio": 0.97, "hidden_layer_sizes": (24, 16), "max_epochs": 8, "lr": 0.03}
WAYS = {
    "weights": {},
    "weights, steps": {"n_steps": 3, "step_epochs": 1},
    "weights, surgeon": {"method": "surgeon", "pruning_ratio": 0.95},
    "weights, batch norm": {"batch_norm": True},
    "weights, dropout": {"dropout": 0.3, "activation": "logistic"},
    "weights, hidden layers": {"prune_output_layer": False, "activation": "elu"},
    "weights, float64": {"dtype": "float64", "method": "magnitude", "pruning_ratio": 0.85},
    "units": {"granularity": "neuron", "pruning_ratio": 0.7},
    "units, batch norm": {
        "granularity": "neuron",
        "pruning_ratio": 0.7,
        "method": "l2",
        "compensation": "lbyl",
        "batch_norm": True,
        "dropout": 0.2,
        "activation": "relu",
    },
    "units, network": {
        "granularity": "neuron",
        "pruning_ratio": 0.7,
        "method": "elimination",
        "scope": "global",
    },
}
FITTED = {}  # every test gets a copy


def fitted(case, way="weights", **parameters):
    """An estimator that lost most, and its twin that is compact."""
    key = case.kind, way, str(parameters)
    if key not in FITTED:
        FITTED[key] = case.make(**(SPARSE | WAYS[way] | parameters)).fit(case.X, case.y)
    return copy.deepcopy(FITTED[key]), copy.deepcopy(FITTED[key]).compact()


def assert_same_outputs(case, found, expected, X=None):
    found, expected = case.outputs(found, X), case.outputs(expected, X)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def linear(estimator):
    return {n: m for n, m in estimator.module_.named_modules() if isinstance(m, nn.Linear)}


def columns_on_a_path(estimator):
    """Columns of X from which kept weights lead to an output."""
    reach = None
    for layer in reversed(list(linear(estimator).values())):
        weight = (layer.weight != 0).detach().numpy().astype(int)
        reach = (weight if reach is None else reach @ weight > 0).astype(int)
    return reach.any(0)


# -- the same estimator, only smaller -------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
class TestCompact:
    def test_predicts_the_same_from_all_columns(self, case, way):
        estimator, smaller = fitted(case, way)
        X = np.random.default_rng(5).normal(size=(40, 5)) * 2
        assert_same_outputs(case, smaller, estimator, X)
        assert smaller.n_features_in_ == 5
        with pytest.raises(ValueError, match="features"):
            smaller.predict(X[:, :4])

    def test_has_fewer_parameters_and_counts_them(self, case, way):
        estimator, smaller = fitted(case, way)
        assert smaller.n_parameters_ < 0.6 * estimator.n_parameters_
        assert smaller.n_nonzero_parameters_ <= smaller.n_parameters_
        arrays = [p.detach().numpy() for p in smaller.module_.parameters()]
        assert smaller.n_parameters_ == sum(array.size for array in arrays)
        assert smaller.n_nonzero_parameters_ == sum(map(np.count_nonzero, arrays))

    def test_has_masks_that_fit(self, case, way):
        estimator, smaller = fitted(case, way)
        assert list(smaller.masks_) == list(estimator.masks_)
        for name, mask in smaller.masks_.items():
            weight = smaller.module_.get_submodule(name).weight
            assert mask.shape == weight.shape
            assert torch.equal(weight != 0, mask)

    def test_a_second_time_changes_nothing(self, case, way, assert_same_weights):
        _, smaller = fitted(case, way)
        again = copy.deepcopy(smaller)
        assert again.compact() is again
        assert_same_weights(again.module_, smaller.module_)
        np.testing.assert_array_equal(case.outputs(again), case.outputs(smaller))

    def test_trains_on_and_keeps_zeros(self, case, way, count_revived):
        _, smaller = fitted(case, way)
        shapes = {name: p.shape for name, p in smaller.module_.named_parameters()}
        before = copy.deepcopy(smaller)
        smaller.refit(case.X, case.y, epochs=15)
        assert count_revived(smaller) == 0
        assert {name: p.shape for name, p in smaller.module_.named_parameters()} == shapes
        assert not np.array_equal(case.outputs(smaller), case.outputs(before))
        middle = copy.deepcopy(smaller.module_)
        smaller.partial_fit(case.X, case.y)
        assert count_revived(smaller) == 0
        assert not torch.equal(smaller.module_.hidden_0.bias, middle.hidden_0.bias)

    def test_knows_which_columns_it_reads(self, case, way):
        estimator, smaller = fitted(case, way)
        found = smaller.feature_mask_
        np.testing.assert_array_equal(estimator.feature_mask_, found)
        np.testing.assert_array_equal(found, columns_on_a_path(estimator))
        assert found.dtype == bool
        X = case.X.copy()
        X[:, ~found] += 100.0
        np.testing.assert_array_equal(case.outputs(smaller, X), case.outputs(smaller))
        for column in np.flatnonzero(found):
            X = case.X.copy()
            X[:, column] += 1.0
            assert not np.array_equal(case.outputs(smaller, X), case.outputs(smaller))


def test_columns_are_left_out_and_stay_known_by_name(regression):
    frame = pd.DataFrame(regression.X, columns=list("abcde"))
    estimator = regression.make(**SPARSE).fit(frame, regression.y)
    expected, columns = estimator.predict(frame), columns_on_a_path(estimator)
    estimator.compact()
    assert 0 < columns.sum() < 5
    np.testing.assert_array_equal(estimator.feature_mask_, columns)
    assert isinstance(estimator.module_[0], InputColumns)
    assert list(estimator.feature_names_in_) == list("abcde")
    np.testing.assert_allclose(estimator.predict(frame), expected, rtol=1e-5)
    with pytest.raises(ValueError, match="feature names"):
        estimator.predict(frame.rename(columns={"e": "z"}))


def test_it_still_trains_without_a_graph(case):
    _, smaller = fitted(case)
    assert isinstance(smaller.module_[0], InputColumns)
    assert Chain.of(smaller.module_) is not None


def test_both_ways_of_training_give_the_same(case, every_batch, assert_same_weights):
    _, fast = fitted(case, dtype="float64")
    slow = copy.deepcopy(fast).set_params(callbacks=[("every", every_batch)])
    fast.refit(case.X, case.y)
    slow.refit(case.X, case.y)
    assert len(slow.history[-1]["batches"]) == 3, "the slow path was not taken"
    assert_same_weights(fast.module_, slow.module_, atol=1e-9)


def test_training_of_the_smaller_network_is_that_of_the_larger(case):
    """What is gone has no gradient, so the steps are the same."""
    settings = {"dtype": "float64", "refit_strategy": "none", "activation": "tanh"}
    estimator, smaller = fitted(case, "units", **settings)
    for net in (estimator, smaller):
        net.set_params(refit_strategy="finetune")
    estimator.refit(case.X, case.y, epochs=4)
    smaller.refit(case.X, case.y, epochs=4)
    np.testing.assert_allclose(case.outputs(smaller), case.outputs(estimator), rtol=1e-8)


@pytest.mark.parametrize("way", ["weights", "units"])
def test_training_on_lowers_the_loss(case, way):
    _, smaller = fitted(case, way, refit_strategy="none")
    smaller.set_params(refit_strategy="finetune")
    before = smaller.score(case.X, case.y)
    smaller.refit(case.X, case.y, epochs=60)
    losses = [row["train_loss"] for row in smaller.history if row["phase"] == "refit"]
    assert losses[-1] < losses[0]
    assert smaller.score(case.X, case.y) > before


def test_what_pruning_said_stays(case):
    estimator, smaller = fitted(case)
    assert smaller.sparsity_ == estimator.sparsity_
    assert smaller.predicted_error_ == estimator.predicted_error_
    assert str(smaller.pruning_report_) == str(estimator.pruning_report_)
    assert len(smaller.history) == len(estimator.history)


# -- stored and copied ----------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["weights", "units, batch norm"])
def test_the_pickle_is_smaller_and_complete(case, way, assert_same_weights):
    estimator, smaller = fitted(case, way, calibration_samples=10)
    stored = pickle.dumps(smaller)
    assert len(stored) < 0.8 * len(pickle.dumps(estimator))
    twin = pickle.loads(stored)
    np.testing.assert_array_equal(case.outputs(twin), case.outputs(smaller))
    np.testing.assert_array_equal(twin.feature_mask_, smaller.feature_mask_)
    for net in (twin, smaller):
        net.refit(case.X, case.y)
    assert_same_weights(twin.module_, smaller.module_)


def test_a_clone_is_unfitted_and_as_large_as_ever(case, assert_same_weights):
    estimator, smaller = fitted(case)
    twin = clone(smaller)
    with pytest.raises(NotFittedError):
        twin.predict(case.X)
    assert_same_weights(twin.fit(case.X, case.y).module_, estimator.module_)


def test_a_new_fit_starts_from_the_full_size(case, assert_same_weights):
    estimator, smaller = fitted(case)
    smaller.fit(case.X, case.y)
    assert_same_weights(smaller.module_, estimator.module_)
    assert feature_mask(smaller.module_).all()
    np.testing.assert_array_equal(smaller.feature_mask_, columns_on_a_path(smaller))
    smaller.prune(pruning_ratio=0.1)  # from the kept dense network again
    assert smaller.dense_module_.hidden_0.weight.shape == (24, 5)


def test_a_warm_start_goes_on_from_the_small_network(case, count_revived):
    _, smaller = fitted(case, warm_start=True)
    columns, n_parameters = feature_mask(smaller.module_), smaller.n_parameters_
    smaller.set_params(pruning_ratio=0.2).fit(case.X, case.y)
    assert torch.equal(feature_mask(smaller.module_), columns)
    assert not (smaller.feature_mask_ & ~columns.numpy()).any()
    assert smaller.n_parameters_ == n_parameters
    total = sum(mask.numel() for mask in smaller.masks_.values())
    assert smaller.sparsity_ == round(0.2 * total) / total
    assert count_revived(smaller) == 0


def test_parameters_can_be_stored_and_loaded(case, tmp_path):
    _, smaller = fitted(case)
    before = case.outputs(smaller)
    smaller.save_params(f_params=tmp_path / "weights.pt")
    smaller.refit(case.X, case.y)
    assert not np.array_equal(case.outputs(smaller), before)
    smaller.load_params(f_params=tmp_path / "weights.pt")
    np.testing.assert_array_equal(case.outputs(smaller), before)


# -- pruned again ---------------------------------------------------------------------------------


def test_more_pruning_needs_data(case):
    _, smaller = fitted(case)
    before = case.outputs(smaller)
    assert not hasattr(smaller, "dense_module_")
    with pytest.raises(ValueError, match=r"no calibration samples.*Call prune\(X\)"):
        smaller.prune(pruning_ratio=0.5)
    assert not hasattr(smaller, "dense_module_")
    np.testing.assert_array_equal(case.outputs(smaller), before)


@pytest.mark.parametrize("granularity", ["weight", "neuron"])
@pytest.mark.parametrize("way", ["weights", "units"])
def test_more_pruning_starts_from_the_small_network(case, way, granularity, assert_same_weights):
    _, smaller = fitted(case, way, pruning_ratio=0.7)
    before = copy.deepcopy(smaller)
    smaller.prune(case.X, case.y, pruning_ratio=0.5, granularity=granularity)
    assert_same_weights(smaller.dense_module_, before.module_)
    assert 0.3 < smaller.sparsity_ < 0.8
    smaller.prune(pruning_ratio=0.0)  # the samples are kept now
    np.testing.assert_allclose(case.outputs(smaller), case.outputs(before), rtol=1e-5, atol=1e-6)
    ratio = {"weight": 0.85, "neuron": 0.5}[granularity]  # many weights are gone already
    smaller.prune(pruning_ratio=ratio, granularity=granularity)
    expected = case.outputs(smaller)
    smaller.compact()
    np.testing.assert_allclose(case.outputs(smaller), expected, rtol=1e-5, atol=1e-6)
    assert smaller.n_parameters_ <= before.n_parameters_
    assert smaller.n_nonzero_parameters_ < before.n_nonzero_parameters_
    assert not (smaller.feature_mask_ & ~before.feature_mask_).any()


def test_training_on_keeps_samples_for_more_pruning(case):
    _, smaller = fitted(case, pruning_ratio=0.7)
    smaller.partial_fit(case.X, case.y).prune(pruning_ratio=0.5)
    assert smaller.sparsity_ == pytest.approx(0.5, abs=0.02)


def test_initial_weights_are_gone(case):
    estimator, smaller = fitted(case, refit_strategy="rewind")
    estimator.refit(case.X, case.y)
    with pytest.raises(ValueError, match=r"needs the initial weights.*refit_strategy='finetune'"):
        smaller.refit(case.X, case.y)
    smaller.set_params(refit_strategy="finetune").refit(case.X, case.y)


def test_a_dense_network_may_be_compact_too(case):
    """Nothing was removed, so nothing that computes goes."""
    estimator = case.fit(pruning_ratio=0.0)
    smaller = copy.deepcopy(estimator).compact()
    assert smaller.n_parameters_ == estimator.n_parameters_
    np.testing.assert_array_equal(case.outputs(smaller), case.outputs(estimator))
    never_pruned = case.make().partial_fit(case.X, case.y)
    expected = case.outputs(never_pruned)
    np.testing.assert_array_equal(case.outputs(never_pruned.compact()), expected)
    assert not hasattr(never_pruned, "masks_")


def test_in_a_pipeline(case):
    model = make_pipeline(StandardScaler(), case.make(**SPARSE)).fit(case.X, case.y)
    expected = case.outputs(model)
    model[-1].compact()
    np.testing.assert_allclose(case.outputs(model), expected, rtol=1e-5, atol=1e-6)


# -- what does not work ---------------------------------------------------------------------------


def test_an_unfitted_estimator_is_refused(case):
    with pytest.raises(NotFittedError, match="call fit before compact"):
        case.make().compact()
    with pytest.raises(AttributeError, match="not fitted"):
        case.make().feature_mask_  # noqa: B018
    assert not hasattr(case.make(), "feature_mask_")


class Skip(nn.Module):
    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.hidden = nn.Linear(n_features, 8)
        self.direct = nn.Linear(n_features, n_outputs)
        self.output = nn.Linear(8, n_outputs)

    def forward(self, X):
        return self.output(torch.tanh(self.hidden(X))) + self.direct(X)


def test_an_own_module_that_is_no_sequence_is_refused_and_stays(case):
    estimator = case.fit(module=Skip)
    before, attributes = case.outputs(estimator), set(vars(estimator))
    with pytest.raises(ValueError, match=r"cannot be made compact.*Skip is neither a Sequential"):
        estimator.compact()
    np.testing.assert_array_equal(case.outputs(estimator), before)
    assert set(vars(estimator)) == attributes
    estimator.prune(pruning_ratio=0.6)
    assert estimator.sparsity_ == pytest.approx(0.6, abs=0.01)


class Backwards(nn.Module):
    """Its last layer is registered first."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.output, self.hidden = nn.Linear(8, n_outputs), nn.Linear(n_features, 8)

    def forward(self, X):
        return self.output(torch.tanh(self.hidden(X)))


def test_columns_are_those_of_x_whatever_the_module(case):
    assert case.fit(module=Backwards).feature_mask_.tolist() == [True] * 5


@pytest.mark.filterwarnings("ignore::skec.PruningWarning")
@settings(
    deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(ratio=st.floats(0.5, 0.99), method=st.sampled_from(["random", "magnitude", "ec"]))
def test_columns_are_known_before_compaction(case, pruned_often, ratio, method):
    estimator = pruned_often.setdefault(case.kind, case.make(hidden_layer_sizes=(8, 8)))
    if not hasattr(estimator, "module_"):
        estimator.fit(case.X, case.y)
    estimator.prune(pruning_ratio=ratio, method=method)
    columns = estimator.feature_mask_
    np.testing.assert_array_equal(columns, columns_on_a_path(estimator))
    X = case.X.copy()
    X[:, ~columns] += 100.0
    np.testing.assert_array_equal(case.outputs(estimator, X), case.outputs(estimator))
    np.testing.assert_array_equal(copy.deepcopy(estimator).compact().feature_mask_, columns)


@pytest.fixture(scope="module")
def pruned_often():
    return {}


def test_an_own_sequence_becomes_smaller(case):
    n_outputs = 1 if case.y.dtype.kind == "f" else 3
    module = nn.Sequential(nn.Linear(5, 12), nn.Sequential(nn.PReLU(12), nn.Linear(12, n_outputs)))
    estimator = case.fit(module=module, pruning_ratio=0.7, granularity="neuron")
    smaller = copy.deepcopy(estimator).compact()
    assert_same_outputs(case, smaller, estimator)
    assert smaller.module_[0].out_features == 3
    assert smaller.module_[1][0].num_parameters == 3
    assert module[0].out_features == 12
