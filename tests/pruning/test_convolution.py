"""Convolutions: what their weights meet, and pruning them weight by weight."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import skec.calibration.statistics._convolutions
import skec.networks.patches
from skec import prune
from skec.calibration import OUTPUT_METRICS
from skec.networks import (
    Recorder,
    blocks_of_patches,
    extract_patches,
    is_convolution,
    prunable_layers,
    sensitivities,
    weight_gradients,
)

pytestmark = pytest.mark.filterwarnings("ignore::skec.PruningWarning")

METRICS = sorted(OUTPUT_METRICS)
MODES = ["zeros", "reflect", "replicate", "circular"]


@st.composite
def convolutions(draw):
    """A convolution of any geometry, and samples for it."""
    n_dims, groups = draw(st.sampled_from([1, 2])), draw(st.sampled_from([1, 1, 2]))
    channels = [groups * draw(st.integers(1, 2)) for _ in range(2)]

    def numbers(least, most):
        """One number for all dimensions, or one for each."""
        number = st.integers(least, most)
        return draw(st.one_of(number, st.tuples(*[number] * n_dims)))

    padding = draw(st.sampled_from(["same", "valid", "numbers", "numbers"]))
    torch.manual_seed(draw(st.integers(0, 10_000)))
    layer = (nn.Conv1d, nn.Conv2d)[n_dims - 1](
        *channels,
        kernel_size=numbers(1, 3),
        stride=1 if padding == "same" else numbers(1, 3),
        padding=numbers(0, 2) if padding == "numbers" else padding,
        dilation=numbers(1, 2),
        groups=groups,
        bias=draw(st.booleans()),
        padding_mode=draw(st.sampled_from(MODES)),
    ).double()
    sizes = draw(st.lists(st.integers(5, 7), min_size=n_dims, max_size=n_dims))
    return layer, torch.randn(draw(st.integers(1, 4)), channels[0], *sizes, dtype=torch.float64)


def what_each_weight_meets(layer, inputs):
    """By filters with a single one, shape (n_samples, n_out, n_in, n_positions)."""
    n_out, n_in = layer.weight.flatten(1).shape
    layer, columns = copy.deepcopy(layer), []
    layer.bias = None
    for j in range(n_in):
        with torch.no_grad():
            layer.weight.zero_().view(n_out, n_in)[:, j] = 1.0
            columns.append(layer(inputs).flatten(2))
    return torch.stack(columns, 2)


class TestPatches:
    @given(convolutions())
    def test_times_the_filters_are_the_convolution(self, case):
        layer, inputs = case
        seen = extract_patches(layer, inputs)
        weight = layer.weight.flatten(1).unflatten(0, (layer.groups, -1))
        outputs = (weight @ seen).flatten(1, 2)
        if layer.bias is not None:
            outputs = outputs + layer.bias[:, None]
        torch.testing.assert_close(outputs, layer(inputs).flatten(2))

    @given(convolutions())
    def test_are_what_filters_with_a_single_one_return(self, case):
        layer, inputs = case
        seen = extract_patches(layer, inputs).repeat_interleave(
            layer.out_channels // layer.groups, 1
        )
        torch.testing.assert_close(seen, what_each_weight_meets(layer, inputs))

    @given(convolutions())
    def test_give_the_gradient_of_every_sample(self, case):
        layer, inputs = case
        outputs = layer(inputs).flatten(2)
        gradients = torch.randn_like(outputs)
        found = weight_gradients(extract_patches(layer, inputs), gradients)
        for n in range(len(inputs)):
            (expected,) = torch.autograd.grad(
                (outputs[n] * gradients[n]).sum(), layer.weight, retain_graph=True
            )
            torch.testing.assert_close(found[n], expected.flatten(1))

    @given(convolutions(), st.sampled_from([1, 2_000, 2**26]))
    def test_come_in_blocks_of_samples(self, case, size):
        layer, inputs = case
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(skec.networks.patches, "_BYTES", size)
            rows, blocks = zip(*blocks_of_patches(layer, inputs), strict=True)
        indices = torch.arange(len(inputs))
        assert torch.equal(torch.cat([indices[part] for part in rows]), indices)
        assert torch.equal(torch.cat(blocks), extract_patches(layer, inputs))
        assert len(rows) == len(inputs) if size == 1 else len(rows) <= len(inputs)
        assert len(rows) == 1 or size < 2**26

    def test_blocks_fit_into_the_memory_that_they_may_take(self, monkeypatch):
        monkeypatch.setattr(skec.networks.patches, "_BYTES", 40_000)
        layer, inputs = nn.Conv2d(2, 3, 3, padding=1), torch.zeros(50, 2, 6, 6)
        sizes = [seen.numel() * 4 for _, seen in blocks_of_patches(layer, inputs)]
        assert len(sizes) > 1
        assert max(sizes) <= 40_000 < 2 * max(sizes)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [(nn.Linear(2, 2), False), (nn.Conv1d(1, 1, 1), True), (nn.Conv2d(1, 1, 1), True)],
)
def test_convolutions_are_told_from_linear_layers(layer, expected):
    assert is_convolution(layer) is expected


# -- networks -------------------------------------------------------------------------------------


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.inner = nn.Conv2d(2, 3, 3), nn.Conv2d(3, 3, 3, padding=1)
        self.norm, self.head = nn.BatchNorm2d(3), nn.Linear(3, 3)

    def forward(self, x):
        h = torch.tanh(self.stem(x))
        h = h + torch.tanh(self.norm(self.inner(h)))
        return self.head(h.mean((2, 3)))


class Maps(nn.Module):
    """Returns maps, and uses its convolutions side by side."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(2, 1, 3), nn.Conv2d(2, 2, (1, 3))

    def forward(self, x):
        return self.left(x) * torch.tanh(self.right(x)).sum((2, 3), keepdim=True)


