import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from skec import compact
from skec.networks import ACTIVATIONS, MLP, InputColumns, stacked, weighted_loss
from skec.training import Chain, loss_with_gradient
from skec.training.backprop import _ACTIVATIONS

KINDS = [*_ACTIVATIONS, *(set(ACTIVATIONS.values()) - {*_ACTIVATIONS, nn.Identity})]


def sequence(activation=nn.Tanh, bias=True):
    torch.manual_seed(0)
    layers = nn.Linear(4, 6, bias=bias), activation(), nn.Linear(6, 5, bias=bias), activation()
    return nn.Sequential(*layers, nn.Linear(5, 3, bias=bias)).double()


def samples(n=17):
    generator = torch.Generator().manual_seed(1)
    X = torch.randn(n, 4, generator=generator, dtype=torch.float64)
    y = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    w = torch.rand(n, generator=generator, dtype=torch.float64)
    return X, y, w


def by_autograd(module, X, loss):
    """Loss and gradients of a copy of the module."""
    module = copy.deepcopy(module)
    module.zero_grad()
    value = loss(module(X))
    value.backward()
    return value.detach(), {name: p.grad for name, p in module.named_parameters()}


def by_chain(module, X, loss):
    value = Chain.of(module).step(X, loss)
    return value, {name: p.grad for name, p in module.named_parameters()}


def squared_error(outputs, y, weights=None):
    weights = torch.ones(len(y), dtype=y.dtype) if weights is None else weights
    return ((outputs - y).square() * weights[:, None]).mean()


def assert_same(found, expected):
    torch.testing.assert_close(found[0], expected[0], rtol=1e-12, atol=1e-15)
    assert list(found[1]) == list(expected[1])
    for name, gradient in expected[1].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-12, atol=1e-15)


def with_features(module, n_columns, **features):
    """The module behind modules that act on features."""
    *head, _ = MLP(4, 1, (), **features, dtype=torch.float64)
    first, *others = module
    weight = torch.randn(len(first.weight), n_columns, dtype=torch.float64)
    first.weight, first.in_features = nn.Parameter(weight), n_columns
    return nn.Sequential(*head, first, *others)


