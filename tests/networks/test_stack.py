"""Several networks as one."""

import copy

import pytest
import torch
from torch import nn

from skec.networks import MLP, StackedLinear, fixed_part, stacked, unstack

ARCHITECTURES = {
    "plain": {},
    "no_bias": {"bias": False},
    "dropout": {"dropout": 0.3},
    "features": {"feature_scaling": True, "feature_embedding": True, "feature_weights": True},
    "embedding": {"feature_embedding": True},
    "weights": {"feature_weights": True},
    "no_hidden_layer": {"hidden_layer_sizes": ()},
    "one_unit": {"hidden_layer_sizes": (1,)},
}


def networks(n, **settings):
    settings = {"hidden_layer_sizes": (6, 5), "zero_output": False} | settings
    generator = torch.Generator().manual_seed(0)
    return [MLP(4, 3, generator=generator, dtype=torch.float64, **settings) for _ in range(n)]


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("settings", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_outputs_are_those_of_the_networks(settings, n):
    every, X = networks(n, **settings), drawn(7, 4)
    before = copy.deepcopy(every)
    stack = stacked(every).eval()
    expected = torch.stack([network.eval()(X) for network in every])
    torch.testing.assert_close(stack(X), expected, rtol=1e-12, atol=1e-12)
    for network, same in zip(every, before, strict=True):
        for value, old in zip(network.parameters(), same.parameters(), strict=True):
            assert torch.equal(value, old)


@pytest.mark.parametrize("settings", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_unstack_copies_the_weights_back(settings):
    every = networks(3, **settings)
    stack = stacked(every)
    with torch.no_grad():
        for parameter in stack.parameters():
            parameter.copy_(drawn(*parameter.shape))
    unstack(stack, every)
    expected = torch.stack([network(drawn(7, 4)) for network in map(nn.Module.eval, every)])
    torch.testing.assert_close(stack.eval()(drawn(7, 4)), expected, rtol=1e-12, atol=1e-12)


def test_a_stack_has_the_form_of_its_networks():
    every = networks(3, **ARCHITECTURES["features"])
    stack = stacked(every)
    assert [name for name, _ in stack.named_modules()] == [n for n, _ in every[0].named_modules()]
    assert [n for n, _ in stack.named_parameters()] == [n for n, _ in every[0].named_parameters()]
    assert fixed_part(stack) is not None
    layer = stack.get_submodule("hidden_0")
    assert isinstance(layer, StackedLinear) and isinstance(layer, nn.Linear)
    assert layer.weight.shape == (3, 6, 16) and layer.bias.shape == (3, 6)


def test_nested_networks():
    every = [nn.Sequential(network, nn.Tanh()) for network in networks(2)]
    stack, X = stacked(every), drawn(7, 4)
    torch.testing.assert_close(stack(X), torch.stack([network(X) for network in every]))