def on_one_dimension():
    return nn.Sequential(
        nn.Flatten(2), nn.Conv1d(2, 3, 4, stride=3, dilation=2), nn.BatchNorm1d(3), nn.Sigmoid(),
        nn.AvgPool1d(2), nn.Conv1d(3, 2, 2, padding="same"), nn.Tanh(), nn.Flatten(),
        nn.LazyLinear(3),
    )  # fmt: skip


NETWORKS = {
    "plain": lambda: nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.Tanh(), nn.MaxPool2d(2), nn.Conv2d(3, 4, 2), nn.Tanh(),
        nn.Flatten(), nn.LazyLinear(5), nn.Tanh(), nn.LazyLinear(3),
    ),
    "batch norm, dropout, pooling": lambda: nn.Sequential(
        nn.Conv2d(2, 3, 3, bias=False), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout2d(0.5),
        nn.AvgPool2d(2, padding=1), nn.Conv2d(3, 2, 2, bias=False), nn.BatchNorm2d(2), nn.ELU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.LazyLinear(3),
    ),
    "one dimension": on_one_dimension,
    "groups": lambda: nn.Sequential(
        nn.Conv2d(2, 4, 3, groups=2), nn.Tanh(), nn.Conv2d(4, 4, 2, groups=4, padding=1),
        nn.Tanh(), nn.Conv2d(4, 2, 1), nn.Flatten(), nn.LazyLinear(3),
    ),
    "dilation and stride": lambda: nn.Sequential(
        nn.Conv2d(2, 3, (2, 3), stride=(1, 2), dilation=(2, 1), padding=(2, 1)), nn.SiLU(),
        nn.Flatten(), nn.LazyLinear(3),
    ),
    **{
        mode: lambda mode=mode: nn.Sequential(
            nn.Conv2d(2, 3, 3, padding=(1, 2), padding_mode=mode), nn.Tanh(), nn.Flatten(),
            nn.LazyLinear(3),
        )
        for mode in MODES
    },
    "residual": Residual,
    "maps": Maps,
}  # fmt: skip


def network(name="plain", dtype=torch.float64, seed=0):
    torch.manual_seed(seed)
    module = NETWORKS[name]()
    module(torch.zeros(2, 2, 5, 5))
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2.0)
            nn.init.normal_(part.weight)
            nn.init.normal_(part.bias)
    return module.to(dtype)


def samples(n=17, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 2, 5, 5, generator=generator, dtype=torch.float64) + 0.3


def weights_for(weighted, n=17):
    generator = torch.Generator().manual_seed(3)
    return torch.rand(n, generator=generator).double() + 0.1 if weighted else None


def convolutions_of(module):
    return {n: m for n, m in module.named_modules() if isinstance(m, nn.Conv1d | nn.Conv2d)}


def biases(layer):
    return torch.zeros_like(layer.weight.flatten(1)[:, 0]) if layer.bias is None else layer.bias


def assert_close(found, expected, **kwargs):
    assert list(found) == list(expected)
    for name in found:
        torch.testing.assert_close(found[name], expected[name], msg=name, **kwargs)


TIGHT = {"rtol": 1e-6, "atol": 1e-14}


