"""Networks out of the ordinary: right results, or an error before any work that names the layer."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils import prune as torch_prune

import skec
from skec.criteria import CRITERIA
from skec.criteria.units import UNIT_CRITERIA
from skec.networks import MLP

X = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
y = X[:, :2].clone()
SETTINGS = [
    *({"method": name} for name in sorted(CRITERIA)),
    *({"method": name, "granularity": "neuron"} for name in sorted(UNIT_CRITERIA)),
]
WITH_DATA = [name for name, kind in sorted(CRITERIA.items()) if kind.requires]
every_setting = pytest.mark.parametrize("kwargs", SETTINGS, ids=lambda k: "-".join(k.values()))


def network():
    return MLP(4, 2, (8, 6), zero_output=False, generator=torch.Generator().manual_seed(0))


def pruned(module, **kwargs):
    return skec.prune(module, X, y, pruning_ratio=0.5, random_state=0, **kwargs)


class Untouched(nn.Module):
    """Must not run."""

    def forward(self, x):
        raise AssertionError("the network was run")


def with_weight_norm(module):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nn.utils.weight_norm(module[2])
    module(X)


def with_value(name, value):
    def change(module):
        with torch.no_grad():
            module.get_parameter(name).view(-1)[0] = value

    return change


COMPUTED = {
    "weight_norm": lambda m: nn.utils.parametrizations.weight_norm(m[2]),
    "spectral_norm": lambda m: nn.utils.parametrizations.spectral_norm(m[2]),
    "orthogonal": lambda m: nn.utils.parametrizations.orthogonal(m[2]),
    "parametrized bias": lambda m: parametrize.register_parametrization(m[2], "bias", nn.Tanh()),
    "old weight_norm": with_weight_norm,
    "old spectral_norm": lambda m: nn.utils.spectral_norm(m[2]),
    "pruned": lambda m: torch_prune.l1_unstructured(m[2], "weight", 0.3),
    "pruned bias": lambda m: torch_prune.l1_unstructured(m[2], "bias", 0.3),
}
BROKEN = {
    "NaN weight": (with_value("hidden_1.weight", torch.nan), "parameter 'hidden_1.weight'.* NaN"),
    "infinite bias": (with_value("hidden_1.bias", torch.inf), "parameter 'hidden_1.bias'.* inf"),
    "meta": (lambda m: m.to("meta"), "weight of layer 'hidden_0' is on the device 'meta'"),
}


@every_setting
@pytest.mark.parametrize("name", sorted(COMPUTED))
def test_computed_parameters_are_refused(name, kwargs):
    module = network()
    COMPUTED[name](module)
    module(X)
    with pytest.raises(ValueError, match=r"of layer 'hidden_1' is computed.*remove"):
        pruned(module.append(Untouched()), **kwargs)


@pytest.mark.parametrize("method", sorted(CRITERIA))
@pytest.mark.parametrize("name", sorted(COMPUTED))
def test_computed_parameters_of_other_layers_do_no_harm(name, method):
    module = network()
    COMPUTED[name](module)
    module(X)
    steps = {"n_steps": 3, "after_step": lambda module, masks: None}
    result = pruned(module.eval(), method=method, layers=["output"], **steps)
    assert result.sparsity == 0.5
    unpruned = skec.prune(module, X, y, pruning_ratio=0.0, method=method, layers=["output"])
    torch.testing.assert_close(unpruned.module(X), module(X))


@every_setting
@pytest.mark.parametrize("name", sorted(BROKEN))
def test_parameters_without_numbers_are_refused(name, kwargs):
    change, message = BROKEN[name]
    module = network()
    change(module)
    with pytest.raises(ValueError, match=message):
        pruned(module, **kwargs)


@pytest.mark.parametrize("method", sorted(CRITERIA))
def test_lazy_layers_are_refused(method):
    module = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.LazyLinear(2))
    with pytest.raises(ValueError, match="Layer '2' has no weight yet"):
        pruned(module, method=method)
    module(X)
    assert pruned(module, method=method).sparsity == pytest.approx(0.5, abs=0.05)


def test_a_quantized_network_is_refused_with_a_hint():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.ao.quantization.quantize_dynamic(network(), {nn.Linear})
    with pytest.raises(ValueError, match="Prune the network before you quantize it"):
        pruned(module)


# -- layers that do not run once, on one vector for each sample ------------------------------------


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.bad, self.last = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.last(self.bad(self.bad(x)))


class OnSequences(Twice):
    def __init__(self):
        super().__init__()
        self.bad = nn.Linear(1, 1)

    def forward(self, x):
        return self.last(self.bad(x[..., None])[..., 0])


class Unused(Twice):
    def forward(self, x):
        return self.last(x)


class Scaled(nn.Linear):
    def forward(self, x):
        return 2.0 * super().forward(x)


class OwnForward(Twice):
    def __init__(self):
        super().__init__()
        self.bad = Scaled(4, 4)

    def forward(self, x):
        return self.last(self.bad(x))


ODD = {
    Twice: "'bad' runs more than once",
    OnSequences: r"'bad' gets an input of shape \(40, 4, 1\)",
    Unused: r"\['bad'\] take no part",
    OwnForward: "'bad' is a Scaled with a forward of its own",
}
every_odd = pytest.mark.parametrize("kind", ODD, ids=lambda kind: kind.__name__)


class Counting(nn.Module):
    """Counts how often a network runs."""

    def __init__(self, module):
        super().__init__()
        self.module, self.runs = module, [0]

    def forward(self, x):
        self.runs[0] += 1
        return self.module(x)


@every_odd
@pytest.mark.parametrize("method", WITH_DATA)
@pytest.mark.parametrize("ratio", [0.0, 0.5])
def test_odd_layers_are_refused_before_any_work(kind, method, ratio):
    module = Counting(kind())
    runs = module.runs
    with pytest.raises(ValueError, match=ODD[kind].replace("'bad'", "'module.bad'")) as error:
        skec.prune(module, X, y, pruning_ratio=ratio, method=method)
    assert "layers=[...]" in str(error.value)
    assert runs[0] <= 1


@every_odd
@pytest.mark.parametrize("method", sorted(CRITERIA))
def test_odd_layers_do_no_harm_if_they_are_left_out(kind, method):
    module = kind()
    result = pruned(module, method=method, layers=["last"])
    assert list(result.masks) == ["last"]
    assert result.sparsity == 0.5
    assert all(torch.isfinite(p).all() for p in result.module.parameters())


@every_odd
@pytest.mark.parametrize("method", sorted(set(CRITERIA) - set(WITH_DATA)))
def test_methods_without_data_prune_any_layer(kind, method):
    assert pruned(kind(), method=method).sparsity == pytest.approx(0.5, abs=0.06)


# -- hooks -----------------------------------------------------------------------------------------


class Scale(nn.Module):
    def forward(self, x):
        return 2.0 * x


@pytest.mark.parametrize("method", sorted(CRITERIA))
def test_hooks_of_the_user_are_a_part_of_the_network(method):
    hooked = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    plain = nn.Sequential(*copy.deepcopy([hooked[0], Scale(), hooked[1], Scale(), hooked[2]]))
    hooked[0].register_forward_hook(lambda module, arguments, output: 2.0 * output)
    hooked[2].register_forward_pre_hook(lambda module, arguments: (2.0 * arguments[0],))
    expected, found = (pruned(module, method=method, n_steps=2) for module in (plain, hooked))
    torch.testing.assert_close(found.module(X), expected.module(X))
    for name, other in (("0", "0"), ("2", "4")):
        torch.testing.assert_close(found.scores[name], expected.scores[other])


# -- singular matrices -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kwargs",
    [
        {"method": "surgeon", "method_params": {"damping": 1e-300}},
        {
            "method": "magnitude",
            "compensation": "weights",
            "compensation_params": {"damping": 1e-300},
        },
        {
            "method": "l2",
            "granularity": "neuron",
            "compensation": "least_squares",
            "compensation_params": {"damping": 1e-300},
        },
        {
            "method": "l2",
            "granularity": "neuron",
            "compensation": "lbyl",
            "compensation_params": {"ridge": 1e-300},
        },
    ],
    ids=lambda kwargs: "-".join(map(str, kwargs.values())),
)
def test_singular_matrices_name_the_layer_and_the_remedy(kwargs):
    module = network()
    with torch.no_grad():  # units that are the same
        module[0].weight[1:] = module[0].weight[0]
        module[0].bias[1:] = module[0].bias[0]
        module[2].weight.fill_(0.5)
        module[2].bias.fill_(0.5)
    inputs = X[:, :1].repeat(1, 4)  # columns that are the same
    with pytest.raises(ValueError, match=r"(layer 'hidden_|problem of).*Increase (the )?damping"):
        skec.prune(module, inputs, pruning_ratio=0.5, n_steps=1, **kwargs)
