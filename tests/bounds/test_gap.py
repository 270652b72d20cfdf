"""The bound for given networks, against a search for the largest difference."""

from __future__ import annotations

import copy
import operator
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import skec
from skec import PrunedMLPClassifier, PrunedMLPRegressor
from skec.bounds import a_posteriori_gap
from skec.networks import MLP

ACTIVATIONS = [
    nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Sigmoid, nn.Identity,
]  # fmt: skip


def changed(dense, seed, ratio=0.4, shift=0.05):
    """A copy with weights removed, and all parameters a little different."""
    generator = torch.Generator().manual_seed(seed)
    pruned = copy.deepcopy(dense)
    with torch.no_grad():
        for parameter in pruned.parameters():
            kept = torch.rand(parameter.shape, generator=generator) >= ratio
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.copy_(parameter * kept + shift * noise * kept)
    return pruned


def found_gap(dense, pruned, project, start, n_steps=60, lr=0.05):
    """The largest difference that projected gradient ascent finds, in float64."""
    dense, pruned = copy.deepcopy(dense).double().eval(), copy.deepcopy(pruned).double().eval()
    x, largest = project(start.double()), 0.0
    spread = float(start.abs().max()) + 1e-9
    for _ in range(n_steps):
        x = x.detach().requires_grad_()
        gap = (pruned(x) - dense(x)).flatten(1).norm(dim=1)
        largest = max(largest, float(gap.detach().max()))
        (gradient,) = torch.autograd.grad(gap.sum(), x)
        size = gradient.flatten(1).norm(dim=1).clamp(min=1e-12)
        gradient = gradient / size.reshape(-1, *[1] * (x.ndim - 1))
        x = project(x + lr * spread * gradient * x[0].numel() ** 0.5)
    return largest


def in_ball(center, radius):
    def project(x):
        distance = (x - center).flatten(1).norm(dim=1).reshape(-1, *[1] * (x.ndim - 1))
        return center + (x - center) * (radius / distance.clamp(min=radius)) * (1 - 1e-12)

    return project


def starts(shape, scale, seed=0, n=40):
    return scale * torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed))


def check_both_regions(dense, pruned, shape, lower, upper, radius, seed=0):
    """No input that the search finds exceeds a bound; returns the bounds over the found gaps."""
    center = (lower + upper) / 2
    box = a_posteriori_gap(pruned, dense, bounds=(lower, upper), input_shape=shape)
    middle = np.full(shape, center)
    ball = a_posteriori_gap(pruned, dense, radius=radius, center=middle, input_shape=shape)
    scale = max(radius / np.prod(shape) ** 0.5, (upper - lower) / 2)
    x = center + starts(shape, scale, seed)
    of_box = found_gap(dense, pruned, lambda x: x.clamp(lower, upper), x)
    of_ball = found_gap(
        dense, pruned, in_ball(torch.full(shape, center, dtype=torch.float64), radius), x
    )
    assert of_box <= box.bound
    assert of_ball <= ball.bound
    return box.bound / max(of_box, 1e-300), ball.bound / max(of_ball, 1e-300)


@pytest.mark.parametrize("kind", ACTIVATIONS, ids=lambda kind: kind.__name__)
@settings(max_examples=12, deadline=None)
@given(
    widths=st.lists(st.integers(1, 12), min_size=1, max_size=3),
    bias=st.booleans(),
    ratio=st.floats(0, 0.9),
    middle=st.floats(-3, 3),
    size=st.floats(0.01, 3),
    seed=st.integers(0, 2**16),
)
def test_fully_connected_networks(kind, widths, bias, ratio, middle, size, seed):
    torch.manual_seed(seed)
    n_features, layers, width = 3, [], 3
    for n in widths:
        layers += [nn.Linear(width, n, bias=bias), kind()]
        width = n
    dense = nn.Sequential(*layers, nn.Linear(width, 2, bias=bias))
    pruned = changed(dense, seed, ratio)
    check_both_regions(dense, pruned, (n_features,), middle - size, middle + size, size, seed)