class TestEliminationCompensation:
    """Against the definition, with the Jacobian of every sample."""

    @pytest.mark.parametrize("weighted", [False, True])
    @pytest.mark.parametrize("name", sorted(NETWORKS))
    def test_scores_and_shifts_equal_the_definition(self, name, weighted, elimination_compensation):
        module, X, w = network(name), samples(), weights_for(weighted)
        expected, shifts = elimination_compensation(module, X, w)
        result = prune(module, X, n_steps=1, pruning_ratio=0.5, sample_weight=w, batch_size=7)
        assert_close(result.scores, expected, **TIGHT)
        for layer, mask in result.masks.items():
            change = shifts[layer].masked_fill(mask, 0.0).flatten(1).sum(1)
            before, after = (biases(m.get_submodule(layer)) for m in (module, result.module))
            torch.testing.assert_close(after - before, change, rtol=1e-6, atol=1e-12)

    @pytest.mark.parametrize("name", ["plain", "one dimension", "groups", "residual"])
    def test_scores_and_shifts_equal_the_definition_in_the_fisher_metric(
        self, name, elimination_compensation
    ):
        module, X, w = network(name), samples(), weights_for(True)
        expected, shifts = elimination_compensation(module, X, w, metric="fisher")
        result = prune(
            module, X, n_steps=1, pruning_ratio=0.5, sample_weight=w, output_metric="fisher"
        )
        assert_close(result.scores, expected, **TIGHT)
        for layer, mask in result.masks.items():
            change = shifts[layer].masked_fill(mask, 0.0).flatten(1).sum(1)
            before, after = (biases(m.get_submodule(layer)) for m in (module, result.module))
            torch.testing.assert_close(after - before, change, rtol=1e-6, atol=1e-12)

    @given(case=convolutions(), weighted=st.booleans(), batch_size=st.integers(1, 9))
    def test_scores_equal_the_definition_for_any_geometry(
        self, case, weighted, batch_size, elimination_compensation
    ):
        layer, X = case
        module = nn.Sequential(layer, nn.Tanh(), nn.Flatten(), nn.LazyLinear(2).double())
        module(X)
        w = weights_for(weighted, len(X))
        expected, _ = elimination_compensation(module, X, w)
        found = prune(module, X, pruning_ratio=0, sample_weight=w, batch_size=batch_size).scores
        assert_close(found, expected, **TIGHT)

    @pytest.mark.parametrize("name", ["plain", "batch norm, dropout, pooling", "groups"])
    def test_single_precision_says_the_same(self, name):
        X = samples()
        double, single = (
            prune(network(name, dtype), X, pruning_ratio=0).scores
            for dtype in (torch.float64, torch.float32)
        )
        for layer, score in double.items():
            error = (single[layer] - score).abs().max() / score.max()
            assert error < 1e-4

    @pytest.mark.parametrize(
        ("dtype", "offset", "rtol"), [(torch.float64, 2.0**20, 1e-8), (torch.float32, 2.0**9, 1e-4)]
    )
    def test_a_large_offset_of_the_inputs_costs_no_digits(self, dtype, offset, rtol):
        torch.manual_seed(0)
        layer = nn.Conv2d(2, 3, 2)
        module = nn.Sequential(layer, nn.Tanh(), nn.Flatten(), nn.Linear(48, 2)).to(dtype)
        X = (samples(40) * 16).round().to(dtype) / 16  # such that sums with the offset are exact
        with torch.no_grad():
            layer.weight.mul_(8).round_().div_(8)
            layer.bias.zero_()
            expected = prune(module.double(), X.double(), pruning_ratio=0).scores["0"]
            module.to(dtype)
            layer.bias.sub_(offset * layer.weight.flatten(1).sum(1))
        found = prune(module, X + offset, pruning_ratio=0, batch_size=9).scores["0"]
        torch.testing.assert_close(found, expected, rtol=rtol, atol=1e-12)

    @pytest.mark.parametrize("name", ["plain", "one dimension", "groups", "reflect"])
    def test_the_memory_at_hand_changes_nothing(self, name, monkeypatch):
        module, X, w = network(name), samples(), weights_for(True)
        kwargs = {"pruning_ratio": 0.5, "sample_weight": w, "batch_size": 11}
        results = {}
        for size in (2**26, 4_000, 1):
            monkeypatch.setattr(skec.networks.patches, "_BYTES", size)
            monkeypatch.setattr(skec.calibration.statistics._convolutions, "_REMEMBERED", 2 * size)
            results[size] = [prune(module, X, method=m, **kwargs) for m in ("ec", "wanda")]
        for size in (4_000, 1):
            for found, expected in zip(results[size], results[2**26], strict=True):
                assert_close(found.scores, expected.scores, rtol=1e-9, atol=1e-15)
                torch.testing.assert_close(
                    found.module.state_dict(), expected.module.state_dict(), rtol=1e-9, atol=1e-12
                )

    def test_integer_sample_weights_equal_repetition(self):
        module, X = network(), samples()
        counts = torch.randint(0, 4, (17,), generator=torch.Generator().manual_seed(0))
        found = prune(module, X, pruning_ratio=0.5, sample_weight=counts, batch_size=5)
        repeated = prune(module, X.repeat_interleave(counts, 0), pruning_ratio=0.5)
        assert_close(found.scores, repeated.scores, rtol=1e-9, atol=1e-15)
        torch.testing.assert_close(found.module(X)[:, 0], repeated.module(X)[:, 0])

    def test_a_filter_that_never_fires_costs_nothing(self):
        torch.manual_seed(0)
        module = nn.Sequential(
            nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 2), nn.Flatten(), nn.Linear(8, 2)
        ).double()
        with torch.no_grad():
            module[0].bias[1] = -100.0
        scores = prune(module, samples(), pruning_ratio=0).scores
        assert not scores["0"][1].any()
        assert not scores["2"][:, 1].any()
        assert (scores["0"][[0, 2]] > 0).all()

    def test_a_weight_on_a_constant_channel_costs_nothing_without_padding(self):
        X = samples()
        X[:, 1] = 2.5
        for padding in (0, 1):
            torch.manual_seed(0)
            layer = nn.Conv2d(2, 3, 3, padding=padding)
            module = nn.Sequential(layer, nn.Tanh(), nn.Flatten(), nn.LazyLinear(2)).double()
            module(X)
            score = prune(module, X, pruning_ratio=0).scores["0"]
            assert (score[:, 0] > 1e-11).all()
            if padding:  # at the border it is not constant; the kernel's centre never sees it
                assert (score[:, 1].flatten(1)[:, [0, 1, 2, 3, 5, 6, 7, 8]] > 1e-11).all()
                assert (score[:, 1, 1, 1] < 1e-25).all()
            else:
                assert (score[:, 1] < 1e-25).all()

    def test_random_probes_see_about_what_all_outputs_say(self):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(27, 40))
        X = samples(200)
        exact = prune(module, X, pruning_ratio=0.5, n_probes=None)
        few, many = (
            prune(module, X, pruning_ratio=0.5, n_probes=n, random_state=0) for n in (8, 256)
        )
        assert exact.probe_error is None
        assert few.probe_error / many.probe_error == pytest.approx(32**0.5, rel=0.2)
        for probed in (few, many):
            error = (probed.scores["0"] / exact.scores["0"] - 1).abs().mean()
            assert 0 < error < 5 * probed.probe_error


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("name", ["plain", "groups", "residual"])
def test_the_sensitivity_of_a_filter_is_that_to_its_bias(name, metric, measured_jacobians):
    module, X = network(name).eval(), samples()
    layers = prunable_layers(module)
    with Recorder(module, layers) as record:
        outputs = module(X)
    points = list(record.pre_activations.values())
    found = sensitivities(outputs, points, OUTPUT_METRICS[metric](outputs))
    measured = measured_jacobians(module, X, metric=metric)
    for layer, s in zip(layers, found, strict=True):
        by_sample = measured[layer][:, :, -1].unflatten(0, (len(X), -1))
        torch.testing.assert_close(s, 17 * by_sample.square().sum(1))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("name", ["plain", "batch norm, dropout, pooling", "groups", "reflect"])
