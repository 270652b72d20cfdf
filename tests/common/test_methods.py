"""What holds for every criterion and every compensation, known by discovery."""

import pytest
import torch
from torch import nn

from skec import prune
from skec.compensation import COMPENSATIONS
from skec.compensation.units import UNIT_COMPENSATIONS
from skec.criteria import CRITERIA
from skec.criteria.units import UNIT_CRITERIA
from skec.networks import MLP

torch.manual_seed(0)
X = torch.randn(60, 4)
y = (X[:, :1] * X[:, 1:2]).repeat(1, 2)
every_method = pytest.mark.parametrize("method", sorted(CRITERIA))
every_compensation = pytest.mark.parametrize("compensation", sorted(COMPENSATIONS))
KWARGS = {"X": X, "y": y, "pruning_ratio": 0.5, "random_state": 0}


def network(**kwargs):
    generator = torch.Generator().manual_seed(0)
    return MLP(4, 2, (8, 6), zero_output=False, generator=generator, **kwargs)


def weights(module):
    return {n: m.weight for n, m in module.named_modules() if isinstance(m, nn.Linear)}


@every_method
@pytest.mark.parametrize("n_steps", [1, 3])
def test_scores_are_finite_and_non_negative_in_the_shape_of_the_weights(method, n_steps):
    result = prune(network(), method=method, n_steps=n_steps, **KWARGS)
    assert {n: s.shape for n, s in result.scores.items()} == {
        n: w.shape for n, w in weights(network()).items()
    }
    for score in result.scores.values():
        assert score.dtype == torch.float64
        assert torch.isfinite(score).all()
        assert (score >= 0).all()


@every_method
@every_compensation
@pytest.mark.parametrize("scope", ["global", "layer", "row"])
def test_the_ratio_is_exact_and_removed_weights_are_zero(method, compensation, scope):
    result = prune(
        network(), method=method, compensation=compensation, scope=scope, **KWARGS | {"n_steps": 2}
    )
    left = sum(int(mask.sum()) for mask in result.masks.values())
    assert left == 46
    assert result.sparsity == 0.5
    for name, weight in weights(result.module).items():
        assert not weight[~result.masks[name]].any()


@every_method
@every_compensation
def test_the_same_call_gives_the_same_network(method, compensation):
    first, again = (
        prune(network(), method=method, compensation=compensation, n_steps=2, **KWARGS).module
        for _ in range(2)
    )
    for left, right in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(left, right)


@every_method
@every_compensation
def test_removing_nothing_changes_nothing(method, compensation):
    kwargs = KWARGS | {"pruning_ratio": 0.0, "n_steps": 2}
    pruned = prune(network(), method=method, compensation=compensation, **kwargs).module
    torch.testing.assert_close(pruned(X), network()(X))


@every_method
@every_compensation
@pytest.mark.parametrize(
    "options", [{"batch_norm": True, "dropout": 0.5}, {"bias": False}], ids=str
)
def test_works_on_networks_with_normalisation_dropout_or_without_biases(
    method, compensation, options
):
    module = network(**options)
    result = prune(module, method=method, compensation=compensation, n_steps=2, **KWARGS)
    outputs = result.module.eval()(X)
    assert torch.isfinite(outputs).all()
    assert not torch.equal(outputs, module.eval()(X))


@every_method
def test_the_order_of_the_samples_does_not_matter(method):
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    kwargs = KWARGS | {"X": X[order], "y": y[order], "n_steps": 1}
    expected = prune(network().double(), method=method, n_steps=1, **KWARGS).scores
    found = prune(network().double(), method=method, **kwargs).scores
    for name, score in expected.items():
        torch.testing.assert_close(found[name], score, rtol=1e-9, atol=1e-14)


@every_method
def test_integer_sample_weights_equal_repetition(method):
    counts = torch.randint(1, 4, (60,), generator=torch.Generator().manual_seed(0))
    repeated = {"X": X.repeat_interleave(counts, 0), "y": y.repeat_interleave(counts, 0)}
    module = network().double()
    expected = prune(module, method=method, n_steps=1, **KWARGS | repeated).scores
    found = prune(
        module, method=method, sample_weight=counts, batch_size=13, n_steps=1, **KWARGS
    ).scores
    for name, score in expected.items():
        torch.testing.assert_close(found[name], score, rtol=1e-9, atol=1e-14)


