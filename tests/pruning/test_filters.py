"""Filters of convolutional networks: their scores, what makes up for them, and smaller networks."""

import copy
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import isotonic_regression
from sklearn.linear_model import Ridge
from torch import nn
from torch.func import jacrev, vmap

import skec.networks.patches
from skec import compact, prune
from skec.calibration import OUTPUT_METRICS
from skec.compensation.units import UNIT_COMPENSATIONS
from skec.criteria.units import UNIT_CRITERIA, UnitCriterion
from skec.networks import (
    HiddenLayer,
    InputColumns,
    NotAChain,
    chain_of_layers,
    feature_mask,
    hidden_layers,
)

METRICS = sorted(OUTPUT_METRICS)


def randomized(module):
    """Normalisations that have seen something."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2.0)
            if part.affine:
                nn.init.uniform_(part.weight, 0.5, 1.5)
                nn.init.normal_(part.bias)
    return module.double().eval()


def plain(padding=1, bias=True, activation=nn.Tanh, seed=0, mode="zeros", stride=1, kernel=2):
    """Filters that are read by a convolution, and by a linear layer that reads their maps."""
    torch.manual_seed(seed)
    module = nn.Sequential(
        nn.Conv2d(2, 5, 3, bias=bias), activation(), nn.MaxPool2d(2, stride=1),
        nn.Conv2d(5, 4, kernel, bias=bias, padding=padding, padding_mode=mode, stride=stride),
        activation(), nn.Flatten(), nn.LazyLinear(3, bias=bias),
    )  # fmt: skip
    module(torch.zeros(1, 2, 5, 5))
    return module.double()


READERS = {"0": 3, "3": 6}  # of the layers of a plain network
ONE_BY_ONE = pytest.param(
    {"kernel": 1, "padding": 0},
    id="one by one",
)
GEOMETRIES = [
    pytest.param({"padding": 0}, id="valid"),
    pytest.param({"padding": 1, "bias": False}, id="padded, no bias"),
    pytest.param({"padding": 1, "mode": "replicate", "stride": 2}, id="replicated, stride"),
    pytest.param({"padding": 1, "kernel": (1, 3)}, id="rectangular"),
    ONE_BY_ONE,
]


def normalized(seed=0, bias=True):
    torch.manual_seed(seed)
    return randomized(
        nn.Sequential(
            nn.Conv2d(2, 6, 3, bias=bias, padding=1), nn.BatchNorm2d(6), nn.ReLU(),
            nn.MaxPool2d(2), nn.Conv2d(6, 5, 2, bias=bias), nn.Dropout2d(), nn.BatchNorm2d(5),
            nn.ReLU(), nn.AvgPool2d(2, stride=1, padding=1), nn.Flatten(), nn.Linear(20, 7),
            nn.ReLU(), nn.Linear(7, 3),
        )
    )  # fmt: skip


def samples(n=31, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 2, 5, 5, generator=generator, dtype=torch.float64) + 0.5


def weights_for(weighted, n=31):
    generator = torch.Generator().manual_seed(3)
    return torch.rand(n, generator=generator).double() + 0.1 if weighted else None


def shares(w, n=31):
    return torch.full((n,), 1 / n, dtype=torch.float64) if w is None else w / w.sum()


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


def scores_of(module, method, X=None, **kwargs):
    kwargs = {"pruning_ratio": 0.0, "granularity": "neuron", "compensation": "none"} | kwargs
    return prune(module, X, method=method, **kwargs).scores


def biases(layer):
    zeros = torch.zeros(len(layer.weight), dtype=torch.float64)
    return zeros if layer.bias is None else layer.bias.detach()


def what_is_met(reader, inputs):
    """By filters with a single one, shape (n_samples, n_positions, n_in)."""
    if isinstance(reader, nn.Linear):
        return inputs[:, None]
    probe, n_in = copy.deepcopy(reader), reader.weight[0].numel()
    probe.weight = nn.Parameter(torch.eye(n_in).to(inputs).view(n_in, *reader.weight.shape[1:]))
    probe.bias = None
    return probe(inputs).detach().flatten(2).mT


def columns_of(reader, n_units, units):
    """Columns of a reader's matrix by which it reads some units."""
    block = reader.weight[0].numel() // n_units
    return [unit * block + i for unit in units for i in range(block)]


# -- scores ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["l1", "l2", "geometric_median"])
@pytest.mark.parametrize("bias", [True, False])
def test_norms_and_distances_are_those_of_filter_and_bias(method, bias):
    module = plain(bias=bias)
    for name, found in scores_of(module, method).items():
        layer = module.get_submodule(name)
        rows = layer.weight.detach().flatten(1)
        if bias:
            rows = torch.cat([rows, biases(layer)[:, None]], 1)
        expected = {
            "l1": rows.abs().sum(1),
            "l2": rows.square().sum(1).sqrt(),
            "geometric_median": (rows[:, None] - rows).square().sum(2).sqrt().sum(1),
        }
        torch.testing.assert_close(found.detach(), expected[method])


