import copy

import pytest
import torch
from torch import nn

from skec.training import AdamW, MaskedWeights, fast_step, needs_closure, supports_fused

OPTIMIZERS = [
    kind
    for kind in vars(torch.optim).values()
    if isinstance(kind, type)
    and issubclass(kind, torch.optim.Optimizer)
    and kind not in (torch.optim.Optimizer, torch.optim.LBFGS, torch.optim.SparseAdam)
]


ADAM = [torch.optim.Adam, torch.optim.AdamW, AdamW]


def parameters():
    generator = torch.Generator().manual_seed(0)
    return [
        nn.Parameter(torch.randn(shape, generator=generator)) for shape in [(5, 4), (5,), (1, 5)]
    ]


def set_gradients(params, step):
    generator = torch.Generator().manual_seed(step)
    for parameter in params:
        parameter.grad = parameter.grad if parameter.grad is not None else parameter.detach() * 0
        parameter.grad.copy_(torch.randn(parameter.shape, generator=generator))


def twins(kind, **kwargs):
    """Two optimisers of equal parameters, with two groups each."""
    for _ in range(2):
        params = parameters()
        groups = [
            {"params": params[:2], "lr": 0.1, "betas": (0.8, 0.95)},
            {"params": params[2:], "lr": 0.01, "eps": 1e-5, "weight_decay": 0.3},
        ]
        yield params, kind(groups, **kwargs)


def assert_same(left, right):
    (params, optimizer), (expected_params, expected) = left, right
    for a, b in zip(params, expected_params, strict=True):
        assert torch.equal(a, b)
    a, b = optimizer.state_dict(), expected.state_dict()
    assert a["param_groups"] == b["param_groups"]
    assert a["state"].keys() == b["state"].keys()
    for key, state in a["state"].items():
        assert state.keys() == b["state"][key].keys()
        assert all(torch.equal(state[name], b["state"][key][name]) for name in state)