class TestStep:
    """Gradients against autograd."""

    @pytest.mark.parametrize(
        ("n_columns", "features"),
        [
            (4, ["feature_scaling"]),
            (16, ["feature_embedding"]),
            (4, ["feature_weights"]),
            (16, ["feature_scaling", "feature_embedding", "feature_weights"]),
        ],
    )
    def test_with_modules_for_features(self, n_columns, features):
        module = with_features(sequence(), n_columns, **dict.fromkeys(features, True))
        X, y, w = samples()
        if "feature_scaling" in features:
            module[0].fit(X.numpy())
        found = by_chain(module, X, loss_with_gradient(nn.MSELoss())(y, w))
        assert_same(found, by_autograd(module, X, partial(squared_error, y=y, weights=w)))

    @pytest.mark.parametrize("weighted", [False, True])
    @pytest.mark.parametrize("bias", [False, True])
    @pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
    def test_with_every_activation(self, kind, bias, weighted):
        module, (X, y, w) = sequence(kind, bias), samples()
        w = w if weighted else None
        found = by_chain(module, X, loss_with_gradient(nn.MSELoss())(y, w))
        assert_same(found, by_autograd(module, X, partial(squared_error, y=y, weights=w)))

    @pytest.mark.parametrize(
        "activation",
        [
            partial(nn.LeakyReLU, 0.3),
            partial(nn.ELU, 0.7),
            partial(nn.GELU, approximate="tanh"),
            partial(nn.ReLU, inplace=True),
            partial(nn.SiLU, inplace=True),
        ],
        ids=str,
    )
    def test_with_options_of_activations(self, activation):
        module, (X, y, _) = sequence(activation), samples()
        found = by_chain(module, X, loss_with_gradient(nn.MSELoss())(y, None))
        assert_same(found, by_autograd(module, X, partial(squared_error, y=y)))

    @pytest.mark.parametrize(
        "make",
        [
            lambda m: nn.Sequential(nn.Sequential(m[0], m[1]), nn.Sequential(nn.Sequential(m[2]))),
            lambda m: nn.Sequential(nn.Identity(), m[0], nn.Dropout(0.0), m[1], m[2]),
            lambda m: nn.Sequential(m[0], m[2], m[1]),
            lambda m: nn.Sequential(m[0]),
            lambda m: nn.Sequential(m[0], m[1], m[1], m[2]),
        ],
        ids=["nested", "identities", "activation last", "one layer", "activation used twice"],
    )
    def test_with_nested_and_odd_sequences(self, make):
        torch.manual_seed(0)
        module = make([nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3)]).double()
        X, y, _ = samples()
        found = by_chain(module, X, loss_with_gradient(nn.MSELoss())(y, None))
        assert_same(found, by_autograd(module, X, partial(squared_error, y=y)))

    @pytest.mark.parametrize("place", ["inputs", "hidden units"])
    def test_with_dropout(self, place):
        torch.manual_seed(0)
        layers = [nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)]
        layers.insert(0 if place == "inputs" else 2, nn.Dropout(0.4))
        module, (X, y, _) = nn.Sequential(*layers).double(), samples(200)
        chain = Chain.of(module, torch.Generator().manual_seed(5))
        value = chain.step(X, loss_with_gradient(nn.MSELoss())(y, None))
        found = value, {name: p.grad for name, p in module.named_parameters()}
        (mask,) = (operation.mask for operation in chain.operations if hasattr(operation, "keep"))
        kept = mask > 0
        torch.testing.assert_close(mask[kept], torch.full_like(mask[kept], 1 / 0.6))
        assert float(kept.double().mean()) == pytest.approx(0.6, abs=0.07)

        class Fixed(nn.Module):
            def forward(self, x):
                return x * mask

        layers = [Fixed() if isinstance(layer, nn.Dropout) else layer for layer in module]
        expected = by_autograd(nn.Sequential(*layers), X, partial(squared_error, y=y))
        assert found[0] == pytest.approx(expected[0])
        for left, right in zip(found[1].values(), expected[1].values(), strict=True):
            torch.testing.assert_close(left, right)

    @pytest.mark.parametrize(
        "make",
        [
            lambda columns, m: nn.Sequential(columns, *m),
            lambda columns, m: nn.Sequential(nn.Sequential(columns, *m[:2]), *m[2:]),
            lambda columns, m: nn.Sequential(nn.Identity(), columns, nn.Identity(), *m),
        ],
        ids=["plain", "nested", "identities"],
    )
    @pytest.mark.parametrize("weighted", [False, True])
    def test_with_some_columns_of_the_input(self, make, weighted):
        (X, y, w), plain = samples(), sequence()
        mask = torch.tensor([True, True, False, True, False, True])
        wide = torch.full((len(X), 6), torch.nan, dtype=X.dtype)
        wide[:, mask] = X  # the others must not matter
        module = make(InputColumns(mask), list(plain))
        w = w if weighted else None
        value, found = by_chain(module, wide, loss_with_gradient(nn.MSELoss())(y, w))
        expected = by_autograd(module, wide, partial(squared_error, y=y, weights=w))
        assert_same((value, found), expected)
        by_hand = by_autograd(plain, X, partial(squared_error, y=y, weights=w))
        for left, right in zip(found.values(), by_hand[1].values(), strict=True):
            torch.testing.assert_close(left, right)

    def test_with_what_is_left_of_a_network(self):
        torch.manual_seed(0)
        module, (X, y, _) = MLP(4, 3, (9, 7), "silu", zero_output=False).double(), samples()
        with torch.no_grad():
            module.hidden_0.weight[:, 1] = 0.0
            module.hidden_1.weight[:, ::2] = 0.0
        module, _ = compact(module)
        assert isinstance(module[0], InputColumns)
        found = by_chain(module, X, loss_with_gradient(nn.MSELoss())(y, None))
        assert_same(found, by_autograd(module, X, partial(squared_error, y=y)))

    @pytest.mark.parametrize("p", [0.1, 0.5, 0.9, 0.999])
    def test_dropout_removes_this_share_and_keeps_the_mean(self, p):
        layer = nn.Sequential(nn.Dropout(p), nn.Linear(1000, 1))
        dropout = Chain.of(layer, torch.Generator().manual_seed(0)).operations[0]
        found = dropout.forward(torch.ones(1001, 1000))
        assert float((found == 0).double().mean()) == pytest.approx(p, abs=0.002)
        assert found.max() == pytest.approx(1 / (1 - p), rel=1e-6)
        assert float(found.mean()) == pytest.approx(1.0, abs=0.06)

    def test_dropout_follows_the_generator(self):
        module, (X, y, _) = MLP(4, 3, (8,), dropout=0.5, zero_output=False).double(), samples()
        loss, values = loss_with_gradient(nn.MSELoss())(y, None), []
        for seed in (0, 0, 1):
            chain = Chain.of(module, torch.Generator().manual_seed(seed))
            values.append([float(chain.step(X, loss)) for _ in range(2)])
        assert values[0] == values[1]
        assert values[0] != values[2]
        assert values[0][0] != values[0][1]

    @pytest.mark.parametrize("weighted", [False, True])
    def test_with_cross_entropy(self, weighted):
        module, (X, _, w) = sequence(), samples()
        labels = torch.arange(17) % 3
        w = w if weighted else None

        def cross_entropy(outputs):
            losses = -torch.log_softmax(outputs, 1)[range(17), labels]
            return (losses if w is None else losses * w).mean()

        found = by_chain(module, X, loss_with_gradient(nn.CrossEntropyLoss())(labels, w))
        assert_same(found, by_autograd(module, X, cross_entropy))

    def test_gradients_are_overwritten_in_place(self):
        module, (X, y, _) = sequence(), samples()
        chain, loss = Chain.of(module), loss_with_gradient(nn.MSELoss())
        places = [p.grad.data_ptr() for p in module.parameters()]
        for rows in (slice(0, 9), slice(9, 17)):
            value = chain.step(X[rows], loss(y[rows], None))
        assert [p.grad.data_ptr() for p in module.parameters()] == places
        found = value, {name: p.grad for name, p in module.named_parameters()}
        assert_same(found, by_autograd(module, X[9:], partial(squared_error, y=y[9:])))

    def test_leaves_inputs_and_parameters_as_they_were(self):
        module, (X, y, _) = sequence(partial(nn.ReLU, inplace=True)), samples()
        before = X.clone(), y.clone(), copy.deepcopy(module.state_dict())
        by_chain(module, X, loss_with_gradient(nn.MSELoss())(y, None))
        assert torch.equal(X, before[0])
        assert torch.equal(y, before[1])
        assert all(torch.equal(before[2][k], v) for k, v in module.state_dict().items())


