from collections import OrderedDict
from itertools import pairwise, product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from skec import prune
from skec.networks import (
    MLP,
    HiddenLayer,
    NotAChain,
    alive_units,
    chain_of_layers,
    hidden_layers,
)


def alive_by_paths(masks):
    """Follow every path from an input to an output."""
    masks = [mask.tolist() for mask in masks]
    widths = [len(masks[0][0])] + [len(mask) for mask in masks]
    alive = [[False] * width for width in widths[1:]]
    for path in product(*map(range, widths)):
        if all(mask[path[i + 1]][path[i]] for i, mask in enumerate(masks)):
            for i, unit in enumerate(path[1:]):
                alive[i][unit] = True
    return alive


@st.composite
def chains_of_masks(draw):
    widths = draw(st.lists(st.integers(1, 4), min_size=2, max_size=5))
    density = draw(st.sampled_from([0.2, 0.4, 0.6]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    return [
        torch.rand(n_out, n_in, generator=generator) < density for n_in, n_out in pairwise(widths)
    ]


class TestAliveUnits:
    @given(masks=chains_of_masks())
    def test_of_a_chain_lie_on_a_path(self, masks):
        found = alive_units(dict(enumerate(masks)), chain=True)
        assert [unit.tolist() for unit in found.values()] == alive_by_paths(masks)

    @given(masks=chains_of_masks())
    def test_elsewhere_have_an_incoming_weight(self, masks):
        found = alive_units(dict(enumerate(masks)), chain=False)
        assert [unit.tolist() for unit in found.values()] == [
            [any(row) for row in mask.tolist()] for mask in masks
        ]

    @given(masks=chains_of_masks())
    def test_the_output_feels_the_units_that_are_alive_and_no_others(self, masks):
        layers = []
        for mask in masks:
            layer = nn.Linear(*reversed(mask.shape)).double()
            with torch.no_grad():
                layer.weight.copy_(mask * (1.0 + torch.rand(mask.shape)))
                layer.bias.zero_()
            layers.append(layer)
        # positive weights throughout: no path can cancel another
        X = torch.ones(1, masks[0].shape[1], dtype=torch.float64)
        X.requires_grad_()
        hidden = [X]
        for layer in layers:
            hidden.append(layer(hidden[-1]))
            hidden[-1].retain_grad()
        hidden[-1].sum().backward()
        found = alive_units(dict(enumerate(masks)), chain=True)
        for z, alive in zip(hidden[1:], found.values(), strict=True):
            assert torch.equal(((z > 0) & (z.grad > 0))[0], alive)


class Custom(nn.Sequential):
    def forward(self, x):
        return super().forward(x) + x.sum()


def linear(n_in=4, n_out=4):
    return nn.Linear(n_in, n_out)


torch.manual_seed(0)
CHAINS = {
    "activations": nn.Sequential(linear(), nn.ReLU(), linear(), nn.GELU(), linear()),
    "nested": nn.Sequential(nn.Sequential(linear(), nn.PReLU(4)), nn.Sequential(linear())),
    "dropout and norm": nn.Sequential(linear(), nn.BatchNorm1d(4), nn.Dropout(0.5), linear()),
    "identity": nn.Sequential(nn.Identity(), linear(), nn.Identity(), linear()),
    "softmax at the end": nn.Sequential(linear(), nn.ReLU(), linear(), nn.Softmax(1)),
}
NO_CHAINS = {
    "own forward": Custom(linear(), linear()),
    "own forward inside": nn.Sequential(Custom(linear(), linear())),
    "layer norm": nn.Sequential(linear(), nn.LayerNorm(4), linear()),
    "softmax between": nn.Sequential(linear(), nn.Softmax(1), linear()),
    "gated": nn.Sequential(linear(4, 8), nn.GLU(), linear()),
    "reshaped": nn.Sequential(linear(), nn.Unflatten(1, (2, 2)), nn.Flatten(), linear()),
    "not sequential": nn.ModuleList([linear(), linear()]),
}


class TestChainOfLayers:
    def chain(self, module):
        return chain_of_layers(
            module, {n: m for n, m in module.named_modules() if type(m) is nn.Linear}
        )

    @pytest.mark.parametrize("name", sorted(CHAINS))
    def test_chains(self, name):
        assert self.chain(CHAINS[name])

    @pytest.mark.parametrize("name", sorted(NO_CHAINS))
    def test_no_chains(self, name):
        assert not self.chain(NO_CHAINS[name])

    def test_a_layer_that_is_not_considered_breaks_the_chain(self):
        module = nn.Sequential(OrderedDict(first=linear(), last=linear()))
        assert not chain_of_layers(module, {"first": module.first})


@pytest.mark.parametrize("name", ["gated", "softmax between", "layer norm", "reshaped"])
def test_any_network_can_be_pruned_and_reported(name):
    result = prune(NO_CHAINS[name], pruning_ratio=0.5, method="magnitude")
    for row in result.report:
        assert row["dead_units"] == int((~result.masks[row["layer"]].any(1)).sum())


def by_running(module, hidden):
    """Which units of the next layer's input move when one unit of a layer moves."""
    between = nn.Sequential(*(module.get_submodule(name) for name in hidden.between)).eval()
    n_units = module.get_submodule(hidden.name).out_features
    z = torch.linspace(-1, 1, n_units)[None]
    moved = z + torch.eye(n_units)
    return between(moved) != between(z)


class TestHiddenLayers:
    @pytest.mark.parametrize("name", sorted(CHAINS))
    def test_units_pass_what_lies_between_on_their_own(self, name):
        module = CHAINS[name]
        found = hidden_layers(module)
        linear_names = [n for n, m in module.named_modules() if isinstance(m, nn.Linear)]
        assert list(found) == linear_names[:-1]
        for hidden, next_name in zip(found.values(), linear_names[1:], strict=True):
            assert hidden.next_name == next_name
            moved = by_running(module, hidden)
            assert not moved[~torch.eye(len(moved), dtype=torch.bool)].any()

    def test_names_are_those_of_the_modules(self):
        module = nn.Sequential(
            OrderedDict(
                body=nn.Sequential(linear(), nn.BatchNorm1d(4), nn.ReLU()),
                rest=nn.Sequential(nn.Dropout(), nn.Sequential(linear(), nn.Tanh())),
                head=linear(),
            )
        )
        assert hidden_layers(module) == {
            "body.0": HiddenLayer("body.0", ("body.1", "body.2", "rest.0"), "rest.1.0"),
            "rest.1.0": HiddenLayer("rest.1.0", ("rest.1.1",), "head"),
        }

    def test_of_the_networks_of_the_estimators(self):
        found = hidden_layers(MLP(4, 2, (8, 6), batch_norm=True, dropout=0.5))
        assert [hidden.next_name for hidden in found.values()] == [*list(found)[1:], "output"]

    @pytest.mark.parametrize(
        "module",
        [
            linear(),
            nn.Sequential(linear()),
            nn.Sequential(nn.Flatten(), linear(), nn.LogSoftmax(1)),
            nn.ReLU(),
            nn.Sequential(),
        ],
    )
    def test_there_may_be_none(self, module):
        assert hidden_layers(module) == {}

    def test_the_input_may_be_flattened(self):
        layers = linear(), nn.ReLU(), linear()
        assert list(hidden_layers(nn.Sequential(nn.Flatten(), *layers))) == ["1"]

    @pytest.mark.parametrize("name", sorted(NO_CHAINS))
    def test_of_other_networks_name_the_module_in_the_way(self, name):
        kind = {
            "own forward": "Custom has a forward of its own",
            "own forward inside": "Custom, has a forward of its own",
            "layer norm": "module '1', a LayerNorm, is neither",
            "softmax between": "module '1', a Softmax, is neither",
            "gated": "module '1', a GLU, is neither",
            "reshaped": "module '1', a Unflatten, is neither",
            "not sequential": "this ModuleList is neither",
        }
        with pytest.raises(NotAChain, match=f"follow each other in torch.nn.Seq.*{kind[name]}"):
            hidden_layers(NO_CHAINS[name])

    def test_one_layer_may_not_run_twice(self):
        layer, slopes, plain = linear(), nn.PReLU(4), nn.ReLU()
        for shared in (layer, slopes):
            module = nn.Sequential(linear(), shared, linear(), shared, linear())
            with pytest.raises(NotAChain, match="'1' and '3' are one module, which runs twice"):
                hidden_layers(module)
        module = nn.Sequential(linear(), plain, linear(), plain, linear())
        assert list(hidden_layers(module)) == ["0", "2"]


# -- modules that may compute anything -------------------------------------------------------------


def of_kind(kind):
    """A module of a class, or of a subclass of it."""
    known = {nn.Linear: lambda: kind(4, 4), nn.BatchNorm1d: lambda: kind(4)}
    known[nn.Sequential] = lambda: kind(nn.ReLU())
    known[nn.Softmax] = lambda: kind(1)
    return next((make for base, make in known.items() if issubclass(kind, base)), kind)()


def around(part):
    """A network with a module before, between or after its two layers."""
    if isinstance(part, nn.Softmax):
        return nn.Sequential(linear(), nn.ReLU(), linear(), part)
    return nn.Sequential(linear(), nn.ReLU(), part, linear())


ALL_KINDS = [
    nn.Linear, nn.Sequential, nn.Flatten, nn.Softmax, nn.BatchNorm1d, nn.Identity, nn.Dropout,
    nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Hardtanh,
]  # fmt: skip
every_kind = pytest.mark.parametrize("kind", ALL_KINDS, ids=lambda kind: kind.__name__)


def hooks():
    def hook(*arguments):
        return None

    return {
        "register_forward_hook": hook,
        "register_forward_pre_hook": hook,
        "register_full_backward_hook": hook,
        "register_full_backward_pre_hook": hook,
    }


@every_kind
def test_a_forward_of_its_own_is_not_understood(kind):
    class Doubled(kind):
        def forward(self, inputs):
            return 2.0 * super().forward(inputs)

    assert hidden_layers(around(of_kind(kind)))
    with pytest.raises(NotAChain, match="Doubled"):
        hidden_layers(around(of_kind(Doubled)))


@every_kind
def test_a_forward_set_on_the_object_is_not_understood(kind):
    part = of_kind(kind)
    part.forward = lambda inputs: 2.0 * inputs
    with pytest.raises(NotAChain, match="has a forward of its own"):
        hidden_layers(around(part))


@every_kind
@pytest.mark.parametrize("register", sorted(hooks()))
def test_hooks_are_not_understood(kind, register):
    part = of_kind(kind)
    handle = getattr(part, register)(hooks()[register])
    with pytest.raises(NotAChain, match="has hooks"):
        hidden_layers(around(part))
    handle.remove()
    assert hidden_layers(around(part))


def test_hooks_of_the_network_itself_are_not_understood():
    module = nn.Sequential(linear(), nn.ReLU(), linear())
    module.register_forward_hook(lambda module, arguments, output: 2.0 * output)
    with pytest.raises(NotAChain, match="this Sequential has hooks"):
        hidden_layers(module)


@pytest.mark.parametrize("kind", [nn.Linear, nn.BatchNorm1d])
def test_a_parametrized_module_is_not_understood(kind):
    part = of_kind(kind)
    nn.utils.parametrize.register_parametrization(part, "bias", nn.Identity())
    with pytest.raises(NotAChain, match=f"Parametrized{kind.__name__}"):
        hidden_layers(around(part))


def test_the_order_of_the_children_may_not_be_changed():
    class Backwards(nn.Sequential):
        def __iter__(self):
            return reversed(list(super().__iter__()))

    with pytest.raises(NotAChain, match="Backwards"):
        hidden_layers(Backwards(linear(), nn.ReLU(), linear()))


def test_a_sequential_with_an_init_of_its_own_is_understood():
    class Made(nn.Sequential):
        def __init__(self, width):
            super().__init__(linear(4, width), nn.ReLU(), linear(width, 4))

    assert list(hidden_layers(Made(3))) == ["0"]
