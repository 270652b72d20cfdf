"""Scores of units."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from sklearn.isotonic import isotonic_regression
from torch import nn
from torch.func import jacrev, vmap

from skec import prune
from skec.calibration import OUTPUT_METRICS
from skec.criteria.units import UNIT_CRITERIA, UnitCriterion
from skec.networks import hidden_layers, units_of

seeds = st.integers(0, 10_000)
METRICS = sorted(OUTPUT_METRICS)


def network(seed=0, bias=True, activation=nn.Tanh):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(4, 7, bias=bias), activation(), nn.Linear(7, 6, bias=bias), activation(),
        nn.Linear(6, 3, bias=bias),
    ).double()  # fmt: skip


def samples(n=31, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 4, generator=generator, dtype=torch.float64) + 0.5


def weights_for(weighted, n=31):
    generator = torch.Generator().manual_seed(3)
    return torch.rand(n, generator=generator).double() + 0.1 if weighted else None


def scores_of(module, method, X=None, **kwargs):
    kwargs = {"pruning_ratio": 0.0, "granularity": "neuron"} | kwargs
    scores = prune(module, X, method=method, compensation="none", **kwargs).scores
    return {name: score.detach() for name, score in scores.items()}


def rows_of(layer):
    weight = layer.weight.detach().numpy()
    return weight if layer.bias is None else np.column_stack([weight, layer.bias.detach().numpy()])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("method", "truth"),
    [
        ("l1", lambda rows: np.linalg.norm(rows, 1, axis=1)),
        ("l2", lambda rows: np.linalg.norm(rows, axis=1)),
        ("geometric_median", lambda rows: cdist(rows, rows).sum(1)),
    ],
)
def test_norms_and_distances_are_those_of_weights_and_bias(method, truth, bias):
    module = network(bias=bias)
    for name, score in scores_of(module, method).items():
        np.testing.assert_allclose(score, truth(rows_of(module.get_submodule(name))))


def test_distances_are_to_the_units_that_are_left():
    module, kept = network(), torch.tensor([True, False, True, True, False, True, True])
    units = units_of(module, hidden_layers(module)["0"], kept)
    rows, left = rows_of(module[0]), kept.numpy()
    found = UNIT_CRITERIA.make("geometric_median").score(units, None, None).detach()
    np.testing.assert_allclose(found[kept], cdist(rows[left], rows[left]).sum(1))


def test_distances_of_units_that_lie_close_keep_their_digits():
    module = network()
    with torch.no_grad():
        module[0].weight[:] = 1e3 + 1e-6 * torch.arange(7.0).double()[:, None]
        module[0].bias.zero_()
    expected = [2e-6 * sum(abs(i - j) for j in range(7)) for i in range(7)]
    np.testing.assert_allclose(scores_of(module, "geometric_median")["0"], expected, rtol=1e-6)


def test_random_scores_are_uniform_and_follow_the_random_state():
    torch.manual_seed(0)
    wide = nn.Sequential(nn.Linear(1, 4000), nn.ReLU(), nn.Linear(4000, 1))
    first, again, other = (
        scores_of(wide, "random", random_state=seed)["0"].flatten().sort().values
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    ranks = torch.arange(4000, dtype=torch.float64) / 4000
    assert (first - ranks).abs().max() < 0.04  # Kolmogorov-Smirnov, p < 1e-5


def matrices(outputs, metric):
    if metric == "identity":
        return torch.eye(outputs.shape[1], dtype=outputs.dtype).expand(len(outputs), -1, -1)
    p = torch.softmax(outputs, 1)
    return torch.diag_embed(p) - p[:, :, None] * p[:, None, :]


@pytest.mark.parametrize("metric", METRICS)
class TestEliminationCompensation:
    @given(seed=seeds, weighted=st.booleans(), batch_size=st.integers(5, 40))
    def test_is_the_error_left_by_the_best_constant(self, metric, seed, weighted, batch_size):
        module, X, w = network(seed), samples(seed=seed), weights_for(weighted)
        scores = scores_of(
            module, "ec", X, sample_weight=w, output_metric=metric, batch_size=batch_size
        )
        share = torch.full((31,), 1 / 31).double() if w is None else w / w.sum()
        M = matrices(module(X).detach(), metric)
        for i, score in zip((2, 4), scores.values(), strict=True):
            h = module[:i](X).detach()
            g = vmap(jacrev(module[i:]))(h).detach()  # of each sample, (n, n_outputs, n_units)
            change, step = g * h[:, None, :], g
            both = torch.einsum("n,nkj,nkl,nlj->j", share, change, M, step)
            square = torch.einsum("n,nkj,nkl,nlj->j", share, step, M, step)
            left = change - step * (both / square)
            expected = torch.einsum("n,nkj,nkl,nlj->j", share, left, M, left)
            torch.testing.assert_close(score, expected, rtol=1e-7, atol=1e-14)

    def test_what_is_constant_or_not_felt_costs_nothing(self, metric):
        module, X = network(), samples()
        with torch.no_grad():
            module[0].weight[3] = 0.0
            module[2].weight[:, 5] = 0.0
        score = scores_of(module, "ec", X, output_metric=metric)["0"]
        assert score[[3, 5]].max() < 1e-25
        assert score[[0, 1, 2, 4, 6]].min() > 1e-6


class Cost:
    """The error of the next layer's fit by some units, by way of the outputs."""

    def __init__(self, module, X, w, i, metric, damping):
        self.share = torch.full((len(X),), 1 / len(X)).double() if w is None else w / w.sum()
        self.h, self.z = module[:i](X).detach().numpy(), module[: i + 1](X).detach().numpy()
        self.W = module[i].weight.detach().numpy()
        g = vmap(jacrev(module[i + 1 :]))(torch.tensor(self.z)).detach()
        M = matrices(module(X).detach(), metric)
        self.G = torch.einsum("n,nki,nkl,nlj->ij", self.share, g, M, g).numpy()
        variances = np.cov(self.h.T, aweights=self.share.numpy(), bias=True).diagonal()
        self.ridge = damping * variances.mean()

    def __call__(self, units):
        root, n = np.sqrt(self.share.numpy())[:, None], self.h.shape[1]
        pull = np.sqrt(self.ridge) * np.eye(n)
        A = np.block([[root * self.h[:, units], root], [pull[:, units], np.zeros((n, 1))]])
        b = np.vstack([root * self.z, pull @ self.W.T])
        left = A @ np.linalg.lstsq(A, b)[0] - b
        return np.einsum("ni,ij,nj->", left, self.G, left)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("damping", [1e-2, 1e-5])
