import inspect
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from skec import prune
from skec.calibration import identity_metric
from skec.calibration import statistics as package
from skec.calibration.statistics import (
    ExactElimination,
    InputMean,
    InputPower,
    LayerBatch,
    LayerStatistics,
    LossGradient,
    NetworkStatistic,
    ProbeError,
    RowMoments,
    SensitivityMoments,
    Statistic,
    _rows,
    merge,
)
from skec.criteria import Criterion, UnitCriterion
from skec.utils import Samples

N_IN, N_OUT = 3, 2
seeds = st.integers(0, 2**31 - 1)


def sample(n, seed, offset=0.0, dtype=torch.float64):
    """Inputs, sensitivities and weights of n samples."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(n, N_IN, generator=generator, dtype=torch.float64) + offset
    s = torch.rand(n, N_OUT, generator=generator, dtype=torch.float64)
    weights = torch.rand(n, generator=generator, dtype=torch.float64) + 0.1
    return inputs.to(dtype), s.to(dtype), weights.to(dtype)


def moments(*batches):
    statistic = SensitivityMoments(nn.Linear(N_IN, N_OUT))
    for batch in batches:
        statistic.update(LayerBatch(*batch))
    return statistic


def rows(data, index):
    return tuple(None if part is None else part[index] for part in data)


def two_pass(inputs, s, weights=None):
    """Sensitivity, mean and scatter from their definitions, in extended precision."""
    a, s = (part.numpy().astype(np.longdouble) for part in (inputs, s))
    if weights is not None:
        s = s * weights.numpy().astype(np.longdouble)[:, None]
    total = s.sum(0)
    mean = np.einsum("ni,nj->ij", s, a) / total[:, None]
    scatter = np.einsum("ni,nij->ij", s, (a[:, None] - mean) ** 2)
    return tuple(torch.from_numpy(part.astype(np.float64)) for part in (total, mean, scatter))


def assert_same(found, expected, rtol=1e-10):
    expected = expected.moments if isinstance(expected, SensitivityMoments) else expected
    for left, right in zip(found.moments, expected, strict=True):
        torch.testing.assert_close(left, right, rtol=rtol, atol=1e-13)


class TestSensitivityMoments:
    @given(n=st.integers(2, 60), seed=seeds, data=st.data())
    def test_any_split_into_batches_gives_the_moments_of_the_whole(self, n, seed, data):
        whole = sample(n, seed)
        cuts = data.draw(st.sets(st.integers(1, n - 1), max_size=40))
        edges = [0, *sorted(cuts), n]
        found = moments(*(rows(whole, slice(*edge)) for edge in pairwise(edges)))
        assert_same(found, two_pass(*whole))
        assert found.total_weight == pytest.approx(float(whole[2].sum()), rel=1e-12)

    @given(seed=seeds, n_shards=st.integers(1, 5), batch=st.integers(1, 9))
    def test_shards_merge_to_the_whole(self, seed, n_shards, batch):
        whole = sample(40, seed)
        shards = []
        for shard in range(n_shards):
            data = rows(whole, slice(shard, None, n_shards))
            parts = [rows(data, slice(i, i + batch)) for i in range(0, len(data[0]), batch)]
            shards.append({"layer": LayerStatistics({SensitivityMoments: moments(*parts)})})
        found = merge(shards)["layer"][SensitivityMoments]
        assert_same(found, two_pass(*whole))
        assert found.total_weight == pytest.approx(float(whole[2].sum()), rel=1e-12)

    @pytest.mark.parametrize("batch", [1, 7, 200])
    def test_a_large_offset_costs_no_digits(self, batch):
        whole = sample(200, 0, offset=1e6)
        found = moments(*(rows(whole, slice(i, i + batch)) for i in range(0, 200, batch)))
        assert_same(found, two_pass(*whole))

    def test_a_large_offset_costs_no_digits_in_single_precision(self):
        whole = sample(200, 0, offset=1e4, dtype=torch.float32)
        assert_same(moments(whole), two_pass(*whole), rtol=1e-5)

    def test_batches_whose_means_lie_far_apart(self):
        whole = tuple(map(torch.cat, zip(sample(30, 0), sample(30, 1, offset=1e6), strict=True)))
        found = moments(*(rows(whole, slice(i, i + 3)) for i in range(0, 60, 3)))
        assert_same(found, two_pass(*whole))

    @pytest.mark.parametrize("size", [1.0, 1e8])
    def test_a_weight_of_zero_equals_removal(self, size):
        inputs, s, weights = sample(20, 0)
        weights[::3] = 0.0
        inputs[::3] *= size
        assert_same(
            moments((inputs, s, weights)), two_pass(*rows((inputs, s, weights), weights > 0))
        )

    def test_a_batch_of_weight_zero_adds_nothing(self):
        data, other = sample(20, 0), sample(20, 1)
        other[2].zero_()
        assert_same(moments(other, data), two_pass(*data))
        assert_same(moments(data, other), two_pass(*data))

    def test_a_far_sample_without_sensitivity_costs_no_digits(self):
        inputs, s, _ = sample(100, 0, dtype=torch.float32)
        inputs[0], s[0] = 1e6, 0.0
        assert_same(moments((inputs, s, None)), two_pass(inputs[1:], s[1:]), rtol=1e-4)

    @given(seed=seeds)
    def test_integer_weights_equal_repetition(self, seed):
        inputs, s, _ = sample(15, seed)
        counts = torch.randint(0, 4, (15,), generator=torch.Generator().manual_seed(seed))
        counts[0] = 1
        repeated = (inputs.repeat_interleave(counts, 0), s.repeat_interleave(counts, 0), None)
        found = moments((inputs, s, counts.double()))
        assert_same(found, moments(repeated))
        assert found.total_weight == len(repeated[0])

    @given(seed=seeds)
    def test_the_order_of_samples_does_not_matter(self, seed):
        whole = sample(30, seed)
        order = torch.randperm(30, generator=torch.Generator().manual_seed(seed))
        shuffled = rows(whole, order)
        batches = [rows(shuffled, slice(i, i + 4)) for i in range(0, 30, 4)]
        assert_same(moments(*batches), moments(whole))

    def test_a_unit_without_sensitivity(self):
        inputs, s, _ = sample(20, 0)
        s[:, 0] = 0.0
        found = moments(*(rows((inputs, s, None), slice(i, i + 5)) for i in range(0, 20, 5)))
        assert found.sensitivity[0] == 0
        assert torch.equal(found.scatter[0], torch.zeros(N_IN, dtype=torch.float64))
        assert (inputs.amin(0) <= found.mean[0]).all()
        assert (found.mean[0] <= inputs.amax(0)).all()
        for found_part, expected in zip(found.moments, two_pass(inputs, s[:, 1:]), strict=True):
            torch.testing.assert_close(found_part[1:], expected)

    def test_the_scatter_of_a_constant_input_vanishes(self):
        inputs, s, _ = sample(50, 0)
        inputs[:, 1] = 0.1
        found = moments(*(rows((inputs, s, None), slice(i, i + 7)) for i in range(0, 50, 7)))
        assert (found.scatter[:, 1] >= 0).all()
        assert (found.scatter[:, 1] < 1e-28).all()
        torch.testing.assert_close(found.mean[:, 1], torch.full((2,), 0.1, dtype=torch.float64))

    def test_reading_the_moments_midway_changes_nothing(self):
        data = sample(30, 0)
        statistic = moments(rows(data, slice(0, 10)))
        assert_same(statistic, two_pass(*rows(data, slice(0, 10))))
        statistic.update(LayerBatch(*rows(data, slice(10, 30))))
        assert_same(statistic, two_pass(*data))

    @pytest.mark.parametrize("empty_first", [False, True])
    def test_merging_with_one_that_saw_nothing(self, empty_first):
        data = sample(10, 0)
        pair = [moments(data), moments()]
        left, right = reversed(pair) if empty_first else pair
        left.merge(right)
        assert_same(left, two_pass(*data))

    def test_update_leaves_the_batch_as_it_was(self):
        batch = sample(10, 0)
        before = tuple(part.clone() for part in batch)
        moments(batch)
        assert all(map(torch.equal, batch, before))


class TestLossGradient:
    @given(seed=seeds, cut=st.integers(1, 9))
    def test_adds_over_batches_and_shards(self, seed, cut):
        generator = torch.Generator().manual_seed(seed)
        gradients = torch.randn(10, N_OUT, N_IN, generator=generator)
        weights = torch.rand(10, generator=generator, dtype=torch.float64) + 0.1
        parts = []
        for part in (slice(0, cut), slice(cut, 10)):
            statistic = LossGradient(nn.Linear(N_IN, N_OUT))
            for g, w in zip(gradients[part], weights[part], strict=True):
                statistic.update(LayerBatch(torch.zeros(1, N_IN), None, w[None], g))
            parts.append(statistic)
        parts[0].merge(parts[1])
        expected = gradients.double().sum(0) / weights.sum()
        torch.testing.assert_close(parts[0].mean, expected)


def wide_sample(n, n_in, n_out, seed, dtype=torch.float64):
    """Inputs, sensitivities with zeros among them, and weights."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(n, n_in, generator=generator, dtype=torch.float64)
    s = (torch.randn(n, n_out, generator=generator, dtype=torch.float64) - 0.3).clamp_min(0.0)
    weights = torch.rand(n, generator=generator, dtype=torch.float64) + 0.1
    return inputs.to(dtype), s.to(dtype), weights.to(dtype)