def test_the_bias_takes_over_what_it_can_of_any_mask(name, metric, measured_jacobians):
    module, X, w = network(name), samples(), weights_for(True)
    result = prune(
        module,
        X,
        method="random",
        compensation="bias",
        pruning_ratio=0.6,
        random_state=0,
        sample_weight=w,
        output_metric=metric,
    )
    measured = measured_jacobians(module, X, sample_weight=w, metric=metric)
    for layer_name, layer in convolutions_of(module).items():
        gone = ~result.masks[layer_name].flatten(1)
        shift = biases(result.module.get_submodule(layer_name)) - biases(layer)
        shift = shift.detach()
        for i, weight in enumerate(layer.weight.detach().flatten(1)):
            jacobian = measured[layer_name][:, i].numpy()
            change = jacobian[:, :-1] @ (weight * gone[i]).numpy()
            best = np.linalg.lstsq(jacobian[:, -1:], change)[0]
            assert float(shift[i]) == pytest.approx(best[0], rel=1e-7, abs=1e-12)


# -- one position ---------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("method", "compensation"),
    [
        *(("ec", "auto"), ("obd", "auto"), ("obd", "bias"), ("wanda", "none"), ("taylor", "bias")),
        *(("gradient", "none"), ("magnitude", "bias"), ("random", "none"), ("lamp", "none")),
    ],
)
def test_with_one_position_a_convolution_is_a_linear_layer(method, compensation, bias):
    torch.manual_seed(0)
    linear = nn.Sequential(nn.Linear(4, 6, bias=bias), nn.Tanh(), nn.Linear(6, 3)).double()
    convolution = nn.Sequential(
        nn.Conv2d(4, 6, 1, bias=bias), nn.Tanh(), nn.Conv2d(6, 3, 1), nn.Flatten()
    ).double()
    for i in (0, 2):
        with torch.no_grad():
            pairs = zip(convolution[i].parameters(), linear[i].parameters(), strict=True)
            for part, value in pairs:
                part.copy_(value.view_as(part))
    X, y = torch.randn(23, 4).double(), torch.randint(3, (23,))
    kwargs = {
        "method": method,
        "compensation": compensation,
        "pruning_ratio": 0.6,
        "sample_weight": weights_for(True, 23),
        "batch_size": 10,
        "random_state": 0,
        "n_steps": 2,
    }
    found = prune(convolution, X[:, :, None, None], y, **kwargs)
    expected = prune(linear, X, y, **kwargs)
    for name, score in expected.scores.items():
        torch.testing.assert_close(found.scores[name][:, :, 0, 0], score, rtol=1e-10, atol=1e-16)
        assert torch.equal(found.masks[name][:, :, 0, 0], expected.masks[name])
    torch.testing.assert_close(found.module(X[:, :, None, None]), expected.module(X))
    assert found.predicted_error == pytest.approx(expected.predicted_error)


