import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from skec.calibration import IdentityMetric, calibration_samples, collect, identity_metric
from skec.calibration.statistics import (
    DenseFit,
    InputMoments,
    LossGradient,
    SensitivityMatrix,
    SensitivityMoments,
    merge,
)
from skec.networks import match_targets, prunable_layers


def network(dtype=torch.float64):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).to(dtype).eval()


def samples(n=23):
    generator = torch.Generator().manual_seed(1)
    X = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    y = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    return X, y, torch.rand(n, generator=generator, dtype=torch.float64) + 0.1


def measure(module, X, y=None, weights=None, batch_size=512, **kwargs):
    data = calibration_samples(module, X, y, weights)
    statistics = [SensitivityMoments] + ([] if y is None else [LossGradient])
    kwargs = {"metric": identity_metric, "loss": nn.MSELoss()} | kwargs
    return collect(
        module, prunable_layers(module), data, statistics, batch_size=batch_size, **kwargs
    )


def assert_same(left, right):
    for name in left:
        for a, b in zip(
            left[name][SensitivityMoments].moments,
            right[name][SensitivityMoments].moments,
            strict=True,
        ):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-13)
        if LossGradient in left[name].by_class:
            a, b = (side[name][LossGradient].mean for side in (left, right))
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-13)


class TestCalibrationSamples:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize(
        "convert", [np.asarray, torch.as_tensor, list, np.asfortranarray, lambda X: X[::-1]]
    )
    def test_takes_arrays_and_tensors_in_the_dtype_of_the_network(self, dtype, convert):
        X = np.arange(12, dtype=np.int16).reshape(4, 3)
        data = calibration_samples(network(dtype), convert(X), convert(X), convert(X[:, 0]))
        assert data.X.dtype == data.sample_weight.dtype == dtype
        assert np.array_equal(data.X.numpy(), np.asarray(convert(X)))
        assert np.array_equal(data.y.numpy(), np.asarray(convert(X)))
        assert not data.y.is_floating_point()

    @pytest.mark.parametrize("batch_size", [1, 4, 10, 99])
    def test_batches_are_the_rows_in_their_order(self, batch_size):
        X, y, w = samples(10)
        batches = list(calibration_samples(network(), X, y, w).batches(batch_size))
        assert all(len(batch[0]) == batch_size for batch in batches[:-1])
        for whole, parts in zip((X, y, w), zip(*batches, strict=True), strict=True):
            assert torch.equal(torch.cat(parts), whole)
        batches = calibration_samples(network(), X).batches(batch_size)
        assert all(y is None and w is None for _, y, w in batches)

    @pytest.mark.parametrize("rows", [slice(2, 5), torch.tensor([4, 0, 4])])
    def test_take(self, rows):
        X, y, w = samples(10)
        part = calibration_samples(network(), X, y, w).take(rows)
        assert torch.equal(part.X, X[rows])
        assert torch.equal(part.y, y[rows])
        assert torch.equal(part.sample_weight, w[rows])

    @pytest.mark.parametrize("seed", [0, 1])
    def test_sample_draws_whole_rows_without_replacement(self, seed):
        X, y, w = samples(30)
        data = calibration_samples(network(), X, y, w)
        part = data.draw(12, seed)
        rows = [int(torch.nonzero((row == X).all(1))) for row in part.X]
        assert len(set(rows)) == 12
        assert rows != list(range(12))
        assert torch.equal(part.y, y[rows])
        assert torch.equal(part.sample_weight, w[rows])
        assert torch.equal(data.draw(12, seed).X, part.X)
        assert not torch.equal(data.draw(12, seed + 2).X, part.X)

    @pytest.mark.parametrize("n_samples", [None, 10, 11])
    def test_sample_takes_all_if_there_are_no_more(self, n_samples):
        X, y, w = samples(10)
        assert torch.equal(calibration_samples(network(), X, y, w).draw(n_samples, 0).X, X)

    @pytest.mark.parametrize(
        ("name", "change", "error", "message"),
        [
            ("X", lambda X: X[:, 0], ValueError, r"shape \(n_samples, n_features\); got \(6,\)"),
            ("X", lambda X: X[:0], ValueError, "no samples"),
            ("X", lambda X: X * np.nan, ValueError, "X contains NaN"),
            ("X", lambda X: X / 0.0, ValueError, "X contains NaN or infinity"),
            ("X", lambda X: X.astype(str), TypeError, "X must be a dense array"),
            ("X", lambda X: X.astype(str).astype(object), TypeError, "X must be a dense array"),
            ("X", scipy.sparse.csr_matrix, TypeError, "make sparse matrices dense"),
            ("X", scipy.sparse.csr_array, TypeError, "make sparse matrices dense"),
            ("X", lambda X: torch.tensor(X).to_sparse(), TypeError, "make sparse matrices dense"),
            ("X", lambda X: X * 1j, TypeError, "X must be a dense array"),
            ("X", lambda X: torch.tensor(X) * 1j, TypeError, "X must be a dense array"),
            ("X", lambda X: X[:5], ValueError, "same number of rows; got 5 and 6"),
            ("y", lambda y: y[:5], ValueError, "X and y .* same number of rows; got 6 and 5"),
            ("y", lambda y: y.astype(str), TypeError, "y must be a dense array"),
            ("y", lambda y: y * np.nan, ValueError, "y contains NaN"),
            ("sample_weight", lambda w: w[:5], ValueError, "X and sample_weight .* 6 and 5"),
            ("sample_weight", lambda w: -w, ValueError, "non-negative .* minimum -1"),
            ("sample_weight", lambda w: w * 0, ValueError, "not all zero"),
            ("sample_weight", lambda w: w[:, None], ValueError, r"one .* per sample.*\(6, 1\)"),
            ("sample_weight", lambda w: w * np.nan, ValueError, "sample_weight contains NaN"),
            ("sample_weight", lambda w: w.astype(str), TypeError, "sample_weight must be"),
        ],
    )
    @pytest.mark.filterwarnings("ignore:divide by zero", "ignore:Casting complex")
    def test_errors_name_the_argument_and_the_fix(self, name, change, error, message):
        arguments = {"X": np.ones((6, 3)), "y": np.ones((6, 2)), "sample_weight": np.ones(6)}
        arguments[name] = change(arguments[name])
        with pytest.raises(error, match=message):
            calibration_samples(network(), **arguments)

    def test_numbers_too_large_for_the_network_are_found_in_the_data(self):
        with pytest.raises(ValueError, match=r"^X contains NaN or infinity"):
            calibration_samples(network(torch.float32), np.full((4, 3), 1e39))