def row_moments(data, batch=None):
    inputs, s, _ = data
    statistic = RowMoments(nn.Linear(inputs.shape[1], s.shape[1]))
    for start in range(0, len(inputs), batch or len(inputs)):
        part = slice(start, start + (batch or len(inputs)))
        statistic.update(LayerBatch(*rows(data, part)))
    return statistic


def whole_matrices(inputs, s, weights=None):
    """``E[s_i ã ãᵀ]`` of every unit."""
    w = torch.ones(len(inputs)).double() if weights is None else weights
    a = torch.cat([inputs, torch.ones_like(inputs[:, :1])], dim=1)
    return torch.einsum("n,ni,nj,nk->ijk", w / w.sum(), s, a, a)


def assert_matrices(blocks, kept, expected, **tolerance):
    """Each unit with weights left has its matrix once, other places are zero."""
    n_in = kept.shape[1]
    seen = []
    for block in blocks:
        units = zip(block.rows, block.columns, block.used, block.moments, strict=True)
        for row, columns, used, moments in units:
            seen.append(int(row))
            left = [*torch.nonzero(kept[row]).flatten().tolist(), n_in]
            assert columns[used].tolist() == left
            assert (columns[~used] == n_in + 1).all()
            inside = expected[row][left][:, left]
            torch.testing.assert_close(moments[used][:, used].double(), inside, **tolerance)
            assert not moments[~used].any()
            assert not moments[:, ~used].any()
    assert sorted(seen) == torch.nonzero(kept.any(1)).flatten().tolist()


