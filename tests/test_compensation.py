import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from skec import prune
from skec.compensation import COMPENSATIONS, Compensation, get_compensation
from skec.criteria import Criterion


def network(dtype=torch.float64, bias=True):
    torch.manual_seed(0)
    layers = nn.Linear(4, 5, bias=bias), nn.Tanh(), nn.Linear(5, 3, bias=bias)
    return nn.Sequential(*layers).to(dtype)


def samples(n=31, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 4, generator=generator, dtype=torch.float64) + 0.5


class Chosen(Criterion):
    """Removes the weights that are given, if the ratio is their share."""

    def __init__(self, masks):
        self.masks = list(masks)

    def score(self, weight, statistics, generator):
        (mask,) = (mask for mask in self.masks if mask.shape == weight.shape)
        return mask.double()


def remove(module, X, masks, **kwargs):
    """Remove what the masks do not keep and compensate by the bias."""
    masks = dict(zip(("0", "2"), masks, strict=True))
    scope = {name: float((~mask).double().mean()) for name, mask in masks.items()}
    kwargs = {"compensation": "bias", "scope": scope} | kwargs
    return prune(module, X, pruning_ratio=0.0, method=Chosen(masks.values()), **kwargs)


@pytest.mark.filterwarnings("ignore::skec.PruningWarning")
class TestBias:
    @given(seed=st.integers(0, 10_000), weighted=st.booleans())
    def test_is_the_joint_least_squares_solution(self, seed, weighted, jacobians):
        generator = torch.Generator().manual_seed(seed)
        module, X = network(), samples(seed=seed)
        masks = [torch.rand(shape, generator=generator) > 0.4 for shape in [(5, 4), (3, 5)]]
        masks[0][0, 0] = masks[1][0, 0] = True
        w = torch.rand(31, generator=generator).double() + 0.1 if weighted else None
        pruned = remove(module, X, masks, sample_weight=w).module
        jacobian = jacobians(module, X)
        root = torch.ones(31, 1) if w is None else w[:, None].sqrt()
        for name, mask in zip(("0", "2"), masks, strict=True):
            layer = module.get_submodule(name)
            for i in range(len(mask)):
                lost = jacobian[f"{name}.weight"][:, :, i] @ (layer.weight[i] * ~mask[i])
                by_bias = root * jacobian[f"{name}.bias"][:, :, i]
                shift = np.linalg.lstsq(
                    by_bias.reshape(-1, 1).numpy(), (root * lost).detach().flatten().numpy()
                )[0]
                found = pruned.get_submodule(name).bias[i] - layer.bias[i]
                assert found.item() == pytest.approx(shift[0], rel=1e-8, abs=1e-12)

    def test_equals_the_sum_of_the_shifts_of_single_weights(self, elimination_compensation):
        module, X = network(), samples()
        _, shifts = elimination_compensation(module, X)
        result = prune(module, X, pruning_ratio=0.6)
        for name, mask in result.masks.items():
            found = result.module.get_submodule(name).bias - module.get_submodule(name).bias
            torch.testing.assert_close(found.detach(), (shifts[name] * ~mask).sum(1))

    def test_takes_over_a_constant_input_exactly(self):
        module, X = network(), samples()
        X[:, 2] = 2.5
        masks = [torch.arange(4).expand(5, 4) != 2, torch.ones(3, 5, dtype=torch.bool)]
        pruned = remove(module, X, masks).module
        torch.testing.assert_close(
            pruned[0].bias - module[0].bias, 2.5 * module[0].weight[:, 2], rtol=1e-12, atol=1e-12
        )
        torch.testing.assert_close(pruned(X), module(X), rtol=1e-12, atol=1e-12)

    def test_leaves_a_unit_without_sensitivity_alone(self):
        module, X = network(), samples()
        module[1] = nn.ReLU()
        with torch.no_grad():
            module[0].bias[1] = -100.0
        masks = [torch.arange(5)[:, None].expand(5, 4) != 1, torch.ones(3, 5, dtype=torch.bool)]
        pruned = remove(module, X, masks).module
        assert torch.equal(pruned[0].bias, module[0].bias)
        assert torch.equal(pruned(X), module(X))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_a_layer_without_bias_gets_one(self, dtype):
        module, X = network(dtype, bias=False), samples()
        zero_bias = network(dtype)
        with torch.no_grad():
            for i in (0, 2):
                zero_bias[i].weight.copy_(module[i].weight)
                zero_bias[i].bias.zero_()
        found, expected = (prune(m, X, pruning_ratio=0.5).module for m in (module, zero_bias))
        for i in (0, 2):
            assert module[i].bias is None
            assert isinstance(found[i].bias, nn.Parameter)
            assert found[i].bias.dtype == dtype
            assert torch.equal(found[i].bias, expected[i].bias)
        assert set(found.state_dict()) == set(expected.state_dict())

    def test_a_layer_that_loses_nothing_gets_no_bias(self):
        pruned = prune(network(bias=False), samples(), pruning_ratio=0, scope={"0": 0.5}).module
        assert pruned[0].bias is not None
        assert pruned[2].bias is None


@pytest.mark.parametrize("bias", [False, True])
def test_none_leaves_what_stays(bias):
    module = network(bias=bias)
    result = prune(module, samples(), pruning_ratio=0.5, compensation="none")
    for name, mask in result.masks.items():
        before, after = module.get_submodule(name), result.module.get_submodule(name)
        assert torch.equal(after.weight, before.weight * mask)
        assert (after.bias is None) == (not bias)
        if bias:
            assert torch.equal(after.bias, before.bias)


class Doubled(Compensation):
    """Doubles the weights that stay and sets the bias to the number of weights that went."""

    changes_bias = True

    def apply(self, weight, bias, removed, statistics):
        return 2 * weight, removed.sum(1).double()


class TestOwnCompensations:
    @pytest.mark.parametrize("bias", [False, True])
    def test_an_object_takes_the_place_of_a_name(self, bias):
        module = network(bias=bias)
        result = prune(module, pruning_ratio=0.5, method="magnitude", compensation=Doubled())
        for name, mask in result.masks.items():
            layer = result.module.get_submodule(name)
            assert torch.equal(layer.weight, 2 * module.get_submodule(name).weight * mask)
            assert torch.equal(layer.bias, (~mask).sum(1).double())

    def test_a_name_makes_it_known(self, registries):
        class Named(Doubled):
            name = "doubled"

        assert isinstance(get_compensation("doubled"), Named)
        module = network()
        by_name = prune(module, pruning_ratio=0.5, method="magnitude", compensation="doubled")
        assert torch.equal(by_name.module[0].weight, 2 * module[0].weight * by_name.masks["0"])

    def test_one_without_a_name_stays_unknown(self):
        assert Doubled not in COMPENSATIONS.values()


@pytest.mark.parametrize("compensation", ["Bias", "", None, 3, COMPENSATIONS["bias"]])
def test_an_unknown_compensation_lists_the_known_ones(compensation):
    with pytest.raises(ValueError, match=r"'auto' or one of \['bias', 'bias_exact', 'network'"):
        get_compensation(compensation)
