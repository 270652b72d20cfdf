"""What the next layer does about units that go."""

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from torch import nn

from skec import prune
from skec.calibration import OUTPUT_METRICS
from skec.compensation.units import UNIT_COMPENSATIONS, UnitCompensation
from skec.criteria.units import UnitCriterion

seeds = st.integers(0, 10_000)
METRICS = sorted(OUTPUT_METRICS)


def network(widths=(4, 7, 6, 3), activation=nn.Tanh, bias=True, seed=0):
    torch.manual_seed(seed)
    parts = []
    for n_in, n_out in pairwise(widths):
        parts += [nn.Linear(n_in, n_out, bias=bias), activation()]
    return nn.Sequential(*parts[:-1]).double()


def normalized(widths=(4, 7, 6, 3), bias=True, affine=True, seed=0, activation=nn.ReLU):
    """A network with batch normalisations that have seen something."""
    torch.manual_seed(seed)
    parts = []
    for n_in, n_out in pairwise(widths):
        norm = nn.BatchNorm1d(n_out, affine=affine)
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        if affine:
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias)
        parts += [nn.Linear(n_in, n_out, bias=bias), norm, nn.Dropout(0.5), activation()]
    return nn.Sequential(*parts[:-3]).double().eval()


def samples(n=31, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 4, generator=generator, dtype=torch.float64) + 0.5


class Chosen(UnitCriterion):
    """Removes the units that are given by layer, if the ratio is their share."""

    def __init__(self, removed):
        self.removed = removed

    def score(self, units, statistics, generator):
        score = torch.ones(len(units.weight), dtype=torch.float64)
        score[self.removed.get(units.name, [])] = 0.0
        return score


def remove(module, removed, compensation, X=None, params=None, **kwargs):
    """Remove units that are given by layer."""
    scope = {n: len(u) / len(module.get_submodule(n).weight) for n, u in removed.items()}
    return prune(
        module,
        X,
        pruning_ratio=0.0,
        granularity="neuron",
        method=Chosen(removed),
        compensation=compensation,
        compensation_params=params,
        scope=scope,
        **kwargs,
    ).module


def linear_layers(module):
    return {name: m for name, m in module.named_modules() if isinstance(m, nn.Linear)}


def parameters(layer):
    """Weight and bias as arrays, with zeros for a bias that is not there."""
    weight = layer.weight.detach().numpy().copy()
    bias = np.zeros(len(weight)) if layer.bias is None else layer.bias.detach().numpy().copy()
    return weight, bias


def rows_of(layer):
    weight = layer.weight.detach().numpy()
    return weight if layer.bias is None else np.column_stack([weight, layer.bias.detach().numpy()])


def by_hand(module, removed, take_over):
    """Weights and biases after units left; ``take_over`` gives the kept ones' new shares."""
    layers = linear_layers(module)
    found = {name: parameters(layer) for name, layer in layers.items()}
    names = list(layers)
    for name, next_name in pairwise(names):
        weight, _ = found[next_name]
        gone = removed.get(name, [])
        kept = [i for i in range(weight.shape[1]) if i not in gone]
        for j in gone:
            for k, share in zip(kept, take_over(name, kept, j), strict=True):
                weight[:, k] += share * weight[:, j]
        weight[:, gone] = 0.0
    for name, gone in removed.items():
        for part in found[name]:
            part[gone] = 0.0
    return found


def assert_parameters(module, expected, rtol=1e-9):
    for name, (weight, bias) in expected.items():
        found_weight, found_bias = parameters(module.get_submodule(name))
        np.testing.assert_allclose(found_weight, weight, rtol, 1e-12, err_msg=name)
        np.testing.assert_allclose(found_bias, bias, rtol, 1e-12, err_msg=name)


@st.composite
def choices(draw, widths=(7, 6), names=("0", "2")):
    """Units to remove of each layer, one at least staying."""
    return {
        name: sorted(draw(st.sets(st.integers(0, n - 1), max_size=n - 1)))
        for name, n in zip(names, widths, strict=True)
    }