class TestCollect:
    @given(batch_size=st.integers(1, 30), weighted=st.booleans())
    def test_the_batch_size_does_not_matter(self, batch_size, weighted):
        module, (X, y, w) = network(), samples()
        w = w if weighted else None
        whole = measure(module, X, y, w, batch_size=len(X))
        assert_same(measure(module, X, y, w, batch_size=batch_size), whole)

    @given(cut=st.integers(1, 22), weighted=st.booleans())
    def test_shards_merge_to_the_whole(self, cut, weighted):
        module, (X, y, w) = network(), samples()
        w = w if weighted else None
        shards = [
            measure(module, X[rows], y[rows], None if w is None else w[rows], batch_size=5)
            for rows in (slice(0, cut), slice(cut, None))
        ]
        assert_same(merge(shards), measure(module, X, y, w))

    @pytest.mark.parametrize("weighted", [False, True])
    def test_the_loss_gradient_is_that_of_the_weighted_mean(self, weighted):
        module, (X, y, w) = network(), samples()
        found = measure(module, X, y, w if weighted else None, batch_size=5)
        w = w if weighted else torch.ones_like(w)
        loss = ((module(X) - y).square().mean(1) * w).sum() / w.sum()
        loss.backward()
        for name, layer in prunable_layers(module).items():
            torch.testing.assert_close(found[name][LossGradient].mean, layer.weight.grad)

    @pytest.mark.parametrize("fails", [False, True])
    def test_leaves_the_network_as_it_was(self, fails):
        module, (X, y, _) = network(), samples()
        module[0].weight.requires_grad_(False)
        flags = [p.requires_grad for p in module.parameters()]
        state = {name: value.clone() for name, value in module.state_dict().items()}

        class Broken(IdentityMetric):
            def __call__(self, outputs):
                raise KeyError

        try:
            measure(module, X, y, **({"metric": Broken()} if fails else {}))
        except KeyError:
            assert fails
        assert [p.requires_grad for p in module.parameters()] == flags
        assert all(p.grad is None for p in module.parameters())
        assert not any(m._forward_hooks for m in module.modules())
        assert all(torch.equal(state[k], v) for k, v in module.state_dict().items())

    def test_works_where_gradients_are_switched_off(self):
        module, (X, y, _) = network(), samples()
        with torch.no_grad():
            found = measure(module, X, y)
        assert_same(found, measure(module, X, y))

    def test_names_the_layers_that_take_no_part(self):
        class Unused(nn.Module):
            def __init__(self):
                super().__init__()
                self.used, self.spare = nn.Linear(3, 2), nn.Linear(3, 2)

            def forward(self, x):
                return self.used(x)

        with pytest.raises(ValueError, match=r"\['spare'\] take no part"):
            measure(Unused().double(), samples()[0])

    def test_nothing_asked_nothing_run(self):
        module = network()
        found = collect(module, prunable_layers(module), None, (), metric=identity_metric)
        assert {name: s.by_class for name, s in found.items()} == {"0": {}, "2": {}}


