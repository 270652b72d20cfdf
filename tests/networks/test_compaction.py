"""The same function as a smaller network."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import skec
from skec.networks import MLP, InputColumns, feature_mask

ACTIVATIONS = [
    nn.Sigmoid, nn.Softplus, nn.ELU, nn.SiLU, nn.ReLU, nn.Tanh, nn.Identity, nn.LogSigmoid,
    nn.PReLU,
]  # fmt: skip


def linear_layers(module: nn.Module) -> dict[str, nn.Linear]:
    return {name: part for name, part in module.named_modules() if isinstance(part, nn.Linear)}


def widths(module: nn.Module) -> list[int]:
    """How many columns are read, and how many units each layer has."""
    layers = list(linear_layers(module).values())
    return [layers[0].in_features, *(layer.out_features for layer in layers)]


def biases(layer: nn.Linear) -> Tensor:
    return torch.zeros_like(layer.weight[:, 0]) if layer.bias is None else layer.bias


def n_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def masked(module: nn.Module, masks: dict[str, Tensor]) -> nn.Module:
    """A copy without the weights that are not kept."""
    module = copy.deepcopy(module)
    with torch.no_grad():
        for name, mask in masks.items():
            module.get_submodule(name).weight.mul_(mask)
    return module


def on_a_path(masks: dict[str, Tensor]) -> list[Tensor]:
    """Which columns, and which units of each layer, lie between an input and an output.

    The paths of kept weights that run through each are counted.
    """
    tables = [mask.double() for mask in masks.values()]
    into, out_of = [torch.ones_like(tables[0][0])], [torch.ones_like(tables[-1][:, 0])]
    for table in tables:
        into.append(table @ into[-1])
    for table in reversed(tables):
        out_of.append(table.T @ out_of[-1])
    return [a * b > 0 for a, b in zip(into, reversed(out_of), strict=True)]


@dataclass
class Pruned:
    """A network and the weights of it that are kept; it may have others too."""

    module: nn.Module
    masks: dict[str, Tensor]
    X: Tensor

    @property
    def pruned(self) -> nn.Module:
        return masked(self.module, self.masks)


def randomize(module: nn.Module) -> None:
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d) and part.running_mean is not None:
            part.running_mean.normal_()
            part.running_var.uniform_(0.2, 3.0)
    for parameter in module.parameters():
        nn.init.normal_(parameter)


@st.composite
def normalizations(draw, width: int):
    kind = draw(st.sampled_from(["none", "none", "running", "of the batch"]))
    if kind == "none":
        return []
    affine = draw(st.booleans())
    return [nn.BatchNorm1d(width, affine=affine, track_running_stats=kind == "running")]


@st.composite
def activations(draw, width: int):
    kind = draw(st.sampled_from(ACTIVATIONS))
    if kind is nn.PReLU:
        return [nn.PReLU(draw(st.sampled_from([1, width])))]
    return [kind()]


@st.composite
def networks(draw):
    """A network in parts, some of them nested, and the shape of a row of its inputs."""
    sizes = draw(st.lists(st.integers(1, 9), min_size=2, max_size=5))
    parts = []
    for i, (n_in, n_out) in enumerate(pairwise(sizes)):
        parts.append(nn.Linear(n_in, n_out, bias=draw(st.booleans())))
        if i < len(sizes) - 2:
            between = draw(normalizations(n_out)) + draw(activations(n_out))
            between += draw(st.sampled_from([[], [nn.Dropout(0.5)]]))
            parts += draw(st.permutations(between))
    cut = draw(st.integers(0, len(parts)))
    module = nn.Sequential(nn.Sequential(*parts[:cut]), *parts[cut:])
    flat = draw(st.booleans())
    if flat:
        module.insert(0, nn.Flatten())
    return module, (sizes[0], 1) if flat else (sizes[0],)


@st.composite
def pruned_networks(draw):
    torch.manual_seed(draw(st.integers(0, 10_000)))
    module, shape = draw(networks())
    randomize(module)
    of_the_batch = any(getattr(part, "running_mean", 0) is None for part in module.modules())
    dtype = torch.float64 if of_the_batch else draw(st.sampled_from([torch.float32, torch.float64]))
    masks = {}
    for name, layer in linear_layers(module).items():
        density = draw(st.sampled_from([0.0, 0.2, 0.4, 0.6, 0.8, 1.0]))
        masks[name] = torch.rand(layer.weight.shape) < density
        if draw(st.booleans()):
            masks[name][0] = False
        if draw(st.booleans()):
            masks[name][:, -1] = False
    return Pruned(module.to(dtype), masks, torch.randn(7, *shape, dtype=dtype))


def assert_same_function(found: nn.Module, expected: nn.Module, X: Tensor) -> None:
    with torch.no_grad():
        found, expected = found.eval()(X), expected.eval()(X)
    close = 1e-5 if X.dtype == torch.float32 else 1e-8
    scale = 1.0 + float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=close, atol=close * scale)


def assert_same_state(found: nn.Module, expected: nn.Module) -> None:
    found, expected = found.state_dict(), expected.state_dict()
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert torch.equal(found[name], value)


class TestAnyPrunedNetwork:
    @settings(max_examples=100)
    @given(pruned_networks(), st.booleans())
    def test_computes_the_same_when_it_is_compact(self, case, zeros):
        if zeros:
            smaller, _ = skec.compact(case.pruned)
        else:
            smaller, _ = skec.compact(case.module, case.masks)
        assert_same_function(smaller, case.pruned, case.X)

    @settings(max_examples=40)
    @given(pruned_networks())
    def test_keeps_what_lies_on_a_path_and_else_one_of_each_layer(self, case):
        smaller, _ = skec.compact(case.module, case.masks)
        *expected, outputs = (int(used.sum()) for used in on_a_path(case.masks))
        assert widths(smaller)[:-1] == [max(1, number) for number in expected]
        assert widths(smaller)[-1] >= outputs
        assert widths(smaller)[-1] == widths(case.module)[-1]

    @settings(max_examples=40)
    @given(pruned_networks())
    def test_keeps_the_weights_of_what_stays(self, case):
        smaller, masks = skec.compact(case.module, case.masks)
        used = on_a_path(case.masks)
        used[-1] = torch.ones_like(used[-1]) & used[-1].any()  # outputs stay
        if not all(units.any() for units in used):
            assert not any(layer.weight.any() for layer in linear_layers(smaller).values())
            return
        for i, (name, layer) in enumerate(linear_layers(smaller).items()):
            before, units, inputs = case.module.get_submodule(name), used[i + 1], used[i]
            mask = case.masks[name][units]
            assert torch.equal(masks[name], mask[:, inputs])
            assert torch.equal(layer.weight, before.weight[units][:, inputs] * mask[:, inputs])
            if not mask[:, ~inputs].any():  # nothing to make up for
                found, expected = biases(layer), biases(before)[units]
                assert torch.equal(found, expected)

    @settings(max_examples=40)
    @given(pruned_networks())
    def test_has_no_unit_left_that_could_go(self, case):
        _, masks = skec.compact(case.module, case.masks)
        tables = list(masks.values())
        for incoming, outgoing in pairwise(tables):
            assert len(incoming) == 1 or (incoming.any(1) & outgoing.any(0)).all()
        assert tables[0].shape[1] == 1 or tables[0].any(0).all()

    @settings(max_examples=40)
    @given(pruned_networks(), st.booleans())
    def test_is_as_compact_as_it_gets(self, case, zeros):
        once, masks = skec.compact(case.module, case.masks)
        again, same = skec.compact(once) if zeros else skec.compact(once, masks)
        assert_same_state(again, once)
        for name in same:
            assert torch.equal(same[name], masks[name])

    @given(pruned_networks())
    def test_never_grows(self, case):
        smaller, masks = skec.compact(case.module, case.masks)
        assert all(a <= b for a, b in zip(widths(smaller), widths(case.module), strict=True))
        assert n_parameters(smaller) <= n_parameters(case.module)
        for name, layer in linear_layers(smaller).items():
            assert (layer.out_features, layer.in_features) == layer.weight.shape
            assert masks[name].shape == layer.weight.shape
            assert not layer.weight[~masks[name]].any()

    @given(pruned_networks())
    def test_stays_as_it_is(self, case):
        before, random = copy.deepcopy(case.module), torch.get_rng_state()
        masks = {name: mask.clone() for name, mask in case.masks.items()}
        smaller, _ = skec.compact(case.module, case.masks)
        assert torch.equal(torch.get_rng_state(), random)
        assert_same_state(case.module, before)
        assert str(case.module) == str(before)
        for name, mask in masks.items():
            assert torch.equal(case.masks[name], mask)
        tensors = [module.state_dict().values() for module in (case.module, smaller)]
        addresses = [{values.data_ptr() for values in part} for part in tensors]
        assert not addresses[0] & addresses[1]

    @given(pruned_networks(), st.randoms(use_true_random=False))
    def test_keeps_names_modes_and_flags(self, case, random):
        for part in case.module.modules():
            part.training = random.random() < 0.5
        for parameter in case.module.parameters():
            parameter.requires_grad_(random.random() < 0.5)
        smaller, _ = skec.compact(case.module, case.masks)
        modes = {name: (type(m), m.training) for name, m in case.module.named_modules()}
        found = {
            name: (type(m), m.training)
            for name, m in smaller.named_modules()
            if not isinstance(m, InputColumns)
        }
        assert list(found.items()) == list(modes.items())
        flags = {name: p.requires_grad for name, p in case.module.named_parameters()}
        found = {name: p.requires_grad for name, p in smaller.named_parameters()}
        assert {name: found[name] for name in flags} == flags
        assert all(name.endswith("bias") for name in set(found) - set(flags))

    @given(pruned_networks())
    def test_can_be_copied_and_stored(self, case):
        smaller, _ = skec.compact(case.module, case.masks)
        with torch.no_grad():
            expected = smaller.eval()(case.X)
            for twin in (copy.deepcopy(smaller), pickle.loads(pickle.dumps(smaller))):
                assert torch.equal(twin(case.X), expected)
                randomize(twin)
                twin.load_state_dict(smaller.state_dict())
                assert torch.equal(twin(case.X), expected)


# -- by hand -------------------------------------------------------------------------------------


def sequence(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers)


def two_units(activation: nn.Module, bias: bool) -> nn.Sequential:
    """A first unit that reads nothing and has the bias -1, and a second that reads all."""
    module = sequence(nn.Linear(2, 2), activation, nn.Linear(2, 1, bias=bias))
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 2.0]]))
        module[0].bias.copy_(torch.tensor([-1.0, 0.5]))
        module[2].weight.copy_(torch.tensor([[3.0, -1.0]]))
        if bias:
            module[2].bias.fill_(10.0)
    return module


def prelu(*slopes: float) -> nn.PReLU:
    module = nn.PReLU(len(slopes))
    with torch.no_grad():
        module.weight.copy_(torch.tensor(slopes))
    return module


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("activation", "constant"),
    [
        (nn.ReLU(), 0.0),
        (nn.Identity(), -1.0),
        (nn.Sigmoid(), 0.2689414),
        (nn.Softplus(), 0.3132617),
        (nn.ELU(), -0.6321206),
        (nn.SiLU(), -0.2689414),
        (nn.PReLU(init=0.3), -0.3),
        (prelu(0.7, 0.1), -0.7),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_constant_unit_becomes_a_part_of_the_next_bias(activation, constant, bias):
    smaller, _ = skec.compact(two_units(activation, bias))
    assert smaller[0].weight.tolist() == [[1.0, 2.0]]
    assert smaller[0].bias.tolist() == [0.5]
    assert smaller[2].weight.tolist() == [[-1.0]]
    if bias or constant:
        assert smaller[2].bias.item() == pytest.approx(10.0 * bias + 3.0 * constant, rel=1e-6)
    else:
        assert smaller[2].bias is None


def test_a_unit_without_bias_is_the_activation_of_zero():
    module = sequence(nn.Linear(2, 2, bias=False), nn.Sigmoid(), nn.Linear(2, 1, bias=False))
    mask = torch.tensor([[False, False], [True, True]])
    smaller, masks = skec.compact(module, {"0": mask})
    assert smaller[0].bias is None
    assert smaller[2].bias.item() == pytest.approx(0.5 * module[2].weight[0, 0].item())
    assert {name: mask.tolist() for name, mask in masks.items()} == {"0": [[True, True]]}


def test_constants_pass_through_several_layers():
    module = sequence(
        nn.Linear(1, 1), nn.Tanh(), nn.Linear(1, 1), nn.Sigmoid(), nn.Linear(1, 1), nn.Linear(1, 2)
    )
    with torch.no_grad():
        module[0].weight.zero_()
    smaller, _ = skec.compact(module)
    for name in ("0", "2", "4", "5"):
        assert not smaller.get_submodule(name).weight.any()
    torch.testing.assert_close(smaller[5].bias, module(torch.zeros(1, 1))[0])


def test_a_network_that_lost_everything_is_its_constant():
    torch.manual_seed(0)
    module = MLP(5, 2, (4, 3), "silu", zero_output=False)
    masks = {n: torch.zeros_like(m.weight).bool() for n, m in linear_layers(module).items()}
    smaller, left = skec.compact(module, masks)
    assert widths(smaller) == [1, 1, 1, 2]
    assert not any(mask.any() for mask in left.values())
    X = torch.randn(3, 5)
    assert_same_function(smaller, masked(module, masks), X)
    assert torch.equal(smaller(X), smaller.output.bias.expand(3, 2))


def test_unread_columns_are_left_out_right_before_the_first_layer():
    module = sequence(nn.Flatten(), nn.BatchNorm1d(4), sequence(nn.Linear(4, 3), nn.ReLU()))
    module.append(nn.Linear(3, 1))
    with torch.no_grad():
        module[2][0].weight[:, 1:3] = 0.0
    smaller, _ = skec.compact(module)
    assert [type(part) for part in smaller[2]] == [InputColumns, nn.Linear, nn.ReLU]
    assert list(dict(smaller.named_children())) == list(dict(module.named_children()))
    assert smaller[1].num_features == 4
    assert feature_mask(smaller).tolist() == [True, False, False, True]
    X = torch.randn(6, 2, 2)
    assert_same_function(smaller, module, X)
    assert torch.equal(smaller(X), smaller(X * torch.tensor([[1.0, 5.0], [5.0, 1.0]])))


def test_the_columns_find_a_name_that_is_free():
    module = nn.Sequential()
    module.add_module("columns", nn.Linear(3, 2))
    module.add_module("columns_", nn.Linear(2, 1))
    with torch.no_grad():
        module.columns.weight[:, 0] = 0.0
    smaller, _ = skec.compact(module)
    assert list(smaller._modules) == ["columns__", "columns", "columns_"]
    assert_same_function(smaller, module, torch.randn(4, 3))


def test_columns_of_columns_are_columns():
    torch.manual_seed(0)
    module, X = MLP(6, 1, (5,), "tanh", zero_output=False), torch.randn(8, 6)
    kept = torch.tensor([1, 1, 1, 0, 1, 1]).bool()
    once, masks = skec.compact(module, {"hidden_0": kept.expand(5, 6)})
    masks["hidden_0"][:, [0, 3]] = False  # columns 0 and 4 of all
    twice, _ = skec.compact(once, masks)
    assert feature_mask(twice).tolist() == [False, True, True, False, False, True]
    assert [type(part) for part in twice.modules()].count(InputColumns) == 1
    assert_same_function(twice, masked(once, masks), X)
    assert feature_mask(once).tolist() == kept.tolist()


def test_every_column_is_read_if_there_is_nothing_that_leaves_some_out():
    assert feature_mask(MLP(4, 1, (2,))).tolist() == [True] * 4


def test_a_layer_by_itself_keeps_its_columns():
    module = nn.Linear(3, 2)
    with torch.no_grad():
        module.weight[:, 0] = 0.0
    smaller, masks = skec.compact(module, {"": module.weight != 0})
    assert_same_state(smaller, module)
    assert masks[""].shape == (2, 3)


def test_what_follows_the_last_layer_is_left_alone():
    module = sequence(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Softmax(1))
    randomize(module)
    mask = torch.tensor([[True, False]]).expand(4, 2)
    smaller, _ = skec.compact(module, {"2": mask})
    assert widths(smaller) == [3, 1, 4]
    assert smaller[3].num_features == 4
    assert_same_function(smaller, masked(module, {"2": mask}), torch.randn(5, 3))


def test_the_normalisation_knows_its_size():
    module = MLP(3, 1, (6,), batch_norm=True, zero_output=False)
    mask = torch.tensor([1, 0, 1, 0, 0, 0]).bool()
    smaller, _ = skec.compact(module, {"output": mask[None]})
    assert smaller.norm_0.num_features == 2
    assert smaller.norm_0.running_mean.shape == (2,)
    smaller.train()(torch.randn(5, 3))  # also its statistics fit
    assert int(smaller.norm_0.num_batches_tracked) == 1


def test_the_named_layers_alone_have_masks():
    module = MLP(3, 1, (4, 4), zero_output=False)
    mask = torch.ones(4, 4, dtype=torch.bool)
    mask[1] = False
    smaller, masks = skec.compact(module, {"hidden_1": mask})
    assert list(masks) == ["hidden_1"]
    assert smaller.hidden_1.weight.shape == masks["hidden_1"].shape == (3, 4)
    assert skec.compact(module)[1] == {}


@pytest.mark.parametrize("kind", [nn.ReLU, nn.SiLU, nn.ELU])
def test_activations_may_work_in_place(kind):
    plain, in_place = two_units(kind(), True), two_units(kind(inplace=True), True)
    assert_same_state(skec.compact(in_place)[0], skec.compact(plain)[0])


def test_a_normalisation_without_parameters_may_run_twice():
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(4, affine=False)
    module = sequence(nn.Linear(3, 4), norm, nn.Linear(4, 4), norm, nn.Linear(4, 1))
    randomize(module)
    masks = {"0": torch.ones(4, 3).bool(), "2": torch.ones(4, 4).bool()}
    masks["0"][0] = masks["2"][1:3] = False
    try:
        smaller, _ = skec.compact(module, masks)
    except ValueError as error:
        assert "runs twice" in str(error)
        return
    assert_same_function(smaller, masked(module, masks), torch.randn(6, 3))


@pytest.mark.parametrize(
    "between",
    [nn.BatchNorm1d(3), InputColumns(torch.tensor([True, True, True]))],
    ids=lambda part: type(part).__name__,
)
def test_modules_may_stand_between_the_columns_and_the_first_layer(between):
    columns = InputColumns(torch.tensor([True, False, True, True]))
    module = sequence(columns, between, nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1))
    with torch.no_grad():
        module[2].weight[:, 1] = 0.0
    assert_same_function(skec.compact(module)[0], module, torch.randn(5, 4))


@pytest.mark.parametrize("shape", [(4,), (2, 5, 4)], ids=["one row", "stacks of rows"])
def test_inputs_may_have_any_number_of_dimensions(shape):
    module = sequence(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 1))
    with torch.no_grad():
        module[0].weight[:, 2] = 0.0
    X = torch.randn(*shape)
    torch.testing.assert_close(skec.compact(module)[0](X), module(X))


# -- what does not work ---------------------------------------------------------------------------


class Skip(nn.Sequential):
    def forward(self, X):
        return X + super().forward(X)


def used_twice() -> nn.Module:
    layer = nn.Linear(3, 3)
    return sequence(layer, nn.Tanh(), layer)


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (Skip(nn.Linear(3, 3)), "Skip has a forward of its own"),
        (sequence(nn.Linear(3, 3), nn.LayerNorm(3), nn.Linear(3, 1)), "module '1', a LayerNorm"),
        (sequence(nn.Linear(3, 3), nn.Softmax(1), nn.Linear(3, 1)), "module '1', a Softmax"),
        (sequence(nn.Linear(3, 3), sequence(nn.Bilinear(2, 2, 2))), "module '1.0', a Bilinear"),
        (used_twice(), "'0' and '2' are one module, which runs twice"),
    ],
    ids=["skip", "layer norm", "softmax", "bilinear", "used twice"],
)
def test_other_networks_are_refused_with_the_reason(module, reason):
    with pytest.raises(ValueError, match=r"cannot be made compact.*torch\.nn\.Sequential") as error:
        skec.compact(module)
    assert reason in str(error.value)


@pytest.mark.parametrize(
    ("name", "shape"), [("hidden_1", (4, 3)), ("hidden_0", (3, 4)), ("activation_0", (4, 3))]
)
def test_masks_have_to_fit(name, shape):
    module = MLP(3, 1, (4,))
    mask = torch.ones(shape, dtype=torch.bool)
    with pytest.raises(ValueError) as error:
        skec.compact(module, {name: mask})
    assert f"masks['{name}'] of shape {shape} fits no layer" in str(error.value)
    assert "'hidden_0': (4, 3)" in str(error.value)


# -- after pruning --------------------------------------------------------------------------------


def dense_network() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    module = MLP(8, 3, (20, 12), "silu", zero_output=False)
    return module, torch.randn(60, 8) * torch.tensor([1.0] * 4 + [1e-3] * 4)


WAYS = {
    "weights": {"pruning_ratio": 0.93, "n_steps": 3},
    "weights of chosen layers": {"pruning_ratio": 0.95, "layers": ["hidden_0"]},
    "units": {"pruning_ratio": 0.6, "granularity": "neuron"},
    "units of the network": {
        "pruning_ratio": 0.7,
        "granularity": "neuron",
        "scope": "global",
        "method": "elimination",
    },
}


@pytest.mark.parametrize("way", WAYS)
class TestResultsOfPruning:
    def test_compute_the_same_in_less_room(self, way):
        module, X = dense_network()
        result = skec.prune(module, X, **WAYS[way])
        smaller = result.compact()
        assert_same_function(smaller.module, result.module, X)
        assert n_parameters(smaller.module) < 0.6 * n_parameters(result.module)
        assert type(smaller.module) is MLP

    def test_have_masks_that_fit_and_their_old_scores(self, way):
        module, X = dense_network()
        result = skec.prune(module, X, **WAYS[way])
        smaller = result.compact()
        assert list(smaller.masks) == list(result.masks)
        for name, mask in smaller.masks.items():
            weight = smaller.module.get_submodule(name).weight
            assert mask.shape == weight.shape
            assert not weight[~mask].any()
        assert smaller.scores is result.scores
        assert smaller.report is result.report
        assert smaller.sparsity == result.sparsity

    def test_tell_the_columns_that_they_read(self, way):
        module, X = dense_network()
        result = skec.prune(module, X, **WAYS[way])
        smaller = result.compact()
        assert result.feature_mask.tolist() == [True] * 8
        expected = on_a_path({n: m.weight != 0 for n, m in linear_layers(result.module).items()})[0]
        assert torch.equal(smaller.feature_mask, expected)
        assert bool(expected.all()) == way.startswith("units")

    @pytest.mark.parametrize("granularity", ["weight", "neuron"])
    def test_can_be_pruned_again(self, way, granularity):
        module, X = dense_network()
        smaller = skec.prune(module, X, **WAYS[way]).compact().module
        again = skec.prune(smaller, X, pruning_ratio=0.5, granularity=granularity)
        assert 0.3 < again.sparsity < 0.8
        twice = again.compact()
        assert_same_function(twice.module, again.module, X)
        assert all(a <= b for a, b in zip(widths(twice.module), widths(smaller), strict=True))
        assert not (twice.feature_mask & ~feature_mask(smaller)).any()


def test_a_pruned_unit_leaves_the_network():
    module, X = dense_network()
    result = skec.prune(module, X, pruning_ratio=0.75, granularity="neuron")
    assert widths(result.compact().module) == [8, 5, 3, 3]


def test_a_result_that_is_no_sequence_is_refused():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, X):
            return X + self.layer(X)

    result = skec.prune(Residual(), torch.randn(20, 4), pruning_ratio=0.5)
    with pytest.raises(ValueError, match="cannot be made compact"):
        result.compact()