class TestRowMoments:
    @given(
        seed=seeds,
        share=st.sampled_from([0.1, 0.5, 1.0]),
        memory=st.sampled_from([0.0, 3000.0, 2.0**30]),
        batch=st.sampled_from([1, 7, None]),
    )
    def test_are_those_of_the_weights_that_are_left(self, seed, share, memory, batch):
        data = wide_sample(90, 6, 5, seed)
        kept = torch.rand(5, 6, generator=torch.Generator().manual_seed(seed)) < share
        blocks = row_moments(data, batch).blocks(kept, memory)
        assert_matrices(blocks, kept, whole_matrices(*data), rtol=1e-9, atol=1e-13)

    @pytest.mark.parametrize("memory", [0.0, 2.0**20, 2.0**30])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_of_units_with_many_and_with_few_weights(self, dtype, memory):
        data = wide_sample(130, 250, 6, 0, dtype)
        kept = torch.rand(6, 250) < torch.tensor([1.0, 0.9, 0.8, 0.5, 0.1, 0.0])[:, None]
        data[1][:, 1] = 0.0  # a unit without sensitivity
        expected = whole_matrices(*(part.double() for part in data))
        tolerance = {"rtol": 1e-4, "atol": 1e-5} if dtype == torch.float32 else {}
        assert_matrices(row_moments(data).blocks(kept, memory), kept, expected, **tolerance)

    def test_more_samples_than_are_multiplied_at_once(self):
        inputs, s, _ = wide_sample(9000, 3, 2, 0)
        kept = torch.ones(2, 3, dtype=torch.bool)
        blocks = row_moments((inputs, s, None)).blocks(kept, 2.0**30)
        assert_matrices(blocks, kept, whole_matrices(inputs, s))

    @pytest.mark.parametrize("memory", [0.0, 2.0**30])
    def test_are_the_same_when_asked_again(self, memory):
        data = wide_sample(40, 6, 5, 0)
        statistic, expected = row_moments(data), whole_matrices(*data)
        kept = torch.rand(5, 6) < 0.7
        for mask in (kept, kept, torch.rand(5, 6) < 0.5, kept):
            assert_matrices(statistic.blocks(mask, memory), mask, expected)

    def test_damping_does_not_pile_up(self):
        data = wide_sample(40, 6, 5, 0)
        statistic, kept = row_moments(data), torch.ones(5, 6, dtype=torch.bool)
        for _ in range(2):
            for block in statistic.blocks(kept, 2.0**30):
                block.damped(0.1)
        assert_matrices(statistic.blocks(kept, 2.0**30), kept, whole_matrices(*data))

    def test_damping_is_a_fraction_of_the_mean_diagonal(self):
        data = wide_sample(40, 6, 5, 0)
        kept = torch.rand(5, 6, generator=torch.Generator().manual_seed(0)) < 0.5
        for block in row_moments(data).blocks(kept, 2.0**30):
            before = block.moments.clone()
            for used, plain, damped in zip(block.used, before, block.damped(0.1), strict=True):
                ridge = torch.where(used, 0.1 * plain.trace() / used.sum(), 1.0)
                torch.testing.assert_close(damped, plain + torch.diag(ridge))

    def test_one_may_take_some_units_of_a_block(self):
        data, kept = wide_sample(40, 6, 5, 0), torch.ones(5, 6, dtype=torch.bool)
        (block,) = row_moments(data).blocks(kept, 2.0**30)
        chosen = torch.isin(block.rows, torch.tensor([1, 4]))
        few = torch.zeros_like(kept)
        few[[1, 4]] = True
        assert_matrices([block.take(chosen)], few, whole_matrices(*data))

    @given(seed=seeds, n_shards=st.integers(2, 4))
    def test_shards_merge_to_the_whole(self, seed, n_shards):
        data = wide_sample(30, 6, 5, seed)
        shards = [row_moments(rows(data, slice(i, None, n_shards)), 4) for i in range(n_shards)]
        kept = torch.ones(5, 6, dtype=torch.bool)
        list(shards[0].blocks(kept, 2.0**30))  # what it remembers is out of date after the merge
        for other in shards[1:]:
            shards[0].merge(other)
        assert_matrices(shards[0].blocks(kept, 2.0**30), kept, whole_matrices(*data))

    def test_the_diagonal_is_that_of_the_whole(self):
        data = wide_sample(40, 6, 5, 0)
        expected = whole_matrices(*data).diagonal(dim1=1, dim2=2)
        torch.testing.assert_close(row_moments(data, 7).diagonal(), expected)

    @pytest.mark.parametrize("share", [0.3, 1.0])
    @pytest.mark.parametrize(("n_in", "n_out"), [(3, 4), (200, 2)])
    def test_of_many_samples_are_summed_up(self, share, n_in, n_out, monkeypatch):
        """Beyond the memory of the matrices no sample is held."""
        data = wide_sample(9000, n_in, n_out, 0)
        kept = torch.rand(n_out, n_in, generator=torch.Generator().manual_seed(0)) < share
        expected = list(row_moments(data, 500).blocks(kept, 2.0**30))
        diagonal = row_moments(data, 500).diagonal()
        monkeypatch.setattr(_rows, "_HELD", 0)
        shards = [RowMoments(nn.Linear(n_in, n_out)) for _ in range(2)]
        for i, shard in enumerate(shards):
            for start in range(i * 4500, (i + 1) * 4500, 500):
                part = slice(start, start + 500)
                shard.update(LayerBatch(*rows(data, part), kept=kept))
        whole, other = shards
        whole.merge(other)
        assert not whole._chunks
        assert not whole._batches
        found = list(whole.blocks(kept, 2.0**30))
        assert_matrices(found, kept, whole_matrices(*data), rtol=1e-9, atol=1e-12)
        assert sum(len(b.rows) for b in found) == sum(len(b.rows) for b in expected)
        torch.testing.assert_close(whole.diagonal(), diagonal)
        with pytest.raises(ValueError, match="kept must be the kept weights of the batches"):
            list(whole.blocks(~kept, 2.0**30))

    def test_few_samples_with_large_matrices_are_held(self, monkeypatch):
        monkeypatch.setattr(_rows, "_HELD", 0)
        data = wide_sample(20, 100, 6, 0)
        statistic = row_moments(data, 5)
        kept = torch.rand(6, 100) < 0.5
        assert_matrices(statistic.blocks(kept, 2.0**30), kept, whole_matrices(*data))
        assert statistic._sums is None

    def test_update_leaves_the_batch_as_it_was_and_does_not_follow_it(self):
        data, kept = wide_sample(20, 6, 5, 0), torch.ones(5, 6, dtype=torch.bool)
        before = tuple(part.clone() for part in data)
        statistic = row_moments(data)
        assert all(map(torch.equal, data, before))
        data[1].zero_()  # the memory of the sensitivities is used again
        assert_matrices(statistic.blocks(kept, 2.0**30), kept, whole_matrices(*before))


