from collections import OrderedDict
from itertools import pairwise, product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from skec import prune
from skec.connectivity import alive_units, chain_of_layers


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