def test_elimination_removes_one_by_one_what_the_outputs_miss_least(metric, weighted, damping):
    module, X, w = network(), samples(), weights_for(weighted)
    scores = scores_of(
        module,
        "elimination",
        X,
        sample_weight=w,
        output_metric=metric,
        method_params={"damping": damping},
        batch_size=9,
    )
    for i, score in zip((2, 4), scores.values(), strict=True):
        cost, units = Cost(module, X, w, i, metric, damping), list(range(len(score)))
        assert len(set(score.tolist())) == len(units)
        error, costs = cost(units), []
        order = score.argsort().tolist()
        for j in order:
            without = {k: cost([u for u in units if u != k]) for k in units}
            assert min(without, key=without.get) == j
            costs.append(without[j] - error)
            error = without[j]
            units.remove(j)
        expected = isotonic_regression(costs)  # what is cheap only because another went shares
        np.testing.assert_allclose(score[order], expected, rtol=1e-5, atol=1e-13)


def test_elimination_without_damping_is_refused():
    with pytest.raises(ValueError, match="damping must be a positive number; got 0"):
        UNIT_CRITERIA.make("elimination", {"damping": 0})


@pytest.mark.parametrize("method", ["ec", "elimination"])
@pytest.mark.parametrize("metric", METRICS)
def test_integer_sample_weights_equal_repetition(method, metric):
    module, X = network(), samples()
    counts = torch.randint(1, 4, (31,), generator=torch.Generator().manual_seed(0))
    found = scores_of(module, method, X, sample_weight=counts, batch_size=9, output_metric=metric)
    repeated = scores_of(module, method, X.repeat_interleave(counts, 0), output_metric=metric)
    for name, score in repeated.items():
        torch.testing.assert_close(found[name], score, rtol=1e-8, atol=1e-14)


@pytest.mark.parametrize("method", ["ec", "elimination"])
def test_scores_grow_with_the_square_of_the_outputs(method):
    module, X = network(), samples()
    larger = copy.deepcopy(module)
    with torch.no_grad():
        larger[4].weight *= 3
        larger[4].bias *= 3
    expected, found = scores_of(module, method, X), scores_of(larger, method, X)
    for name, score in expected.items():
        torch.testing.assert_close(found[name], 9 * score, rtol=1e-8, atol=1e-14)