class TestLBYL:
    @given(removed=choices(), ridge=st.sampled_from([1e-6, 0.3, 10.0]), bias=st.booleans())
    def test_is_a_ridge_regression_of_each_removed_unit_on_the_original_weights(
        self, removed, ridge, bias
    ):
        module = network(bias=bias)
        rows = {name: rows_of(layer) for name, layer in linear_layers(module).items()}

        def take_over(name, kept, j):
            regression = Ridge(alpha=ridge, fit_intercept=True, solver="svd")
            return regression.fit(rows[name][kept].T, rows[name][j]).coef_

        pruned = remove(module, removed, "lbyl", params={"ridge": ridge})
        expected = by_hand(module, removed, take_over)
        assert_parameters(pruned, expected, rtol=1e-6 if ridge == 1e-6 else 1e-9)
        assert all((layer.bias is not None) == bias for layer in linear_layers(pruned).values())

    def test_takes_a_ridge_of_three_tenths_unless_told_otherwise(self):
        module, removed = network(), {"0": [1, 2]}
        default = remove(module, removed, "lbyl")
        given_ = remove(module, removed, "lbyl", params={"ridge": 0.3})
        assert torch.equal(default[2].weight, given_[2].weight)
        other = remove(module, removed, "lbyl", params={"ridge": 0.2})
        assert not torch.allclose(default[2].weight, other[2].weight)

    @given(seed=seeds, unit=st.integers(0, 5))
    def test_a_unit_that_is_there_twice_is_not_missed(self, seed, unit):
        module = network((8, 6, 3), nn.ReLU, seed=seed)
        twin = (unit + 1) % 6
        with torch.no_grad():
            module[0].weight[twin] = module[0].weight[unit]
            module[0].bias[twin] = module[0].bias[unit]
        X = torch.randn(20, 8, dtype=torch.float64)
        pruned = remove(module, {"0": [unit]}, "lbyl", params={"ridge": 1e-10})
        torch.testing.assert_close(pruned(X), module(X), rtol=1e-6, atol=1e-7)

    @given(seed=seeds)
    def test_a_combination_of_others_is_not_missed_where_the_units_are_linear(self, seed):
        module = network((8, 6, 3), nn.Identity, seed=seed)
        with torch.no_grad():
            shares = torch.randn(4, dtype=torch.float64)
            module[0].weight[1] = shares @ module[0].weight[2:]
            module[0].bias[1] = shares @ module[0].bias[2:]
        X = torch.randn(20, 8, dtype=torch.float64)
        pruned = remove(module, {"0": [1]}, "lbyl", params={"ridge": 1e-11})
        torch.testing.assert_close(pruned(X), module(X), rtol=1e-6, atol=1e-6)

    def test_the_sign_of_a_unit_does_not_matter_to_what_is_linear(self):
        module = network((8, 6, 3), nn.Identity)
        with torch.no_grad():
            module[0].weight[1] = -2 * module[0].weight[4]
            module[0].bias[1] = -2 * module[0].bias[4]
        X = torch.randn(20, 8, dtype=torch.float64)
        pruned = remove(module, {"0": [1]}, "lbyl", params={"ridge": 1e-11})
        torch.testing.assert_close(pruned(X), module(X), rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize("value", [0, -1.0, float("nan"), "a", None])
    def test_the_ridge_is_positive(self, value):
        with pytest.raises(ValueError, match=f"ridge must be a positive number; got {value!r}"):
            UNIT_COMPENSATIONS.make("lbyl", {"ridge": value})

    def test_the_penalty_may_be_zero_but_not_negative(self):
        assert UNIT_COMPENSATIONS.make("lbyl", {"shift_penalty": 0}).shift_penalty == 0
        with pytest.raises(ValueError, match="shift_penalty must be a non-negative number; got -1"):
            UNIT_COMPENSATIONS.make("lbyl", {"shift_penalty": -1})


def affine(norm):
    """The numbers of a batch normalisation, as they are written in papers."""
    n = norm.num_features
    gamma = np.ones(n) if norm.weight is None else norm.weight.detach().numpy()
    beta = np.zeros(n) if norm.bias is None else norm.bias.detach().numpy()
    return gamma, beta, norm.running_mean.numpy(), np.sqrt(norm.running_var.numpy() + norm.eps)


NAMES = ("0", "4")  # of the hidden layers of a network with normalisations


def mean_before(module, name):
    """Normalisation after a layer, its bias taken into the mean."""
    layer = module.get_submodule(name)
    gamma, beta, mu, sigma = affine(module.get_submodule(str(int(name) + 1)))
    return gamma, beta, mu - parameters(layer)[1], sigma


class TestLBYLAfterBatchNorm:
    @given(
        removed=choices(names=NAMES),
        penalties=st.sampled_from([(0.3, 1e-5), (1e-3, 0.5), (2.0, 0.0)]),
        bias=st.booleans(),
        affine=st.booleans(),
    )
    def test_minimises_the_sum_of_three_squares(self, removed, penalties, bias, affine):
        module = normalized(bias=bias, affine=affine)
        weights = {n: parameters(layer)[0] for n, layer in linear_layers(module).items()}
        ridge, shift_penalty = penalties

        def take_over(name, kept, j):
            gamma, beta, mu, sigma = mean_before(module, name)
            V, w = weights[name][kept].T, weights[name][j]
            alpha = mu[kept] - sigma[kept] * beta[kept] / gamma[kept]
            K = gamma[j] / gamma[kept] * sigma[kept] / sigma[j]
            gain, root = gamma[j] / sigma[j], np.sqrt(shift_penalty)
            A = np.vstack([V, root * gain * alpha, np.sqrt(ridge) * np.diag(K)])
            shift = gain * mu[j] - beta[j]
            b = np.concatenate([w, [root * shift], np.zeros(len(kept))])
            return K * np.linalg.lstsq(A, b)[0]

        params = {"ridge": ridge, "shift_penalty": shift_penalty}
        pruned = remove(module, removed, "lbyl", params=params)
        assert_parameters(pruned, by_hand(module, removed, take_over), rtol=1e-8)

    def test_a_normalisation_without_parameters_is_one_with_ones_and_zeros(self):
        plain, written = normalized(affine=False), normalized(affine=True)
        with torch.no_grad():
            for i in (0, 1, 4, 5, 8):
                for name, value in plain[i].state_dict().items():
                    written[i].state_dict()[name].copy_(value)
            for i in (1, 5):
                nn.init.ones_(written[i].weight)
                nn.init.zeros_(written[i].bias)
        removed, X = {"0": [1, 3], "4": [0]}, samples()
        found, expected = (remove(m, removed, "lbyl") for m in (plain, written))
        torch.testing.assert_close(found(X), expected(X))
        assert not torch.allclose(found(X), plain(X))

    @given(seed=seeds, scale=st.sampled_from([1.0, 0.5, 3.0]), bias=st.booleans())
    def test_a_unit_that_is_there_twice_is_not_missed(self, seed, scale, bias):
        module = normalized((8, 6, 3), bias=bias, seed=seed)
        layer, norm = module[0], module[1]
        with torch.no_grad():  # the same outputs, up to a factor, by other numbers
            layer.weight[1] = 2.0 * layer.weight[4]
            if bias:
                layer.bias[1] = 2.0 * layer.bias[4]
            norm.running_mean[1] = 2.0 * norm.running_mean[4]
            norm.running_var[1] = 4.0 * (norm.running_var[4] + norm.eps) - norm.eps
            norm.weight[1], norm.bias[1] = scale * norm.weight[4], scale * norm.bias[4]
        X = torch.randn(20, 8, dtype=torch.float64)
        params = {"ridge": 1e-10, "shift_penalty": 1e-3}
        pruned = remove(module, {"0": [1]}, "lbyl", params=params)
        torch.testing.assert_close(pruned(X), module(X), rtol=1e-6, atol=1e-6)

    def test_kept_units_without_gain_take_nothing_over(self):
        module = normalized()
        with torch.no_grad():
            module[1].weight[[2, 5]] = 0.0
        removed = {"0": [0, 1]}
        pruned = remove(module, removed, "lbyl")
        changed = (pruned[4].weight != module[4].weight).all(0)
        assert changed.tolist() == [True, True, False, True, True, False, True]
        # the others do what they would do without them
        smaller = normalized()
        keep = [0, 1, 3, 4, 6]
        smaller[0] = nn.Linear(4, 5).double()
        smaller[1] = nn.BatchNorm1d(5).double().eval()
        smaller[4] = nn.Linear(5, 6).double()
        with torch.no_grad():
            smaller[0].weight.copy_(module[0].weight[keep])
            smaller[0].bias.copy_(module[0].bias[keep])
            for name, value in module[1].state_dict().items():
                if value.ndim:
                    smaller[1].state_dict()[name].copy_(value[keep])
            smaller[4].weight.copy_(module[4].weight[:, keep])
        expected = remove(smaller, {"0": [0, 1]}, "lbyl")[4].weight
        torch.testing.assert_close(pruned[4].weight[:, keep], expected)

    def test_removed_units_without_gain_are_spread_over_none(self):
        module = normalized((8, 6, 3))  # fewer units than inputs
        with torch.no_grad():
            module[1].weight[2] = 0.0
        pruned = remove(module, {"0": [2]}, "lbyl")
        keep = [0, 1, 3, 4, 5]
        torch.testing.assert_close(pruned[4].weight[:, keep], module[4].weight[:, keep])

    def test_removed_units_without_gain_may_be_among_more_units_than_inputs(self):
        module = normalized((2, 6, 3))
        with torch.no_grad():
            module[0].weight[:] = 1.0
            module[1].weight[2] = 0.0
        pruned = remove(module, {"0": [2]}, "lbyl")
        keep = [0, 1, 3, 4, 5]
        torch.testing.assert_close(pruned[4].weight[:, keep], module[4].weight[:, keep])

    def test_where_no_kept_unit_has_gain_nothing_is_taken_over(self):
        module = normalized()
        with torch.no_grad():
            module[1].weight[2:] = 0.0
        pruned = remove(module, {"0": [0, 1]}, "lbyl")
        assert torch.equal(pruned[4].weight[:, 2:], module[4].weight[:, 2:])

    def test_a_normalisation_after_the_activation_is_not_looked_at(self):
        module = normalized((4, 7, 3))
        after = nn.Sequential(module[0], module[3], module[1], module[4]).eval()
        plain = nn.Sequential(module[0], module[3], module[4])
        removed = {"0": [0, 4]}
        found, expected = remove(after, removed, "lbyl")[3], remove(plain, removed, "lbyl")[2]
        assert torch.equal(found.weight, expected.weight)


class TestMerging:
    @given(removed=choices(), threshold=st.sampled_from([0.0, 0.3, 0.6, 1.0]), bias=st.booleans())
    def test_gives_a_unit_to_the_one_most_like_it(self, removed, threshold, bias):
        module = network(bias=bias)
        rows = {name: rows_of(layer) for name, layer in linear_layers(module).items()}

        def take_over(name, kept, j):
            v, best, cosine = rows[name][j], None, threshold
            for k in kept:
                u = rows[name][k]
                found = v @ u / (np.linalg.norm(v) * np.linalg.norm(u))
                if found > cosine:
                    best, cosine = k, found
            ratio = 0.0 if best is None else np.linalg.norm(v) / np.linalg.norm(rows[name][best])
            return [ratio if k == best else 0.0 for k in kept]

        pruned = remove(module, removed, "merging", params={"threshold": threshold})
        assert_parameters(pruned, by_hand(module, removed, take_over))

    @given(
        removed=choices(names=NAMES),
        threshold=st.sampled_from([0.0, 0.5]),
        cosine_weight=st.sampled_from([0.0, 0.5, 0.85, 1.0]),
        bias=st.booleans(),
    )
    def test_after_a_normalisation_looks_at_its_shift_too(
        self, removed, threshold, cosine_weight, bias
    ):
        module = normalized(bias=bias)
        weights = {n: parameters(layer)[0] for n, layer in linear_layers(module).items()}

        def take_over(name, kept, j):
            gamma, beta, mu, sigma = mean_before(module, name)
            cosines, scales, shifts = [], [], []
            for k in kept:
                v, u = weights[name][j], weights[name][k]
                lengths = np.linalg.norm(v), np.linalg.norm(u)
                s = lengths[0] / lengths[1]
                cosines.append(v @ u / (lengths[0] * lengths[1]))
                scales.append(s * gamma[j] / gamma[k] * sigma[k] / sigma[j])
                origin = mu[k] - sigma[k] * beta[k] / gamma[k]
                shift = gamma[j] / sigma[j] * (s * origin - mu[j]) + beta[j]
                shifts.append(abs(shift) / scales[-1])
            cosines, shifts = np.array(cosines), np.array(shifts)
            shifts = (shifts - shifts.min()) / (np.ptp(shifts) or 1.0)
            best = np.argmin(cosine_weight * (1 - cosines) + (1 - cosine_weight) * shifts)
            if cosines[best] <= threshold:
                best = None
            return [scales[i] if i == best else 0.0 for i in range(len(kept))]

        params = {"threshold": threshold, "cosine_weight": cosine_weight}
        pruned = remove(module, removed, "merging", params=params)
        assert_parameters(pruned, by_hand(module, removed, take_over))

    @given(seed=seeds, scale=st.sampled_from([1.0, 0.25, 3.0]), unit=st.integers(0, 6))
    def test_a_unit_that_is_there_twice_is_not_missed(self, seed, scale, unit):
        module, X, twin = network(activation=nn.ReLU, seed=seed), samples(), (unit + 3) % 7
        with torch.no_grad():
            module[0].weight[twin] = scale * module[0].weight[unit]
            module[0].bias[twin] = scale * module[0].bias[unit]
        pruned = remove(module, {"0": [twin]}, "merging")
        torch.testing.assert_close(pruned(X), module(X), rtol=1e-9, atol=1e-12)

    def test_a_unit_that_is_there_twice_is_not_missed_after_a_normalisation(self):
        module, X = normalized(), samples()
        layer, norm = module[0], module[1]
        with torch.no_grad():
            layer.weight[1], layer.bias[1] = 2 * layer.weight[4], 2 * layer.bias[4]
            norm.running_mean[1] = 2 * norm.running_mean[4]
            norm.running_var[1] = 4 * (norm.running_var[4] + norm.eps) - norm.eps
            norm.weight[1], norm.bias[1] = 0.5 * norm.weight[4], 0.5 * norm.bias[4]
        pruned = remove(module, {"0": [1]}, "merging")
        torch.testing.assert_close(pruned(X), module(X), rtol=1e-9, atol=1e-12)

    def test_units_of_no_length_and_without_gain_do_no_harm(self):
        module, X = normalized(), samples()
        with torch.no_grad():
            module[0].weight[[0, 1]] = 0.0
            module[1].weight[[1, 2, 3]] = 0.0
        removed = {"0": [0, 2, 4]}
        pruned = remove(module, removed, "merging")
        assert torch.isfinite(pruned(X)).all()
        for k in (1, 3):  # they can stand in for none
            assert torch.equal(pruned[4].weight[:, k], module[4].weight[:, k])

    @pytest.mark.parametrize(
        ("params", "message"),
        [
            ({"threshold": 1.5}, r"in \[0, 1\]; got 1.5 and 0.85"),
            ({"cosine_weight": 2.0}, r"in \[0, 1\]; got 0.0 and 2.0"),
            ({"threshold": -0.1}, "threshold must be a non-negative number; got -0.1"),
            ({"cosine_weight": None}, "cosine_weight must be a non-negative number; got None"),
        ],
    )
    def test_parameters_lie_between_zero_and_one(self, params, message):
        with pytest.raises(ValueError, match=message):
            UNIT_COMPENSATIONS.make("merging", params)


def hidden(module, name):
    """Where the units of a layer of a plain network are, and what reads them."""
    i = int(name)
    return module[: i + 2], module[i + 2], module[i + 2 :]


def silence(module, name, units):
    """Let nothing read some units."""
    with torch.no_grad():
        hidden(module, name)[1].weight[:, units] = 0.0


def weights_for(weighted, n=31):
    generator = torch.Generator().manual_seed(3)
    return torch.rand(n, generator=generator).double() + 0.1 if weighted else None


def shares(w, n=31):
    return torch.full((n,), 1 / n, dtype=torch.float64) if w is None else w / w.sum()


class TestMean:
    @given(removed=choices(), weighted=st.booleans(), bias=st.booleans())
    def test_moves_the_bias_by_the_mean_of_what_goes(self, removed, weighted, bias):
        module, X, w = network(bias=bias), samples(), weights_for(weighted)
        pruned = remove(module, removed, "mean", X, sample_weight=w, batch_size=7)
        current = copy.deepcopy(module)
        for name, units in removed.items():
            head, reader, _ = hidden(current, name)
            constants = shares(w) @ head(X)
            if units and reader.bias is None:
                reader.bias = nn.Parameter(torch.zeros(len(reader.weight), dtype=torch.float64))
            with torch.no_grad():
                if units:
                    reader.bias += reader.weight[:, units] @ constants[units]
            silence(current, name, units)
        torch.testing.assert_close(pruned(X), current(X))
        for i in (2, 4):
            assert (pruned[i].bias is None) == (current[i].bias is None)
            kept = [j for j in range(len(current[i].weight)) if j not in removed.get(str(i), [])]
            torch.testing.assert_close(pruned[i].weight[kept], current[i].weight[kept])

    def test_a_constant_unit_is_not_missed(self):
        module, X = network(), samples()
        with torch.no_grad():
            module[0].weight[3], module[0].bias[3] = 0.0, 0.7
        pruned = remove(module, {"0": [3]}, "mean", X)
        torch.testing.assert_close(pruned(X), module(X), rtol=1e-12, atol=1e-12)


class TestBias:
    @pytest.mark.parametrize("metric", METRICS)
    @given(seed=seeds, weighted=st.booleans(), name=st.sampled_from(["0", "2"]), data=st.data())
    def test_is_the_constant_that_changes_the_outputs_least_to_first_order(
        self, metric, seed, weighted, name, data, roots
    ):
        module, X, w = network(seed=seed), samples(seed=seed), weights_for(weighted)
        j = data.draw(st.integers(0, 5))
        pruned = remove(module, {name: [j]}, "bias", X, sample_weight=w, output_metric=metric)
        head, reader, tail = hidden(module, name)
        h = head(X).detach()
        g = torch.func.vmap(torch.func.jacrev(tail))(h)[:, :, j].detach()
        g = torch.einsum("nkl,nl->nk", roots(module(X).detach(), w, metric), g)
        constant = np.linalg.lstsq(g.reshape(-1, 1).numpy(), (g * h[:, j, None]).flatten().numpy())[
            0
        ]
        shift = pruned.get_submodule(str(int(name) + 2)).bias - reader.bias
        expected = constant[0] * reader.weight[:, j]
        torch.testing.assert_close(shift, expected, rtol=1e-8, atol=1e-12)

    def test_constants_of_several_units_add_up(self):
        module, X = network(), samples()
        together = remove(module, {"0": [1, 4, 5]}, "bias", X)
        alone = [remove(module, {"0": [j]}, "bias", X)[2].bias - module[2].bias for j in (1, 4, 5)]
        torch.testing.assert_close(together[2].bias - module[2].bias, sum(alone))

    def test_the_second_layer_counts_what_the_first_has_left(self):
        module, X = network(), samples()
        both = remove(module, {"0": [0, 2], "2": [1, 3]}, "bias", X)
        first = remove(module, {"0": [0, 2]}, "bias", X)
        then = remove(first, {"2": [1, 3]}, "bias", X)
        torch.testing.assert_close(both(X), then(X))

    def test_a_layer_without_bias_gets_one_if_something_went(self):
        module, X = network(bias=False), samples()
        pruned = remove(module, {"2": [1]}, "bias", X)
        assert [pruned[i].bias is None for i in (0, 2, 4)] == [True, True, False]
        assert pruned[4].bias.dtype == torch.float64
        assert pruned[4].bias.requires_grad

    def test_a_constant_unit_is_not_missed(self):
        module, X = network(), samples()
        with torch.no_grad():
            module[2].weight[3], module[2].bias[3] = 0.0, 0.7
        pruned = remove(module, {"2": [3]}, "bias", X)
        torch.testing.assert_close(pruned(X), module(X), rtol=1e-12, atol=1e-12)


class TestLeastSquares:
    @given(
        removed=choices(),
        weighted=st.booleans(),
        bias=st.booleans(),
        damping=st.sampled_from([1e-4, 1e-2, 10.0]),
    )
    def test_fits_layer_after_layer_to_the_dense_network(self, removed, weighted, bias, damping):
        module, X, w = network(bias=bias), samples(60), weights_for(weighted, 60)
        params = {"damping": damping}
        pruned = remove(module, removed, "least_squares", X, params, sample_weight=w, batch_size=13)
        current = network(bias=True)
        for i in (0, 2, 4):
            with torch.no_grad():
                for part, value in zip(
                    (current[i].weight, current[i].bias), parameters(module[i]), strict=True
                ):
                    part.copy_(torch.tensor(value))
        root = shares(w, 60).sqrt().numpy()[:, None]
        for name, units in removed.items():
            head, reader, _ = hidden(current, name)
            kept = [k for k in range(reader.in_features) if k not in units]
            h = head(X).detach().numpy()[:, kept]  # of the network as it is by now
            z = module[: int(name) + 3](X).detach().numpy()  # of the dense one
            W = parameters(reader)[0][:, kept]
            variances = [np.cov(c, aweights=root[:, 0] ** 2, bias=True) for c in h.T]
            ridge = np.sqrt(damping * np.mean(variances))
            A = np.block([[root * h, root], [ridge * np.eye(len(kept)), np.zeros((len(kept), 1))]])
            theta = np.linalg.lstsq(A, np.vstack([root * z, ridge * W.T]))[0]
            with torch.no_grad():
                reader.weight.zero_()
                reader.weight[:, kept] = torch.tensor(theta[:-1].T)
                reader.bias.copy_(torch.tensor(theta[-1]))
        expected = {n: parameters(layer) for n, layer in linear_layers(current).items()}
        for name, units in removed.items():
            for part in expected[name]:
                part[units] = 0.0
        assert_parameters(pruned, expected, rtol=1e-6)

    @pytest.mark.parametrize("damping", [1e-6, 1e-2, 100.0])
    def test_changes_nothing_if_nothing_goes(self, damping):
        module, X = network(), samples()
        pruned = prune(
            module,
            X,
            pruning_ratio=0.0,
            granularity="neuron",
            method="l2",
            compensation="least_squares",
            compensation_params={"damping": damping},
            n_steps=3,
        ).module
        for found, expected in zip(pruned.parameters(), module.parameters(), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)

    @given(seed=seeds)
    def test_units_that_follow_from_those_kept_are_not_missed(self, seed):
        module = network((4, 9, 3), nn.Identity, seed=seed)
        with torch.no_grad():
            nn.init.orthogonal_(module[0].weight[:4])
        X = samples(40, seed)
        removed = {"0": [4, 5, 6, 7, 8]}  # the four that stay span what there is
        pruned = remove(module, removed, "least_squares", X, {"damping": 1e-11})
        torch.testing.assert_close(pruned(X), module(X), rtol=1e-6, atol=1e-6)

    @given(seed=seeds)
    def test_a_duplicate_is_not_missed_in_any_layer(self, seed):
        module, X = network(activation=nn.ReLU, seed=seed), samples(60, seed)
        with torch.no_grad():
            for i, unit, twin in ((0, 2, 5), (2, 1, 3)):
                module[i].weight[twin] = module[i].weight[unit]
                module[i].bias[twin] = module[i].bias[unit]
        pruned = remove(module, {"0": [5], "2": [1]}, "least_squares", X, {"damping": 1e-11})
        torch.testing.assert_close(pruned(X), module(X), rtol=1e-5, atol=1e-5)

    def test_is_closer_to_the_dense_network_than_the_rest(self):
        module, X = network((4, 20, 12, 3)), samples(300)
        removed = {"0": list(range(8)), "2": list(range(5))}
        errors = {
            name: float((remove(module, removed, name, X)(X) - module(X)).square().sum().detach())
            for name in UNIT_COMPENSATIONS
        }
        assert min(errors, key=errors.get) == "least_squares"
        assert errors["mean"] < errors["none"]

    def test_the_damping_is_positive(self):
        with pytest.raises(ValueError, match="damping must be a positive number; got 0"):
            UNIT_COMPENSATIONS.make("least_squares", {"damping": 0})


def test_none_leaves_the_rest_as_it_is():
    module, removed = network(), {"0": [1], "2": [0, 2]}
    expected = by_hand(module, removed, lambda name, kept, j: [0.0] * len(kept))
    assert_parameters(remove(module, removed, "none"), expected, rtol=0)


@pytest.mark.parametrize("name", ["none", "lbyl", "merging"])
def test_compensations_that_need_no_data_do_not_look_at_them(name):
    module, removed = network(), {"0": [1, 2], "2": [0]}
    without = remove(module, removed, name)
    for X in (samples(), "not looked at"):
        found = remove(module, removed, name, X)
        assert all(map(torch.equal, found.parameters(), without.parameters()))


@pytest.mark.parametrize("name", ["mean", "bias", "least_squares"])
def test_compensations_that_need_data_say_so(name):
    with pytest.raises(ValueError, match=r"needs calibration data; got X=None\. Pass X, or"):
        remove(network(), {"0": [1]}, name)


@pytest.mark.parametrize("name", ["mean", "bias", "least_squares"])
def test_integer_sample_weights_equal_repetition(name):
    module, X, removed = network(), samples(), {"0": [0, 4], "2": [3, 5]}
    counts = torch.randint(1, 4, (31,), generator=torch.Generator().manual_seed(0))
    found = remove(module, removed, name, X, sample_weight=counts, batch_size=9)
    repeated = remove(module, removed, name, X.repeat_interleave(counts, 0))
    torch.testing.assert_close(found(X), repeated(X), rtol=1e-9, atol=1e-12)


class Recording(UnitCompensation):
    """Keeps what it is given."""

    def __init__(self):
        self.checked, self.seen = [], []

    def check(self, units):
        self.checked.append(units.name)

    def restore(self, units, removed, statistics):
        self.seen.append((units, removed))
        return units.next_weight, units.next_bias


def test_an_own_compensation_is_asked_layer_by_layer():
    own, module = Recording(), network()
    removed = {"0": [1, 2], "2": [4]}
    remove(module, removed, own)
    assert own.checked == ["0", "2"]
    for (units, gone), (name, expected) in zip(own.seen, removed.items(), strict=True):
        assert units.name == name
        assert torch.nonzero(gone).flatten().tolist() == expected
        assert torch.equal(units.weight, module.get_submodule(name).weight)
        assert units.kept.all()


def test_a_compensation_is_asked_about_units_that_go_now():
    own = Recording()
    kwargs = {"granularity": "neuron", "method": "l2", "pruning_ratio": 0.6, "n_steps": 3}
    result = prune(network((4, 12, 3)), compensation=own, **kwargs)
    kept = torch.ones(12, dtype=torch.bool)
    for units, removed in own.seen:
        assert removed.any()
        assert torch.equal(units.kept, kept)
        assert (units.kept | ~removed).all()
        kept = kept & ~removed
    assert len(own.seen) == 3
    assert torch.equal(result.unit_masks["0"], kept)


def test_an_own_compensation_may_refuse():
    class Refusing(Recording):
        def check(self, units):
            raise ValueError(f"no to {units.name}")

    with pytest.raises(ValueError, match="no to 0"):
        remove(network(), {"0": [1]}, Refusing())
