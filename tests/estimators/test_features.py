"""Scaling, embedding and weights of the features in the estimators' networks."""

import copy
import pickle

import numpy as np
import pytest
import scipy.sparse
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler
from skorch.dataset import Dataset
from torch import nn

from skec import PrunedMLPClassifier, PrunedMLPRegressor
from skec.criteria import CRITERIA
from skec.criteria.units import UNIT_CRITERIA
from skec.networks import FeatureScaling, FeatureWeights, PeriodicEmbedding

RNG = np.random.default_rng(0)
X = RNG.normal(size=(400, 4))
NUMBERS = np.sin(3.0 * X[:, 0]) + X[:, 1] + 0.05 * RNG.normal(size=400)
LABELS = np.array(["high", "low"])[(NUMBERS < 0.3).astype(int)]
KINDS = {"regressor": (PrunedMLPRegressor, NUMBERS), "classifier": (PrunedMLPClassifier, LABELS)}
FEATURES = ("feature_scaling", "feature_embedding", "feature_weights")


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def make(kind, **parameters):
    defaults = {"hidden_layer_sizes": (24, 12), "lr": 0.01, "max_epochs": 30, "random_state": 0}
    return KINDS[kind][0](**(defaults | parameters))


def fit(kind, data=X, **parameters):
    return make(kind, **parameters).fit(data, KINDS[kind][1][: data.shape[0]])


def outputs(net, data=X):
    return net.predict_proba(data) if hasattr(net, "classes_") else net.predict(data)


def quick(kind, data=X, **parameters):
    return fit(kind, data, **({"max_epochs": 2, "refit_epochs": 1} | parameters))


# -- what they are for ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "units", [[1e9] * 4, [1e-9, 1.0, 1e12, 1e5]], ids=["all large", "all different"]
)
def test_units_of_the_features_make_no_difference(kind, units):
    plain, other = fit(kind), fit(kind, X * units)
    assert abs(plain.score(X, KINDS[kind][1]) - other.score(X * units, KINDS[kind][1])) < 0.02


@pytest.mark.parametrize("span", [1e6, 1e10, 1e14, 1e18])
def test_dates_in_nanoseconds(span):
    day = RNG.uniform(size=400)
    y = np.sin(6.0 * day)
    date = np.datetime64("2024-03-01", "ns").astype(np.int64) + np.round(span * day)
    data = np.column_stack([date, X[:, 0]])
    net = make("regressor").fit(data[:300], y[:300])
    assert net.score(data[300:], y[300:]) > 0.97
    assert net.prune(data[:300], pruning_ratio=0.3).score(data[300:], y[300:]) > 0.9
    again = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(again.predict(data), net.predict(data))
    slow = net.set_params(iterator_valid=torch.utils.data.DataLoader)
    np.testing.assert_allclose(slow.predict(data), again.predict(data), rtol=1e-4, atol=1e-4)


def test_one_far_row_changes_no_other_prediction_much(kind):
    far = X.copy()
    far[0] *= 1e12
    net = fit(kind, far)
    assert np.isfinite(outputs(net, far)).all()
    assert net.score(X[1:], KINDS[kind][1][1:]) > 0.85
    if kind == "regressor":
        assert np.abs(net.predict(1e30 * X)).max() < 100.0


def test_a_scaler_before_changes_little(kind):
    scaled = StandardScaler().fit_transform(X)
    difference = fit(kind, scaled).score(scaled, KINDS[kind][1]) - fit(kind).score(
        X, KINDS[kind][1]
    )
    assert abs(difference) < 0.02


def test_periodic_features_are_learned():
    x = RNG.uniform(-1, 1, size=(600, 1))
    y = np.sin(25.0 * x[:, 0])
    scores = {
        embedding: PrunedMLPRegressor(
            feature_embedding=embedding, module__sigma=2.0, max_epochs=40, random_state=0
        ).fit(x[:500], y[:500]).score(x[500:], y[500:])
        for embedding in ("auto", None)
    }  # fmt: skip
    assert scores["auto"] > 0.98 > scores[None]


# -- the network ---------------------------------------------------------------------------------