class TestInputPower:
    @given(seed=seeds, cut=st.integers(1, 19), weighted=st.booleans())
    def test_is_the_weighted_mean_square(self, seed, cut, weighted):
        inputs, _, weights = sample(20, seed)
        data = (inputs, None, weights if weighted else None)
        first, second = (InputPower(nn.Linear(N_IN, N_OUT)) for _ in range(2))
        first.update(LayerBatch(*rows(data, slice(0, cut))))
        second.update(LayerBatch(*rows(data, slice(cut, 20))))
        first.merge(second)
        expected = np.average(inputs.numpy() ** 2, axis=0, weights=data[2])
        np.testing.assert_allclose(first.mean, expected, rtol=1e-12)


class TestProbeError:
    def of(self, data):
        statistic = ProbeError(nn.Linear(N_IN, N_OUT))
        statistic.update(LayerBatch(*data))
        return statistic

    @pytest.mark.parametrize("n_probes", [1, 4])
    def test_bounds_the_error_of_the_mean(self, n_probes):
        generator = torch.Generator().manual_seed(0)
        g = torch.randn(15, N_OUT, 40, generator=generator).double()  # of 40 outputs
        inputs, _, weights = sample(15, 0)
        exact = self.of((inputs, g.square().sum(2), weights))
        signs = torch.randint(0, 2, (2000, n_probes, 15, 40), generator=generator) * 2.0 - 1.0
        probed = torch.einsum("tpnk,nik->tpni", signs.double(), g).square().mean(1)
        actual = (torch.einsum("n,tni->ti", weights, probed) / exact.total).std(0)
        bound = exact.relative(n_probes)
        assert (actual < bound).all()
        assert (actual > 0.85 * bound).all()  # with many outputs it is close
        estimates = [self.of((inputs, s, weights)).relative(n_probes) for s in probed[:100]]
        assert (torch.stack(estimates).mean(0) > actual).all()

    def test_adds_over_batches_and_shards(self):
        data = sample(20, 0)
        parts = [self.of(rows(data, slice(0, 7))), self.of(rows(data, slice(7, 20)))]
        parts[0].merge(parts[1])
        torch.testing.assert_close(parts[0].relative(3), self.of(data).relative(3))
        assert parts[0].total_weight == pytest.approx(float(data[2].sum()))

    def test_a_unit_without_sensitivity_has_no_error(self):
        inputs, s, _ = sample(20, 0)
        s[:, 0] = 0.0
        relative = self.of((inputs, s, None)).relative(2)
        assert relative[0] == 0
        assert relative[1] > 0


