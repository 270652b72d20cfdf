import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from skec import prune
from skec.calibration import Calibration, calibration_samples, identity_metric
from skec.calibration.statistics import ExactElimination
from skec.compensation import COMPENSATIONS, Compensation, _output_fit
from skec.compensation._output_fit import conjugate_gradients
from skec.criteria import CRITERIA, Criterion


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
    kwargs = {"compensation": "bias", "scope": scope, "n_steps": 1} | kwargs
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
        result = prune(module, X, n_steps=1, pruning_ratio=0.6)
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


KINDS = {
    "Tanh": (nn.Tanh, "identity", True),
    "GELU": (nn.GELU, "fisher", True),
    "ReLU": (nn.ReLU, "identity", True),
    "no biases": (nn.SiLU, "fisher", False),
}
every_kind = pytest.mark.parametrize("kind", sorted(KINDS))
TINY = {"damping": 1e-10}


def drawn_masks(seed, kept=0.6):
    generator = torch.Generator().manual_seed(seed)
    masks = [torch.rand(shape, generator=generator) < kept for shape in [(5, 4), (3, 5)]]
    masks[0][0, 0] = masks[1][0, 0] = True
    return masks


def case(kind, seed):
    """A network, samples, sample weights, masks, and the metric by name."""
    activation, metric, bias = KINDS[kind]
    torch.manual_seed(seed)
    layers = nn.Linear(4, 5, bias=bias), activation(), nn.Linear(5, 3, bias=bias)
    X = samples(seed=seed)
    w = torch.rand(len(X), generator=torch.Generator().manual_seed(seed)).double() + 0.1
    return nn.Sequential(*layers).double(), X, w, drawn_masks(seed), metric


def tables(module):
    """Weights with the bias as the last column, zero where there is none."""
    layers = {n: m for n, m in module.named_modules() if isinstance(m, nn.Linear)}
    return {
        name: torch.cat(
            [
                layer.weight,
                torch.zeros_like(layer.weight[:, :1])
                if layer.bias is None
                else layer.bias[:, None],
            ],
            dim=1,
        ).detach()
        for name, layer in layers.items()
    }


def row_least_squares(jacobian, before, mask):
    """What is kept of each row, moved to make up for what is not: by definition."""
    after = before.clone()
    for i, row in enumerate(mask):
        if not row.all():
            kept = torch.cat([row, torch.tensor([True])]).numpy()
            A, w = jacobian[:, i].numpy(), before[i].numpy()
            after[i] = 0.0
            change = np.linalg.lstsq(A[:, kept], A[:, ~kept] @ w[~kept], rcond=1e-9)[0]
            after[i, torch.from_numpy(kept)] = torch.from_numpy(w[kept] + change)
    return after


