"""Modules between the features and the first layer."""

import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from skec.networks import (
    MLP,
    FeatureScaling,
    FeatureWeights,
    InputColumns,
    PeriodicEmbedding,
    compact,
    feature_mask,
    fixed_part,
    hidden_layers,
    input_dtype,
    read_features,
)

RNG = np.random.default_rng(0)


def scaled(X, fitted_to=None, weights=None):
    X = np.asarray(X, np.float64)
    fitted_to = X if fitted_to is None else np.asarray(fitted_to, np.float64)
    module = FeatureScaling(X.shape[1], dtype=torch.float64).fit(fitted_to, weights)
    return module(torch.from_numpy(X)).numpy()


class TestScaling:
    def test_normal_features_have_their_usual_scale(self):
        X = 7.0 + 3.0 * RNG.normal(size=(20_000, 1))
        z = (X - 7.0) / 3.0
        np.testing.assert_allclose(scaled(X), z / np.sqrt(1 + (z / 3) ** 2), atol=0.05)

    def test_other_units_make_no_difference(self):
        X = RNG.normal(size=(101, 3))
        other = X * [1e-9, 1.0, 1e12] + [0.0, 1e6, -1e10]
        np.testing.assert_allclose(scaled(other), scaled(X), atol=1e-6)

    def test_outliers_stay_in_bounds_and_in_order(self):
        X = np.append(RNG.normal(size=98), [1e10, 1e30])[:, None]
        Z = scaled(X).ravel()
        assert np.abs(Z).max() <= 3.0
        order = np.argsort(X.ravel(), kind="stable")
        assert (np.diff(Z[order]) >= 0).all()

    @pytest.mark.parametrize(
        ("column", "spread"),
        [
            (np.full(100, 5.0), 1.0),  # constant
            (np.repeat([0.0, 1.0], [95, 5]), 1 / 4.107),
            (np.repeat([0.0, 1.0], [99, 1]), 1 / 2.0),
            (np.repeat([0.0, 1.0], [50, 50]), 1 / 1.349),
        ],
        ids=["constant", "rare", "very rare", "half"],
    )
    def test_where_the_quartiles_are_equal_wider_quantiles_count(self, column, spread):
        module = FeatureScaling(1).fit(column[:, None])
        assert float(module.scale) == pytest.approx(spread)

    @given(st.lists(st.integers(0, 4), min_size=3, max_size=40).filter(lambda w: sum(w) > 2))
    def test_weights_count_as_repeated_rows(self, weights):
        X = np.random.default_rng(len(weights)).normal(size=(len(weights), 2)).round(1)
        repeated = np.repeat(X, weights, axis=0)
        kept = np.asarray(weights) > 0
        found = scaled(X, X[kept], np.asarray(weights, float)[kept] / 3.0)
        np.testing.assert_array_equal(found, scaled(X, repeated))

    def test_sparse_matrices_are_scaled_as_arrays(self):
        X = scipy.sparse.random(300, 40, 0.1, format="csr", random_state=0)
        a, b = FeatureScaling(40).fit(X), FeatureScaling(40).fit(X.toarray())
        for name, value in a.state_dict().items():
            assert torch.equal(value, b.state_dict()[name])

    def test_many_rows_are_represented_by_some(self):
        X = np.sort(RNG.normal(size=(200_000, 1)), axis=0)
        module = FeatureScaling(1).fit(X)
        assert float(module.center) == pytest.approx(0.0, abs=0.01)
        assert float(module.scale) == pytest.approx(1.0, abs=0.01)

    def test_before_fit_features_pass(self):
        X = torch.tensor([[1e20, -3.0]])
        assert torch.equal(FeatureScaling(2)(X), X)
        assert FeatureScaling(2)(X.double()).dtype == torch.float32

    @pytest.mark.parametrize("span", [1e6, 1e9, 1e13])
    def test_dates_in_nanoseconds_keep_their_digits(self, span):
        seconds = RNG.uniform(size=(500, 1))
        X = 1.7e18 + np.round(span * seconds)
        module = FeatureScaling(1).fit(X)
        assert input_dtype(nn.Sequential(module, nn.Linear(1, 1))) == torch.float64
        found = module(torch.from_numpy(X))
        assert found.dtype == torch.float32
        expected = scaled(X - 1.7e18)
        # the remainder of the centre is known up to rounding
        np.testing.assert_allclose(found.numpy(), expected, atol=0.01)

    def test_features_of_moderate_size_are_taken_as_float32(self):
        module = FeatureScaling(1).fit(1e9 * RNG.normal(size=(50, 1)) + 1e9)
        assert input_dtype(nn.Sequential(module, nn.Linear(1, 1))) == torch.float32