def with_hook(register):
    module = sequence()
    getattr(module[register[1]] if register[1] is not None else module, register[0])(
        lambda *arguments: None
    )
    return module


def frozen():
    module = sequence()
    module[2].bias.requires_grad_(False)
    return module


def shared(what):
    a, b = nn.Linear(4, 4), nn.Linear(4, 4)
    setattr(b, what, getattr(a, what))
    return nn.Sequential(a, nn.Tanh(), b)


class Own(nn.Sequential):
    def forward(self, x):
        return super().forward(x) * 2


class OwnLinear(nn.Linear):
    def forward(self, x):
        return super().forward(x) * 2


class OwnActivation(nn.ReLU):
    def forward(self, x):
        return super().forward(x) * 2


def used_twice():
    layer = nn.Linear(4, 4)
    return nn.Sequential(layer, nn.Tanh(), layer)


def hooked_columns():
    module = nn.Sequential(InputColumns(torch.ones(4).bool()), nn.Linear(4, 1))
    module[0].register_forward_hook(lambda *arguments: None)
    return module


HOOKS = [
    ("register_forward_hook", 0),
    ("register_forward_pre_hook", 1),
    ("register_full_backward_hook", 2),
    ("register_full_backward_pre_hook", 4),
    ("register_forward_hook", None),
]
NO_CHAINS = {
    "batch norm": lambda: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)),
    "layer norm": lambda: nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)),
    "softmax": lambda: nn.Sequential(nn.Linear(4, 4), nn.Softmax(1)),
    "own forward": lambda: Own(nn.Linear(4, 4)),
    "own layer": lambda: nn.Sequential(OwnLinear(4, 4)),
    "own activation": lambda: nn.Sequential(nn.Linear(4, 4), OwnActivation()),
    "own forward inside": lambda: nn.Sequential(Own(nn.Linear(4, 4)), nn.Linear(4, 1)),
    "layer used twice": used_twice,
    "shared weight": lambda: shared("weight"),
    "shared bias": lambda: shared("bias"),
    "frozen": frozen,
    "computed weight": lambda: nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
    ),
    "no layer": lambda: nn.Sequential(nn.Identity()),
    "columns of hidden units": lambda: nn.Sequential(
        nn.Linear(4, 4), InputColumns(torch.ones(4).bool()), nn.Linear(4, 1)
    ),
    "columns after dropout": lambda: nn.Sequential(
        nn.Dropout(0.5), InputColumns(torch.ones(4).bool()), nn.Linear(4, 1)
    ),
    "columns alone": lambda: nn.Sequential(InputColumns(torch.ones(4).bool())),
    "hook on the columns": hooked_columns,
    "activation first": lambda: nn.Sequential(nn.Tanh(), nn.Linear(4, 1)),
    **{f"{name} on {place}": partial(with_hook, (name, place)) for name, place in HOOKS},
}


class TestChainOf:
    @pytest.mark.parametrize("name", sorted(NO_CHAINS))
    def test_is_none_where_autograd_has_to_work(self, name):
        assert Chain.of(NO_CHAINS[name]()) is None

    @pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
    def test_every_network_of_the_estimators_without_normalisation_is_one(self, activation):
        module = MLP(4, 2, (5, 5), activation, dropout=0.1)
        assert Chain.of(module) is not None


