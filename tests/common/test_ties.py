"""Scores that are zero or equal up to rounding: exact zeros, and ties broken by the position."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import skec
from skec.criteria import CRITERIA
from skec.criteria.units import UNIT_CRITERIA

ACTIVATIONS = [nn.ReLU, nn.Tanh, nn.SiLU]
# The effect of a constant unit is zero for these, because the bias compensates for it.
COMPENSATED = ["ec", "ec_exact"]
# The effect of a weight is zero for these if its unit has none.
WITH_EFFECTS = ["ec", "ec_exact", "obd", "taylor", "gradient", "surgeon"]
# Scores of ec_exact are differences of outputs, whose rounding errors can be large.
DETERMINED = sorted(set(CRITERIA) - {"random", "ec_exact"})
UNITS_DETERMINED = sorted(set(UNIT_CRITERIA) - {"random"})


@st.composite
def networks(draw):
    """A network with two equal columns and two equal units, and its data."""
    n_in, width = draw(st.integers(4, 17)), draw(st.integers(4, 17))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    module = nn.Sequential(
        nn.Linear(n_in, width), draw(st.sampled_from(ACTIVATIONS))(), nn.Linear(width, 2)
    ).to(dtype)
    X = torch.randn(draw(st.integers(30, 50)), n_in, generator=generator, dtype=dtype)
    scale = 10.0 ** draw(st.integers(-3, 3))
    columns = sorted(draw(st.permutations(range(n_in)))[:2])
    units = sorted(draw(st.permutations(range(width)))[:2])
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0.0, 0.5, generator=generator)
        X = X * scale
        X[:, columns[1]] = X[:, columns[0]]
        module[0].weight[:, columns[1]] = module[0].weight[:, columns[0]]
        module[0].weight[units[1]], module[0].bias[units[1]] = (
            module[0].weight[units[0]].clone(),
            module[0].bias[units[0]].clone(),
        )
        module[2].weight[:, units[1]] = module[2].weight[:, units[0]]
    return module, X, columns, units


def pruned(module, X, **kwargs):
    y = X[:, :2].clone()
    return skec.prune(module, X, y, n_steps=1, compensation="none", random_state=0, **kwargs)


@pytest.mark.filterwarnings("ignore::skec.pruning.PruningWarning")
@pytest.mark.parametrize(
    ("method", "scope"),
    [(method, "row") for method in DETERMINED]
    + [(method, scope) for method in ("ec", "magnitude") for scope in ("global", "layer", "1:2")],
)
@given(case=networks(), ratio=st.sampled_from([0.2, 0.5, 0.8]))
def test_of_equal_weights_the_first_are_removed_first(method, scope, case, ratio):
    module, X, (first, second), (unit, other) = case
    if scope == "1:2" and (first // 2 != second // 2 or unit // 2 != other // 2):
        return  # they are not compared
    result = pruned(module, X, pruning_ratio=ratio, method=method, scope=scope)
    if method != "lamp":  # for it the first of two equal weights has the lower score
        scores = result.scores["0"]
        assert torch.equal(scores[:, first], scores[:, second])
        scores = result.scores["2"]
        assert torch.equal(scores[:, unit], scores[:, other])
    if scope == "global":  # the highest score of each layer is kept in any case
        best = {name: int(score.argmax()) for name, score in result.scores.items()}
        for name, (left, right) in {"0": (first, second), "2": (unit, other)}.items():
            if best[name] % result.masks[name].shape[1] in (left, right):
                return
    assert not (result.masks["0"][:, first] & ~result.masks["0"][:, second]).any()
    assert not (result.masks["2"][:, unit] & ~result.masks["2"][:, other]).any()


@pytest.mark.parametrize("method", UNITS_DETERMINED)
@given(case=networks(), ratio=st.sampled_from([0.2, 0.5, 0.8]))
def test_of_equal_units_the_first_is_removed_first(method, case, ratio):
    module, X, _, (unit, other) = case
    kwargs = {"granularity": "neuron", "pruning_ratio": ratio, "method": method}
    result = pruned(module, X, **kwargs)
    assert not (result.unit_masks["0"][unit] & ~result.unit_masks["0"][other])
    if method != "elimination":  # its scores assume that less important units are gone
        assert result.scores["0"][unit] == result.scores["0"][other]


@given(case=networks(), constant=st.floats(-1e6, 1e6, width=32), batch_size=st.integers(7, 90))
def test_a_constant_input_has_scores_of_zero(case, constant, batch_size):
    module, X, (column, _), _ = case
    X[:, column] = constant
    with torch.no_grad():
        module[0].weight[:, column] /= max(abs(constant), 1.0)
    result = pruned(module, X, pruning_ratio=0.1, method="ec", batch_size=batch_size)
    assert not result.scores["0"][:, column].any()


@pytest.mark.parametrize("method", COMPENSATED)
@given(case=networks())
def test_a_constant_unit_has_scores_of_zero(method, case):
    module, X, _, (unit, _) = case
    with torch.no_grad():
        module[0].weight[unit] = 0.0
    result = pruned(module, X, pruning_ratio=0.1, method=method)
    assert not result.scores["2"][:, unit].any()
    units = pruned(module, X, pruning_ratio=0.1, method="ec", granularity="neuron")
    assert units.scores["0"][unit] == 0.0


@pytest.mark.parametrize("method", WITH_EFFECTS)
@given(case=networks())
def test_a_weight_of_a_dead_unit_has_a_score_of_zero(method, case):
    module, X, _, (unit, _) = case
    with torch.no_grad():
        module[2].weight[:, unit] = 0.0
    result = pruned(module, X, pruning_ratio=0.1, method=method)
    assert not result.scores["0"][unit].any()


@pytest.mark.parametrize("method", ["ec", "elimination"])
@given(case=networks())
def test_a_dead_unit_is_the_first_to_go(method, case):
    module, X, _, (unit, other) = case
    with torch.no_grad():
        module[2].weight[:, [unit, other]] = 0.0
    ratio = 1.0 / len(module[0].weight)
    kwargs = {"granularity": "neuron", "pruning_ratio": ratio, "method": method}
    result = pruned(module, X, **kwargs)
    if isinstance(module[1], nn.ReLU):  # units that are never active are worth nothing too
        assert result.unit_masks["0"].sum() == len(module[0].weight) - 1
        return
    assert not result.unit_masks["0"][unit]
    assert result.unit_masks["0"].sum() == len(module[0].weight) - 1


@given(case=networks(), offset=st.sampled_from([1e2, 1e4]))
def test_a_small_deviation_is_not_taken_for_rounding(case, offset):
    module, X, (column, _), _ = case
    module[1] = nn.Softplus()  # a rectified unit may be active for equal values only
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(X.shape, generator=generator).to(X)
    with torch.no_grad():
        module[0].weight[:, column] /= offset
    signs = torch.randint(0, 2, (len(X),), generator=generator) * 2.0 - 1.0
    X[:, column] = offset + signs.to(X)
    result = pruned(module, X, pruning_ratio=0.1, method="ec")
    alive = result.scores["0"].max(1).values > 0
    assert (result.scores["0"][alive, column] > 0).all()


@pytest.mark.parametrize("seed", range(3))
def test_constant_maps_have_scores_of_zero(seed):
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(48, 2))
    X = torch.randn(40, 2, 6, 6)
    X[:, 1] = 0.3
    result = pruned(module, X, pruning_ratio=0.1, method="ec")
    assert not result.scores["0"][:, 1].any()
    assert result.scores["0"][:, 0].all()
    with torch.no_grad():
        module[0].weight[1] = 0.0
    units = pruned(module, X, pruning_ratio=0.1, method="ec", granularity="neuron")
    assert units.scores["0"][1] == 0.0
    assert (units.scores["0"][[0, 2]] > 0).all()