@pytest.mark.parametrize("method", ["ec", "elimination"])
def test_probes_see_about_what_all_outputs_say(method):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 40)).double()
    X = samples(200)
    kwargs = {"method": method, "pruning_ratio": 0.5, "granularity": "neuron", "random_state": 0}
    exact = prune(module, X, n_probes=None, **kwargs)
    few, many = (prune(module, X, n_probes=n, **kwargs) for n in (8, 512))
    assert exact.probe_error is None
    assert (
        prune(module, X, **kwargs).probe_error
        == prune(module, X, n_probes=16, **kwargs).probe_error
    )  # more than 32 outputs
    assert 0 < many.probe_error < 0.01 < few.probe_error < 0.1
    assert few.probe_error / many.probe_error == pytest.approx(8, rel=0.2)
    for probed in (few, many):
        error = (probed.scores["0"] / exact.scores["0"] - 1).abs().mean()
        assert error < 5 * probed.probe_error


@pytest.mark.parametrize("method", ["l1", "l2", "geometric_median", "random"])
def test_scores_without_statistics_have_no_probe_error(method):
    module = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 40)).double()
    result = prune(module, samples(), method=method, pruning_ratio=0.5, granularity="neuron")
    assert result.probe_error is None


@pytest.mark.parametrize("method", sorted(UNIT_CRITERIA))
def test_scores_are_plain_numbers(method):
    module, X = network(), samples()
    kwargs = {"method": method, "pruning_ratio": 0.5, "granularity": "neuron", "random_state": 0}
    result, again = prune(module, X, **kwargs), prune(module, X, **kwargs)
    for name, score in result.scores.items():
        assert not score.requires_grad
        score.zero_()
        assert again.scores[name].any()
    assert torch.equal(prune(module, X, **kwargs).module(X), again.module(X))


class Outgoing(UnitCriterion):
    """How much the next layer reads of a unit."""

    compensation = "mean"

    def score(self, units, statistics, generator):
        return units.next_weight.detach().abs().sum(0)


def test_an_own_criterion_brings_its_compensation():
    module, X = network(), samples()
    kwargs = {"pruning_ratio": 0.5, "granularity": "neuron"}
    found = prune(module, X, method=Outgoing(), **kwargs)
    for i, name in ((2, "0"), (4, "2")):
        torch.testing.assert_close(found.scores[name], module[i].weight.detach().abs().sum(0))
    expected = prune(module, X, method=Outgoing(), compensation="mean", **kwargs).module
    assert torch.equal(found.module(X), expected(X))
    assert found.predicted_error is None


def test_units_carry_their_weights_bias_and_readers():
    module = network()
    kept = torch.ones(7, dtype=torch.bool)
    units = units_of(module, hidden_layers(module)["0"], kept)
    assert torch.equal(units.rows, torch.cat([module[0].weight, module[0].bias[:, None]], 1))
    assert torch.equal(units.next_weight, module[2].weight)
    assert torch.equal(units.next_bias, module[2].bias)
    assert units.normalization is None
    without = replace(units, bias=None)
    assert torch.equal(without.rows, module[0].weight)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_units_stay_what_they_were(dtype):
    module = network().to(dtype)
    units = units_of(module, hidden_layers(module)["0"], torch.ones(7, dtype=torch.bool))
    before = units.weight.clone(), units.next_weight.clone(), units.bias.clone()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    after = units.weight, units.next_weight, units.bias
    assert all(map(torch.equal, after, before))
    assert not any(part.requires_grad for part in after)
    assert all(part.dtype == torch.float64 for part in after)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_a_normalisation_is_the_function_that_the_network_computes(affine, bias):
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(5, affine=affine, eps=0.1)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    if affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    layer = nn.Linear(4, 5, bias=bias)
    module = nn.Sequential(layer, nn.Dropout(), norm, nn.ReLU(), nn.Linear(5, 2)).double().eval()
    units = units_of(module, hidden_layers(module)["0"], torch.ones(5, dtype=torch.bool))
    X = samples()
    for numbers, z in (
        (units.normalization, layer(X)),
        (units.normalization.of_pre_activations(units.bias), X @ layer.weight.t()),
    ):
        found = numbers.gamma * (z - numbers.mu) / numbers.sigma + numbers.beta
        torch.testing.assert_close(found, module[:3](X))