LOSSES = [
    nn.MSELoss(),
    nn.L1Loss(),
    nn.SmoothL1Loss(),
    nn.HuberLoss(delta=0.5),
    nn.MSELoss(reduction="sum"),
]


class TestLosses:
    @pytest.mark.parametrize("criterion", LOSSES, ids=str)
    def test_value_and_gradient_are_those_of_autograd(self, criterion):
        _, y, _ = samples()
        outputs = (y + torch.linspace(-2, 2, y.numel()).reshape(y.shape)).requires_grad_()
        value, gradient = loss_with_gradient(criterion)(y, None)(outputs.detach())
        expected = criterion(outputs, y)
        torch.testing.assert_close(value, expected.detach())
        torch.testing.assert_close(gradient, torch.autograd.grad(expected, outputs)[0])
        assert not value.requires_grad

    @pytest.mark.parametrize("criterion", LOSSES[:4], ids=str)
    def test_weights_multiply_the_loss_of_each_sample(self, criterion):
        _, y, w = samples()
        outputs = torch.zeros_like(y)
        each = torch.stack([criterion(outputs[i], y[i]) for i in range(len(y))])
        expected = (each * w).sum() / len(y)
        torch.testing.assert_close(weighted_loss(criterion, outputs, y, w), expected)
        torch.testing.assert_close(loss_with_gradient(criterion)(y, w)(outputs)[0], expected)
        assert criterion.reduction == "mean"

    @pytest.mark.parametrize("criterion", LOSSES[:4], ids=str)
    def test_weights_of_one_change_nothing(self, criterion):
        _, y, w = samples()
        outputs = torch.zeros_like(y)
        ones = weighted_loss(criterion, outputs, y, torch.ones_like(w))
        torch.testing.assert_close(ones, criterion(outputs, y))

    @pytest.mark.filterwarnings("ignore:Using a target size")
    def test_the_reduction_comes_back_after_an_error(self):
        criterion = nn.MSELoss()
        with pytest.raises(RuntimeError):
            weighted_loss(criterion, torch.zeros(3, 2), torch.zeros(3, 5), torch.ones(3))
        assert criterion.reduction == "mean"

    @pytest.mark.parametrize(
        "criterion", [nn.MSELoss(reduction="sum"), F.mse_loss], ids=["sum", "function"]
    )
    def test_weights_need_a_mean(self, criterion):
        with pytest.raises(ValueError, match=r"sample_weight needs .*reduction=.*fit without"):
            weighted_loss(criterion, torch.zeros(3, 1), torch.zeros(3, 1), torch.ones(3))

    def test_an_own_loss_is_called_with_outputs_targets_and_weights(self):
        _, y, w = samples()

        def own(outputs, targets, weights):
            return ((outputs - targets) ** 4 * weights[:, None]).sum()

        value, gradient = loss_with_gradient(nn.MSELoss(), own)(y, w)(torch.zeros_like(y))
        torch.testing.assert_close(value, (y**4 * w[:, None]).sum())
        torch.testing.assert_close(gradient, -4 * y**3 * w[:, None])


FEATURES = {"feature_embedding": True, "feature_weights": True}


@pytest.mark.parametrize("classes", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("features", [{}, {"feature_weights": True}, FEATURES], ids=str)
def test_a_stack_has_the_gradients_of_its_networks(classes, weighted, features):
    X, y, w = samples()
    w = w if weighted else None
    y = y.argmax(1) if classes else y
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1) if classes else nn.MSELoss()
    loss = loss_with_gradient(criterion)(y, w)
    generator = torch.Generator().manual_seed(3)
    settings = {"zero_output": False, "generator": generator, "dtype": torch.float64}
    networks = [MLP(4, 3, (6, 5), **settings, **features) for _ in range(3)]
    stack = stacked(networks)
    value, gradients = by_chain(stack, X, loss)
    each = [by_chain(network, X, loss) for network in networks]
    torch.testing.assert_close(value, torch.stack([v for v, _ in each]).mean())
    for name, gradient in gradients.items():
        expected = torch.stack([one[name] for _, one in each])
        torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-15)


def test_dropout_leaves_out_the_same_units_in_all_networks_of_a_stack():
    networks = [MLP(4, 3, (6, 5), dropout=0.5, zero_output=False) for _ in range(3)]
    stack, loss = stacked(networks), lambda outputs: (outputs.sum(), torch.ones_like(outputs))
    X = torch.randn(17, 4)
    Chain.of(stack, torch.Generator().manual_seed(0)).step(X, loss)
    for i, network in enumerate(networks):
        Chain.of(network, torch.Generator().manual_seed(0)).step(X, loss)
        for name, parameter in network.named_parameters():
            stacked_gradient = stack.get_parameter(name).grad[i]
            torch.testing.assert_close(stacked_gradient, parameter.grad, rtol=1e-4, atol=1e-5)