# -- other methods --------------------------------------------------------------------------------


def scores_of(module, method, X=None, y=None, **kwargs):
    kwargs = {"pruning_ratio": 0, "compensation": "none"} | kwargs
    return prune(module, X, y, method=method, **kwargs).scores


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("name", ["plain", "one dimension", "groups", "residual"])
def test_optimal_brain_damage_is_the_error_without_compensation(name, metric, measured_jacobians):
    module, X, w = network(name), samples(), weights_for(True)
    found = scores_of(module, "obd", X, sample_weight=w, output_metric=metric, batch_size=5)
    measured = measured_jacobians(module, X, sample_weight=w, metric=metric)
    for layer, score in found.items():
        weight = module.get_parameter(f"{layer}.weight").detach().flatten(1)
        expected = (measured[layer][..., :-1] * weight).square().sum(0)
        torch.testing.assert_close(score.flatten(1), expected, **TIGHT)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_wanda_is_the_weight_times_the_root_mean_square_of_what_it_meets(name, weighted):
    module, X, w = network(name).eval(), samples(), weights_for(weighted)
    found = scores_of(module, "wanda", X, sample_weight=w, batch_size=5)
    share = torch.full((17,), 1 / 17).double() if w is None else w / w.sum()
    with Recorder(module, prunable_layers(module)) as record:
        module(X)
    for layer_name, layer in convolutions_of(module).items():
        seen = what_each_weight_meets(layer, record.inputs[layer_name])
        power = torch.einsum("n,noqp->oq", share, seen.square()) / seen.shape[3]
        expected = layer.weight.detach().abs().flatten(1) * power.sqrt()
        torch.testing.assert_close(found[layer_name].flatten(1), expected)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("targets", ["numbers", "classes"])
def test_gradient_and_taylor_equal_autograd(targets, weighted):
    module, X, w = network("batch norm, dropout, pooling").eval(), samples(), weights_for(weighted)
    generator = torch.Generator().manual_seed(0)
    if targets == "numbers":
        y = torch.randn(17, 3, generator=generator, dtype=torch.float64)
        losses = F.mse_loss(module(X), y, reduction="none").mean(1)
    else:
        y = torch.randint(3, (17,), generator=generator)
        losses = F.cross_entropy(module(X), y, reduction="none")
    layers = prunable_layers(module)
    loss = losses.mean() if w is None else losses @ w / w.sum()
    gradients = torch.autograd.grad(loss, [layer.weight for layer in layers.values()])
    kwargs = {"sample_weight": w, "batch_size": 5}
    found = {m: scores_of(module, m, X, y, **kwargs) for m in ("gradient", "taylor")}
    for (name, layer), gradient in zip(layers.items(), gradients, strict=True):
        torch.testing.assert_close(found["gradient"][name], gradient.abs())
        expected = (gradient * layer.weight.detach()).abs()
        torch.testing.assert_close(found["taylor"][name], expected)


def test_magnitude_and_lamp_need_no_data():
    module = network()
    found = {method: scores_of(module, method) for method in ("magnitude", "lamp")}
    for name, layer in prunable_layers(module).items():
        weight = layer.weight.detach()
        torch.testing.assert_close(found["magnitude"][name], weight.abs())
        squares = weight.square().flatten()
        larger = (squares[:, None] <= squares).double() @ squares
        expected = (squares / larger).view_as(weight)
        torch.testing.assert_close(found["lamp"][name], expected)


def test_random_scores_follow_the_random_state():
    module = network()
    first, again, other = (scores_of(module, "random", random_state=seed) for seed in (0, 0, 1))
    assert_close(first, again, rtol=0, atol=0)
    assert not torch.equal(first["0"], other["0"])
    assert first["0"].shape == module[0].weight.shape


# -- pruning --------------------------------------------------------------------------------------