class TestEliminationCompensation:
    def expected(self, module, X, w, metric, i, n_units, roots):
        """The least error by a constant in the place of a map, and that constant."""
        h = module[:i](X).detach()
        g = vmap(jacrev(lambda h: module[i:](h[None])[0]))(h).detach()
        g = torch.einsum("nkl,nl...->nk...", roots(module(X).detach(), w, metric), g)
        g = g.reshape(*g.shape[:2], n_units, -1)
        h = h.reshape(len(h), 1, n_units, -1)
        by_constant, by_map = g.sum(3).flatten(0, 1), (g * h).sum(3).flatten(0, 1)
        errors, constants = [], []
        for j in range(n_units):
            d, d_map = by_constant[:, j : j + 1].numpy(), by_map[:, j].numpy()
            c = np.linalg.lstsq(d, d_map)[0]
            errors.append(np.square(d @ c - d_map).sum())
            constants.append(c[0])
        return np.array(errors), constants

    @pytest.mark.parametrize("metric", METRICS)
    @pytest.mark.parametrize("geometry", GEOMETRIES)
    @pytest.mark.parametrize("weighted", [False, True])
    def test_is_the_error_left_by_the_best_constant(self, metric, geometry, weighted, roots):
        module, X, w = plain(**geometry), samples(), weights_for(weighted)
        scores = scores_of(module, "ec", X, sample_weight=w, output_metric=metric, batch_size=9)
        for name, i in READERS.items():
            expected, _ = self.expected(module, X, w, metric, i, len(scores[name]), roots)
            np.testing.assert_allclose(scores[name], expected, rtol=1e-7, atol=1e-14)

    def test_is_so_on_one_dimension(self, roots):
        torch.manual_seed(0)
        module = nn.Sequential(
            nn.Conv1d(2, 4, 3), nn.Sigmoid(), nn.Conv1d(4, 3, 2, dilation=2), nn.Flatten(),
            nn.Linear(63, 2),
        ).double()  # fmt: skip
        X = samples().flatten(2)
        score = scores_of(module, "ec", X)["0"]
        expected, _ = self.expected(module, X, None, "identity", 2, 4, roots)
        np.testing.assert_allclose(score, expected, rtol=1e-8)

    def test_what_is_constant_or_not_felt_costs_nothing(self):
        module, X = plain(0), samples()
        with torch.no_grad():
            module[0].weight[3] = 0.0
            module[3].weight[:, 1] = 0.0
        score = scores_of(module, "ec", X)["0"]
        assert score[[1, 3]].max() < 1e-25
        assert score[[0, 2, 4]].min() > 1e-7

    def test_a_large_offset_of_a_map_costs_no_digits(self):
        module, X = plain(0, activation=nn.Identity), samples()
        expected = scores_of(module, "ec", X)["0"]
        with torch.no_grad():
            module[0].bias += 2.0**20
            module[3].bias -= 2.0**20 * module[3].weight.flatten(1).sum(1)
        torch.testing.assert_close(scores_of(module, "ec", X)["0"], expected, rtol=1e-6, atol=0)

    @pytest.mark.parametrize("padding", [0, 1])
    @pytest.mark.parametrize("metric", METRICS)
    @pytest.mark.parametrize("name", sorted(READERS))
    def test_the_bias_takes_in_that_constant_as_the_reader_sees_it(
        self, name, metric, padding, roots
    ):
        module, X, w = plain(padding), samples(), weights_for(True)
        i, n_units = READERS[name], len(module.get_submodule(name).weight)
        _, constants = self.expected(module, X, w, metric, i, n_units, roots)
        for j in range(n_units):
            pruned = remove(module, {name: [j]}, "bias", X, sample_weight=w, output_metric=metric)
            h = module[:i](X[:1]).detach()
            maps = torch.zeros_like(h).view(n_units, -1)
            maps[j] = float(constants[j])
            change = module[i](maps.view_as(h)) - module[i](torch.zeros_like(h))
            expected = change.detach().view(len(module[i].weight), -1).mean(1)
            torch.testing.assert_close(pruned[i].bias - module[i].bias, expected)

    def test_the_bias_of_circular_padding_takes_in_all_of_it(self):
        module, X = plain(1, mode="circular"), samples()
        pruned = remove(module, {"0": [2]}, "bias", X)
        shift = (pruned[3].bias - module[3].bias) / module[3].weight[:, 2].sum((1, 2))
        torch.testing.assert_close(shift, shift[:1].expand(4))

    @pytest.mark.parametrize("method", ["ec", "elimination"])
    def test_probes_see_about_what_all_outputs_say(self, method):
        torch.manual_seed(0)
        module = nn.Sequential(
            nn.Conv2d(2, 5, 3), nn.Tanh(), nn.Conv2d(5, 4, 2), nn.Tanh(), nn.Flatten(),
            nn.Linear(16, 40),
        ).double()  # fmt: skip
        X, kwargs = samples(200), {"granularity": "neuron", "pruning_ratio": 0.5, "method": method}
        exact = prune(module, X, n_probes=None, **kwargs)
        few, many = (prune(module, X, n_probes=n, random_state=0, **kwargs) for n in (8, 128))
        assert few.probe_error / many.probe_error == pytest.approx(4, rel=0.2)
        for probed in (few, many):
            for name, score in exact.scores.items():
                error = (probed.scores[name] / score - 1).abs().mean()
                assert error < 5 * probed.probe_error


class Cost:
    """The error of a reader's fit by some units, at all positions, by way of the outputs."""

    def __init__(self, module, X, w, i, n_units, metric, damping):
        reader, w, self.n_units = module[i], shares(w), n_units
        h, self.reader = module[:i](X).detach(), reader
        met, z = what_is_met(reader, h), reader(h).detach()
        self.z = z.reshape(len(z), len(reader.weight), -1).mT.flatten(0, 1).numpy()
        self.share = (w / met.shape[1]).repeat_interleave(met.shape[1]).numpy()
        self.h = met.flatten(0, 1).numpy()
        self.W = reader.weight.detach().flatten(1).numpy()
        outputs = module(X).detach()
        if i + 1 < len(module):
            g = vmap(jacrev(lambda z: module[i + 1 :](z[None])[0]))(z).detach()
        else:
            g = torch.eye(z.shape[1], dtype=z.dtype).expand(len(z), -1, -1)
        g = g.reshape(*g.shape[:2], len(self.W), -1)
        M = torch.eye(3, dtype=z.dtype).expand(len(z), 3, 3)
        if metric == "fisher":
            p = torch.softmax(outputs, 1)
            M = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
        self.G = torch.einsum("n,nkip,nkl,nljp->ij", w, g, M, g).numpy()
        variances = np.cov(self.h.T, aweights=self.share, bias=True).diagonal()
        self.ridge = damping * variances.mean()

    def __call__(self, units):
        columns = columns_of(self.reader, self.n_units, units)
        root, n = np.sqrt(self.share)[:, None], self.h.shape[1]
        pull = np.sqrt(self.ridge) * np.eye(n)
        A = np.block([[root * self.h[:, columns], root], [pull[:, columns], np.zeros((n, 1))]])
        b = np.vstack([root * self.z, pull @ self.W.T])
        left = A @ np.linalg.lstsq(A, b)[0] - b
        return np.einsum("ni,ij,nj->", left, self.G, left)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_elimination_removes_one_by_one_what_the_outputs_miss_least(metric, weighted, geometry):
    module, X, w = plain(**geometry), samples(), weights_for(weighted)
    kwargs = {"sample_weight": w, "output_metric": metric, "batch_size": 9}
    scores = scores_of(module, "elimination", X, method_params={"damping": 1e-3}, **kwargs)
    for name, i in READERS.items():
        score, units = scores[name], list(range(len(scores[name])))
        cost, costs = Cost(module, X, w, i, len(units), metric, 1e-3), []
        error, order = cost(units), score.argsort().tolist()
        for j in order:
            without = {k: cost([u for u in units if u != k]) for k in units}
            assert min(without, key=without.get) == j
            costs.append(without[j] - error)
            error = without[j]
            units.remove(j)
        expected = isotonic_regression(costs)  # what is cheap only because another went shares
        np.testing.assert_allclose(score[order], expected, rtol=1e-5, atol=1e-13)