@pytest.mark.filterwarnings("ignore::skec.PruningWarning")
class TestWeights:
    @every_kind
    @given(seed=st.integers(0, 10_000))
    def test_is_the_joint_least_squares_of_each_row(self, kind, seed, measured_jacobians):
        module, X, w, masks, metric = case(kind, seed)
        kwargs = {"sample_weight": w, "output_metric": metric}
        found = tables(
            remove(
                module, X, masks, compensation="weights", compensation_params=TINY, **kwargs
            ).module
        )
        jacobian = measured_jacobians(module, X, sample_weight=w, metric=metric)
        for mask, (name, before) in zip(masks, tables(module).items(), strict=True):
            expected = row_least_squares(jacobian[name], before, mask)
            for i in range(len(mask)):
                A = jacobian[name][:, i]
                lost, expected_loss = (
                    (A @ (after[i] - before[i])).square().sum() for after in (found[name], expected)
                )
                assert lost <= expected_loss * (1 + 1e-6) + 1e-12
                if np.linalg.cond(A.numpy()) < 1e3:
                    torch.testing.assert_close(found[name][i], expected[i], rtol=1e-4, atol=1e-5)

    def test_only_what_is_left_of_earlier_steps_moves(self, measured_jacobians):
        module, X, *_ = case("Tanh", 0)
        between = []
        result = prune(
            module, X, pruning_ratio=0.6, method="random", n_steps=2, random_state=0,
            compensation="weights", compensation_params=TINY,
            after_step=lambda module, masks: between.append((copy.deepcopy(module), masks)),
        )  # fmt: skip
        ((half, first),) = between
        jacobian, before = measured_jacobians(half, X), tables(half)
        for name, found in tables(result.module).items():
            expected = row_least_squares(jacobian[name], before[name], result.masks[name])
            unmoved = (first[name] == result.masks[name]).all(1)
            expected[unmoved] = before[name][unmoved]
            assert not first[name].all()
            assert not unmoved.all()
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize("max_memory", [0, 2000])
    def test_little_memory_changes_nothing(self, max_memory):
        module, X, _, masks, metric = case("GELU", 0)
        X = torch.cat([X, samples(150, seed=9)])
        kwargs = {"compensation": "weights", "output_metric": metric}
        expected = tables(remove(module, X, masks, **kwargs).module)
        params = {"max_memory": max_memory}
        found = tables(remove(module, X, masks, compensation_params=params, **kwargs).module)
        for name in expected:
            torch.testing.assert_close(found[name], expected[name], rtol=1e-8, atol=1e-10)

    def test_rows_of_hundreds_of_inputs_have_the_same_least_squares(self, measured_jacobians):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(200, 3), nn.ReLU(), nn.Linear(3, 2)).double()
        X = torch.randn(400, 200).double()
        mask = torch.rand(3, 200) < 0.8
        scope = {"0": float((~mask).double().mean())}
        result = prune(
            module, X, pruning_ratio=0, method=Chosen([mask, torch.ones(2, 3)]), scope=scope,
            compensation="weights", compensation_params=TINY,
        )  # fmt: skip
        before, found = tables(module)["0"], tables(result.module)["0"]
        expected = row_least_squares(measured_jacobians(module, X)["0"], before, mask)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
        assert not torch.allclose(found[:, :200], before[:, :200] * mask, atol=1e-3)

    def test_makes_up_for_an_input_that_others_make_up(self):
        module, X = network(), samples()
        X[:, 3] = X[:, 0] - 2 * X[:, 1] + 0.5
        masks = [torch.arange(4).expand(5, 4) != 3, torch.ones(3, 5, dtype=torch.bool)]
        pruned = remove(
            module, X, masks, compensation="weights", compensation_params={"damping": 1e-13}
        ).module
        torch.testing.assert_close(pruned(X), module(X), rtol=1e-6, atol=1e-6)

    def test_damping_pulls_to_the_weights_as_they_were(self):
        module, X, masks = network(), samples(), drawn_masks(0)
        before = tables(module)["0"][:, :4] * masks[0]
        distances = []
        for damping in (1e-6, 1.0, 1e6):
            params = {"compensation": "weights", "compensation_params": {"damping": damping}}
            after = tables(remove(module, X, masks, **params).module)["0"][:, :4]
            distances.append(float((after - before).norm()))
        assert distances[0] > distances[1] > distances[2]
        assert distances[2] < 1e-5

    def test_rows_that_lose_nothing_stay_as_they_were(self):
        module, X, masks = network(), samples(), drawn_masks(0)
        masks[0][2], masks[0][3, 1] = True, False
        after = remove(module, X, masks, compensation="weights").module
        assert torch.equal(tables(after)["0"][2], tables(module)["0"][2])
        assert not torch.equal(tables(after)["0"][3], tables(module)["0"][3])

    def test_a_unit_without_sensitivity_keeps_its_weights(self):
        module, X, masks = network(), samples(), drawn_masks(0)
        module[1] = nn.ReLU()
        with torch.no_grad():
            module[0].bias[1] = -100.0
        after = tables(remove(module, X, masks, compensation="weights").module)["0"]
        expected = tables(module)["0"]
        torch.testing.assert_close(after[1, :4], expected[1, :4] * masks[0][1])
        torch.testing.assert_close(after[1, 4], expected[1, 4])