UNITS = [InputMoments, SensitivityMatrix, DenseFit]


class TestCollectForUnits:
    def collect(self, module, X, weights=None, batch_size=512, dense=None):
        data = calibration_samples(module, X, None, weights)
        layers, dense = prunable_layers(module), network() if dense is None else dense
        settings = {"metric": identity_metric, "dense": dense, "batch_size": batch_size}
        return collect(module, layers, data, UNITS, **settings)

    def numbers(self, found):
        return [
            torch.as_tensor(value)
            for statistics in found.values()
            for statistic in statistics.by_class.values()
            for value in vars(statistic).values()
            if not isinstance(value, torch.dtype)
        ]

    @given(batch_size=st.integers(1, 30), weighted=st.booleans())
    def test_the_batch_size_does_not_matter(self, batch_size, weighted):
        module, (X, _, w) = network(), samples()
        w = w if weighted else None
        whole = self.numbers(self.collect(module, X, w))
        parts = self.numbers(self.collect(module, X, w, batch_size))
        for left, right in zip(parts, whole, strict=True):
            torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-12)

    def test_leaves_both_networks_as_they_were(self):
        module, dense, (X, _, _) = network(), network(), samples()
        states = [{n: v.clone() for n, v in m.state_dict().items()} for m in (module, dense)]
        self.collect(module, X, dense=dense)
        for part, state in zip((module, dense), states, strict=True):
            assert all(p.requires_grad and p.grad is None for p in part.parameters())
            assert not any(m._forward_hooks or m._forward_pre_hooks for m in part.modules())
            assert all(torch.equal(state[k], v) for k, v in part.state_dict().items())

    def test_the_dense_network_gives_the_targets_and_nothing_else(self):
        module, dense, (X, _, _) = network(), network(), samples()
        with torch.no_grad():
            dense[2].bias += 5.0
        found, alone = self.collect(module, X, dense=dense), self.collect(module, X)
        for name, shift in (("0", 0.0), ("2", 5.0)):
            fit, plain = (side[name][DenseFit] for side in (found, alone))
            torch.testing.assert_close(fit.target_mean, plain.target_mean + shift)
            torch.testing.assert_close(fit.input_scatter, plain.input_scatter)
            torch.testing.assert_close(
                found[name][InputMoments].scatter, alone[name][InputMoments].scatter
            )
            torch.testing.assert_close(
                found[name][SensitivityMatrix].total, alone[name][SensitivityMatrix].total
            )


class Written(nn.Module):
    """A network that writes over a tensor at the named place."""

    def __init__(self, place):
        super().__init__()
        self.first, self.last, self.place = nn.Linear(3, 3), nn.Linear(3, 2), place

    def forward(self, x):
        h = self.first(x)
        if self.place == "pre-activation":
            h = torch.relu_(h)
        h = h * 2
        y = self.last(h)
        if self.place == "input":
            h.mul_(2)
        if self.place == "output":
            y += 1
        return y


@pytest.mark.parametrize("place", ["pre-activation", "input", "output"])
def test_writing_over_a_recorded_tensor_is_an_error_that_says_so(place):
    with pytest.raises(ValueError, match=r"in place.*out-of-place"):
        measure(Written(place).double(), samples()[0])


@pytest.mark.parametrize(
    ("y", "n_outputs", "shape"),
    [
        (torch.zeros(5), 1, (5, 1)),
        (torch.zeros(5, 1), 1, (5, 1)),
        (torch.zeros(5, 2), 2, (5, 2)),
        (torch.zeros(5, dtype=torch.int64), 1, (5,)),
        (torch.zeros(5, dtype=torch.int64), 3, (5,)),
    ],
)
def test_float_targets_get_the_column_of_a_single_output(y, n_outputs, shape):
    assert match_targets(y, torch.zeros(5, n_outputs)).shape == shape