METHODS = ["ec", "obd", "wanda", "taylor", "gradient", "magnitude", "random", "lamp"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("compensation", ["auto", "bias", "none"])
def test_results_have_the_shapes_of_the_weights(method, compensation):
    module, X, y = network("groups"), samples(), torch.randint(3, (17,))
    before = copy.deepcopy(module.state_dict())
    result = prune(
        module,
        X,
        y,
        method=method,
        compensation=compensation,
        pruning_ratio=0.43,
        n_steps=2,
        random_state=0,
    )
    torch.testing.assert_close(module.state_dict(), before, rtol=0, atol=0)
    total = removed = 0
    for name, layer in prunable_layers(module).items():
        mask, pruned = result.masks[name], result.module.get_submodule(name)
        assert mask.dtype == torch.bool
        assert mask.shape == result.scores[name].shape == layer.weight.shape
        assert torch.equal(pruned.weight, layer.weight * mask)
        assert type(pruned) is type(layer)
        total, removed = total + mask.numel(), removed + int((~mask).sum())
    assert removed == round(0.43 * total)
    assert result.sparsity == removed / total


def test_a_layer_without_bias_gets_one_where_it_is_compensated():
    module, X = network("batch norm, dropout, pooling"), samples()
    pruned = prune(module, X, pruning_ratio=0.5, scope={"0": 0.5}).module
    assert module[0].bias is None
    assert pruned[0].bias.shape == (3,)
    assert pruned[0].bias.dtype == torch.float64
    assert pruned[0].bias.requires_grad
    assert pruned[5].bias is None


def lowest(scores, count):
    """True where the scores are not among the lowest."""
    flat = scores.flatten()
    kept = torch.ones_like(flat, dtype=torch.bool)
    kept[flat.argsort()[:count]] = False
    return kept.view_as(scores)


class TestScopes:
    def prune(self, scope, ratio=0.5, **kwargs):
        kwargs = {"method": "magnitude", "pruning_ratio": ratio, "scope": scope} | kwargs
        return prune(network(), samples(), **kwargs)

    def test_global_compares_filters_with_linear_layers(self):
        result = self.prune("global")
        scores = torch.cat([score.flatten() for score in result.scores.values()])
        masks = torch.cat([mask.flatten() for mask in result.masks.values()])
        assert torch.equal(masks, lowest(scores, round(0.5 * len(scores))))

    def test_layer_removes_a_part_of_each_layer(self):
        result = self.prune("layer")
        for name, score in result.scores.items():
            gone = int((~result.masks[name]).sum())
            assert abs(gone - 0.5 * score.numel()) <= 0.5
            assert torch.equal(result.masks[name], lowest(score, gone))

    def test_row_removes_a_part_of_each_filter(self):
        result = self.prune("row", 1 / 3)  # 18 and 12 weights in a filter
        for name in ("0", "3"):
            for mask, score in zip(result.masks[name], result.scores[name], strict=True):
                assert torch.equal(mask, lowest(score, score.numel() // 3))

    def test_a_pattern_runs_over_the_flattened_filter(self):
        result = self.prune("2:4")
        for name in ("0", "3"):
            for mask, score in zip(result.masks[name], result.scores[name], strict=True):
                mask, score = mask.flatten(), score.flatten()
                for start in range(0, len(mask), 4):
                    group = slice(start, start + 4)
                    n_removed = max(0, len(mask[group]) - 2)
                    assert torch.equal(mask[group], lowest(score[group], n_removed))

    def test_erdos_renyi_sees_a_filter_as_a_row(self):
        result = self.prune("erdos_renyi", 0.7)
        left = {name: mask.double().mean().item() for name, mask in result.masks.items()}
        shapes = {name: mask.flatten(1).shape for name, mask in result.masks.items()}
        part = {name: (a + b) / (a * b) for name, (a, b) in shapes.items()}
        open_layers = [name for name in left if left[name] < 1]
        assert len(open_layers) >= 3
        factors = [left[name] / part[name] for name in open_layers]
        for name, factor in zip(open_layers, factors, strict=True):
            tolerance = 1 / (part[name] * result.masks[name].numel())
            assert factor == pytest.approx(np.mean(factors), abs=2 * tolerance)

    def test_lamp_takes_from_each_layer_what_its_scores_say(self):
        result = self.prune("lamp")
        by_score = self.prune("global", method="lamp")
        for name, mask in result.masks.items():
            assert int(mask.sum()) == int(by_score.masks[name].sum())
            assert torch.equal(mask, lowest(result.scores[name], int((~mask).sum())))

    def test_a_mapping_gives_each_layer_its_ratio(self):
        result = self.prune({"0": 0.25, "3": 0.75})
        found = {name: 1 - mask.double().mean().item() for name, mask in result.masks.items()}
        assert found == pytest.approx({"0": 14 / 54, "3": 0.75, "6": 0.0, "8": 0.0})


def test_two_steps_are_two_prunings():
    module, X = network(), samples()
    kwargs = {"schedule": "linear", "batch_size": 7}
    found = prune(module, X, pruning_ratio=0.6, n_steps=2, **kwargs)
    first = prune(module, X, n_steps=1, pruning_ratio=0.3, **kwargs)
    then = prune(
        first.module, X, n_steps=1, pruning_ratio=0.6, **kwargs
    )  # a zero costs nothing, and goes
    assert_close(found.scores, first.scores)
    assert_close(found.masks, then.masks)
    torch.testing.assert_close(found.module(X), then.module(X))
    assert found.predicted_error == pytest.approx(first.predicted_error + then.predicted_error)


def test_the_report_has_a_row_for_each_layer():
    result = prune(network(), samples(), n_steps=1, pruning_ratio=0.9)
    rows = {row["layer"]: row for row in result.report}
    assert [row["shape"] for row in rows.values()] == ["3×2×3×3", "4×3×2×2", "5×4", "3×5"]
    for name, mask in result.masks.items():
        assert rows[name]["weights"] == mask.numel()
        assert rows[name]["weights_left"] == int(mask.sum())
        gone = result.scores[name][~mask].sum()
        assert rows[name]["predicted_error"] == pytest.approx(float(gone))


def test_dead_units_of_the_report_are_filters_that_the_output_does_not_feel():
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(2, 6, 2), nn.Softplus(), nn.MaxPool2d(2), nn.Conv2d(6, 5, 2), nn.Softplus(),
        nn.Flatten(), nn.Linear(5, 2),
    ).double()  # fmt: skip
    with torch.no_grad():
        for layer in prunable_layers(module).values():
            layer.weight.abs_()  # no path cancels another
    result = prune(module, method="magnitude", pruning_ratio=0.85)
    rows = {row["layer"]: row["dead_units"] for row in result.report}
    h, felt = samples().requires_grad_(), {}
    X = h
    for i, layer in enumerate(result.module):
        h = layer(h)
        h.retain_grad()
        if str(i) in result.masks:
            felt[str(i)] = h
    h.sum().backward()
    for name, z in felt.items():
        reads = torch.zeros(z.shape[1], dtype=torch.bool)
        for unit in range(z.shape[1]):
            total = result.module[: int(name) + 1](X)[:, unit].sum()
            reads[unit] = torch.autograd.grad(total, X)[0].any()
        alive = reads & z.grad.flatten(2).any(2).any(0) if z.ndim > 2 else reads
        assert rows[name] == int((~alive).sum())
    assert rows["0"] > 0


def test_forecasts_are_the_errors_that_pruning_predicts():
    module, X = network(), samples()
    dense = prune(module, X, n_steps=1, pruning_ratio=0)
    ratios = np.array([0.2, 0.5, 0.8])
    for scope in ("global", "layer", "row", "erdos_renyi", "lamp", "1:2"):
        found = dense.forecast(ratios, scope)
        expected = [
            prune(module, X, n_steps=1, pruning_ratio=float(r), scope=scope).predicted_error
            for r in ratios
        ]
        np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_the_prediction_holds_for_a_single_weight_of_a_linear_network():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(2, 2, 3), nn.Flatten(), nn.Linear(18, 2)).double()
    X = samples(60)
    result = prune(module, X, pruning_ratio=1 / 36, scope={"0": 1 / 36})
    change = (result.module(X) - module(X)).detach().square().sum(1).mean()
    assert int((~result.masks["0"]).sum()) == 1
    assert float(change) == pytest.approx(result.predicted_error, rel=1e-9)


# -- layers ---------------------------------------------------------------------------------------


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 3, 2))
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 3))

    def forward(self, x):
        return self.head(self.features(x))


