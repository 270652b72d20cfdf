"""The bound before the weights are drawn, against drawn networks and exact distributions."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn

import skec
from skec.bounds import a_posteriori_gap, a_priori_gap, ratio_for_gap, width_for_gap
from skec.bounds.gaussian import (
    WeightLaw,
    full_norm,
    largest_count,
    masked_norm,
    threshold_level,
)


def drawn(widths, distribution, seed, scale=1.0):
    """A network without biases, with the weights that the bound assumes."""
    generator = torch.Generator().manual_seed(seed)
    layers = []
    for n, m in pairwise(widths):
        layer = nn.Linear(n, m, bias=False, dtype=torch.float64)
        size = scale / math.sqrt(max(m, n))
        with torch.no_grad():
            if distribution == "gaussian":
                layer.weight.normal_(0, size, generator=generator)
            else:
                layer.weight.uniform_(-size, size, generator=generator)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


@pytest.mark.parametrize("method", ["random", "magnitude"])
@pytest.mark.parametrize("distribution", ["gaussian", "uniform"])
@pytest.mark.parametrize("ratio", [0.02, 0.3, 0.8])
def test_drawn_networks_stay_below_the_bound(method, distribution, ratio):
    widths = (6, 24, 16, 2)
    prior = a_priori_gap(widths, ratio, method=method, distribution=distribution, delta=0.01)
    for seed in range(8):
        dense = drawn(widths, distribution, seed)
        result = skec.prune(
            dense, method=method, pruning_ratio=ratio, scope="layer", random_state=seed
        )
        removed = [int((~mask).sum()) for mask in result.masks.values()]
        assert (np.array(removed) <= [layer.n_removed for layer in prior.layers]).all()
        posterior = a_posteriori_gap(result, dense, radius=1.0)
        x = torch.randn(500, 6, dtype=torch.float64)
        x = x / x.norm(dim=1, keepdim=True)
        true = float((result.module(x) - dense(x)).norm(dim=1).max().detach())
        assert true <= posterior.bound <= prior.bound
        for bound, layer, mask in zip(prior.layers, dense[::2], result.masks.values(), strict=True):
            norms = [torch.linalg.matrix_norm(layer.weight * m, 2) for m in (1, mask, ~mask)]
            assert max(norms[:2]) <= bound.norm and norms[2] <= bound.removed_norm


def test_convolutions_stay_below_the_bound():
    channels, positions = (2, 6, 4), 9
    prior = a_priori_gap(channels, 0.3, method="magnitude", kernel_positions=positions, delta=0.5)
    for seed in range(5):
        generator, layers = torch.Generator().manual_seed(seed), []
        for c_in, c_out in pairwise(channels):
            layer = nn.Conv2d(c_in, c_out, 3, padding=1, bias=False)
            size = 1 / math.sqrt(max(9 * c_in, c_out))
            nn.init.normal_(layer.weight, 0, size, generator=generator)
            layers += [layer, nn.ReLU()]
        dense = nn.Sequential(*layers[:-1])
        result = skec.prune(dense, method="magnitude", pruning_ratio=0.3, scope="layer")
        gap = a_posteriori_gap(result, dense, radius=1.0, input_shape=(2, 6, 6))
        assert 0 < gap.bound <= prior.bound


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.floats(0, 1), st.floats(0.001, 0.9))
def test_counts_against_the_exact_distribution(n_groups, size, ratio, delta):
    n_chosen = round(ratio * n_groups * size)
    if n_chosen:
        count = largest_count(n_groups, size, n_chosen, delta)
        exact = stats.hypergeom(n_groups * size, n_chosen, size).sf(count)
        assert n_groups * exact <= delta * (1 + 1e-9)
        assert count <= min(size, n_chosen)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 10**6), st.floats(0, 0.999), st.floats(0.001, 0.9))
def test_threshold_against_the_exact_distribution(n_weights, ratio, delta):
    n_removed = int(ratio * n_weights)
    level = threshold_level(n_weights, n_removed, delta)
    if n_removed < n_weights and level < 1:
        exact = stats.beta(n_removed + 1, n_weights - n_removed).sf(level)
        assert exact <= delta * (1 + 1e-9)


@pytest.mark.parametrize("gaussian", [True, False])
@pytest.mark.parametrize("level", [0.01, 0.2, 0.5, 0.9, 0.999, 1.0])
def test_a_gaussian_dominates_small_weights_in_convex_order(gaussian, level):
    """``E max(X − t, 0) ≤ E max(Y − t, 0)`` for all t, with equality at zero."""
    law = WeightLaw(gaussian, 1.0)
    below = law.dominating_below(level)
    threshold = stats.norm.ppf((1 + level) / 2) if gaussian else level
    top = min(threshold, 12.0)
    x = np.linspace(0, top, 200_001)
    density = stats.norm.pdf(x) / level if gaussian else np.full_like(x, 0.5 / level)
    for t in np.linspace(0, top, 40):
        part = np.trapezoid(np.clip(x - t, 0, None) * density, x)
        whole = below * stats.norm.pdf(t / below) - t * stats.norm.sf(t / below)
        assert part <= whole + 1e-8
        if t == 0:
            assert part == pytest.approx(whole, rel=1e-6)
    assert law.dominating_below(1.0) == pytest.approx(law.dominating)


@pytest.mark.parametrize(("m", "n", "k"), [(30, 20, 30), (30, 20, 300), (1, 50, 5), (40, 40, 1600)])
def test_norms_of_masked_gaussian_matrices(m, n, k):
    rng = np.random.RandomState(0)
    full, masked = [], []
    for _ in range(300):
        matrix = rng.normal(size=(m, n))
        full.append(np.linalg.norm(matrix, 2))
        flat = matrix.ravel()
        flat[rng.permutation(m * n)[k:]] = 0.0
        masked.append(np.linalg.norm(matrix, 2))
    assert np.mean(np.array(full) > full_norm(m, n, 0.2)) <= 0.2
    bound, _ = masked_norm(m, n, k, 0.2)
    assert np.mean(np.array(masked) > bound) <= 0.2
    assert bound <= 4 * np.median(masked)


@pytest.mark.parametrize("method", ["random", "magnitude"])
@pytest.mark.parametrize("distribution", ["gaussian", "uniform"])
def test_bound_is_monotone(method, distribution):
    def bound(ratio=0.1, **setting):
        setting = {"method": method, "distribution": distribution} | setting
        return a_priori_gap((20, 50, 30, 3), ratio, **setting).bound

    def rises(values):
        return all(a <= b for a, b in pairwise(values))

    assert rises([bound(r) for r in np.linspace(0, 0.999, 50)])
    assert rises([bound(radius=r) for r in (0.1, 1.0, 7.0)])
    assert rises([bound(delta=d) for d in (0.9, 0.5, 0.05, 1e-9)])
    assert rises([bound(lipschitz=x) for x in (0.5, 1.0, 1.1)])
    assert rises([bound(bias_norm=x) for x in (0.0, 0.1, 1.0)])
    assert bound(0.0) == 0.0
    assert bound(radius=2.0) == pytest.approx(2 * bound())


def test_few_removed_weights_vanish_with_the_width_and_a_fixed_ratio_does_not():
    for method in ("random", "magnitude"):
        few = [a_priori_gap((n, n, 1), alpha=0.5, method=method).bound for n in (64, 1024, 16384)]
        half = [a_priori_gap((n, n, 1), 0.5, method=method).bound for n in (1024, 65536, 2**20)]
        assert few[0] > 2 * few[1] > 4 * few[2]
        assert half[2] > 0.5 * half[0]


def test_shares_of_delta_sum_to_it():
    for method in ("random", "magnitude"):
        result = a_priori_gap((4, 5, 6, 1), 0.3, method=method, delta=0.1)
        assert sum(share for _, share in result.events) == pytest.approx(0.1)
        assert result.bound == pytest.approx(sum(layer.term for layer in result.layers))
        assert "With probability at least 0.9" in str(result) and method in str(result)
        assert "6×5" in str(result.report)


@pytest.mark.parametrize("method", ["random", "magnitude"])
@pytest.mark.parametrize("epsilon", [1.0, 3.0])
def test_inverses_agree_with_the_bound(method, epsilon):
    width = width_for_gap(epsilon, 0.6, n_inputs=8, n_hidden=2, method=method, radius=0.5)

    def of_width(n):
        return a_priori_gap((8, n, n, 1), alpha=0.6, method=method, radius=0.5).bound

    assert of_width(width) <= epsilon and (width == 1 or of_width(width - 1) > epsilon)
    ratio = ratio_for_gap(epsilon, (32, 128, 1), method=method)
    assert a_priori_gap((32, 128, 1), ratio, method=method).bound <= epsilon
    if ratio < 0.999:
        assert a_priori_gap((32, 128, 1), ratio + 1e-3, method=method).bound > epsilon


def test_impossible_inverses_say_why():
    with pytest.raises(ValueError, match=r"No width up to 16777216.*alpha=0.2.*it still falls"):
        width_for_gap(1e-3, 0.2, n_inputs=16)
    with pytest.raises(ValueError, match=r"does not fall with the width.*use width='larger'"):
        width_for_gap(0.5, 0.5, n_inputs=16, width="inputs")
    with pytest.raises(ValueError, match=r"with 2 removed weights it is already 6\.\d+"):
        ratio_for_gap(1e-4, (4, 8, 1))
    with pytest.raises(ValueError, match="epsilon must be a positive number; got 0"):
        ratio_for_gap(0, (4, 8, 1))
    with pytest.raises(ValueError, match="n_inputs must be a positive integer; got 0"):
        width_for_gap(1.0, 0.5, n_inputs=0)


@pytest.mark.parametrize(
    ("arguments", "setting", "message"),
    [
        (((4, 1),), {}, "Give either pruning_ratio.*got neither"),
        (((4, 1), 0.5), {"alpha": 0.5}, "got both"),
        (((4, 1), 1.0), {}, r"in \[0, 1\); got 1.0"),
        (((4, 1), -0.1), {}, r"in \[0, 1\); got -0.1"),
        (((4, 1),), {"alpha": 1.0}, r"alpha must be in \(0, 1\)"),
        (((4, 1),), {"alpha": 0.0}, "alpha must be a positive number"),
        (((4,), 0.5), {}, "widths must have at least two"),
        (((4, 0), 0.5), {}, "widths must be a positive integer; got 0"),
        (((4, 1), 0.5), {"delta": 1.0}, r"delta must be a probability in \(0, 1\)"),
        (((4, 1), 0.5), {"delta": 0}, "delta must be a positive number"),
        (((4, 1), 0.5), {"radius": 0}, "radius must be a positive number; got 0"),
        (((4, 1), 0.5), {"method": "ec"}, "method='ec' is unknown.*magnitude"),
        (((4, 1), 0.5), {"distribution": "cauchy"}, "distribution='cauchy' is unknown"),
        (((4, 1), 0.5), {"width": "outputs"}, "width='outputs' is unknown"),
        (((4, 1), 0.5), {"kernel_positions": (9, 9)}, "one number for each of the 1 layers"),
        (((4, 1), 0.5), {"bias_norm": -1}, "bias_norm must be a non-negative number"),
    ],
)
def test_bad_input(arguments, setting, message):
    with pytest.raises(ValueError, match=message):
        a_priori_gap(*arguments, **setting)