def error(found, dense, X, w=None, metric="identity"):
    """E‖y − y_dense‖² in the metric at the dense outputs."""
    with torch.no_grad():
        y = dense(X)
        change = found(X) - y
    p = torch.softmax(y, 1)
    errors = change.square().sum(1)
    if metric == "fisher":
        errors = (p * change.square()).sum(1) - (p * change).sum(1).square()
    return float(np.average(errors, weights=w))


# The preconditioners, and what compensates in each unit before the step of the network.
every_preconditioner = pytest.mark.parametrize(
    ("preconditioner", "alone"), [("diagonal", "bias"), ("rows", "weights")]
)


@pytest.mark.filterwarnings("ignore::skec.PruningWarning")
class TestNetwork:
    def by(self, compensation, case, **params):
        module, X, w, masks, metric = case
        kwargs = {"sample_weight": w, "output_metric": metric, "compensation_params": params}
        return remove(module, X, masks, compensation=compensation, **kwargs).module

    @every_kind
    @every_preconditioner
    @given(seed=st.integers(0, 10_000))
    def test_is_never_worse_than_each_unit_alone(self, kind, preconditioner, alone, seed):
        module, X, w, masks, metric = case(kind, seed)
        alone = self.by(alone, (module, X, w, masks, metric))
        params = {"preconditioner": preconditioner}
        together = self.by("network", (module, X, w, masks, metric), **params)
        assert error(together, module, X, w, metric) <= error(alone, module, X, w, metric)
        for name, mask in zip("02", masks, strict=True):
            assert not together.get_submodule(name).weight[~mask].any()

    @pytest.mark.parametrize("max_memory", [2**30, 0])
    @pytest.mark.parametrize("damping", [1e-3, 1e-1])
    @pytest.mark.parametrize("kind", ["Tanh", "GELU", "no biases"])
    @every_preconditioner
    def test_solves_the_damped_least_squares_of_all_that_is_kept(
        self, kind, preconditioner, alone, damping, max_memory, roots, measured_jacobians
    ):
        module, X, w, masks, metric = case(kind, 0)
        with torch.no_grad():  # a small error, so that a step is as good as it looks
            for i, mask in zip((0, 2), masks, strict=True):
                module[i].weight[~mask] *= 0.05
        params = {"damping": damping, "max_memory": max_memory}
        start = self.by(
            alone, (module, X, w, masks, metric), **params if alone == "weights" else {}
        )
        params |= {"iterations": 300, "preconditioner": preconditioner}
        found = self.by("network", (module, X, w, masks, metric), **params)
        kept = [torch.nn.functional.pad(mask, (0, 1), value=True) for mask in masks]
        R = roots(module(X).detach(), sample_weight=w, metric=metric)
        dense = measured_jacobians(module, X, roots=R).values()
        jacobian = measured_jacobians(start, X, roots=R).values()
        J = torch.cat([part[:, mask] for part, mask in zip(jacobian, kept, strict=True)], dim=1)
        ridge = []
        for part, mask in zip(dense, kept, strict=True):
            mean = (part.square().sum(0) * mask).sum(1) / mask.sum(1)
            ridge.append((damping * mean[:, None] * mask)[mask])
        residual = torch.einsum("nkl,nl->nk", R, (start(X) - module(X)).detach()).flatten()
        step = torch.linalg.solve(J.mT @ J + torch.diag(torch.cat(ridge)), -J.mT @ residual)
        befores, afters = tables(start).values(), tables(found).values()
        moved = [(b - a)[mask] for a, b, mask in zip(befores, afters, kept, strict=True)]
        torch.testing.assert_close(torch.cat(moved), step, rtol=1e-3, atol=1e-4 * step.norm())
        assert error(found, module, X, w, metric) < 0.95 * error(start, module, X, w, metric)

    def test_one_linear_layer_has_nothing_to_add(self):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(4, 5)).double()
        masks, kwargs = [drawn_masks(0)[0]], {"method": Chosen([drawn_masks(0)[0]])}
        kwargs |= {"pruning_ratio": float((~masks[0]).double().mean()), "X": samples()}
        alone = prune(module, compensation="weights", compensation_params=TINY, **kwargs).module
        for preconditioner in ("diagonal", "rows"):
            params = TINY | {"preconditioner": preconditioner, "iterations": 100}
            together = prune(module, compensation="network", compensation_params=params, **kwargs)
            torch.testing.assert_close(
                tables(together.module)["0"], tables(alone)["0"], rtol=1e-6, atol=1e-7
            )

    def test_outputs_make_up_for_each_other_in_the_fisher_metric(self):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(4, 5)).double()
        mask, X = drawn_masks(0)[0], samples()
        kwargs = {"method": Chosen([mask]), "pruning_ratio": float((~mask).double().mean())}
        alone, together = (
            prune(module, X, compensation=name, output_metric="fisher", **kwargs).module
            for name in ("weights", "network")
        )
        alone, together = (error(found, module, X, metric="fisher") for found in (alone, together))
        assert together < 0.99 * alone

    def test_mends_what_earlier_steps_left_of_the_error(self):
        module, X, *_ = case("Tanh", 0)
        kwargs = {"pruning_ratio": 0.6, "method": "magnitude", "n_steps": 4}
        alone, together = (
            prune(module, X, compensation=name, **kwargs).module for name in ("weights", "network")
        )
        assert error(together, module, X) < 0.8 * error(alone, module, X)

    def test_networks_that_write_in_place_are_solved_too(self):
        module, X, w, masks, metric = case("ReLU", 0)
        plain = self.by("network", (module, X, w, masks, metric))
        module[1] = nn.ReLU(inplace=True)
        before = copy.deepcopy(module), X.clone()
        in_place = self.by("network", (module, X, w, masks, metric))
        for left, right in zip(in_place.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(left, right, rtol=1e-9, atol=1e-12)
        for left, right in zip(module.parameters(), before[0].parameters(), strict=True):
            assert torch.equal(left, right)
            assert left.grad is None
        assert torch.equal(X, before[1])

    def test_normalisation_and_other_parameters_stay(self):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3))
        module(torch.randn(50, 4))
        found = prune(module, samples(), pruning_ratio=0.5, compensation="network").module
        for name, value in module[1].state_dict().items():
            assert torch.equal(found[1].state_dict()[name], value)
        assert not torch.equal(found[3].bias, module[3].bias)

    @every_preconditioner
    def test_no_iteration_is_unit_by_unit(self, preconditioner, alone):
        setting = case("GELU", 0)
        params = {"iterations": 0, "preconditioner": preconditioner}
        alone, none = self.by(alone, setting), self.by("network", setting, **params)
        for name, table in tables(alone).items():
            assert torch.equal(tables(none)[name], table)

    @pytest.mark.parametrize("batch_size", [7, 512])
    def test_batches_do_not_matter(self, batch_size):
        module, X, w, masks, metric = case("GELU", 0)
        kwargs = {"compensation": "network", "sample_weight": w, "output_metric": metric}
        expected = tables(remove(module, X, masks, **kwargs).module)
        found = tables(remove(module, X, masks, batch_size=batch_size, **kwargs).module)
        for name in expected:
            torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("metric", ["identity", "fisher"])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_network_is_fitted_alike_whatever_is_held(metric, weighted, monkeypatch):
    X = samples(n=60)
    settings = {"pruning_ratio": 0.6, "n_steps": 3, "batch_size": 7, "output_metric": metric}
    settings |= {"method": "magnitude", "compensation": "network"}
    settings |= {"compensation_params": {"iterations": 3}}  # more of them amplify rounding errors
    settings |= {"sample_weight": torch.rand(60) + 0.1 if weighted else None}
    held = prune(network(), X, **settings)
    monkeypatch.setattr(_output_fit, "_BYTES", 0)  # batches of seven, computed again when needed
    again = prune(network(), X, **settings)
    assert again.stats.accepted == held.stats.accepted
    torch.testing.assert_close(again.module(X), held.module(X))