def test_elimination_of_many_maps_is_that_of_few_and_those_that_say_nothing():
    torch.manual_seed(0)
    few = nn.Sequential(nn.Conv2d(2, 6, 3), nn.Tanh(), nn.Conv2d(6, 3, 2), nn.Flatten()).double()
    many = nn.Sequential(nn.Conv2d(2, 80, 3), nn.Tanh(), nn.Conv2d(80, 3, 2), nn.Flatten()).double()
    places, X = torch.arange(6) * 13, samples()
    with torch.no_grad():
        for layer in (many[0], many[2]):
            layer.weight.zero_()
        many[0].bias.zero_()
        many[0].weight[places], many[0].bias[places] = few[0].weight, few[0].bias
        many[2].weight[:, places], many[2].bias[:] = few[2].weight, few[2].bias
    found, expected = (
        scores_of(m, "elimination", X, method_params={"damping": d})["0"]
        for m, d in ((many, 1e-3 * 80 / 6), (few, 1e-3))  # the same ridge
    )
    torch.testing.assert_close(found[places], expected, rtol=1e-6, atol=0)
    others = torch.ones(80, dtype=torch.bool)
    others[places] = False
    assert found[others].max() < 1e-12


@pytest.mark.parametrize("method", ["ec", "elimination"])
def test_integer_sample_weights_equal_repetition(method):
    module, X = plain(), samples()
    counts = torch.randint(0, 4, (31,), generator=torch.Generator().manual_seed(0))
    kwargs = {"method": method, "granularity": "neuron", "pruning_ratio": 0.5}
    found = prune(module, X, sample_weight=counts, batch_size=7, **kwargs)
    repeated = prune(module, X.repeat_interleave(counts, 0), **kwargs)
    for name, score in repeated.scores.items():
        torch.testing.assert_close(found.scores[name], score, rtol=1e-8, atol=1e-14)
    torch.testing.assert_close(found.module(X), repeated.module(X), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("method", ["ec", "elimination"])
@pytest.mark.parametrize("compensation", ["mean", "bias", "least_squares"])
def test_the_memory_at_hand_changes_nothing(method, compensation, monkeypatch):
    module, X = plain(), samples()
    kwargs = {"method": method, "granularity": "neuron", "pruning_ratio": 0.5}
    outputs = []
    for size in (2**26, 4_000, 1):
        monkeypatch.setattr(skec.networks.patches, "_BYTES", size)
        kwargs |= {"compensation": compensation, "sample_weight": weights_for(True)}
        outputs.append(prune(module, X, **kwargs).module(X))
    for found in outputs[1:]:
        torch.testing.assert_close(found, outputs[0], rtol=1e-8, atol=1e-10)


# -- what makes up for filters --------------------------------------------------------------------


REMOVED = [{"0": [1]}, {"3": [0, 2]}, {"0": [0, 3, 4], "3": [1]}]


def by_hand(module, removed, change):
    """Filters leave one layer after the other; ``change`` is what their reader does about it."""
    current = copy.deepcopy(module)
    for name in READERS:
        gone, reader = removed.get(name, []), current[READERS[name]]
        n_units = len(current.get_submodule(name).weight)
        if reader.bias is None and gone:
            reader.bias = nn.Parameter(torch.zeros(len(reader.weight), dtype=torch.float64))
        columns = columns_of(reader, n_units, gone)
        with torch.no_grad():
            if gone:
                change(current, READERS[name], columns)
            reader.weight.view(len(reader.weight), -1)[:, columns] = 0.0
    return current


@pytest.mark.parametrize("removed", REMOVED)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("geometry", GEOMETRIES)
class TestFromData:
    def test_the_mean_is_that_of_what_the_reader_meets(self, removed, weighted, geometry):
        module, X, w = plain(**geometry), samples(), weights_for(weighted)

        def change(current, i, columns):
            met = what_is_met(current[i], current[:i](X)).mean(1)
            weight = current[i].weight.flatten(1)[:, columns]
            current[i].bias += weight @ (shares(w) @ met)[columns]

        pruned = remove(module, removed, "mean", X, sample_weight=w, batch_size=7)
        expected = by_hand(module, removed, change)
        torch.testing.assert_close(pruned(X), expected(X))
        for i in READERS.values():
            assert (pruned[i].bias is None) == (expected[i].bias is None)

    def test_least_squares_fits_all_positions_to_the_dense_network(
        self, removed, weighted, geometry
    ):
        module, X, w = plain(**geometry), samples(), weights_for(weighted)
        fitted = {name: removed.get(name, []) for name in READERS}

        def fit(current):
            for name, i in READERS.items():
                reader = current[i]
                met = what_is_met(reader, current[:i](X)).detach()
                n_positions, n_in = met.shape[1:]
                gone = columns_of(reader, len(current.get_submodule(name).weight), fitted[name])
                kept = [c for c in range(n_in) if c not in gone]
                z = module[: i + 1](X).detach()  # of the dense network
                z = z.reshape(len(z), len(reader.weight), -1).mT.flatten(0, 1).numpy()
                h = met.flatten(0, 1).numpy()[:, kept]
                share = (shares(w) / n_positions).repeat_interleave(n_positions).numpy()
                variances = np.cov(h.T, aweights=share, bias=True).diagonal()
                ridge = np.sqrt(1e-3 * variances.mean()) * np.eye(len(kept))
                root = np.sqrt(share)[:, None]
                matrix = reader.weight.detach().flatten(1).clone()
                A = np.block([[root * h, root], [ridge, np.zeros((len(kept), 1))]])
                theta = np.linalg.lstsq(A, np.vstack([root * z, ridge @ matrix[:, kept].numpy().T]))
                matrix.zero_()[:, kept] = torch.from_numpy(theta[0][:-1].T)
                reader.weight = nn.Parameter(matrix.view_as(reader.weight))
                reader.bias = nn.Parameter(torch.from_numpy(theta[0][-1]))
            return current

        params = {"damping": 1e-3}
        pruned = remove(module, fitted, "least_squares", X, params, sample_weight=w, batch_size=7)
        torch.testing.assert_close(pruned(X), fit(copy.deepcopy(module))(X), rtol=1e-6, atol=1e-8)


def rows_of(layer):
    weight = layer.weight.detach().flatten(1).numpy()
    return weight if layer.bias is None else np.column_stack([weight, layer.bias.detach().numpy()])


def taken_over(module, readers, removed, shares_of):
    """A copy in which the readers read kept filters in the place of removed ones."""
    expected = copy.deepcopy(module)
    with torch.no_grad():
        for name, i in readers.items():
            gone = removed.get(name, [])
            kept = [k for k in range(len(module.get_submodule(name).weight)) if k not in gone]
            weight = expected[i].weight.view(len(expected[i].weight), len(kept) + len(gone), -1)
            for j in gone:
                for k, share in zip(kept, shares_of(name, kept, j), strict=True):
                    weight[:, k] += share * weight[:, j]
            weight[:, gone] = 0.0
    return expected


class TestWithoutData:
    @pytest.mark.parametrize("bias", [True, False])
    @pytest.mark.parametrize("removed", REMOVED)
    def test_lbyl_is_a_ridge_regression_of_each_removed_filter(self, removed, bias):
        module, X = plain(bias=bias), samples()

        def shares_of(name, kept, j):
            rows = rows_of(module.get_submodule(name))
            return Ridge(alpha=0.3, solver="svd").fit(rows[kept].T, rows[j]).coef_

        pruned = remove(module, removed, "lbyl", params={"ridge": 0.3})
        torch.testing.assert_close(pruned(X), taken_over(module, READERS, removed, shares_of)(X))

    @pytest.mark.parametrize("bias", [True, False])
    @pytest.mark.parametrize("penalties", [(0.3, 1e-5), (1e-3, 0.5)])
    def test_lbyl_after_a_normalisation_minimises_the_sum_of_three_squares(self, penalties, bias):
        module, X, removed = normalized(bias=bias), samples(), {"0": [0, 4], "4": [2, 3]}
        norms = {"0": module[1], "4": module[6]}
        ridge, root = penalties[0], np.sqrt(penalties[1])

        def shares_of(name, kept, j):
            layer, norm = module.get_submodule(name), norms[name]
            W = layer.weight.detach().flatten(1).numpy()
            gamma, beta = norm.weight.detach().numpy(), norm.bias.detach().numpy()
            mu = norm.running_mean.numpy() - biases(layer).numpy()
            sigma = np.sqrt(norm.running_var.numpy() + norm.eps)
            alpha = mu[kept] - sigma[kept] * beta[kept] / gamma[kept]
            K = gamma[j] / gamma[kept] * sigma[kept] / sigma[j]
            gain = gamma[j] / sigma[j]
            A = np.vstack([W[kept].T, root * gain * alpha, np.sqrt(ridge) * np.diag(K)])
            b = np.concatenate([W[j], [root * (gain * mu[j] - beta[j])], np.zeros(len(kept))])
            return K * np.linalg.lstsq(A, b)[0]

        params = {"ridge": ridge, "shift_penalty": penalties[1]}
        pruned = remove(module, removed, "lbyl", params=params)
        expected = taken_over(module, {"0": 4, "4": 10}, removed, shares_of)
        torch.testing.assert_close(pruned(X), expected(X))

    @pytest.mark.parametrize("bias", [True, False])
    @pytest.mark.parametrize("removed", REMOVED)
    def test_merging_gives_a_filter_to_the_one_most_like_it(self, removed, bias):
        module, X = plain(bias=bias), samples()

        def shares_of(name, kept, j):
            rows = rows_of(module.get_submodule(name))
            lengths = np.linalg.norm(rows, axis=1)
            cosines = rows[kept] @ rows[j] / (lengths[kept] * lengths[j])
            best, scale = np.argmax(cosines), lengths[j] / lengths[kept]
            return [scale[k] if k == best and cosines[k] > 0 else 0.0 for k in range(len(kept))]

        pruned = remove(module, removed, "merging")
        torch.testing.assert_close(pruned(X), taken_over(module, READERS, removed, shares_of)(X))


@pytest.mark.parametrize(
    ("compensation", "params"),
    [
        ("lbyl", {"ridge": 1e-11}),
        ("merging", {}),
        ("least_squares", {"damping": 1e-11}),
    ],
)
@pytest.mark.parametrize("make", [plain, normalized])
@pytest.mark.parametrize("which", ["first", "second"])
def test_a_filter_that_is_there_twice_is_not_missed(compensation, params, make, which):
    module, X = make(), samples(60)
    names = [name for name, part in module.named_modules() if isinstance(part, nn.Conv2d)]
    name = names[which == "second"]
    i = int(name)
    with torch.no_grad():
        for part in module[i : i + 3]:
            for values in part.state_dict().values():
                if values.ndim:
                    values[3] = values[1]
    pruned = remove(module, {name: [3]}, compensation, X, params)
    torch.testing.assert_close(pruned(X), module(X), rtol=1e-5, atol=1e-5)
    assert not pruned[i].weight[3].any()


@pytest.mark.parametrize("name", ["mean", "bias"])
@pytest.mark.parametrize("which", ["0", "3"])
def test_a_constant_filter_is_not_missed_where_there_is_no_padding(name, which):
    module, X = plain(0), samples()
    layer = module.get_submodule(which)
    with torch.no_grad():
        layer.weight[2], layer.bias[2] = 0.0, 0.7
    pruned = remove(module, {which: [2]}, name, X)
    torch.testing.assert_close(pruned(X), module(X), rtol=1e-10, atol=1e-12)


# -- pruning --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "compensation"), list(product(sorted(UNIT_CRITERIA), sorted(UNIT_COMPENSATIONS)))
)
def test_every_score_goes_with_every_compensation(method, compensation):
    module, X = normalized(), samples()
    before = copy.deepcopy(module.state_dict())
    result = prune(
        module,
        X,
        granularity="neuron",
        method=method,
        compensation=compensation,
        pruning_ratio=0.5,
        n_steps=2,
        random_state=0,
    )
    torch.testing.assert_close(module.state_dict(), before, rtol=0, atol=0)
    blocks = {"0": ("4", 4), "4": ("10", 4), "10": ("12", 1)}
    expected = {name: torch.ones_like(module.get_submodule(name).weight) for name in result.masks}
    assert list(expected) == ["0", "4", "10", "12"]
    assert list(result.unit_masks) == list(blocks)
    for name, (reader, block) in blocks.items():
        kept, layer = result.unit_masks[name], result.module.get_submodule(name)
        assert int(kept.sum()) == len(kept) // 2
        assert result.scores[name].shape == kept.shape
        assert not layer.weight[~kept].any()
        assert not biases(layer)[~kept].any()
        expected[name][~kept] = 0
        expected[reader].view(len(expected[reader]), -1, block)[:, ~kept] = 0
    for name, mask in result.masks.items():
        assert torch.equal(mask, expected[name].bool())
        weight = result.module.get_submodule(name).weight
        assert weight.shape == mask.shape
        assert not weight[~mask].any()
    outputs = result.module(X)
    assert torch.isfinite(outputs).all()
    with torch.no_grad():  # nothing of a removed filter comes through
        for part in (result.module[1], result.module[6]):
            kept = result.unit_masks["0" if part is result.module[1] else "4"]
            part.bias[~kept] += 3.0
    torch.testing.assert_close(result.module(X), outputs)