class TestFastStep:
    @pytest.mark.parametrize("maximize", [False, True])
    @pytest.mark.parametrize("weight_decay", [0.0, 0.1])
    @pytest.mark.parametrize("kind", ADAM)
    def test_equals_the_step_of_torch(self, kind, weight_decay, maximize):
        fast, plain = twins(kind, weight_decay=weight_decay, maximize=maximize, fused=True)
        step = fast_step(fast[1])
        assert step != fast[1].step
        for i in range(6):
            for params, optimizer in (fast, plain):
                set_gradients(params, i)
                optimizer.param_groups[0]["lr"] = 0.1 / (i + 1)
            step()
            plain[1].step()
            assert_same(fast, plain)

    @pytest.mark.parametrize("kind", ADAM)
    def test_torch_can_go_on_from_where_it_stopped(self, kind):
        fast, plain = twins(kind, weight_decay=0.1, fused=True)
        step = fast_step(fast[1])
        for i in range(6):
            for params, _ in (fast, plain):
                set_gradients(params, i)
            step() if i % 4 < 2 else fast[1].step()
            plain[1].step()
        assert_same(fast, plain)

    def test_goes_on_from_where_torch_stopped(self):
        fast, plain = twins(torch.optim.AdamW, fused=True)
        for i in range(3):
            for params, optimizer in (fast, plain):
                set_gradients(params, i)
                optimizer.step()
        step = fast_step(fast[1])
        for i in range(3, 6):
            for params, _ in (fast, plain):
                set_gradients(params, i)
            step()
            plain[1].step()
        assert_same(fast, plain)

    def test_leaves_parameters_without_gradient_alone(self):
        fast, plain = twins(torch.optim.Adam, weight_decay=0.1, fused=True)
        step = fast_step(fast[1])
        for i in range(3):
            for params, _ in (fast, plain):
                set_gradients(params[1:], i)
            step()
            plain[1].step()
        assert_same(fast, plain)
        assert torch.equal(fast[0][0], parameters()[0])

    @pytest.mark.parametrize(
        ("kind", "kwargs"),
        [
            (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
            (torch.optim.SGD, {"lr": 0.1, "fused": True}),
            (torch.optim.Adam, {}),
            (torch.optim.Adam, {"fused": True, "amsgrad": True}),
            (torch.optim.AdamW, {"fused": True, "lr": torch.tensor(0.1)}),
            (type("Own", (torch.optim.Adam,), {}), {"fused": True}),
        ],
        ids=["SGD", "fused SGD", "plain Adam", "amsgrad", "tensor rate", "subclass"],
    )
    def test_is_the_optimizer_s_own_where_it_is_not_known(self, kind, kwargs):
        optimizer = kind(parameters(), **kwargs)
        assert fast_step(optimizer) == optimizer.step

    @pytest.mark.parametrize("when", ["pre", "post"])
    def test_hooks_are_called(self, when):
        params, calls = parameters(), []
        optimizer = torch.optim.Adam(params, fused=True)
        register = getattr(optimizer, f"register_step_{when}_hook")
        register(lambda *arguments: calls.append(1))
        step = fast_step(optimizer)
        for i in range(3):
            set_gradients(params, i)
            step()
        assert len(calls) == 3


@pytest.mark.parametrize("kind", [*OPTIMIZERS, AdamW], ids=lambda kind: kind.__name__)
def test_supports_fused_where_torch_does(kind):
    (parameter, *_) = parameters()
    set_gradients([parameter], 0)
    try:
        kind([parameter], lr=0.1, fused=True).step()
        fused = True
    except (TypeError, RuntimeError):
        fused = False
    assert supports_fused(kind) == fused


def test_only_some_optimizers_need_a_closure():
    class Own(torch.optim.SGD):
        pass

    kinds = [*OPTIMIZERS, torch.optim.LBFGS, AdamW, Own]
    needing = [kind for kind in kinds if needs_closure(kind([parameters()[0]], lr=0.1))]
    assert needing == [torch.optim.LBFGS, Own]


def test_adamw_is_that_of_torch_with_other_defaults():
    (a,), (b,) = [parameters()[:1] for _ in range(2)]
    found, expected = AdamW([a]), torch.optim.AdamW([b], lr=1e-2, betas=(0.95, 0.95))
    for i in range(4):
        set_gradients([a, b], i)
        b.grad.copy_(a.grad)
        found.step()
        expected.step()
    assert torch.equal(a, b)
    assert AdamW([a], lr=0.5, betas=(0.1, 0.2)).param_groups[0]["betas"] == (0.1, 0.2)


class TestMaskedWeights:
    def masked(self):
        weight = parameters()[0]
        mask = torch.rand(5, 4, generator=torch.Generator().manual_seed(1)) > 0.5
        masked = MaskedWeights([(weight, mask)])
        masked.apply()
        return weight, mask, masked

    @pytest.mark.parametrize("kind", [*OPTIMIZERS, "SGD with momentum"], ids=str)
    @pytest.mark.parametrize("weight_decay", [0.0, 0.1])
    def test_stay_exactly_zero_and_the_others_move(self, kind, weight_decay):
        weight, mask, masked = self.masked()
        kwargs = {"lr": 0.05}
        if kind == "SGD with momentum":
            kind, kwargs = torch.optim.SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True}
        if weight_decay and kind is not torch.optim.Rprop:
            kwargs["weight_decay"] = weight_decay
        optimizer, before = kind([weight], **kwargs), weight.detach().clone()
        for i in range(5):
            set_gradients([weight], i)
            masked.mask_gradients()
            optimizer.step()
            masked.apply()
            assert not weight[~mask].any()
            assert torch.isfinite(weight).all()
        assert (weight != before)[mask].all()

    @pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "NAdam"])
    def test_the_others_train_as_if_there_were_no_more(self, name):
        weight, mask, masked = self.masked()
        dense = nn.Parameter(weight[mask].detach().clone())
        kind = getattr(torch.optim, name)
        optimizer, expected = (kind([p], lr=0.05, weight_decay=0.1) for p in (weight, dense))
        for i in range(8):
            set_gradients([weight], i)
            dense.grad = weight.grad[mask].clone()
            masked.mask_gradients()
            optimizer.step()
            masked.apply()
            expected.step()
        torch.testing.assert_close(weight[mask], dense)

    def test_gradients_of_removed_weights_vanish(self):
        weight, mask, masked = self.masked()
        set_gradients([weight], 0)
        expected = weight.grad * mask
        masked.mask_gradients()
        assert torch.equal(weight.grad, expected)

    def test_without_gradients_there_is_nothing_to_mask(self):
        weight, mask, _ = self.masked()
        other = nn.Parameter(torch.ones(5, 4))
        both = MaskedWeights([(weight, mask), (other, mask)])
        set_gradients([other], 0)
        both.mask_gradients()
        assert weight.grad is None
        assert not other.grad[~mask].any()

    def test_values_that_are_not_finite_are_removed_too(self):
        weight, mask, masked = self.masked()
        kept = copy.deepcopy(weight.detach()[mask])
        with torch.no_grad():
            weight[~mask] = torch.nan
        masked.apply()
        assert not weight[~mask].any()
        assert torch.equal(weight[mask], kept)


def test_a_network_without_masks_takes_plain_steps():
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([parameter], lr=0.5)
    parameter.grad = torch.ones(2)
    MaskedWeights([]).stepping(optimizer.step)()
    assert parameter.tolist() == [0.5, 0.5]