class TestExactElimination:
    def test_is_measured_and_neither_summed_nor_merged(self):
        layer = nn.Linear(N_IN, N_OUT)
        statistic = ExactElimination(layer)
        with pytest.raises(TypeError, match="measured, not summed"):
            statistic.update(LayerBatch(*sample(5, 0)))
        with pytest.raises(TypeError, match="cannot be merged"):
            statistic.merge(ExactElimination(layer))

    def test_of_a_linear_layer_is_the_variance_of_what_goes(self):
        layer, (inputs, _, weights) = nn.Linear(N_IN, N_OUT).double(), sample(20, 0)
        data = Samples(inputs, sample_weight=weights)
        found = ExactElimination.measure(layer, {"": layer}, data, identity_metric)[""]
        weight = layer.weight.detach()
        mean = weights @ inputs / weights.sum()
        variance = weights @ (inputs - mean).square() / weights.sum()
        torch.testing.assert_close(found.error, weight.square() * variance)
        torch.testing.assert_close(found.shift, weight * mean)


def test_merge_leaves_the_shards_as_they_were():
    shards = [
        {"layer": LayerStatistics({SensitivityMoments: moments(sample(10, i))})} for i in (0, 1)
    ]
    merge(shards)
    for i, shard in enumerate(shards):
        assert_same(shard["layer"][SensitivityMoments], two_pass(*sample(10, i)))