CONVOLUTIONS = {
    "2d": lambda: (
        nn.Sequential(
            nn.Conv2d(1, 3, 3, padding=1, stride=2), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(3, 4, 2), nn.SiLU(), nn.Flatten(), nn.Linear(4, 2),
        ), (1, 8, 8),
    ),
    "overlapping pools": lambda: (
        nn.Sequential(
            nn.Conv2d(2, 3, 3, padding=1), nn.GELU(), nn.MaxPool2d(3, 2, 1),
            nn.Conv2d(3, 2, 3, dilation=2, padding=2), nn.Tanh(), nn.AvgPool2d(3, 2, 1),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2),
        ), (2, 6, 6),
    ),
    "1d": lambda: (
        nn.Sequential(
            nn.Conv1d(2, 4, 3, padding=1, padding_mode="circular"), nn.BatchNorm1d(4), nn.ELU(),
            nn.AvgPool1d(2), nn.Conv1d(4, 3, 3, padding="same", padding_mode="reflect"),
            nn.Sigmoid(), nn.Flatten(), nn.Linear(12, 1),
        ), (2, 8),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("seed", range(3))
def test_convolutional_networks(name, seed):
    torch.manual_seed(seed)
    dense, shape = CONVOLUTIONS[name]()
    with torch.no_grad():
        dense(torch.rand(50, *shape))  # the statistics of the normalisation
    pruned = changed(dense.eval(), seed)
    for part in pruned.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.running_mean += 0.1
            part.running_var *= 1.3
    tightness = check_both_regions(dense, pruned, shape, 0.0, 1.0, 1.5, seed)
    assert max(tightness) < 60


@pytest.mark.parametrize("seed", range(4))
def test_modules_of_features(seed):
    torch.manual_seed(seed)
    dense = MLP(
        3, 2, (8,), feature_scaling=True, feature_embedding=True, feature_weights=True,
        zero_output=False,
    )  # fmt: skip
    rng = np.random.RandomState(seed)
    dense.get_submodule("feature_scaling").fit(rng.normal(size=(100, 3)) * 10 + 5)
    pruned = changed(dense, seed, ratio=0.2)
    pruned.get_submodule("feature_scaling").fit(rng.normal(size=(100, 3)) * 11 + 4)
    check_both_regions(dense, pruned, (3,), 0.0, 12.0, 5.0, seed)
    check_both_regions(dense, pruned, (3,), 4.0, 4.5, 0.2, seed)


def test_a_linear_network_is_exact():
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Linear(5, 1))
    pruned = changed(dense, 1)
    removed = (pruned[0].weight - dense[0].weight).double().detach()
    shift = float((pruned[0].bias - dense[0].bias).detach())
    box = a_posteriori_gap(pruned, dense, bounds=(-2.0, 2.0))
    assert box.bound == pytest.approx(2 * float(removed.abs().sum()) + abs(shift), rel=1e-7)
    ball = a_posteriori_gap(pruned, dense, radius=2.0)
    assert ball.bound == pytest.approx(2 * float(removed.norm()) + abs(shift), rel=1e-7)


def test_a_point_is_nearly_exact():
    torch.manual_seed(0)
    dense = MLP(4, 3, (16, 16), zero_output=False)
    pruned, x = changed(dense, 0), torch.rand(4).double()
    exact = float((pruned.double()(x) - dense.double()(x)).norm().detach())
    bound = a_posteriori_gap(pruned, dense, bounds=(x.numpy(), x.numpy())).bound
    assert exact <= bound <= exact * (1 + 1e-9)


def exact_outputs(network, x):
    """The outputs of a ReLU network in rational arithmetic."""
    for part in network:
        if isinstance(part, nn.ReLU):
            x = [max(value, Fraction(0)) for value in x]
        else:
            weight, bias = part.weight.tolist(), part.bias.tolist()
            x = [
                sum(map(operator.mul, map(Fraction, row), x), Fraction(b))
                for row, b in zip(weight, bias, strict=True)
            ]
    return x


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**20), spread=st.floats(0, 12), double=st.booleans())
def test_rounding_errors_are_covered(seed, spread, double):
    """Weights of very different sizes, so that large numbers cancel."""
    torch.manual_seed(seed)
    dense = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    dense = dense.to(torch.float64 if double else torch.float32)
    with torch.no_grad():
        for parameter in dense.parameters():
            parameter.mul_(10.0 ** (spread * (torch.rand_like(parameter) - 0.5)))
    pruned = changed(dense, seed, shift=1e-9)
    x = torch.randn(4, dtype=torch.float64)
    gap = a_posteriori_gap(pruned, dense, bounds=(x.numpy(), x.numpy()))
    point = [Fraction(value) for value in x.tolist()]
    outputs = zip(exact_outputs(pruned, point), exact_outputs(dense, point), strict=True)
    difference = [ours - theirs for ours, theirs in outputs]
    for value, lower, upper in zip(difference, gap.lower, gap.upper, strict=True):
        assert Fraction(lower) <= value <= Fraction(upper)
    assert sum(value**2 for value in difference) <= Fraction(gap.bound) ** 2