@every_compensation
def test_compensation_does_not_choose_what_goes(compensation):
    expected = prune(network(), method="magnitude", compensation="none", **KWARGS).masks
    found = prune(
        network(), method="magnitude", compensation=compensation, n_steps=1, **KWARGS
    ).masks
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    "kind",
    [
        *CRITERIA.values(),
        *COMPENSATIONS.values(),
        *UNIT_CRITERIA.values(),
        *UNIT_COMPENSATIONS.values(),
    ],
)
def test_every_method_is_documented(kind):
    assert len(kind.__doc__.splitlines()) >= 1
    if kind in CRITERIA.values():
        assert "When to use it" in kind.__doc__
        assert kind.compensation in COMPENSATIONS
    if kind in UNIT_CRITERIA.values():
        assert "When to use it" in kind.__doc__
        assert kind.compensation in UNIT_COMPENSATIONS


# -- whole units -----------------------------------------------------------------------------------

UNITS = {"X": X, "y": y, "granularity": "neuron", "random_state": 0}
HALF = UNITS | {"pruning_ratio": 0.5}
every_unit_method = pytest.mark.parametrize("method", sorted(UNIT_CRITERIA))
every_unit_compensation = pytest.mark.parametrize("compensation", sorted(UNIT_COMPENSATIONS))


@every_unit_method
@every_unit_compensation
@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("n_steps", [1, 3])
def test_the_number_of_units_is_exact_and_nothing_of_them_is_left(
    method, compensation, scope, n_steps
):
    kwargs = {"method": method, "compensation": compensation, "scope": scope, "n_steps": n_steps}
    result = prune(network(), **kwargs, **HALF)
    left = [int(kept.sum()) for kept in result.unit_masks.values()]
    assert sum(left) == 7
    assert left == [4, 3] or scope == "global"
    for name, score in result.scores.items():
        assert score.dtype == torch.float64
        assert score.shape == result.unit_masks[name].shape
        assert torch.isfinite(score).all()
        assert (score >= 0).all()
    for name, weight in weights(result.module).items():
        assert torch.isfinite(weight).all()
        assert not weight[~result.masks[name]].any()


@every_unit_method
@every_unit_compensation
def test_the_same_call_removes_the_same_units(method, compensation):
    kwargs = {"method": method, "compensation": compensation, "n_steps": 2}
    first, again = (prune(network(), **kwargs, **HALF).module for _ in range(2))
    for left, right in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(left, right)


@every_unit_method
@every_unit_compensation
def test_removing_no_unit_changes_nothing(method, compensation):
    kwargs = {"method": method, "compensation": compensation, "pruning_ratio": 0.0}
    pruned = prune(network().double(), **kwargs, **UNITS).module
    torch.testing.assert_close(pruned(X.double()), network().double()(X.double()))


@every_unit_method
@every_unit_compensation
@pytest.mark.parametrize(
    "options", [{"batch_norm": True, "dropout": 0.5}, {"bias": False}], ids=str
)
def test_units_go_from_networks_with_normalisation_dropout_or_without_biases(
    method, compensation, options
):
    module = network(**options)
    result = prune(module, method=method, compensation=compensation, **HALF)
    outputs = result.module.eval()(X)
    assert torch.isfinite(outputs).all()
    assert not torch.equal(outputs, module.eval()(X))


@every_unit_method
def test_the_order_of_the_samples_does_not_matter_to_units(method):
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    module = network().double()
    expected = prune(module, method=method, **HALF)
    found = prune(module, method=method, **HALF | {"X": X[order], "y": y[order]})
    for name, score in expected.scores.items():
        torch.testing.assert_close(found.scores[name], score, rtol=1e-8, atol=1e-14)
    torch.testing.assert_close(found.module(X.double()), expected.module(X.double()))


@every_unit_compensation
def test_integer_sample_weights_equal_repetition_of_samples(compensation):
    counts = torch.randint(1, 4, (60,), generator=torch.Generator().manual_seed(0))
    repeated = {"X": X.repeat_interleave(counts, 0), "y": y.repeat_interleave(counts, 0)}
    module, kwargs = network().double(), {"method": "ec", "compensation": compensation}
    expected = prune(module, **kwargs, **HALF | repeated).module
    found = prune(module, sample_weight=counts, batch_size=13, **kwargs, **HALF).module
    torch.testing.assert_close(found(X.double()), expected(X.double()))


@every_unit_compensation
def test_the_compensation_does_not_choose_the_units(compensation):
    expected = prune(network(), method="l2", compensation="none", **HALF).unit_masks
    found = prune(network(), method="l2", compensation=compensation, **HALF).unit_masks
    assert all(torch.equal(found[name], expected[name]) for name in expected)