@pytest.mark.parametrize(("weights", "expected"), [(None, 5.0), (torch.full((5,), 0.5), 2.5)])
def test_total_weight_of_a_batch(weights, expected):
    assert LayerBatch(torch.zeros(5, 2), weights=weights).total_weight == expected


# -- forms for convolutions and maps ---------------------------------------------------------------


class Magnitudes(InputPower):
    def _averaged(self, inputs):
        return inputs.abs()


class SamePower(InputPower):
    pass


class SameMean(InputMean):
    pass


class Untouched(nn.ReLU):
    """Cannot be run."""

    def forward(self, x):
        raise AssertionError("the network was run")


@pytest.mark.parametrize("kind", [Magnitudes, SamePower])
class TestASubclassIsNotUsedOnConvolutions:
    def test_it_has_no_form(self, kind):
        assert InputPower.for_convolutions is not None
        assert kind.for_convolutions is None
        assert type(kind.of(nn.Linear(N_IN, N_OUT))) is kind
        with pytest.raises(ValueError, match=f"{kind.__name__} is not defined for convolutions"):
            kind.of(nn.Conv2d(2, 2, 1))

    def test_pruning_refuses_before_any_work(self, kind):
        class Reading(Criterion):
            requires = (kind,)

            def score(self, weight, statistics, generator):
                raise AssertionError("the weights were scored")

        module = nn.Sequential(Untouched(), nn.Conv1d(2, 2, 1))
        with pytest.raises(ValueError, match="not defined for convolutions"):
            prune(module, torch.zeros(3, 2, 4), pruning_ratio=0.5, method=Reading())