def test_the_report_counts_filters_and_their_weights():
    result = prune(normalized(), granularity="neuron", method="l2", pruning_ratio=0.5)
    rows = [(r["layer"], r["units"], r["units_left"], r["weights"]) for r in result.report]
    assert rows == [("0", 6, 3, 108), ("4", 5, 2, 120), ("10", 7, 3, 140)]
    for row in result.report:
        assert row["weights_left"] == int(result.masks[row["layer"]].sum())


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_forecasts_of_filters_are_the_errors_that_pruning_predicts(scope):
    module, X = plain(), samples()
    kwargs = {"granularity": "neuron", "method": "ec"}
    dense = prune(module, X, n_steps=1, pruning_ratio=0, **kwargs)
    for ratio in (0.3, 0.6):
        expected = prune(
            module, X, n_steps=1, pruning_ratio=ratio, scope=scope, **kwargs
        ).predicted_error
        assert float(dense.forecast(ratio, scope)) == pytest.approx(expected)


def test_filters_of_chosen_layers_go():
    module = nn.Sequential()
    module.features = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 2), nn.ReLU())
    module.head = nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.ReLU(), nn.Linear(6, 2))
    kwargs = {"granularity": "neuron", "method": "l1", "pruning_ratio": 0.5}
    result = prune(module, layers=["features.*"], **kwargs)
    assert list(result.unit_masks) == ["features.0", "features.2"]
    assert list(prune(module, layers="head.*", **kwargs).unit_masks) == ["head.1"]
    with pytest.raises(ValueError, match=r"the units of 'head.3' are the network's outputs"):
        prune(module, layers=["head.*", "head.3"], **kwargs)