def test_bounds_grow_with_the_region_and_equal_networks_have_none():
    torch.manual_seed(0)
    dense = MLP(4, 2, (16, 16), zero_output=False)
    pruned = changed(dense, 0, shift=0.0)
    for key in ("radius", "bounds"):
        sizes = (0.01, 0.1, 1.0, 3.0)
        regions = [{key: size if key == "radius" else (-size, size)} for size in sizes]
        gaps = [a_posteriori_gap(pruned, dense, **region).bound for region in regions]
        assert gaps == sorted(gaps)
    assert a_posteriori_gap(dense, dense, radius=1.0).bound == 0.0
    assert a_posteriori_gap(copy.deepcopy(dense), dense, bounds=(0, 1)).per_output.max() == 0.0


def test_the_two_networks_can_change_places():
    torch.manual_seed(0)
    dense = MLP(4, 2, (16, 16), activation="relu", zero_output=False)
    pruned = changed(dense, 0)
    one, other = (
        a_posteriori_gap(*pair, radius=1.0) for pair in ((pruned, dense), (dense, pruned))
    )
    assert one.bound == pytest.approx(other.bound, rel=1e-9)
    np.testing.assert_allclose(one.lower, -other.upper, rtol=1e-9)


def test_result_prints_and_its_shares_sum_to_one():
    torch.manual_seed(0)
    dense = MLP(4, 2, (16, 16), zero_output=False)
    result = skec.prune(dense, method="magnitude", pruning_ratio=0.5)
    gap = a_posteriori_gap(result, dense, bounds=(-1, 1))
    assert sum(layer.share for layer in gap.layers) == pytest.approx(1.0)
    assert [layer.layer for layer in gap.layers] == ["hidden_0", "hidden_1", "output"]
    assert f"differ by at most {gap.bound:.4g}" in str(gap) and "hidden_1" in str(gap)
    assert gap.per_output.max() <= gap.bound <= np.linalg.norm(gap.per_output) * (1 + 1e-9)
    assert "share" in str(gap.report)
    with torch.no_grad():
        x = 2 * torch.rand(2000, 4) - 1
        difference = (result.module(x) - dense(x)).double().numpy()
    assert (difference >= gap.lower - 1e-5).all() and (difference <= gap.upper + 1e-5).all()


def test_inputs_are_not_changed():
    torch.manual_seed(0)
    dense = MLP(4, 2, (8,), zero_output=False).train()
    pruned = changed(dense, 0)
    before = {name: value.clone() for name, value in pruned.state_dict().items()}
    center = np.zeros(4)
    a_posteriori_gap(pruned, dense, radius=1.0, center=center)
    assert all(torch.equal(before[n], value) for n, value in pruned.state_dict().items())
    assert not center.any() and dense.training and dense.hidden_0.weight.dtype == torch.float32


def test_regressor_in_the_units_of_y():
    rng = np.random.RandomState(0)
    X = rng.uniform(-1, 1, size=(200, 3))
    y = 100 * np.stack([X[:, 0] * X[:, 1], 5 * X[:, 2]], 1)
    net = PrunedMLPRegressor((16,), max_epochs=8, pruning_ratio=0.5, random_state=0).fit(X, y)
    gap = a_posteriori_gap(net, bounds=(-1.0, 1.0))
    x = torch.from_numpy(rng.uniform(-1, 1, size=(3000, 3))).float()
    with torch.no_grad():
        pruned, dense = (
            net.y_scale_ * m.eval()(x).numpy() for m in (net.network_, net.dense_module_)
        )
    largest = np.linalg.norm(pruned - dense, axis=1).max()
    assert 1.0 < largest <= gap.bound and gap.units == "y"
    assert (np.abs(pruned - dense) <= gap.per_output).all()


def test_classifier_compares_logits():
    rng = np.random.RandomState(0)
    X = rng.uniform(-1, 1, size=(200, 3))
    net = PrunedMLPClassifier((16,), max_epochs=4, random_state=0).fit(X, X[:, 0] > 0)
    gap = a_posteriori_gap(net, radius=0.5, center=X[0])
    assert 0 < gap.bound < np.inf and "network's outputs" in str(gap)