class TestASubclassIsNotUsedOnMaps:
    @pytest.mark.parametrize("layer", [nn.Conv1d(3, 2, 1), nn.Linear(12, 2)])
    def test_it_has_no_form(self, layer):
        assert InputMean.for_maps is not None
        assert SameMean.for_maps is None
        with pytest.raises(ValueError, match="SameMean is not defined for units that are maps"):
            SameMean.of(layer, 3)
        assert type(SameMean.of(nn.Linear(12, 2), 12)) is SameMean

    @pytest.mark.parametrize("reader", [[nn.Conv1d(3, 2, 1)], [nn.Flatten(), nn.Linear(12, 2)]])
    def test_pruning_refuses_before_any_work(self, reader, monkeypatch):
        class Reading(UnitCriterion):
            requires = (SameMean,)

            def score(self, units, statistics, generator):
                raise AssertionError("the units were scored")

        monkeypatch.setattr(nn.Identity, "forward", Untouched.forward)
        module = nn.Sequential(nn.Conv1d(2, 3, 1), nn.Identity(), *reader)
        data = {"X": torch.zeros(5, 2, 4), "pruning_ratio": 0.5, "granularity": "neuron"}
        with pytest.raises(ValueError, match="SameMean"):
            prune(module, method=Reading(), **data)


# -- all statistics that are sums ------------------------------------------------------------------

SUMS = [
    kind
    for kind in (getattr(package, name) for name in package.__all__)
    if isinstance(kind, type)
    and issubclass(kind, Statistic)
    and not issubclass(kind, NetworkStatistic)
    and not inspect.isabstract(kind)
]
FORMS = {
    form
    for kind in SUMS
    for form in (kind.for_convolutions, kind.for_maps)
    if form not in (None, kind)
}
LINEAR = [(nn.Linear(5, 4), None)]
CONVOLUTIONS = [
    (nn.Conv1d(2, 3, 3, stride=2), None),
    (nn.Conv2d(4, 6, 3, padding=1, groups=2), None),
]
MAPS = [
    (nn.Linear(12, 4), 3),
    (nn.Conv1d(3, 4, 2, padding=1), 3),
    (nn.Conv2d(3, 4, 2, padding=1), 3),
]
# every statistic with each of its forms
CASES = [
    (kind, layer.double(), n_units)
    for kind in SUMS
    if kind not in FORMS
    for layer, n_units in (
        LINEAR + (CONVOLUTIONS if kind.for_convolutions else []) + (MAPS if kind.for_maps else [])
    )
]