# -- networks that are chains ----------------------------------------------------------------------


CHAINS = {
    "kernel": (
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, (2, 3))),
        {"0": HiddenLayer("0", ("1",), "2", 6)},
    ),
    "flattened maps": (
        nn.Sequential(nn.Conv1d(1, 4, 3), nn.MaxPool1d(2), nn.Flatten(), nn.Linear(20, 2)),
        {"0": HiddenLayer("0", ("1", "2"), "3", 5)},
    ),
    "nested, with normalisation, pooling and dropout": (
        nn.Sequential(
            nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.PReLU(4), nn.Dropout2d()),
            nn.Sequential(nn.LPPool2d(2, 2), nn.Conv2d(4, 3, 1), nn.AdaptiveMaxPool2d(1)),
            nn.Sequential(nn.Flatten(), nn.Linear(3, 2), nn.Softmax(1)),
        ),
        {
            "0.0": HiddenLayer("0.0", ("0.1", "0.2", "0.3", "1.0"), "1.1", 1),
            "1.1": HiddenLayer("1.1", ("1.2", "2.0"), "2.1", 1),
        },
    ),
}


@pytest.mark.parametrize("name", sorted(CHAINS))
def test_hidden_layers_know_how_many_weights_read_each_filter(name):
    module, expected = CHAINS[name]
    assert hidden_layers(module) == expected
    layers = [nn.Linear, nn.Conv1d, nn.Conv2d]
    assert chain_of_layers(module, {n: m for n, m in module.named_modules() if type(m) in layers})


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, x):
        return x + self.convolution(x)