class TestEmbedding:
    def test_is_the_feature_and_functions_of_its_cosines(self):
        module, x = PeriodicEmbedding(2, 5, 3).double(), torch.randn(7, 2, dtype=torch.float64)
        found = module(x).unflatten(1, (2, 4))
        for j in range(2):
            cosines = torch.cos(x[:, [j]] * module.frequency[j] + module.phase[j])
            torch.testing.assert_close(found[:, j, 0], x[:, j])
            expected = cosines @ module.weight[j].T + module.bias[j]
            torch.testing.assert_close(found[:, j, 1:], expected)

    def test_sigma_is_the_spread_of_the_frequencies(self):
        module = PeriodicEmbedding(200, 100, sigma=0.3)
        assert float(module.frequency.detach().std()) == pytest.approx(2 * np.pi * 0.3, rel=0.02)

    def test_its_generator_is_the_only_source(self):
        a, b = (PeriodicEmbedding(3, generator=torch.Generator().manual_seed(1)) for _ in range(2))
        assert all(map(torch.equal, a.parameters(), b.parameters()))


def test_a_factor_learns_faster_than_its_parameter():
    module, x = FeatureWeights(2, rate=5.0), torch.tensor([[1.0, 2.0]])
    module(x).sum().backward()
    torch.testing.assert_close(module.weight.grad, 5.0 * x[0])


FEATURES = {
    "all": {"feature_scaling": True, "feature_embedding": True, "feature_weights": True},
    "scaling": {"feature_scaling": True},
    "embedding": {"feature_embedding": True},
    "weights": {"feature_weights": True},
}


def network(names, n_features=6, removed=(1, 4), **parameters):
    """A network in which no unit reads some features."""
    torch.manual_seed(0)
    module = MLP(n_features, 2, (5, 4), zero_output=False, **FEATURES[names], **parameters)
    if FEATURES[names].get("feature_scaling"):
        module.feature_scaling.fit(10.0 * RNG.normal(size=(50, n_features)) + 3.0)
    with torch.no_grad():
        block = module.hidden_0.weight.shape[1] // n_features
        for feature in removed:
            module.hidden_0.weight[:, feature * block : (feature + 1) * block] = 0.0
        module.hidden_0.weight[:, 2 * block + block - 1] = 0.0  # a part of an embedding
        module.hidden_0.weight[2] = 0.0
    return module.eval()


@pytest.mark.parametrize("names", FEATURES)
class TestNetworks:
    def test_are_chains(self, names):
        assert list(hidden_layers(network(names))) == ["hidden_0", "hidden_1"]

    def test_compaction_drops_features_that_nobody_reads(self, names):
        module, X = network(names), 10.0 * torch.randn(9, 6) + 3.0
        kept = {name: p.clone() for name, p in module.state_dict().items()}
        smaller, _ = compact(module)
        torch.testing.assert_close(smaller(X), module(X))
        expected = [True, False, names not in ("scaling", "weights"), True, False, True]
        assert feature_mask(smaller).tolist() == expected
        assert all(torch.equal(kept[name], p) for name, p in module.state_dict().items())
        count = sum(p.numel() for p in smaller.parameters())
        assert count < sum(p.numel() for p in module.parameters())
        again, _ = compact(smaller)
        torch.testing.assert_close(again(X), module(X))
        assert feature_mask(again).tolist() == expected
        smaller.double()(X.double())

    def test_a_feature_is_read_if_one_of_its_columns_is(self, names):
        module = network(names)
        read = (module.hidden_0.weight != 0).any(0)
        found = read_features(module, read).tolist()
        assert found == [True, False, names not in ("scaling", "weights"), True, False, True]

    def test_gradients_reach_every_parameter(self, names):
        module = network(names)
        module(torch.randn(3, 6)).pow(2).sum().backward()
        assert all(p.grad is not None for p in module.parameters())


def test_modules_elsewhere_keep_all_features():
    module = nn.Sequential(
        nn.Sequential(PeriodicEmbedding(2, size=1)), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 1)
    )
    with torch.no_grad():
        module[1].weight[:, :2] = 0.0
    X = torch.randn(5, 2)
    smaller, _ = compact(module)
    torch.testing.assert_close(smaller(X), module(X))


def test_the_fixed_part_is_scaling_and_selection():
    module = network("all")
    fixed, rest = fixed_part(module)
    X = torch.randn(4, 6)
    torch.testing.assert_close(rest(fixed(X)), module(X))
    assert [type(part) for part in fixed] == [FeatureScaling]
    fixed, rest = fixed_part(compact(module)[0])
    assert [type(part) for part in fixed] == [InputColumns, FeatureScaling]
    assert fixed_part(network("embedding")) is None
    assert fixed_part(nn.Linear(2, 1)) is None
