"""Products with the Jacobian of a chain of layers, against automatic differentiation."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call, jvp, vjp

from skec.networks import MLP, InputColumns, LinearChain

NETWORKS = {
    "mlp": lambda: MLP(5, 3, (7, 6), zero_output=False),
    "batch norm": lambda: MLP(5, 2, (6,), batch_norm=True, zero_output=False),
    "in place": lambda: nn.Sequential(nn.Linear(5, 4), nn.ReLU(inplace=True), nn.Linear(4, 3)),
    "no bias": lambda: nn.Sequential(nn.Linear(5, 4, bias=False), nn.Tanh(), nn.Linear(4, 1)),
    "one layer": lambda: nn.Sequential(nn.Linear(5, 2)),
    "dropout": lambda: nn.Sequential(nn.Linear(5, 4), nn.Dropout(), nn.GELU(), nn.Linear(4, 2)),
    "nested": lambda: nn.Sequential(
        nn.Sequential(nn.Linear(5, 4), nn.ELU()), nn.Sequential(nn.Linear(4, 2))
    ),
    "two activations": lambda: nn.Sequential(
        nn.Linear(5, 4), nn.Tanh(), nn.PReLU(4), nn.Linear(4, 2)
    ),
    "shared activation": lambda: (lambda act: nn.Sequential(
        nn.Linear(5, 4), act, nn.Linear(4, 4), act, nn.Linear(4, 2)
    ))(nn.Tanh()),
    "columns": lambda: nn.Sequential(
        InputColumns(torch.tensor([True, False, True, True, False])), nn.Linear(3, 4), nn.SiLU(),
        nn.Linear(4, 2),
    ),
}  # fmt: skip
OTHERS = {
    "output activation": nn.Sequential(nn.Linear(5, 2), nn.Softmax(1)),
    "convolution": nn.Sequential(nn.Unflatten(1, (1, 5)), nn.Conv1d(1, 1, 5), nn.Flatten()),
    "own forward": type("Own", (nn.Linear,), {"forward": lambda self, X: X})(5, 5),
}


@pytest.mark.parametrize("name", sorted(NETWORKS))
@given(seed=st.integers(0, 1000), data=st.data())
def test_products_are_those_of_autograd(name, seed, data):
    torch.manual_seed(seed)
    module, X = NETWORKS[name]().double().eval(), torch.randn(9, 5, dtype=torch.float64)
    every = [n for n, part in module.named_modules() if isinstance(part, nn.Linear)]
    names = data.draw(st.lists(st.sampled_from(every), min_size=1, unique=True))
    parameters = {
        f"{n}.{key}": value.detach()
        for n in names
        for key, value in module.get_submodule(n).named_parameters()
    }
    tangent = {key: torch.randn_like(value) for key, value in parameters.items()}

    def outputs(parameters):
        return functional_call(module, parameters, (X.clone(),))

    before = X.clone()
    kept = {}
    for n in names:
        weight = module.get_submodule(n).weight
        kept[n] = torch.ones_like(weight, dtype=torch.bool)
        if data.draw(st.booleans()):  # some inputs are read by no unit
            kept[n][:, torch.rand(weight.shape[1]) < 0.5] = False
            with torch.no_grad():
                weight.mul_(kept[n])
            tangent[f"{n}.weight"] *= kept[n]
    chain = LinearChain.of(module, kept)
    point = chain.at(X)
    expected, moved = jvp(outputs, (parameters,), (tangent,))
    torch.testing.assert_close(point.outputs, expected)
    change = {n: (tangent[f"{n}.weight"], tangent.get(f"{n}.bias")) for n in names}
    torch.testing.assert_close(point.push(change), moved)
    grad = torch.randn_like(expected)
    gradients = vjp(outputs, parameters)[1](grad)[0]
    found = point.pull(grad)
    assert set(found) == set(names)
    for n in names:
        torch.testing.assert_close(found[n][0] * kept[n], gradients[f"{n}.weight"] * kept[n])
        assert found[n][0].shape == kept[n].shape
        if f"{n}.bias" in gradients:
            torch.testing.assert_close(found[n][1], gradients[f"{n}.bias"])
        else:
            assert found[n][1] is None
    assert torch.equal(X, before)


@pytest.mark.parametrize("name", sorted(OTHERS))
def test_other_networks_are_no_chains(name):
    assert LinearChain.of(OTHERS[name], {}) is None