NO_CHAINS = {
    "groups": (
        nn.Sequential(nn.Conv2d(2, 4, 3, groups=2), nn.ReLU(), nn.Conv2d(4, 4, 2)),
        r"'0' is a convolution in groups",
    ),
    "groups that read": (
        nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 2, groups=4)),
        r"'2' (does not read '0' unit by unit|is a convolution in groups)",
    ),
    "no flatten": (
        nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.Linear(4, 2)),
        r"'2' does not read '0' unit by unit.*needs a torch.nn.Flatten before it",
    ),
    "a convolution after a linear layer": (
        nn.Sequential(nn.Linear(3, 4), nn.Conv1d(4, 2, 1)),
        r"'1' does not read '0' unit by unit",
    ),
    "another flatten": (
        nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(2), nn.Linear(9, 2)),
        r"module '1', a Flatten, is neither",
    ),
    "residual": (
        nn.Sequential(nn.Conv2d(2, 2, 3), Residual(), nn.Conv2d(2, 1, 3)),
        r"module '1', a Residual, is neither a Sequential nor a module supported",
    ),
    "group norm": (
        nn.Sequential(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.Conv2d(4, 1, 3)),
        r"module '1', a GroupNorm, is neither",
    ),
    "pooling of units": (
        nn.Sequential(nn.Linear(4, 8), nn.AvgPool1d(3, 1, 1), nn.Linear(8, 2)),
        r"module '1', a AvgPool1d",
    ),
    "pooling of flattened maps": (
        nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.MaxPool1d(3, 1, 1), nn.Linear(64, 2)),
        r"module '2', a MaxPool1d",
    ),
    "transposed": (
        nn.Sequential(nn.Conv2d(2, 4, 3), nn.ConvTranspose2d(4, 2, 3), nn.Conv2d(2, 1, 3)),
        r"module '1', a ConvTranspose2d, is neither",
    ),
}


@pytest.mark.parametrize(
    "name",
    sorted(NO_CHAINS),
)
def test_other_networks_name_what_is_in_the_way(name):
    module, message = NO_CHAINS[name]
    with pytest.raises(NotAChain, match=f"granularity='neuron' cannot prune.*{message}"):
        prune(module, granularity="neuron", method="l2", pruning_ratio=0.5)
    with pytest.raises(NotAChain, match=f"cannot be made compact.*{message}"):
        compact(module)


# -- the same function as a smaller network --------------------------------------------------------


def convolutional_layers(module):
    kinds = nn.Linear | nn.Conv1d | nn.Conv2d
    return {name: part for name, part in module.named_modules() if isinstance(part, kinds)}


@st.composite
def pooling(draw, n_dims, n_channels):
    """A module after an activation, or none."""
    kind = draw(st.sampled_from(["none", "max", "average", "average", "adaptive"]))
    if kind == "none":
        return []
    if kind == "adaptive":
        adaptive = draw(st.sampled_from(["AdaptiveAvgPool", "AdaptiveMaxPool"]))
        return [getattr(nn, f"{adaptive}{n_dims}d")(draw(st.integers(1, 3)))]
    padding = draw(st.integers(0, 1))
    if kind == "max":
        return [getattr(nn, f"MaxPool{n_dims}d")(2, stride=1, padding=padding)]
    counted = draw(st.booleans())
    return [
        getattr(nn, f"AvgPool{n_dims}d")(
            2, padding=padding, count_include_pad=counted, ceil_mode=draw(st.booleans())
        )
    ]


@st.composite
def parts_of_networks(draw):
    """The parts of a convolutional network, and an input."""
    n_dims = draw(st.sampled_from([1, 2, 2]))
    channels = draw(st.lists(st.integers(1, 5), min_size=2, max_size=4))
    x = torch.randn(5, channels[0], *[6] * n_dims, dtype=torch.float64)
    parts, h = [], x
    activations = [
        nn.ReLU, nn.Sigmoid, nn.ELU, nn.Tanh, lambda: nn.ReLU(inplace=True),
        lambda: nn.ELU(inplace=True),
    ]  # fmt: skip
    for n_in, n_out in pairwise(channels):
        size = min(h.shape[2:])
        convolution = (nn.Conv1d, nn.Conv2d)[n_dims - 1](
            n_in,
            n_out,
            draw(st.integers(1, min(3, size))),
            stride=draw(st.sampled_from([1, 1, 2])),
            padding=draw(st.sampled_from([0, 0, 1])),
            padding_mode=draw(st.sampled_from(["zeros", "zeros", "replicate", "circular"])),
            bias=draw(st.booleans()),
        )
        between = [draw(st.sampled_from(activations))()]
        if draw(st.booleans()):
            norm = (nn.BatchNorm1d, nn.BatchNorm2d)[n_dims - 1](n_out, affine=draw(st.booleans()))
            between.insert(draw(st.integers(0, 1)), norm)
        block = [convolution, *between]
        pool = draw(pooling(n_dims, n_out))
        z = randomized(nn.Sequential(*block))(h)
        if min(z.shape[2:]) >= 2:
            block += pool
        block = randomized(nn.Sequential(*block))
        h = block(h)
        parts += [block] if draw(st.booleans()) else [*block]
    if draw(st.booleans()):
        width = h[0].numel()
        parts += [nn.Flatten(), nn.Linear(width, 4), nn.Sigmoid(), nn.Linear(4, 2)]
    return parts, x


@st.composite
def pruned_networks(draw):
    torch.manual_seed(draw(st.integers(0, 10_000)))
    parts, x = draw(parts_of_networks())
    module = randomized(nn.Sequential(*parts))
    masks = {}
    for name, layer in convolutional_layers(module).items():
        density = draw(st.sampled_from([0.0, 0.2, 0.5, 0.8, 1.0]))
        mask = torch.rand(layer.weight.shape) < density
        if draw(st.booleans()):
            mask[0] = False
        if draw(st.booleans()):
            mask[:, -1] = False
        masks[name] = mask
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    return module.to(dtype), masks, x.detach().to(dtype)


def masked(module, masks):
    module = copy.deepcopy(module)
    with torch.no_grad():
        for name, mask in masks.items():
            module.get_submodule(name).weight.mul_(mask)
    return module