ALL = ["features.0", "features.2", "head.1", "head.3"]


class TestChosenLayers:
    @pytest.mark.parametrize(
        ("layers", "expected"),
        [
            (None, ALL),
            (["features.*"], ALL[:2]),
            ("head.*", ALL[2:]),
            (["head.3", "features.0"], [ALL[0], ALL[3]]),
            (["*.0", "head.[0-2]"], [ALL[0], ALL[2]]),
            (["features.?", "features.*"], ALL[:2]),
        ],
    )
    def test_may_be_given_by_patterns(self, layers, expected):
        assert list(prunable_layers(Classifier(), layers)) == expected
        result = prune(Classifier(), samples(), pruning_ratio=0.5, layers=layers)
        assert list(result.masks) == expected

    @pytest.mark.parametrize("layers", [["trunk.*"], ["features.1"], ["features.*", "tail"], []])
    def test_that_are_not_there_are_named(self, layers):
        with pytest.raises(ValueError, match=r"names no prunable layer for") as error:
            prune(Classifier(), samples(), pruning_ratio=0.5, layers=layers)
        assert str(ALL) in str(error.value)
        unknown = [name for name in layers if name != "features.*"]
        assert f"for {unknown}" in str(error.value)

    def test_a_name_with_brackets_stands_for_itself(self):
        module = nn.Sequential()
        module.add_module("a[0]", nn.Linear(2, 2))
        module.add_module("a0", nn.Linear(2, 2))
        assert list(prunable_layers(module, ["a[0]"])) == ["a[0]"]

    def test_others_are_no_prunable_layers(self):
        module = nn.Sequential(nn.Conv3d(1, 1, 1), nn.ConvTranspose2d(1, 1, 1))
        with pytest.raises(ValueError, match=r"found only.*Conv3d.*ConvTranspose2d"):
            prunable_layers(module)

    def test_convolutions_that_share_a_weight_are_refused(self):
        module = Classifier()
        module.features[2] = nn.Conv2d(2, 3, 3)
        module.features[2].weight = module.features[0].weight
        with pytest.raises(ValueError, match=r"'features.0' and 'features.2' share one weight"):
            prune(module, samples(), pruning_ratio=0.5)