def test_not_every_jacobian_is_held(monkeypatch):
    monkeypatch.setattr(_output_fit, "_BYTES", 0)
    module, X = network(), samples(n=60)
    data = calibration_samples(module, X)
    kept = {"0": module[0].weight != 0}
    calibration = Calibration(module, data, identity_metric, batch_size=7)
    with torch.no_grad():
        fit = _output_fit.OutputFit(module, kept, calibration)
        fit.error_and_gradient()
    assert [batch.point is not None for batch in fit.batches] == [True] + [False] * 8
    assert [batch.held_target is not None for batch in fit.batches] == [True] + [False] * 8


class TestConjugateGradients:
    @given(seed=st.integers(0, 10_000), n=st.integers(1, 12))
    def test_solve_a_system_in_as_many_steps_as_it_has_unknowns(self, seed, n):
        generator = torch.Generator().manual_seed(seed)
        B, right = (torch.randn(shape, generator=generator).double() for shape in [(n, n), (n,)])
        A = B @ B.T + torch.eye(n)
        scale = torch.rand(n, generator=generator).double() + 0.5
        found, _ = conjugate_gradients(lambda v: A @ v, right, lambda v: v * scale, n + 3)
        torch.testing.assert_close(found, torch.linalg.solve(A, right), rtol=1e-6, atol=1e-8)

    def test_a_perfect_preconditioner_needs_one_step(self):
        A = torch.tensor([[2.0, 1.0], [1.0, 3.0]]).double()
        right = torch.tensor([3.0, 4.0]).double()
        found, iterations = conjugate_gradients(
            lambda v: A @ v, right, lambda v: torch.linalg.solve(A, v), 5
        )
        torch.testing.assert_close(found, torch.ones(2).double())
        assert iterations <= 2

    def test_each_step_lowers_the_quadratic(self):
        torch.manual_seed(0)
        B, right = torch.randn(20, 20).double(), torch.randn(20).double()
        A = B @ B.T
        values = []
        for iterations in range(12):
            x, done = conjugate_gradients(lambda v: A @ v, right, lambda v: v, iterations)
            assert done == iterations
            values.append(float(x @ A @ x / 2 - right @ x))
        assert values[0] == 0
        assert all(b < a for a, b in pairwise(values))

    def test_stop_where_nothing_is_left_to_do(self):
        zero = torch.zeros(3)
        found, iterations = conjugate_gradients(lambda v: v, zero, lambda v: v, 5)
        assert torch.equal(found, zero)
        assert iterations == 0