def assert_same_function(found, expected, X):
    with torch.no_grad():
        found, expected = found(X), expected(X)
    assert found.shape == expected.shape
    scale = 1.0 + float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * scale)


def shapes(module):
    return {name: tuple(layer.weight.shape) for name, layer in convolutional_layers(module).items()}


class TestAnyPrunedNetwork:
    @settings(max_examples=100)
    @given(pruned_networks(), st.booleans())
    def test_computes_the_same_when_it_is_compact(self, case, zeros):
        module, masks, X = case
        smaller, _ = compact(masked(module, masks)) if zeros else compact(module, masks)
        assert_same_function(smaller, masked(module, masks), X)

    @settings(max_examples=40)
    @given(pruned_networks())
    def test_is_as_compact_as_it_gets(self, case):
        module, masks, X = case
        once, left = compact(module, masks)
        again, same = compact(once, left)
        torch.testing.assert_close(again.state_dict(), once.state_dict(), rtol=0, atol=0)
        for name, mask in left.items():
            assert torch.equal(same[name], mask)
        assert_same_function(again, once, X)

    @settings(max_examples=40)
    @given(pruned_networks())
    def test_has_no_filter_that_nothing_reads(self, case):
        module, masks, _ = case
        smaller, left = compact(module, masks)
        hidden = hidden_layers(smaller)
        for name, layer in hidden.items():
            read = left[layer.next_name].flatten(1).unflatten(1, (-1, layer.block)).any(2).any(0)
            assert len(read) == len(left[name])
            assert len(read) == 1 or read.all()
        first = next(iter(left.values()))
        assert first.shape[1] == 1 or first.transpose(0, 1).flatten(1).any(1).all()

    @settings(max_examples=40)
    @given(pruned_networks())
    def test_says_the_sizes_that_it_has(self, case):
        module, masks, _ = case
        before = copy.deepcopy(module)
        smaller, left = compact(module, masks)
        torch.testing.assert_close(module.state_dict(), before.state_dict(), rtol=0, atol=0)
        old = shapes(module)
        for name, layer in convolutional_layers(smaller).items():
            assert left[name].shape == layer.weight.shape
            assert all(a <= b for a, b in zip(layer.weight.shape, old[name], strict=True))
            assert layer.weight.shape[2:] == old[name][2:]
            assert not layer.weight[~left[name]].any()
            sizes = (
                (layer.out_features, layer.in_features)
                if isinstance(layer, nn.Linear)
                else (layer.out_channels, layer.in_channels)
            )
            assert sizes == layer.weight.shape[:2]
        for part in smaller.modules():
            if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
                assert part.num_features == len(part.running_mean) == len(part.running_var)
        names = [n for n in smaller.state_dict() if not n.endswith("index")]
        new = set(names) - set(module.state_dict())
        assert [n for n in names if n not in new] == list(module.state_dict())
        assert all(name.endswith("bias") for name in new)


@pytest.mark.parametrize("method", ["l2", "elimination"])
def test_results_lose_exactly_the_filters_that_went(method):
    module, X = normalized(), samples()
    result = prune(module, X, granularity="neuron", method=method, pruning_ratio=0.5)
    smaller = result.compact()
    assert shapes(smaller.module) == {
        "0": (3, 2, 3, 3), "4": (2, 3, 2, 2), "10": (3, 8), "12": (3, 3),
    }  # fmt: skip
    found = smaller.module
    assert (found[0].out_channels, found[4].in_channels, found[4].out_channels) == (3, 3, 2)
    assert (found[1].num_features, found[6].num_features, found[10].in_features) == (3, 2, 8)
    assert list(found.state_dict()) == list(module.state_dict())
    assert {n: tuple(m.shape) for n, m in smaller.masks.items()} == shapes(found)
    assert all(mask.all() for mask in smaller.masks.values())
    for i, name in ((0, "0"), (1, "0"), (4, "4"), (6, "4"), (10, "10")):
        kept = result.unit_masks[name]
        weight = result.module[i].weight[kept]
        if i in (4, 10):
            before = result.unit_masks["0" if i == 4 else "4"]
            weight = weight[:, before.repeat_interleave(4 if i == 10 else 1)]
        assert torch.equal(found[i].weight, weight)
    assert_same_function(found, result.module, X)
    again = prune(found, X, granularity="neuron", method=method, pruning_ratio=0.4)
    assert [int(kept.sum()) for kept in again.unit_masks.values()] == [1, 1, 1]


def test_results_of_pruning_single_weights_become_compact_too():
    module, X = normalized(), samples()
    result = prune(module, X, pruning_ratio=0.85, scope="layer", n_steps=3)
    smaller = result.compact()
    assert_same_function(smaller.module, result.module, X)
    n_parameters = [sum(p.numel() for p in m.parameters()) for m in (smaller.module, module)]
    assert n_parameters[0] < 0.9 * n_parameters[1]


@pytest.mark.parametrize("n_dims", [1, 2])
def test_channels_that_nobody_reads_are_left_out_before_the_first_layer(n_dims):
    kind = (nn.Conv1d, nn.Conv2d)[n_dims - 1]
    module = nn.Sequential(nn.Sequential(kind(4, 3, 2), nn.ReLU()), nn.Flatten(), nn.LazyLinear(2))
    X = torch.randn(6, 4, *[5] * n_dims)
    module(X)
    with torch.no_grad():
        module[0][0].weight[:, [0, 2]] = 0.0
    smaller, _ = compact(module)
    assert [type(part) for part in smaller[0]] == [InputColumns, kind, nn.ReLU]
    assert smaller[0][1].in_channels == 2
    assert feature_mask(smaller).tolist() == [False, True, False, True]
    assert_same_function(smaller, module, X)
    with torch.no_grad():
        smaller[0][1].weight[:, 0] = 0.0
    again, _ = compact(smaller)
    assert feature_mask(again).tolist() == [False, False, False, True]
    assert_same_function(again, smaller, X)


