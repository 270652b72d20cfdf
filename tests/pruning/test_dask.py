"""Calibration with Dask collections: as with the same data in memory, whatever the chunks."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import skec

dask = pytest.importorskip("dask", reason="needs dask")
da = pytest.importorskip("dask.array", reason="needs dask")
dd = pytest.importorskip("dask.dataframe", reason="needs dask.dataframe")

N = 1000
BATCH_SIZE = 16  # so that a run has 256 rows


@pytest.fixture(autouse=True)
def synchronous():
    with dask.config.set(scheduler="synchronous"):
        yield


def network(dtype=torch.float32, n_outputs=2):
    torch.manual_seed(0)
    layers = nn.Linear(4, 12), nn.Tanh(), nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, n_outputs)
    return nn.Sequential(*layers).to(dtype)


def data():
    rng = np.random.default_rng(0)
    X = 3 + rng.normal(size=(N, 4))
    weight = rng.random(N) * (rng.random(N) > 0.2)
    weight[:300] = 0.0  # a whole run without weight
    return X, rng.normal(size=(N, 2)), weight


def prune(module, X, y=None, w=None, **settings):
    settings = {"batch_size": BATCH_SIZE, "pruning_ratio": 0.5, "random_state": 0} | settings
    return skec.prune(module, X, y, sample_weight=w, **settings)


def assert_same(found, expected):
    for name, score in expected.scores.items():
        torch.testing.assert_close(found.scores[name], score, rtol=1e-10, atol=0.0)
        assert torch.equal(found.masks[name], expected.masks[name])
    states = found.module.state_dict(), expected.module.state_dict()
    for name, value in states[1].items():
        torch.testing.assert_close(states[0][name], value, rtol=1e-6, atol=1e-9)


METHODS = [
    {},
    {"n_probes": 2},
    {"method": "gradient"},
    {"method": "wanda"},
    {"method": "surgeon", "compensation": "weights"},
    {"granularity": "neuron"},
    {"granularity": "neuron", "method": "elimination"},
    {"granularity": "neuron", "method": "random", "compensation": "least_squares"},
]


class TestScores:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("method", METHODS, ids=str)
    def test_are_those_of_the_same_data_in_memory(self, method, dtype):
        module, (X, y, w) = network(dtype), data()
        expected = prune(module, X, y, w, **method)
        for chunks in (N, 90, (300, 0, 1, 699)):
            on_dask = da.from_array(X, chunks=(chunks, 3)), da.from_array(y, chunks=(170, 1))
            assert_same(prune(module, *on_dask, da.from_array(w, chunks=400), **method), expected)

    @given(st.lists(st.integers(1, N - 1), max_size=8, unique=True))
    @settings(max_examples=10)
    def test_do_not_depend_on_the_chunks(self, edges):
        module, (X, _, _) = network(), data()
        chunks = tuple(np.diff([0, *sorted(edges), N]).tolist())
        found = prune(module, da.from_array(X, chunks=(chunks, 4)), n_steps=1)
        assert_same(found, prune(module, X, n_steps=1))

    def test_of_convolutions(self):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Conv1d(2, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 2))
        X = np.random.default_rng(0).normal(size=(N, 2, 6))
        on_dask = da.from_array(X, chunks=(130, 1, 4))
        for granularity in ("weight", "neuron"):
            assert_same(
                prune(module, on_dask, granularity=granularity),
                prune(module, X, granularity=granularity),
            )

    def test_of_a_frame_with_unknown_lengths(self):
        module, (X, y, w) = network(), data()
        frame = pd.DataFrame(X, columns=list("abcd")).assign(y=y[:, 0], z=y[:, 1], w=w)
        on_dask = dd.from_pandas(frame, npartitions=5)
        parts = [part[part.a > 2.5] for part in (frame, on_dask)]
        local, spread = [(p[list("abcd")], p[["y", "z"]], p.w) for p in parts]
        assert_same(prune(module, *spread, method="taylor"), prune(module, *local, method="taylor"))
        array = spread[0].to_dask_array()
        assert np.isnan(array.shape[0])
        assert_same(prune(module, array), prune(module, local[0]))
        assert np.isnan(array.shape[0])  # the argument is as it was

    def test_targets_and_weights_may_be_in_memory(self):
        module, (X, y, w) = network(), data()
        found = prune(module, da.from_array(X, chunks=(170, 4)), y, w, method="gradient")
        assert_same(found, prune(module, X, y, w, method="gradient"))

    def test_in_threads(self):
        module, (X, y, w) = network(), data()
        with dask.config.set(scheduler="threads", num_workers=3):
            found = prune(module, da.from_array(X, chunks=(90, 4)), y, w, method="taylor")
        assert_same(found, prune(module, X, y, w, method="taylor"))

    def test_the_network_is_in_the_graph_once(self, monkeypatch):
        module, (X, _, _) = network(), data()
        graphs = []
        compute = dask.compute

        def recorded(*args, **kwargs):
            graphs.append(args[0])
            return compute(*args, **kwargs)

        monkeypatch.setattr("dask.base.compute", recorded)
        prune(module, da.from_array(X, chunks=(256, 4)), n_steps=1)
        tasks = [repr(v) for v in dict(graphs[-1].__dask_graph__()).values()]
        assert sum("_Task object" in task for task in tasks) == 1
        assert len(tasks) > 8


def test_the_losses_of_a_path_are_those_in_memory():
    module, (X, y, w) = network(torch.float64), data()
    kwargs = {"pruning_ratios": [0.3, 0.8], "batch_size": BATCH_SIZE}
    expected = skec.pruning_path(module, X, y, sample_weight=w, **kwargs)
    found = skec.pruning_path(
        module,
        da.from_array(X, chunks=(90, 4)),
        da.from_array(y, chunks=(500, 2)),
        sample_weight=da.from_array(w, chunks=300),
        **kwargs,
    )
    np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-12)
    assert found.dense_loss == pytest.approx(expected.dense_loss, rel=1e-12)


class TestErrors:
    @pytest.mark.parametrize(
        ("bad", "match"),
        [
            (lambda X, y, w: (X[:, 0], y, w), "must have shape"),
            (lambda X, y, w: (X[:, :3], y, w), "does not take X"),
            (lambda X, y, w: (X[:0], y[:0], w[:0]), "X has no samples"),
            (lambda X, y, w: (X, y[:-1], w), "X and y must have the same number of rows"),
            (lambda X, y, w: (X, y, w[1:]), "X and sample_weight must have the same number"),
            (lambda X, y, w: (X, y, 0 * w), "not all zero"),
            (lambda X, y, w: (X, y, -w), "non-negative"),
            (lambda X, y, w: (da.where(X[-1, 0] == X, np.nan, X), y, w), "X contains NaN"),
            (lambda X, y, w: (X, da.where(y[-1, 0] == y, np.inf, y), w), "y contains NaN"),
        ],
    )
    def test_are_those_of_data_in_memory(self, bad, match):
        arrays = [da.from_array(a, chunks=256) for a in data()]
        with pytest.raises(ValueError, match=match):
            prune(network(), *bad(*arrays), method="gradient")
        with pytest.raises(ValueError, match=match):
            prune(network(), *dask.compute(*bad(*arrays)), method="gradient")

    def test_name_missing_values_and_strings_of_a_frame(self):
        frame = pd.DataFrame(data()[0], columns=list("abcd"))
        missing = frame.astype("Float64")
        missing.iloc[-1, 0] = pd.NA
        for bad, error in ((missing, ValueError), (frame.assign(a="x"), TypeError)):
            messages = []
            for X in (bad, dd.from_pandas(bad, npartitions=3)):
                with pytest.raises(error) as caught:
                    prune(network(), X)
                messages.append(str(caught.value)[:30])
            assert messages[0] == messages[1]

    @pytest.mark.parametrize(
        ("method", "name"),
        [
            ({"method": "surgeon"}, "compensation='network'"),
            ({"method": "ec_network"}, "compensation='network'"),
            ({"method": "ec_exact"}, "method='ec_exact'"),
            ({"compensation": "bias_exact"}, "compensation='bias_exact'"),
        ],
        ids=str,
    )
    def test_name_what_needs_all_samples(self, method, name):
        X = data()[0]
        X = da.from_array(X, chunks=256).map_blocks(_fail, meta=X[:0])
        with pytest.raises(ValueError, match=f"{name} needs all samples in one place.*compute"):
            prune(network(), X, **method)

    def test_name_what_is_of_dask_alone(self):
        X, y, w = data()
        with pytest.raises(TypeError, match="y is a Dask Array, and X is in memory"):
            prune(network(), X, da.from_array(y), method="gradient")
        with pytest.raises(TypeError, match="sample_weight is a Dask Array"):
            prune(network(), X, y, da.from_array(w))
        with pytest.raises(TypeError, match="can be a Dask Array, DataFrame or Series"):
            prune(network(), dask.delayed(X))


def _fail(block):
    raise RuntimeError("computed")


def test_dask_is_imported_only_where_it_is_used():
    code = (
        "import sys, numpy, torch, skec; skec.prune(torch.nn.Linear(2, 1), numpy.eye(2), "
        "pruning_ratio=0.5); assert not {'dask', 'distributed'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