def test_exact_bias_adds_the_best_shift_of_each_removed_weight():
    module, X = network(), samples()

    class Seen(CRITERIA["ec_exact"]):
        def score(self, weight, statistics, generator):
            shifts.append(statistics[ExactElimination].shift)
            return super().score(weight, statistics, generator)

    shifts = []
    result = prune(module, X, pruning_ratio=0.5, method=Seen())
    for shift, (name, mask) in zip(shifts, result.masks.items(), strict=True):
        before, after = module.get_submodule(name), result.module.get_submodule(name)
        torch.testing.assert_close(after.bias, before.bias + (shift * ~mask).sum(1))
        assert torch.equal(after.weight, before.weight * mask)
        assert shift.abs().max() > 0.01


def test_exact_bias_of_one_weight_reaches_the_score():
    module, X = network(), samples()
    result = prune(module, X, pruning_ratio=1 / 35, method="ec_exact")
    assert sum(int((~mask).sum()) for mask in result.masks.values()) == 1
    assert error(result.module, module, X) == pytest.approx(result.predicted_error, rel=1e-6)


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

        assert isinstance(COMPENSATIONS.make("doubled"), Named)
        module = network()
        by_name = prune(module, pruning_ratio=0.5, method="magnitude", compensation="doubled")
        assert torch.equal(by_name.module[0].weight, 2 * module[0].weight * by_name.masks["0"])

    def test_one_without_a_name_stays_unknown(self):
        assert Doubled not in COMPENSATIONS.values()


@pytest.mark.parametrize("compensation", ["Bias", "", None, 3, COMPENSATIONS["bias"]])
def test_an_unknown_compensation_lists_the_known_ones(compensation):
    with pytest.raises(ValueError, match=r"'auto' or one of \['bias', 'bias_exact', 'network'"):
        COMPENSATIONS.make(compensation)