def constant_filter(reader, pool=None):
    """A network whose second filter reads nothing and sends on sigmoid(1)."""
    torch.manual_seed(0)
    parts = [nn.Conv2d(2, 3, 2), nn.Sigmoid(), *([] if pool is None else [pool]), reader]
    module = nn.Sequential(*parts).double()
    with torch.no_grad():
        module[0].weight[1], module[0].bias[1] = 0.0, 1.0
    return module


@pytest.mark.parametrize(
    ("reader", "pool", "stays"),
    [
        (nn.Conv2d(3, 2, 3), None, False),
        (nn.Conv2d(3, 2, 3), nn.MaxPool2d(2, padding=1), False),
        (nn.Conv2d(3, 2, 3), nn.AvgPool2d(2, padding=1, count_include_pad=False), False),
        (nn.Conv2d(3, 2, 3, padding=1, padding_mode="replicate"), None, False),
        (nn.Conv2d(3, 2, 1, padding="same"), None, False),
        (nn.Conv2d(3, 2, 3, padding=1), None, True),
        (nn.Conv2d(3, 2, 3, padding="same"), nn.ReLU(), True),
        (nn.Conv2d(3, 2, 2), nn.AvgPool2d(2, padding=1), True),
        (nn.Conv2d(3, 2, 2), nn.AvgPool2d(2, divisor_override=3), True),
        (nn.Conv2d(3, 2, 2), nn.LPPool2d(2, 2), True),
    ],
    ids=str,
)
def test_a_constant_filter_stays_where_its_reader_does_not_see_a_constant(reader, pool, stays):
    module, X = constant_filter(reader, pool), samples()
    smaller, _ = compact(module)
    assert smaller[0].out_channels == (3 if stays else 2)
    assert_same_function(smaller, module, X)
    bias = (
        reader.bias if stays else reader.bias + reader.weight[:, 1].sum((1, 2)) / (1 + np.exp(-1.0))
    )
    torch.testing.assert_close(smaller[-1].bias, bias)


@pytest.mark.parametrize(
    ("pool", "norm"),
    [
        (nn.AvgPool2d(2, padding=1), nn.BatchNorm2d(3)),
        (nn.AvgPool2d(2, padding=1), nn.BatchNorm2d(3, affine=False, track_running_stats=False)),
        (nn.AvgPool2d(2, divisor_override=5), nn.BatchNorm2d(3)),
        (nn.LPPool2d(2, 2), nn.BatchNorm2d(3)),
    ],
    ids=["average", "average, of the batch", "divisor", "norm"],
)
def test_what_pooling_does_to_a_constant_is_not_forgotten_where_it_would_have_become_zero(
    pool, norm
):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(2, 3, 2), pool, norm, nn.ReLU(), nn.Conv2d(3, 2, 1))
    module = module.double().eval()
    with torch.no_grad():
        module[0].weight[1], module[0].bias[1] = 0.0, 2.0
        if norm.affine:  # the constant itself would be rectified
            larger = isinstance(pool, nn.LPPool2d)  # than the constant that goes in
            norm.weight[1], norm.bias[1] = (1.0, -2.5) if larger else (-1.0, 1.9)
    smaller, _ = compact(module)
    assert_same_function(smaller, module, samples())


@pytest.mark.parametrize(
    "part", [nn.BatchNorm1d(48), nn.PReLU(48)], ids=lambda part: type(part).__name__
)
def test_parameters_for_each_entry_of_flattened_maps_are_refused(part):
    module = nn.Sequential(nn.Conv2d(2, 3, 2), nn.Tanh(), nn.Flatten(), part, nn.Linear(48, 2))
    with pytest.raises(NotAChain, match=f"module '3', a {type(part).__name__}, does not"):
        compact(module)


def test_a_convolution_in_groups_by_itself_keeps_its_channels_or_is_refused():
    module, X = nn.Sequential(nn.Conv2d(4, 4, 3, groups=2)), torch.randn(3, 4, 5, 5)
    with torch.no_grad():
        module[0].weight[:, 0] = 0.0
    try:
        smaller, _ = compact(module)
    except NotAChain:
        return
    assert_same_function(smaller, module, X)


def test_a_constant_of_zero_goes_in_spite_of_padding():
    module, X = constant_filter(nn.Conv2d(3, 2, 3, padding=1)), samples()
    module[1] = nn.ReLU()
    with torch.no_grad():
        module[0].bias[1] = -1.0
    smaller, _ = compact(module)
    assert smaller[0].out_channels == 2
    assert torch.equal(smaller[2].bias, module[2].bias)
    assert_same_function(smaller, module, X)


def test_a_constant_map_that_was_flattened_becomes_a_part_of_the_next_bias():
    module, X = constant_filter(nn.Flatten()), samples()
    module.append(nn.Linear(48, 2, bias=False).double())
    smaller, _ = compact(module)
    assert shapes(smaller) == {"0": (2, 2, 2, 2), "3": (2, 32)}
    expected = module[3].weight[:, 16:32].sum(1) / (1 + np.exp(-1.0))
    torch.testing.assert_close(smaller[3].bias, expected)
    assert_same_function(smaller, module, X)


def test_a_network_that_lost_everything_keeps_one_filter_of_each_layer():
    module = normalized()
    masks = {n: torch.zeros(s, dtype=torch.bool) for n, s in shapes(module).items()}
    smaller, left = compact(module, masks)
    assert shapes(smaller) == {
        "0": (1, 1, 3, 3), "4": (1, 1, 2, 2), "10": (1, 4), "12": (3, 1),
    }  # fmt: skip
    assert not any(mask.any() for mask in left.values())
    assert_same_function(smaller, masked(module, masks), samples())


@pytest.mark.parametrize(("name", "shape"), [("0", (6, 18)), ("0", (6, 2, 3)), ("4", (5, 6, 3, 3))])
def test_masks_have_the_shape_of_the_filters(name, shape):
    with pytest.raises(ValueError, match=rf"masks\['{name}'\] of shape .* fits no layer"):
        compact(normalized(), {name: torch.ones(shape, dtype=torch.bool)})
