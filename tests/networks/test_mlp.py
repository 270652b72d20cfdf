import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import erf, expit
from scipy.stats import kstest
from torch import nn

from skec.networks import ACTIVATIONS, MLP, InputColumns

FUNCTIONS = {
    "relu": lambda z: np.maximum(z, 0),
    "tanh": np.tanh,
    "logistic": expit,
    "identity": lambda z: z,
    "gelu": lambda z: z * (1 + erf(z / np.sqrt(2))) / 2,
    "silu": lambda z: z * expit(z),
    "elu": lambda z: np.where(z > 0, z, np.expm1(z)),
    "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
}


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("hidden", [(), (5,), (5, 4)])
@pytest.mark.parametrize("bias", [False, True])
def test_computes_affine_maps_and_activations(activation, hidden, bias):
    module = MLP(
        3, 2, hidden, activation, bias=bias, zero_output=False, generator=seeded(0)
    ).double()
    X = np.random.default_rng(0).normal(size=(6, 3))
    parameters = {name: p.detach().numpy() for name, p in module.named_parameters()}
    h = X
    for i in range(len(hidden)):
        h = h @ parameters[f"hidden_{i}.weight"].T + parameters.get(f"hidden_{i}.bias", 0)
        h = FUNCTIONS[activation](h)
    h = h @ parameters["output.weight"].T + parameters.get("output.bias", 0)
    np.testing.assert_allclose(module(torch.from_numpy(X)).detach().numpy(), h, atol=1e-12)
    assert len(parameters) == (len(hidden) + 1) * (2 if bias else 1)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_initial_weights_are_normal_and_biases_uniform(activation):
    module = MLP(50, 40, (400, 30), activation, zero_output=False, generator=seeded(0))
    gain = 1 if activation in ("tanh", "logistic", "identity") else 2
    for layer in (layer for layer in module if isinstance(layer, nn.Linear)):
        weight, bias = (p.detach().flatten().numpy() for p in (layer.weight, layer.bias))
        n_in = layer.in_features
        assert kstest(weight, "norm", (0, np.sqrt(gain / n_in))).pvalue > 1e-3
        assert kstest(bias, "uniform", (-(n_in**-0.5), 2 * n_in**-0.5)).pvalue > 1e-3


def test_the_generator_decides_the_weights():
    weights = [MLP(3, 1, (4,), generator=seeded(seed)).hidden_0.weight for seed in (0, 0, 1)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("bias", [False, True])
def test_starts_at_zero_if_asked(bias):
    module = MLP(3, 2, (4,), bias=bias, generator=seeded(0))
    assert torch.equal(module(torch.randn(5, 3)), torch.zeros(5, 2))
    assert module.hidden_0.weight.all()


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.25])
def test_each_hidden_layer_is_normalised_activated_and_dropped_in_this_order(batch_norm, dropout):
    module = MLP(3, 1, (4, 5), "relu", dropout=dropout, batch_norm=batch_norm)
    hidden = [nn.Linear]
    hidden += [nn.BatchNorm1d] * batch_norm + [nn.ReLU] + [nn.Dropout] * (dropout > 0)
    assert [type(layer) for layer in module] == hidden * 2 + [nn.Linear]
    assert [m.p for m in module if isinstance(m, nn.Dropout)] == [dropout] * 2 * (dropout > 0)
    widths = [m.num_features for m in module if isinstance(m, nn.BatchNorm1d)]
    assert widths == [4, 5] * batch_norm


@given(st.lists(st.booleans(), min_size=1, max_size=9))
def test_input_columns_are_those_of_the_mask(mask):
    columns, X = InputColumns(torch.tensor(mask)), np.arange(3.0 * len(mask)).reshape(3, -1)
    np.testing.assert_array_equal(columns(torch.from_numpy(X)).numpy(), X[:, mask])
    assert columns.mask.tolist() == mask
    assert columns.n_features == len(mask)
    assert str(columns) == f"InputColumns({sum(mask)} of {len(mask)})"


def test_input_columns_are_a_part_of_the_state():
    columns, X = InputColumns(torch.tensor([True, False, True])), torch.randn(4, 3)
    other = InputColumns(torch.tensor([False, True, True]))
    other.load_state_dict(columns.state_dict())
    for twin in (other, copy.deepcopy(columns), pickle.loads(pickle.dumps(columns))):
        assert torch.equal(twin(X), X[:, [0, 2]])
        assert twin.mask.tolist() == [True, False, True]


def test_input_columns_take_any_dtype_and_have_no_parameters():
    columns = InputColumns(torch.tensor([True, False])).double()
    assert columns(torch.tensor([[1, 2]])).tolist() == [[1]]
    assert columns(torch.tensor([[1.5, 2.0]])).dtype == torch.float32
    assert not list(columns.parameters())