class Untouched(nn.Sequential):
    """Cannot be run."""

    def forward(self, x):
        raise AssertionError("the network was run")


def test_all_remaining_parameters_compensate():
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 16, 3)
    ).double()
    X = torch.randn(80, 1, 6, 6, dtype=torch.float64)
    errors = {}
    for method in ("ec", "ec_network"):
        result = prune(module, X, pruning_ratio=0.7, method=method, n_steps=5)
        assert result.sparsity == pytest.approx(0.7, abs=0.01)
        for name, mask in result.masks.items():
            assert not result.module.get_submodule(name).weight[~mask].any()
        errors[method] = float((result.module(X) - module(X)).square().sum(1).mean())
    assert errors["ec_network"] < 0.5 * errors["ec"]


class TestWhatIsNotDefined:
    @pytest.mark.parametrize(
        "choice",
        [
            {"method": "surgeon"},
            {"method": "ec_exact"},
            {"method": "ec", "compensation": "weights"},
            {
                "method": "magnitude",
                "compensation": "network",
                "compensation_params": {"preconditioner": "rows"},
            },
            {"method": "magnitude", "compensation": "bias_exact"},
        ],
    )
    def test_says_so_before_any_work(self, choice):
        module = Untouched(nn.Linear(5, 5), nn.Conv2d(2, 2, 2))
        with pytest.raises(ValueError, match="not defined for convolutions such as layer '1'") as e:
            prune(module, samples(), pruning_ratio=0.5, **choice)
        assert repr(choice["method"]) in str(e.value)
        assert repr(choice.get("compensation", "")).strip("'") in str(e.value)
        assert "layers=[...]" in str(e.value)

    @pytest.mark.parametrize("method", ["surgeon", "ec_exact"])
    def test_works_where_the_convolutions_stay_whole(self, method):
        module, X = Classifier().double(), samples()
        result = prune(module, X, method=method, pruning_ratio=0.5, layers=["head.*"])
        head = prune(module.head, module.features(X).detach(), method=method, pruning_ratio=0.5)
        assert_close(
            {f"head.{name}": score for name, score in head.scores.items()},
            result.scores,
            rtol=1e-6,
            atol=1e-14,
        )


class TestInputsOfAnotherShape:
    @pytest.mark.parametrize(
        ("layer", "shape", "needed"),
        [
            (nn.Conv2d(3, 3, 2), (3, 4, 4), "n_channels, height, width"),
            (nn.Conv1d(3, 3, 2), (3, 4), "n_channels, length"),
        ],
    )
    def test_are_refused_if_they_are_no_batch(self, layer, shape, needed):
        with pytest.raises(ValueError) as error:
            prune(layer, torch.randn(shape), pruning_ratio=0.5)
        assert f"Layer '' gets an input of shape {shape}" in str(error.value)
        assert f"pruning needs (n_samples, {needed})" in str(error.value)

    def test_of_a_linear_layer_are_refused_too(self):
        module = nn.Sequential(nn.Conv2d(2, 2, 2), nn.Linear(4, 3), nn.Flatten())
        with pytest.raises(ValueError, match=r"Layer '1' gets an input of shape \(17, 2, 4, 4\)"):
            prune(module, samples(), pruning_ratio=0.5)
        assert list(prune(module, samples(), pruning_ratio=0.5, layers=["0"]).masks) == ["0"]


def test_maps_are_recorded_before_what_works_in_place():
    plain = network("batch norm, dropout, pooling")
    in_place = copy.deepcopy(plain)
    in_place[2], in_place[7] = nn.ReLU(inplace=True), nn.ELU(inplace=True)
    X = samples()
    kwargs = {"pruning_ratio": 0.5, "batch_size": 7}
    found, expected = prune(in_place, X, **kwargs), prune(plain, X, **kwargs)
    assert_close(found.scores, expected.scores, rtol=1e-10, atol=1e-16)
    found, expected = found.module.eval(), expected.module.eval()
    torch.testing.assert_close(found(X), expected(X))