GOOD = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
OTHER = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
MAPS = nn.Sequential(nn.Conv1d(1, 1, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4, 1))
BALL = {"radius": 1.0}


@pytest.mark.parametrize(
    ("arguments", "setting", "error", "message"),
    [
        ((GOOD, GOOD), {}, ValueError, "Give either radius.*got neither"),
        ((GOOD, GOOD), {"radius": 1.0, "bounds": (0, 1)}, ValueError, "got both"),
        ((GOOD, GOOD), {"radius": 0.0}, ValueError, "radius must be a positive number; got 0.0"),
        ((GOOD, GOOD), {"radius": -1}, ValueError, "radius must be a positive number; got -1"),
        ((GOOD, GOOD), {"radius": np.nan}, ValueError, "radius must be a positive number"),
        ((GOOD, GOOD), {"bounds": (1, 0)}, ValueError, "lower <= upper; 2 inputs do not.*1 > 0"),
        ((GOOD, GOOD), {"bounds": 1.0}, ValueError, "bounds must be a pair"),
        ((GOOD, GOOD), {"bounds": ([0, 0, 0], 1)}, ValueError, r"shape of bounds must be \(2,\)"),
        ((GOOD, GOOD), {"bounds": (0, np.inf)}, ValueError, "bounds must be finite"),
        ((GOOD, GOOD), {"bounds": (0, "a")}, ValueError, "bounds must hold one number"),
        ((GOOD, GOOD), {"bounds": (0, 1), "center": [0, 0]}, ValueError, "center goes with radius"),
        ((GOOD, GOOD), BALL | {"center": [0, 0, 0]}, ValueError, "shape of center must be"),
        ((GOOD, GOOD), BALL | {"input_shape": (3,)}, ValueError, "input_shape must be"),
        ((OTHER, GOOD), BALL, ValueError, r"differ at '0': .*\(1, 3, 2\).*compact\(\)"),
        ((GOOD[:2], GOOD), BALL, ValueError, "pruned has 2 steps, dense has 3"),
        ((nn.Sequential(GOOD[0], nn.Tanh(), GOOD[2]), GOOD), BALL, ValueError, "ReLU.*Tanh"),
        ((nn.Sequential(GOOD[0], nn.Softplus(), GOOD[2]),) * 2, BALL, ValueError, "'1', Softplus"),
        ((nn.Sequential(GOOD[0], nn.GELU("tanh"), GOOD[2]),) * 2, BALL, ValueError, "approximate"),
        ((nn.Sequential(GOOD[0], nn.Softmax(1)),) * 2, BALL, ValueError, "cannot be bounded"),
        ((nn.LSTM(2, 3), GOOD), BALL, ValueError, "pruned is not a network that can be bounded"),
        ((GOOD, 3), BALL, TypeError, "dense must be a torch module; got a int"),
        ((GOOD,), BALL, TypeError, "dense=None"),
        ((nn.Sequential(nn.Conv1d(1, 1, 2)),) * 2, BALL, ValueError, "Give input_shape"),
        ((MAPS, MAPS), BALL | {"input_shape": (1, 9)}, ValueError, r"\(1, 9\) does not fit"),
        ((nn.Sequential(nn.ReLU()),) * 2, BALL, ValueError, "has no weights"),
    ],
)  # fmt: skip
def test_bad_input(arguments, setting, error, message):
    with pytest.raises(error, match=message):
        a_posteriori_gap(*arguments, **setting)


def test_pooling_with_other_settings_is_another_structure():
    def network(include):
        pool = nn.AvgPool1d(3, padding=1, count_include_pad=include)
        return nn.Sequential(nn.Conv1d(1, 1, 2), pool, nn.Flatten(), nn.Linear(2, 1))

    with pytest.raises(ValueError, match=r"differ at '1'.*count_include_pad"):
        a_posteriori_gap(network(True), network(False), radius=1.0, input_shape=(1, 6))


def test_parameters_that_are_not_finite():
    broken = copy.deepcopy(GOOD)
    with torch.no_grad():
        broken[0].weight[0, 0] = np.nan
    with pytest.raises(ValueError, match=r"pruned cannot be bounded.*'0.weight'"):
        a_posteriori_gap(broken, GOOD, radius=1.0)