@pytest.mark.parametrize("chosen", [(), *[(name,) for name in FEATURES], FEATURES], ids=str)
def test_each_can_be_left_out(kind, chosen):
    values = {"feature_scaling": "robust", "feature_embedding": "periodic"}
    values["feature_weights"] = "learned"
    settings = {name: values[name] if name in chosen else None for name in FEATURES}
    net = quick(kind, dropout=0.0, **settings)
    present = [type(part) for part in net.network_ if not isinstance(part, nn.Linear | nn.SiLU)]
    kinds = dict(zip(FEATURES, (FeatureScaling, PeriodicEmbedding, FeatureWeights), strict=True))
    assert present == [kinds[name] for name in FEATURES if name in chosen]
    assert np.isfinite(outputs(net)).all()


def test_many_features_are_not_embedded_by_default(kind):
    wide = RNG.normal(size=(60, 129))
    assert not hasattr(quick(kind, wide).network_, "feature_embedding")
    assert hasattr(quick(kind, wide[:, :128]).network_, "feature_embedding")
    assert hasattr(quick(kind, wide, feature_embedding="periodic").network_, "feature_embedding")


def test_your_own_module_is_left_as_it_is(kind):
    module = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2 if "c" in kind[0] else 1))
    net = quick(kind, module=module)
    assert not any(isinstance(part, FeatureScaling) for part in net.network_.modules())


@pytest.mark.parametrize("name", FEATURES)
@pytest.mark.parametrize("value", ["standard", True, 1])
def test_other_values_are_refused(kind, name, value):
    with pytest.raises(ValueError, match=name):
        quick(kind, **{name: value})