def layer_data(layer, weighted=True, n=11, n_seeds=2):
    """The data of n samples for a layer; gradients of shape (n, n_seeds, ...)."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(n, *shape, generator=generator, dtype=torch.float64)

    linear = isinstance(layer, nn.Linear)
    size = () if linear else (6, 5)[: len(layer.kernel_size)]
    inputs = draw(layer.in_features if linear else layer.in_channels, *size) + 1.0
    outputs = layer(inputs).detach()
    return {
        "inputs": inputs,
        "dense_pre_activations": outputs + draw(*outputs.shape[1:]),
        "gradients": draw(n_seeds, *outputs.shape[1:]),
        "input_gradients": draw(n_seeds, *inputs.shape[1:]),
        "loss_gradients": draw(*layer.weight.flatten(1).shape),
        "weights": draw().square() + 0.1 if weighted else None,
    }


def rows_of(data, index):
    return {name: None if values is None else values[index] for name, values in data.items()}


def squared_sensitivities(gradients):
    return gradients.reshape(*gradients.shape[:3], -1).sum(3).square().sum(1)


def statistics_of(kind, layer, n_units, data, batch_size):
    """The statistics over the data, summed in batches."""
    total = LayerStatistics.empty(layer, [kind], n_units)
    for start in range(0, len(data["inputs"]), batch_size):
        part = rows_of(data, slice(start, start + batch_size))
        gradients, input_gradients, of_loss = (
            part.pop(name) for name in ("gradients", "input_gradients", "loss_gradients")
        )
        weights = torch.ones(len(of_loss)).double() if part["weights"] is None else part["weights"]
        batch = LayerBatch(
            sensitivities=squared_sensitivities(gradients),
            input_sensitivities=squared_sensitivities(input_gradients),
            loss_gradient=torch.einsum("n,noi->oi", weights, of_loss),
            **part,
        )
        for seed in range(gradients.shape[1]):
            total.add_gradient(batch, gradients[:, seed], input_gradients[:, seed])
        total.update(batch)
    return total


def public_numbers(statistic):
    """All public attributes and properties of a statistic that hold tensors or floats."""
    found = {}
    for name in dir(statistic):
        value = None if name.startswith("_") else getattr(statistic, name)
        values = value if isinstance(value, tuple) else (value,)
        if all(isinstance(one, torch.Tensor | float) for one in values):
            found |= {f"{name} {i}": torch.as_tensor(one) for i, one in enumerate(values)}
    if isinstance(statistic, RowMoments):
        n_in = statistic.diagonal().shape[1] - 1
        kept = torch.arange(4 * n_in).reshape(4, n_in) % 3 > 0
        found["diagonal"] = statistic.diagonal()
        for i, block in enumerate(statistic.blocks(kept, 2.0**30)):
            found |= {f"block {i} {name}": values for name, values in vars(block).items()}
    assert len(found) > 1
    return found


def assert_same_numbers(left, right):
    left, right = public_numbers(left), public_numbers(right)
    assert set(left) == set(right)
    for name, values in left.items():
        torch.testing.assert_close(values, right[name], rtol=1e-9, atol=1e-12, msg=name)


def test_the_cases_are_all_statistics_and_all_forms():
    assert {type(kind.of(layer, n_units)) for kind, layer, n_units in CASES} == set(SUMS)
    assert set(SUMS) >= FORMS


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("kind", "layer", "n_units"),
    [pytest.param(*case, id=f"{case[0].__name__}-{type(case[1]).__name__}") for case in CASES],
)
def test_two_shards_merge_to_the_statistic_of_all_data(kind, layer, n_units, weighted):
    data = layer_data(layer, weighted)
    shards = [
        {"layer": statistics_of(kind, layer, n_units, rows_of(data, shard), 3)}
        for shard in (slice(0, 7), slice(7, 11))
    ]
    found = merge(shards)["layer"][kind]
    assert_same_numbers(found, statistics_of(kind, layer, n_units, data, 11)[kind])


@pytest.mark.parametrize("kind", sorted(set(SUMS) - FORMS, key=lambda kind: kind.__name__))
@pytest.mark.parametrize("name", ["for_convolutions", "for_maps"])
def test_a_form_at_a_single_position_is_the_statistic_of_the_linear_layer(kind, name):
    if getattr(kind, name) is None:
        with pytest.raises(ValueError, match="not defined for"):
            kind.of(nn.Conv1d(5, 4, 1), None if name == "for_convolutions" else 5)
        return
    layer, convolution = nn.Linear(5, 4).double(), nn.Conv1d(5, 4, 1).double()
    data = layer_data(layer)
    maps = {
        key: data[key][..., None]
        for key in ("inputs", "dense_pre_activations", "gradients", "input_gradients")
    }
    n_units = None if name == "for_convolutions" else 5
    expected = public_numbers(statistics_of(kind, layer, None, data, 4)[kind])
    form = statistics_of(kind, convolution, n_units, data | maps, 4)[kind]
    assert type(form) is getattr(kind, name)
    found = public_numbers(form)
    assert set(found) == set(expected)
    for key, values in found.items():
        torch.testing.assert_close(
            values, expected[key].expand_as(values), rtol=1e-9, atol=1e-12, msg=key
        )
