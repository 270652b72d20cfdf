"""To and from torch's own pruning tools, held against what these do."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import prune as torch_prune

import skec


class Net(nn.Module):
    """A convolution, a normalisation and two linear layers."""

    def __init__(self):
        super().__init__()
        self.filters, self.norm = nn.Conv1d(1, 3, 2), nn.BatchNorm1d(9)
        self.hidden, self.last = nn.Linear(9, 5), nn.Linear(5, 2)

    def forward(self, x):
        h = torch.relu(self.filters(x[:, None])).flatten(1)
        return self.last(torch.tanh(self.hidden(self.norm(h))))


def network():
    torch.manual_seed(0)
    return Net().double().eval()


def samples():
    return torch.randn(20, 4, generator=torch.Generator().manual_seed(1)).double()


def targets():
    return torch.randn(20, 2, generator=torch.Generator().manual_seed(2)).double()


def drawn_masks(module):
    generator = torch.Generator().manual_seed(3)
    return {
        name: torch.rand(module.get_submodule(name).weight.shape, generator=generator) > 0.4
        for name in ("filters", "hidden", "last")
    }


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def train(module, epochs=3):
    module.train()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(epochs):
        optimizer.zero_grad()
        nn.functional.mse_loss(module(samples()), targets()).backward()
        optimizer.step()
    return module.eval()


# -- to torch --------------------------------------------------------------------------------------


def test_the_copy_is_what_torch_makes_of_the_masks():
    module, masks = network(), drawn_masks(network())
    expected = network()
    for name, mask in masks.items():
        torch_prune.custom_from_mask(expected.get_submodule(name), "weight", mask)
    found = skec.to_torch_prune(module, masks)
    assert_same(found.state_dict(), expected.state_dict())
    assert_same(dict(found.named_parameters()), dict(expected.named_parameters()))
    assert torch.equal(found(samples()), expected(samples()))
    for name in masks:
        layer = found.get_submodule(name)
        assert torch_prune.is_pruned(layer)
        assert isinstance(next(iter(layer._forward_pre_hooks.values())), torch_prune.CustomFromMask)


@pytest.mark.parametrize("granularity", ["weight", "neuron"])
def test_a_result_brings_its_masks(granularity):
    torch.manual_seed(0)
    chain = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)).double()
    result = skec.prune(chain, samples(), pruning_ratio=0.5, granularity=granularity)
    module = skec.to_torch_prune(result)
    assert torch.equal(module(samples()), result.module(samples()))
    for name, mask in result.masks.items():
        assert torch.equal(module.get_submodule(name).weight_mask.bool(), mask)
    plain, masks = skec.from_torch_prune(module)
    assert_same(masks, result.masks)
    assert_same(plain.state_dict(), result.module.state_dict())


def test_without_masks_zeros_are_what_was_removed():
    module = network()
    with torch.no_grad():
        module.hidden.weight[1, 2:5] = 0.0
    masks = skec.from_torch_prune(skec.to_torch_prune(module))[1]
    assert list(masks) == ["filters", "hidden", "last"]
    assert torch.equal(masks["hidden"], module.hidden.weight != 0)
    assert masks["filters"].all()


def test_training_keeps_the_zeros_and_moves_the_rest():
    module, masks = network(), drawn_masks(network())
    trained = train(skec.to_torch_prune(module, masks))
    trained(samples())
    for name, mask in masks.items():
        weight, before = trained.get_submodule(name).weight, module.get_submodule(name).weight
        assert not weight[~mask].any()
        assert (weight[mask] != before[mask]).all()


def test_the_copy_can_be_copied():
    module = skec.to_torch_prune(network())
    assert torch.equal(copy.deepcopy(module)(samples()), module(samples()))


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ({"norm": torch.ones(9, dtype=torch.bool)}, "'norm'.*the layers are .*'hidden': .5, 9"),
        ({"hidden": torch.ones(9, 5, dtype=torch.bool)}, r"'hidden'.*shape \(9, 5\)"),
        ({"hidden": torch.ones(5, 9)}, "bool.*torch.float32"),
    ],
)
def test_masks_that_fit_nothing_are_named(masks, message):
    with pytest.raises(ValueError, match=message):
        skec.to_torch_prune(network(), masks)


def test_a_network_that_is_pruned_by_torch_already_is_told_the_way():
    module = network()
    torch_prune.l1_unstructured(module.hidden, "weight", amount=0.5)
    for call in (
        lambda: skec.to_torch_prune(module),
        lambda: skec.to_torch_prune(module, {"hidden": torch.ones(5, 9, dtype=torch.bool)}),
        lambda: skec.prune(module, samples(), pruning_ratio=0.5),
    ):
        with pytest.raises(ValueError, match=r"'hidden' .* skec.from_torch_prune"):
            call()
    plain, _ = skec.from_torch_prune(module)
    assert skec.prune(plain, samples(), pruning_ratio=0.5).sparsity == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("function", [skec.to_torch_prune, skec.from_torch_prune])
def test_other_things_are_no_modules(function):
    with pytest.raises(TypeError, match=r"module must be a torch\.nn\.Module; got str"):
        function("network")


# -- from torch ------------------------------------------------------------------------------------


def by_norm(module):
    torch_prune.l1_unstructured(module.hidden, "weight", amount=0.5)


def by_rows(module):
    torch_prune.ln_structured(module.filters, "weight", amount=1, n=2, dim=0)
    torch_prune.ln_structured(module.hidden, "weight", amount=2, n=2, dim=1)


def stacked(module):
    torch_prune.l1_unstructured(module.hidden, "weight", amount=0.3)
    torch_prune.ln_structured(module.hidden, "weight", amount=2, n=2, dim=0)
    torch_prune.random_unstructured(module.hidden, "weight", amount=3)


def everywhere(module):
    layers = [(module.get_submodule(name), "weight") for name in ("filters", "hidden", "last")]
    torch_prune.global_unstructured(layers, torch_prune.L1Unstructured, amount=0.5)


def bias_too(module):
    torch_prune.l1_unstructured(module.hidden, "bias", amount=2)
    torch_prune.l1_unstructured(module.hidden, "weight", amount=0.5)
    torch_prune.l1_unstructured(module.last, "bias", amount=1)
    torch_prune.l1_unstructured(module.norm, "weight", amount=4)


WAYS = [by_norm, by_rows, stacked, everywhere, bias_too]


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_the_plain_copy_is_the_same_function_and_its_masks_are_those_of_torch(way, trained):
    module = network()
    way(module)
    if trained:
        train(module)
    outputs = module(samples())
    names, hooks = list(module.state_dict()), [len(m._forward_pre_hooks) for m in module.modules()]
    before = {name: value.clone() for name, value in module.state_dict().items()}

    plain, masks = skec.from_torch_prune(module)
    assert torch.equal(plain(samples()), outputs)
    assert list(plain.state_dict()) == list(network().state_dict())
    assert [n for n, _ in plain.named_parameters()] == [n for n, _ in network().named_parameters()]
    assert not torch_prune.is_pruned(plain)
    expected = copy.deepcopy(before)
    assert_same(masks, {
        name: expected[f"{name}.weight_mask"].bool() for name in ("filters", "hidden", "last")
        if f"{name}.weight_mask" in expected
    })  # fmt: skip
    for name, mask in masks.items():
        assert not plain.get_submodule(name).weight[~mask].any()

    assert list(module.state_dict()) == names
    assert [len(m._forward_pre_hooks) for m in module.modules()] == hooks
    assert_same(module.state_dict(), before)


def test_the_plain_copy_is_what_torch_leaves_after_remove():
    module, removed = network(), network()
    for each in (module, removed):
        bias_too(each)
    for name in ("hidden.bias", "hidden.weight", "last.bias", "norm.weight"):
        layer, parameter = name.split(".")
        torch_prune.remove(removed.get_submodule(layer), parameter)
    plain, _ = skec.from_torch_prune(module)
    found, expected = plain.state_dict(), removed.state_dict()
    assert sorted(found) == sorted(expected)
    assert_same(found, {name: expected[name] for name in found})


def test_there_and_back_again_is_exact():
    module, masks = network(), drawn_masks(network())
    del masks["filters"]
    plain, found = skec.from_torch_prune(skec.to_torch_prune(module, masks))
    assert_same(found, masks)
    expected = module.state_dict()
    for name, mask in masks.items():
        expected[f"{name}.weight"] = expected[f"{name}.weight"] * mask
    assert_same(plain.state_dict(), expected)
    again = skec.to_torch_prune(plain, found)
    assert_same(again.state_dict(), skec.to_torch_prune(plain, masks).state_dict())


def test_a_network_without_masks_is_copied():
    module = network()
    plain, masks = skec.from_torch_prune(module)
    assert masks == {}
    assert_same(plain.state_dict(), module.state_dict())
    assert not {id(p) for p in plain.parameters()} & {id(p) for p in module.parameters()}


def test_flags_and_modes_stay():
    module = network()
    by_norm(module)
    module.hidden.weight_orig.requires_grad_(False)
    module.norm.train()
    plain, _ = skec.from_torch_prune(module)
    assert not plain.hidden.weight.requires_grad
    assert plain.last.weight.requires_grad
    assert [m.training for m in plain.modules()] == [m.training for m in module.modules()]


def test_a_weight_that_another_layer_shares_is_masked_in_one_place():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)).double()
    module[2].weight = module[0].weight
    torch_prune.l1_unstructured(module[0], "weight", amount=0.5)
    plain, masks = skec.from_torch_prune(module)
    assert torch.equal(plain(samples()), module(samples()))
    assert list(masks) == ["0"]
    assert plain[2].weight.all()


def test_a_pruned_estimator_of_torch_weights_trains_with_the_masks_of_the_library():
    """The masks are what skec.training and skec.compact take."""
    torch.manual_seed(0)
    chain = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)).double()
    torch_prune.ln_structured(chain[0], "weight", amount=3, n=1, dim=0)
    plain, masks = skec.from_torch_prune(chain)
    smaller, _ = skec.compact(plain, masks)
    assert smaller[0].weight.shape == (3, 4)
    torch.testing.assert_close(smaller(samples()), chain(samples()))