def test_parameters_of_the_embedding_are_those_of_the_module(kind):
    net = quick(kind, module__sigma=0.5, module__n_frequencies=4, module__embedding_size=2)
    assert net.network_.feature_embedding.weight.shape == (4, 2, 4)
    assert net.masks_["hidden_0"].shape == (24, 4 * 3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_ways_of_training_are_the_same(kind, dtype):
    fast = quick(kind, dtype=dtype, batch_size=400, dropout=0.0)
    slow = make(kind, dtype=dtype, batch_size=400, dropout=0.0, max_epochs=2, refit_epochs=1)
    slow.set_params(iterator_train=torch.utils.data.DataLoader).fit(X, KINDS[kind][1])
    tolerance = 1e-3 if dtype == "float32" else 1e-8
    np.testing.assert_allclose(outputs(slow), outputs(fast), rtol=tolerance, atol=tolerance)


def test_sparse_and_dense_features_give_the_same(kind):
    data = X * (RNG.uniform(size=X.shape) < 0.4)
    dense, sparse = quick(kind, data), quick(kind, scipy.sparse.csr_matrix(data))
    np.testing.assert_array_equal(outputs(sparse, data), outputs(dense, data))


def test_weights_count_as_repeated_rows(kind):
    weights = RNG.integers(0, 3, size=len(X))
    settings = {"batch_size": -1, "max_epochs": 3, "early_stopping": False, "dropout": 0.0}
    settings |= {"calibration_samples": None}
    y = KINDS[kind][1]
    weighted = make(kind, **settings).fit(X, y, sample_weight=weights)
    repeated = make(kind, **settings).fit(np.repeat(X, weights, 0), np.repeat(y, weights))
    for name in ("center", "scale"):
        a, b = (getattr(net.network_.feature_scaling, name) for net in (weighted, repeated))
        assert torch.equal(a, b)
    np.testing.assert_allclose(outputs(weighted), outputs(repeated), rtol=1e-2, atol=1e-2)


def test_a_dataset_of_your_own_is_scaled_too(kind):
    y = NUMBERS.astype(np.float32)[:, None] if kind == "regressor" else (LABELS == "low") * 1
    data = Dataset((1e6 * X).astype(np.float32), y)
    net = make(kind, max_epochs=10).fit(data, None)
    assert net.network_.feature_scaling.is_fitted
    np.testing.assert_allclose(
        net.network_.feature_scaling.scale.numpy(), 1e6 * np.ones(4), rtol=0.3
    )


# -- the life of an estimator --------------------------------------------------------------------


def test_the_scale_is_that_of_the_first_data(kind):
    y = KINDS[kind][1]
    net = quick(kind, warm_start=True)
    before = copy.deepcopy(net.network_.feature_scaling.state_dict())
    for call in (net.fit, net.partial_fit, net.refit):
        call(5.0 + 2.0 * X, y)
        after = net.network_.feature_scaling.state_dict()
        assert all(torch.equal(after[name], value) for name, value in before.items())
    net.set_params(warm_start=False).fit(5.0 + 2.0 * X, y)
    assert not torch.equal(net.network_.feature_scaling.center, before["center"])


def test_partial_fit_scales_with_a_first_part_of_16_rows(kind):
    y, classes = KINDS[kind][1], {"classes": ["high", "low"]} if kind == "classifier" else {}
    few = make(kind).partial_fit(X[:1], y[:1], **classes, epochs=1)
    assert not few.network_.feature_scaling.is_fitted
    enough = make(kind).partial_fit(X[:16], y[:16], **classes, epochs=1)
    assert enough.network_.feature_scaling.is_fitted


def test_a_net_initialised_without_data_takes_the_scale_later(kind):
    n_outputs = 1 if kind == "regressor" else 2
    net = make(kind, module__n_features=4, module__n_outputs=n_outputs, max_epochs=1).initialize()
    assert not net.network_.feature_scaling.is_fitted
    net.partial_fit(3.0 + X, KINDS[kind][1])
    np.testing.assert_allclose(net.network_.feature_scaling.center, 3.0 * np.ones(4), atol=0.3)


def test_a_failed_call_restores_the_scale(kind):
    net = quick(kind)
    before = copy.deepcopy(net.network_.state_dict())
    with pytest.raises(ValueError):
        net.fit(np.full_like(X, np.nan), KINDS[kind][1])
    assert all(torch.equal(net.network_.state_dict()[k], v) for k, v in before.items())
    expected = outputs(net)
    np.testing.assert_array_equal(outputs(net), expected)


def test_copies_and_files_predict_the_same(kind, tmp_path):
    net, y = quick(kind), KINDS[kind][1]
    np.testing.assert_array_equal(outputs(pickle.loads(pickle.dumps(net))), outputs(net))
    np.testing.assert_array_equal(outputs(clone(net).fit(X, y)), outputs(net))
    net.save_params(f_params=tmp_path / "weights.pt")
    n_outputs = 1 if kind == "regressor" else 2
    new = make(kind, module__n_features=4, module__n_outputs=n_outputs).initialize()
    new.load_params(f_params=tmp_path / "weights.pt")
    np.testing.assert_array_equal(outputs(new), outputs(net))


def test_rows_do_not_depend_on_each_other(kind):
    net = quick(kind)
    whole = outputs(net)
    for rows in ([3], [5, 7, 1], slice(100, 177)):
        np.testing.assert_array_equal(outputs(net, X[rows]), whole[rows])


# -- pruning -------------------------------------------------------------------------------------


@pytest.mark.parametrize("granularity", ["weight", "neuron"])
def test_every_method_prunes_such_a_network(kind, granularity):
    net = quick(kind, granularity=granularity)
    y = KINDS[kind][1]
    for method in CRITERIA if granularity == "weight" else UNIT_CRITERIA:
        pruned = net.prune(X, y, pruning_ratio=0.5, method=method, copy=True)
        assert 0.4 < pruned.sparsity_ < 0.8
        assert np.isfinite(outputs(pruned)).all()


def test_compact_predicts_the_same_and_drops_features(kind):
    useless = np.column_stack([X, RNG.normal(size=(400, 3)), np.ones(400)])
    net = fit(kind, useless, pruning_ratio=0.95)
    small = copy.deepcopy(net).compact()
    np.testing.assert_allclose(outputs(small, useless), outputs(net, useless), atol=1e-4)
    np.testing.assert_array_equal(small.feature_mask_, net.feature_mask_)
    assert not net.feature_mask_[-1]
    changed = useless.copy()
    changed[:, ~net.feature_mask_] = 77.0
    np.testing.assert_array_equal(outputs(small, changed), outputs(small, useless))
    small.refit(useless, KINDS[kind][1], epochs=2).partial_fit(useless, KINDS[kind][1])
    assert small.n_parameters_ < net.n_parameters_


# -- a network that learned nothing --------------------------------------------------------------


def test_a_training_without_success_warns(kind):
    settings = {"feature_scaling": None, "max_epochs": 3, "refit_strategy": "none"}
    with pytest.warns(ConvergenceWarning, match=r"not better than a constant.*StandardScaler"):
        try:
            fit(kind, 1e9 * X, **settings, early_stopping=False)
        except ValueError as error:  # it may diverge at once
            assert "StandardScaler" in str(error)
            pytest.skip("the first epoch diverges")


def test_a_rate_that_is_too_high_warns(kind):
    with pytest.warns(ConvergenceWarning):
        fit(kind, lr=30.0, max_epochs=3, early_stopping=False, refit_epochs=1)


@pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")
def test_a_success_does_not_warn(kind):
    fit(kind)
    quick(kind, max_epochs=0, refit_epochs=0)
