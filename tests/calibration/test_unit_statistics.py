from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from skec.calibration import OUTPUT_METRICS, calibration_samples, collect, identity_metric
from skec.calibration.statistics import (
    DenseFit,
    InputMean,
    InputMoments,
    InputProbeError,
    LayerBatch,
    LayerStatistics,
    ProbeError,
    SensitivityMatrix,
    merge,
)

N_IN, N_OUT = 3, 2
seeds = st.integers(0, 2**31 - 1)
ATTRIBUTES = {
    InputMean: ("total_weight", "mean"),
    InputMoments: ("total_weight", "sensitivity", "mean", "scatter"),
    DenseFit: ("total_weight", "input_mean", "target_mean", "input_scatter", "target_scatter"),
    InputProbeError: ("total_weight", "total", "squares"),
}
every_kind = pytest.mark.parametrize("kind", ATTRIBUTES)


def sample(n, seed, offset=0.0, dtype=torch.float64):
    """A batch of n samples, with weights."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(n, N_IN, generator=generator, dtype=torch.float64) + offset
    s = torch.rand(n, N_IN, generator=generator, dtype=torch.float64)
    z = torch.randn(n, N_OUT, generator=generator, dtype=torch.float64) + inputs[:, :N_OUT]
    weights = torch.rand(n, generator=generator, dtype=torch.float64) + 0.1
    return {
        "inputs": inputs.to(dtype),
        "input_sensitivities": s.to(dtype),
        "dense_pre_activations": z.to(dtype),
        "weights": weights.to(dtype),
    }


def rows(data, index):
    return {name: part[index] for name, part in data.items()}


def of(kind, *batches):
    statistic = kind(nn.Linear(N_IN, N_OUT))
    for batch in batches:
        statistic.update(LayerBatch(**batch))
    return statistic


def truth(kind, inputs, input_sensitivities, dense_pre_activations, weights=None):
    """The attributes of a statistic from their definitions, in extended precision."""
    h, s, z = (
        part.numpy().astype(np.longdouble)
        for part in (inputs, input_sensitivities, dense_pre_activations)
    )
    w = np.ones(len(h)) if weights is None else weights.numpy()
    w = w.astype(np.longdouble)
    mean, target_mean = w @ h / w.sum(), w @ z / w.sum()
    if kind is InputMean:
        found = (mean,)
    elif kind is InputMoments:
        s = s * w[:, None]
        centre = (s * h).sum(0) / s.sum(0)
        found = s.sum(0), centre, (s * (h - centre) ** 2).sum(0)
    elif kind is DenseFit:
        weighted = (h - mean) * w[:, None]
        found = mean, target_mean, weighted.T @ (h - mean), weighted.T @ (z - target_mean)
    else:
        s = s * w[:, None]
        found = s.sum(0), (s**2).sum(0)
    return dict(zip(ATTRIBUTES[kind], (w.sum(), *found), strict=True))


def assert_same(statistic, expected, rtol=1e-10):
    for name, value in expected.items():
        found = np.asarray(getattr(statistic, name))
        np.testing.assert_allclose(
            found, np.asarray(value, dtype=np.float64), rtol, 1e-13, err_msg=name
        )
        assert found.dtype == np.float64


@every_kind
@given(n=st.integers(2, 40), seed=seeds, data=st.data())
def test_any_split_into_batches_gives_the_sums_of_the_whole(kind, n, seed, data):
    whole = sample(n, seed)
    cuts = data.draw(st.sets(st.integers(1, n - 1), max_size=20))
    edges = pairwise([0, *sorted(cuts), n])
    assert_same(of(kind, *(rows(whole, slice(*edge)) for edge in edges)), truth(kind, **whole))


@every_kind
@given(seed=seeds, n_shards=st.integers(1, 5), batch=st.integers(1, 9))
def test_shards_merge_to_the_whole(kind, seed, n_shards, batch):
    whole = sample(30, seed)
    shards = []
    for shard in range(n_shards):
        data = rows(whole, slice(shard, None, n_shards))
        size = len(data["inputs"])
        parts = [rows(data, slice(i, i + batch)) for i in range(0, size, batch)]
        shards.append({"layer": LayerStatistics({kind: of(kind, *parts)})})
    assert_same(merge(shards)["layer"][kind], truth(kind, **whole))


@pytest.mark.parametrize("kind", [InputMoments, DenseFit])
@pytest.mark.parametrize("batch", [1, 7, 200])
def test_a_large_offset_costs_no_digits(kind, batch):
    whole = sample(200, 0, offset=1e6)
    found = of(kind, *(rows(whole, slice(i, i + batch)) for i in range(0, 200, batch)))
    assert_same(found, truth(kind, **whole), rtol=1e-8)


@pytest.mark.parametrize("kind", [InputMoments, DenseFit])
def test_a_large_offset_costs_no_digits_in_single_precision(kind):
    whole = sample(200, 0, offset=1e4, dtype=torch.float32)
    assert_same(of(kind, whole), truth(kind, **whole), rtol=1e-5)


@pytest.mark.parametrize("kind", [InputMoments, DenseFit])
def test_batches_whose_means_lie_far_apart(kind):
    near, far = sample(30, 0), sample(30, 1, offset=1e6)
    whole = {name: torch.cat([near[name], far[name]]) for name in near}
    found = of(kind, *(rows(whole, slice(i, i + 3)) for i in range(0, 60, 3)))
    assert_same(found, truth(kind, **whole))


@every_kind
def test_a_weight_of_zero_equals_removal(kind):
    whole = sample(20, 0)
    whole["weights"][::3] = 0.0
    whole["inputs"][::3] = 1e8
    assert_same(of(kind, whole), truth(kind, **rows(whole, whole["weights"] > 0)))


@every_kind
def test_a_batch_of_weight_zero_adds_nothing(kind):
    data, other = sample(20, 0), sample(20, 1)
    other["weights"].zero_()
    for batches in ((other, data), (data, other)):
        assert_same(of(kind, *batches), truth(kind, **data))
    total = of(kind, data)
    total.merge(of(kind, other))
    assert_same(total, truth(kind, **data))


@pytest.mark.parametrize("kind", [InputMean, InputMoments, DenseFit])
@given(seed=seeds)
def test_integer_weights_equal_repetition(kind, seed):
    data = sample(15, seed)
    counts = torch.randint(0, 4, (15,), generator=torch.Generator().manual_seed(seed))
    counts[0] = 1
    repeated = {name: part.repeat_interleave(counts, 0) for name, part in data.items()}
    del repeated["weights"]
    assert_same(of(kind, data | {"weights": counts.double()}), truth(kind, **repeated))


def test_a_unit_without_sensitivity_has_no_moments():
    data = sample(20, 0, offset=3.0)
    data["input_sensitivities"][:, 1] = 0.0
    found = of(InputMoments, rows(data, slice(0, 9)), rows(data, slice(9, 20)))
    assert found.sensitivity[1] == found.mean[1] == found.scatter[1] == 0.0
    assert (found.mean[[0, 2]] != 0).all()


def test_the_probe_error_is_that_of_the_inputs():
    data = sample(20, 0)
    layer = nn.Linear(N_IN, N_OUT)
    units = ProbeError(nn.Linear(N_OUT, N_IN))
    units.update(LayerBatch(data["inputs"], data["input_sensitivities"], data["weights"]))
    inputs = InputProbeError(layer)
    inputs.update(LayerBatch(sensitivities=torch.rand(20, N_OUT), **data))
    assert torch.equal(inputs.relative(4), units.relative(4))


# -- of a network ----------------------------------------------------------------------------------


def network(dtype=torch.float64):
    torch.manual_seed(0)
    return (
        nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 6), nn.GELU(), nn.Linear(6, 3))
        .to(dtype)
        .eval()
    )


def measured(kinds, metric="identity", batch_size=7, weighted=True, dense=None):
    module = network()
    generator = torch.Generator().manual_seed(1)
    X = torch.randn(25, 4, generator=generator, dtype=torch.float64)
    w = torch.rand(25, generator=generator, dtype=torch.float64) + 0.1 if weighted else None
    data = calibration_samples(module, X, None, w)
    layers = {name: module.get_submodule(name) for name in ("0", "2", "4")}
    settings = {"metric": OUTPUT_METRICS[metric], "dense": dense, "batch_size": batch_size}
    found = collect(module, layers, data, kinds, **settings)
    share = torch.full_like(X[:, 0], 1 / 25) if w is None else w / w.sum()
    return module, X, share, found


def matrices(outputs, metric):
    if metric == "identity":
        return torch.eye(outputs.shape[1], dtype=outputs.dtype).expand(len(outputs), -1, -1)
    p = torch.softmax(outputs, 1)
    return torch.diag_embed(p) - p[:, :, None] * p[:, None, :]


@pytest.mark.parametrize("metric", sorted(OUTPUT_METRICS))
@pytest.mark.parametrize("weighted", [False, True])
class TestSensitivityMatrix:
    def test_is_the_mean_product_of_the_gradients(self, metric, weighted, jacobians):
        module, X, share, found = measured([SensitivityMatrix], metric, weighted=weighted)
        jacobian, M = jacobians(module, X), matrices(module(X).detach(), metric)
        for name, statistics in found.items():
            g = jacobian[f"{name}.bias"]  # a bias moves the pre-activation one to one
            expected = torch.einsum("n,nki,nkl,nlj->ij", share, g, M, g)
            G = statistics[SensitivityMatrix]
            torch.testing.assert_close(G.mean, expected)

    def test_its_diagonal_is_the_mean_sensitivity(self, metric, weighted):
        _, _, _, found = measured([SensitivityMatrix, ProbeError], metric, weighted=weighted)
        for statistics in found.values():
            diagonal = statistics[SensitivityMatrix].total.diagonal()
            torch.testing.assert_close(diagonal, statistics[ProbeError].total)

    def test_shards_merge_to_the_whole(self, metric, weighted):
        _, _, _, whole = measured([SensitivityMatrix], metric, batch_size=99, weighted=weighted)
        _, _, _, parts = measured([SensitivityMatrix], metric, batch_size=3, weighted=weighted)
        for name in whole:
            left, right = (side[name][SensitivityMatrix] for side in (whole, parts))
            torch.testing.assert_close(left.total, right.total)
            torch.testing.assert_close(left.mean, right.mean)
            total = left.total.clone()
            left.merge(right)
            torch.testing.assert_close(left.total, 2 * total)
            assert left.total_weight == pytest.approx(2 * right.total_weight)


def test_where_the_outputs_do_not_depend_on_a_layer_its_matrix_is_zero():
    class Cut(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.looked_at = nn.Linear(4, 2).double(), nn.Linear(4, 3).double()

        def forward(self, x):
            self.looked_at(x)
            return self.used(x)

    module = Cut()
    data = calibration_samples(module, torch.randn(5, 4))
    layers = {"used": module.used, "looked_at": module.looked_at}
    found = collect(module, layers, data, [SensitivityMatrix], metric=identity_metric)
    assert not found["looked_at"][SensitivityMatrix].total.any()
    assert found["looked_at"][SensitivityMatrix].total_weight == 5
    torch.testing.assert_close(
        found["used"][SensitivityMatrix].total, 5 * torch.eye(2, dtype=torch.float64)
    )


@pytest.mark.parametrize("metric", sorted(OUTPUT_METRICS))
@pytest.mark.parametrize("weighted", [False, True])
def test_moments_of_the_inputs_follow_from_the_jacobian_of_each_sample(metric, weighted):
    kinds = [InputMoments, InputMean, InputProbeError]
    module, X, share, found = measured(kinds, metric, weighted=weighted)
    M = matrices(module(X).detach(), metric)
    for name, head in (("2", module[:2]), ("4", module[:4])):
        tail = module[len(head) :]
        h = head(X).detach()
        g = torch.func.vmap(torch.func.jacrev(tail))(h).detach()
        s = torch.einsum("nki,nkl,nli->ni", g, M, g)
        S = share @ s
        mean = share @ (s * h) / S
        moments = found[name][InputMoments]
        torch.testing.assert_close(moments.sensitivity / moments.total_weight, S)
        torch.testing.assert_close(moments.mean, mean)
        scatter = share @ (s * (h - mean).square())
        torch.testing.assert_close(moments.scatter / moments.total_weight, scatter)
        torch.testing.assert_close(found[name][InputMean].mean, share @ h)
        spread = found[name][InputProbeError]
        torch.testing.assert_close(spread.total / spread.total_weight, S)


def test_sensitivities_to_inputs_and_to_units_do_not_mix():
    alone = {kind: measured([kind])[3] for kind in (InputMoments, ProbeError, SensitivityMatrix)}
    together = measured(list(alone))[3]
    for name, statistics in together.items():
        torch.testing.assert_close(
            statistics[InputMoments].scatter, alone[InputMoments][name][InputMoments].scatter
        )
        for kind in (ProbeError, SensitivityMatrix):
            torch.testing.assert_close(statistics[kind].total, alone[kind][name][kind].total)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_dense_fit_pairs_the_inputs_of_now_with_the_outputs_of_then(weighted):
    dense = network()
    with torch.no_grad():
        dense[0].weight += 0.3
        dense[2].bias -= 0.7
    module, X, share, found = measured([DenseFit], weighted=weighted, dense=dense)
    for name, depth in (("0", 0), ("2", 2), ("4", 4)):
        h = module[:depth](X).detach().numpy()
        z = dense[: depth + 1](X).detach().numpy()
        covariance = np.cov(h.T, z.T, aweights=share.numpy(), bias=True)
        fit, n = found[name][DenseFit], h.shape[1]
        np.testing.assert_allclose(fit.input_mean, share.numpy() @ h)
        np.testing.assert_allclose(fit.target_mean, share.numpy() @ z)
        np.testing.assert_allclose(
            fit.input_scatter / fit.total_weight, covariance[:n, :n], atol=1e-12
        )
        np.testing.assert_allclose(
            fit.target_scatter / fit.total_weight, covariance[:n, n:], atol=1e-12
        )
