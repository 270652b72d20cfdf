from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from skec.statistics import (
    LayerBatch,
    LayerStatistics,
    LossGradient,
    SensitivityMoments,
    merge,
)

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
