import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from torch import nn
from torch.nn import functional as F

from skec import prune
from skec.calibration.statistics import (
    ExactElimination,
    LayerBatch,
    LayerStatistics,
    Need,
    SensitivityMoments,
    Statistic,
)
from skec.compensation import Compensation
from skec.criteria import CRITERIA, Criterion

seeds = st.integers(0, 2**31 - 1)


def network(activation=nn.Tanh, n_outputs=3, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 5), activation(), nn.Linear(5, n_outputs)).double()


def samples(n=31, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 4, generator=generator, dtype=torch.float64)


def scores_of(module, X, y=None, method="ec", **kwargs):
    return prune(module, X, y, pruning_ratio=0, method=method, **kwargs).scores


class TestEliminationCompensation:
    def score(self, weight, inputs, s):
        moments = SensitivityMoments(nn.Linear(*reversed(weight.shape)))
        moments.update(LayerBatch(inputs, s))
        return CRITERIA["ec"]().score(weight, LayerStatistics({SensitivityMoments: moments}), None)

    @given(seed=seeds)
    def test_is_the_weighted_variance_times_the_squared_weight(self, seed):
        generator = np.random.default_rng(seed)
        W, a, s = (generator.normal(size=shape) for shape in [(2, 3), (17, 3), (17, 2)])
        s = s**2
        found = self.score(*map(torch.from_numpy, (W, a, s)))
        S, P, Q = s.mean(0)[:, None], s.T @ a / 17, s.T @ a**2 / 17
        np.testing.assert_allclose(found, W**2 * (Q - P**2 / S), rtol=1e-9)
        assert (found.numpy() <= W**2 * Q * (1 + 1e-12)).all()

    @given(seed=seeds)
    def test_equals_the_error_without_compensation_for_centred_inputs(self, seed):
        generator = np.random.default_rng(seed)
        W, a, s = (generator.normal(size=shape) for shape in [(2, 3), (9, 3), (9, 2)])
        a, s = np.vstack([a, -a]), np.vstack([s, s]) ** 2
        found = self.score(*map(torch.from_numpy, (W, a, s)))
        np.testing.assert_allclose(found, W**2 * (s.T @ a**2) / 18, rtol=1e-10)

    def test_is_the_least_error_over_all_changes_of_the_bias(self, jacobians):
        module, X = network(), samples()
        scores, jacobian = scores_of(module, X), jacobians(module, X)
        for name in ("0", "2"):
            weight = module.get_parameter(f"{name}.weight").detach()
            for i, j in np.ndindex(*weight.shape):
                change = jacobian[f"{name}.weight"][:, :, i, j] * weight[i, j]
                by_bias = jacobian[f"{name}.bias"][:, :, i]

                def error(shift, change=change, by_bias=by_bias):
                    return float((change - shift * by_bias).square().sum(1).mean())

                best = minimize_scalar(error, tol=1e-10).fun
                assert float(scores[name][i, j]) == pytest.approx(best, rel=1e-6)

    def test_a_weight_on_a_constant_input_costs_nothing(self):
        X = samples()
        X[:, 2] = 2.5
        scores = scores_of(network(), X)
        assert (scores["0"][:, 2] < 1e-28).all()
        assert (scores["0"][:, [0, 1, 3]] > 1e-9).all()

    def test_the_weights_of_a_dead_unit_cost_nothing(self):
        module = network(nn.ReLU)
        with torch.no_grad():
            module[0].bias[1] = -100.0
        scores = scores_of(module, samples())
        assert (scores["0"][1] == 0).all()
        assert (scores["2"][:, 1] == 0).all()
        assert (scores["0"][[0, 2, 3, 4]] > 0).all()


LOSSES = {
    "squared error": (nn.MSELoss(), lambda y, t: F.mse_loss(y, t, reduction="none").mean(1)),
    "absolute error": (nn.L1Loss(), lambda y, t: (y - t).abs().mean(1)),
    "cross-entropy": (nn.CrossEntropyLoss(), lambda y, t: -torch.log_softmax(y, 1)[range(31), t]),
}


class TestMethodsOfTheLoss:
    def gradients(self, module, X, y, loss, weights):
        weights = torch.ones(len(X)).double() if weights is None else weights
        total = (LOSSES[loss][1](module(X), y) * weights).sum() / weights.sum()
        grads = torch.autograd.grad(total, [module[0].weight, module[2].weight])
        return dict(zip(("0", "2"), grads, strict=True))

    def targets(self, loss):
        generator = torch.Generator().manual_seed(2)
        if loss == "cross-entropy":
            return torch.randint(0, 3, (31,), generator=generator)
        return torch.randn(31, 3, generator=generator, dtype=torch.float64)

    @pytest.mark.parametrize("weighted", [False, True])
    @pytest.mark.parametrize("batch_size", [8, 512])
    @pytest.mark.parametrize("loss", sorted(LOSSES))
    def test_gradient_and_taylor_equal_autograd(self, loss, batch_size, weighted):
        module, X, y = network(), samples(), self.targets(loss)
        weights = torch.rand(31, dtype=torch.float64) if weighted else None
        expected = self.gradients(module, X, y, loss, weights)
        for method in ("gradient", "taylor"):
            found = scores_of(
                module,
                X,
                y,
                method,
                loss=LOSSES[loss][0],
                sample_weight=weights,
                batch_size=batch_size,
            )
            for name, gradient in expected.items():
                factor = 1 if method == "gradient" else module.get_parameter(f"{name}.weight")
                torch.testing.assert_close(found[name], (gradient * factor).abs().detach())

    @pytest.mark.parametrize("loss", ["squared error", "cross-entropy"])
    def test_the_kind_of_targets_chooses_the_loss(self, loss):
        module, X, y = network(), samples(), self.targets(loss)
        found = scores_of(module, X, y.numpy(), "gradient")
        for name, gradient in self.gradients(module, X, y, loss, None).items():
            torch.testing.assert_close(found[name], gradient.abs())

    def test_a_vector_of_targets_fits_a_single_output(self):
        module, X = network(n_outputs=1), samples()
        y = X.sum(1)
        column = scores_of(module, X, y[:, None], "gradient")
        vector = scores_of(module, X, y, "gradient")
        assert all(torch.equal(column[name], vector[name]) for name in column)

    @pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.int32, bool])
    def test_labels_may_have_any_integer_dtype(self, dtype):
        module, X = network(n_outputs=2), samples()
        labels = (X[:, 0] > 0).numpy()
        expected = scores_of(module, X, labels.astype(np.int64), "gradient")
        found = scores_of(module, X, labels.astype(dtype), "gradient")
        assert all(torch.equal(found[name], expected[name]) for name in found)

    @pytest.mark.parametrize(
        "loss",
        [
            nn.MSELoss(reduction="sum"),
            nn.MSELoss(reduction="none"),
            nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0, 0.1], dtype=torch.float64)),
        ],
        ids=["sum", "none", "class weights"],
    )
    def test_the_batch_size_does_not_matter(self, loss):
        module, X = network(), samples()
        y = self.targets("cross-entropy" if isinstance(loss, nn.CrossEntropyLoss) else "squared")
        whole = scores_of(module, X, y, "gradient", loss=loss)
        parts = scores_of(module, X, y, "gradient", loss=loss, batch_size=8)
        for name in whole:
            torch.testing.assert_close(parts[name], whole[name])

    def test_a_statistic_of_the_user_gets_the_same_gradient(self):
        class SummedGradient(Statistic):
            needs = Need.LOSS_GRADIENT

            def __init__(self, layer):
                self.total = torch.zeros(layer.weight.shape, dtype=torch.float64)

            def update(self, batch):
                self.total += batch.loss_gradient

            def merge(self, other):
                self.total += other.total

        class BySummedGradient(Criterion):
            requires = (SummedGradient,)

            def score(self, weight, statistics, generator):
                return statistics[SummedGradient].total.abs()

        module, X, y = network(), samples(), self.targets("squared error")
        found = scores_of(module, X, y, BySummedGradient())
        for name, gradient in self.gradients(module, X, y, "squared error", None).items():
            torch.testing.assert_close(found[name], 31 * gradient.abs())


class TestWithoutData:
    def test_magnitude(self):
        module = network()
        scores = scores_of(module, None, method="magnitude")
        for name in ("0", "2"):
            assert torch.equal(scores[name], module.get_parameter(f"{name}.weight").abs())

    def test_random_is_uniform_and_reproducible(self):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(100, 100))
        first, again, other = (
            scores_of(module, None, method="random", random_state=seed)["0"] for seed in (3, 3, 4)
        )
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        quantiles = torch.quantile(first.flatten(), torch.linspace(0, 1, 11).double())
        torch.testing.assert_close(quantiles, torch.linspace(0, 1, 11).double(), atol=0.02, rtol=0)

    def test_random_takes_a_random_state_that_moves_on(self):
        state = np.random.RandomState(0)
        first, second = (
            scores_of(network(), None, method="random", random_state=state) for _ in range(2)
        )
        assert not torch.equal(first["0"], second["0"])


METRICS = ["identity", "fisher"]
every_metric = pytest.mark.parametrize("metric", METRICS)


def weighted(n=31, seed=2):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, generator=generator, dtype=torch.float64) + 0.1


class TestOptimalBrainDamage:
    @every_metric
    @pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
    def test_is_the_linearised_error_of_leaving_a_weight_out(
        self, metric, activation, measured_jacobians
    ):
        module, X, w = network(activation), samples(), weighted()
        found = scores_of(module, X, None, "obd", sample_weight=w, output_metric=metric)
        jacobian = measured_jacobians(module, X, sample_weight=w, metric=metric)
        for name, score in found.items():
            change = jacobian[name][:, :, :-1] * module.get_submodule(name).weight.detach()
            torch.testing.assert_close(score, change.square().sum(0), rtol=1e-9, atol=1e-15)

    def test_a_far_offset_costs_no_digits_that_matter(self):
        module, X = network(), samples() + 1e5
        layer = nn.Sequential(module[0])
        expected = module[0].weight.detach().square() * X.square().mean(0)
        torch.testing.assert_close(scores_of(layer, X, None, "obd")["0"], expected)


class TestWeightTimesInput:
    def test_is_the_formula(self):
        module, X, w = network(), samples(), weighted()
        found = scores_of(module, X, None, "wanda", sample_weight=w, batch_size=7)
        inputs = {"0": X, "2": torch.tanh(module[0](X))}
        for name, a in inputs.items():
            norm = np.sqrt(np.average(a.detach().numpy() ** 2, axis=0, weights=w.numpy()))
            weight = module.get_submodule(name).weight.detach().numpy()
            np.testing.assert_allclose(found[name], np.abs(weight) * norm, rtol=1e-12)


class TestLayerAdaptiveMagnitude:
    @given(seed=seeds)
    def test_is_the_double_loop(self, seed):
        W = torch.randn(4, 6, generator=torch.Generator().manual_seed(seed)).double()
        found = scores_of(nn.Sequential(holding(W)), None, method="lamp")["0"]
        for i, j in np.ndindex(4, 6):
            at_least = sum(float(u) ** 2 for u in W.flatten() if abs(u) >= abs(W[i, j]))
            assert float(found[i, j]) == pytest.approx(float(W[i, j]) ** 2 / at_least)

    def test_keeps_the_order_of_the_magnitudes_and_ends_at_one(self):
        W = network()[0].weight.detach()
        scores = scores_of(nn.Sequential(holding(W)), None, method="lamp")["0"].flatten()
        assert torch.equal(scores.argsort(), W.abs().flatten().argsort())
        assert scores.max() == 1

    def test_removed_weights_and_layers_of_zeros_score_nothing(self):
        W = torch.tensor([[0.0, 2.0, 0.0, 1.0]]).double()
        scores = scores_of(nn.Sequential(holding(W)), None, method="lamp")["0"]
        torch.testing.assert_close(scores, torch.tensor([[0.0, 1.0, 0.0, 0.2]]).double())
        scores = scores_of(nn.Sequential(holding(0 * W)), None, method="lamp")["0"]
        assert not scores.any()


def holding(weight):
    layer = nn.Linear(*reversed(weight.shape)).double()
    with torch.no_grad():
        layer.weight.copy_(weight)
    return layer


ACTIVATIONS = [nn.Tanh, nn.ReLU, nn.GELU]
EXACTLY = {"method_params": {"damping": 1e-10}}


def surgery(jacobian, weight, kept):
    """For each kept weight the least squares of the others of its row and of the bias."""
    scores = np.zeros(weight.shape)
    for i, j in np.argwhere(kept.numpy()):
        A = jacobian[:, i].numpy()
        lost = A[:, j] * weight[i, j].item()
        others = [*(u for u in np.flatnonzero(kept[i]) if u != j), weight.shape[1]]
        change = np.linalg.lstsq(A[:, others], lost)[0]
        scores[i, j] = np.square(lost - A[:, others] @ change).sum()
    return torch.from_numpy(scores)


class Recorded(CRITERIA["surgeon"]):
    """Keeps the scores of each layer in each step."""

    def __init__(self):
        super().__init__(damping=1e-10)
        self.scores = []

    def score(self, weight, statistics, generator):
        self.scores.append(super().score(weight, statistics, generator))
        return self.scores[-1]


class TestSurgeon:
    @every_metric
    @pytest.mark.parametrize("activation", ACTIVATIONS)
    def test_is_the_least_error_over_the_rest_of_the_row(
        self, metric, activation, measured_jacobians
    ):
        module, X, w = network(activation), samples(), weighted()
        found = scores_of(
            module, X, None, "surgeon", sample_weight=w, output_metric=metric, **EXACTLY
        )
        jacobian = measured_jacobians(module, X, sample_weight=w, metric=metric)
        for name, score in found.items():
            weight = module.get_submodule(name).weight.detach()
            expected = surgery(jacobian[name], weight, torch.ones_like(weight, dtype=torch.bool))
            torch.testing.assert_close(score, expected, rtol=1e-5, atol=1e-8 * expected.max())

    def test_needs_no_bias_that_is_there_already(self, measured_jacobians):
        module, X = network(), samples() + 0.5
        for layer in (module[0], module[2]):
            layer.bias = None
        found = scores_of(module, X, None, "surgeon", **EXACTLY)
        for name, jacobian in measured_jacobians(module, X).items():
            weight = module.get_submodule(name).weight.detach()
            expected = surgery(jacobian, weight, torch.ones_like(weight, dtype=torch.bool))
            torch.testing.assert_close(found[name], expected, rtol=1e-5, atol=1e-9)

    @every_metric
    def test_what_went_in_an_earlier_step_does_not_come_back_to_help(
        self, metric, measured_jacobians
    ):
        module, X = network(), samples()
        between, record = [], Recorded()
        prune(
            module, X, pruning_ratio=0.6, n_steps=2, method=record, output_metric=metric,
            after_step=lambda module, masks: between.append((copy.deepcopy(module), masks)),
        )  # fmt: skip
        ((half, masks),) = between
        jacobian = measured_jacobians(half, X, metric=metric)
        for name, score in zip(masks, record.scores[2:], strict=True):
            assert not masks[name].all()
            expected = surgery(jacobian[name], half.get_submodule(name).weight, masks[name])
            torch.testing.assert_close(score, expected, rtol=1e-5, atol=1e-8 * expected.max())

    @given(seed=seeds, fisher=st.booleans())
    def test_the_more_may_move_the_smaller_the_error(self, seed, fisher):
        module, X = network(nn.SiLU, seed=seed), samples(seed=seed)
        kwargs = {"sample_weight": weighted(seed=seed), "output_metric": METRICS[fisher]}
        damage = scores_of(module, X, None, "obd", **kwargs)
        bias = scores_of(module, X, None, "ec", **kwargs)
        row = scores_of(module, X, None, "surgeon", **EXACTLY, **kwargs)
        for name in damage:
            slack = 1e-8 * damage[name].max()
            assert (row[name] <= bias[name] + slack).all()
            assert (bias[name] <= damage[name] + slack).all()
            assert row[name].sum() < bias[name].sum() < damage[name].sum()

    def test_with_a_single_input_only_the_bias_may_move(self):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(1, 1), nn.Tanh(), nn.Linear(1, 2)).double()
        X = samples()[:, :1]
        row, bias = (scores_of(module, X, None, *method) for method in [("surgeon",), ("ec",)])
        expected = scores_of(module, X, None, "surgeon", **EXACTLY)
        for name in bias:
            torch.testing.assert_close(expected[name], bias[name], rtol=1e-4, atol=1e-12)
            assert (row[name] >= bias[name]).all()  # damping holds the bias back

    def test_dead_units_and_copied_inputs_cost_nothing(self):
        module, X = network(nn.ReLU), samples()
        with torch.no_grad():
            module[0].bias[1] = -100.0
        X[:, 3] = X[:, 0] - 2 * X[:, 1]
        scores = scores_of(module, X, None, "surgeon", method_params={"damping": 1e-12})
        assert (scores["0"][1] < 1e-20).all()
        assert (scores["2"][:, 1] < 1e-9).all()
        assert (scores["0"][:, [0, 1, 3]] < 1e-6).all()
        assert (scores["0"][[0, 2, 3, 4], 2] > 1e-6).all()

    @pytest.mark.parametrize("max_memory", [0, 1000])
    def test_little_memory_changes_nothing(self, max_memory):
        module, X = network(), samples(150)
        expected = scores_of(module, X, None, "surgeon")
        params = {"max_memory": max_memory}
        found = scores_of(module, X, None, "surgeon", method_params=params)
        for name in expected:
            torch.testing.assert_close(found[name], expected[name], rtol=1e-9, atol=1e-15)


def exact_error(module, X, name, i, j, w, metric, shift):
    """The true error of removing a weight and moving the bias of its unit by ``shift``."""
    changed = copy.deepcopy(module)
    layer = changed.get_submodule(name)
    with torch.no_grad():
        layer.weight[i, j] = 0.0
        layer.bias[i] += shift
        change = (changed(X) - module(X)).numpy()
        p = torch.softmax(module(X), 1).numpy()
    errors = np.square(change).sum(1)
    if metric == "fisher":
        errors = (p * change**2).sum(1) - (p * change).sum(1) ** 2
    return np.average(errors, weights=w)


class TestExactEliminationCompensation:
    @every_metric
    @pytest.mark.parametrize("activation", [nn.Tanh, nn.SiLU])
    def test_is_the_least_true_error_over_the_bias(self, metric, activation):
        module, X, w = network(activation, n_outputs=2), samples(), weighted()
        with torch.no_grad():
            module[0].weight.mul_(2.0)  # far from linear
        kwargs = {"sample_weight": w, "output_metric": metric}
        shifts = Shifts()
        prune(module, X, pruning_ratio=0.1, method="ec_exact", compensation=shifts, **kwargs)
        scores = scores_of(module, X, None, "ec_exact", **kwargs)
        for k, (name, score) in enumerate(scores.items()):
            for i, j in np.ndindex(*score.shape):
                best = minimize_scalar(
                    lambda shift, at=(name, i, j): exact_error(module, X, *at, w, metric, shift),
                    bracket=(-0.1, 0.1),
                    tol=1e-8,
                )
                assert float(score[i, j]) == pytest.approx(best.fun, rel=1e-5, abs=1e-12)
                if best.fun > 1e-6:
                    assert float(shifts.found[k][i, j]) == pytest.approx(best.x, rel=0.02, abs=2e-3)

    def test_differs_from_the_linearised_one_where_the_network_bends(self):
        module, X = network(), samples()
        with torch.no_grad():
            module[0].weight.mul_(2.0)
        exact, linear = (scores_of(module, X, None, method) for method in ("ec_exact", "ec"))
        assert not torch.allclose(exact["0"], linear["0"], rtol=0.1)
        torch.testing.assert_close(exact["2"], linear["2"])  # the last layer does not bend

    @every_metric
    def test_is_the_linearised_one_in_a_linear_network(self, metric):
        module, X = network(nn.Identity), samples()
        exact, linear = (
            scores_of(module, X, None, method, sample_weight=weighted(), output_metric=metric)
            for method in ("ec_exact", "ec")
        )
        for name in linear:
            torch.testing.assert_close(exact[name], linear[name], rtol=1e-6, atol=1e-14)

    def test_removed_weights_and_dead_units_cost_nothing(self):
        module, X = network(nn.ReLU), samples()
        with torch.no_grad():
            module[0].weight[0, 0] = 0.0
            module[0].bias[1] = -100.0
        scores = scores_of(module, X, None, "ec_exact")
        assert scores["0"][0, 0] == 0
        assert (scores["0"][1] == 0).all()
        assert (scores["2"][:, 1] == 0).all()
        assert (scores["0"][2] > 0).all()

    def test_networks_that_are_too_large_are_refused_before_any_work(self):
        class Idle(nn.Sequential):
            def forward(self, X):
                assert len(X) < 100, "it ran on more than a few samples"
                return super().forward(X)

        module, X = Idle(nn.Linear(1000, 100)), torch.zeros(400, 1000)
        with pytest.raises(ValueError, match=r"100,000 weights on 400 samples .*method='ec'"):
            prune(module, X, pruning_ratio=0.5, method="ec_exact")


class Shifts(Compensation):
    """Keeps the best shifts of the bias."""

    requires = (ExactElimination,)

    def __init__(self):
        self.found = []

    def apply(self, weight, bias, removed, statistics):
        self.found.append(statistics[ExactElimination].shift)
        return weight, bias


class FromTheRight(Criterion):
    """Removes the columns from the left to the right."""

    def score(self, weight, statistics, generator):
        return torch.arange(weight.shape[1]).expand_as(weight).double()


class TestOwnCriteria:
    def test_an_object_takes_the_place_of_a_name(self):
        result = prune(nn.Sequential(nn.Linear(4, 3)), pruning_ratio=0.5, method=FromTheRight())
        assert torch.equal(result.masks["0"], torch.tensor([[False, False, True, True]] * 3))
        assert result.predicted_error is None
        assert "predicted_error" not in result.report[0]

    def test_a_name_makes_it_known(self, registries):
        class Named(FromTheRight):
            name = "from_the_right"

        assert isinstance(CRITERIA.make("from_the_right"), Named)
        module = nn.Sequential(nn.Linear(4, 3))
        by_name = prune(module, pruning_ratio=0.4, method="from_the_right")
        by_object = prune(module, pruning_ratio=0.4, method=FromTheRight())
        assert torch.equal(by_name.masks["0"], by_object.masks["0"])

    def test_one_without_a_name_stays_unknown(self):
        assert FromTheRight not in CRITERIA.values()

    def test_a_subclass_does_not_take_the_name_of_its_parent(self, registries):
        parent = CRITERIA["magnitude"]

        class Squared(parent):
            def score(self, weight, statistics, generator):
                return weight.square()

        assert CRITERIA["magnitude"] is parent

    def test_its_own_compensation_is_taken(self):
        class Compensated(FromTheRight):
            compensation = "bias"

        module, X = network(), samples()
        default = prune(module, X, pruning_ratio=0.5, method=Compensated()).module
        explicit = prune(
            module, X, pruning_ratio=0.5, method=FromTheRight(), compensation="bias"
        ).module
        assert not torch.equal(default[0].bias, module[0].bias)
        assert torch.equal(default[0].bias, explicit[0].bias)

    @pytest.mark.parametrize(
        "score",
        [lambda w: w[:, :1], lambda w: w * torch.nan, lambda w: w.abs() / 0.0],
        ids=["shape", "nan", "infinity"],
    )
    def test_scores_must_be_finite_and_in_the_shape_of_the_weight(self, score):
        class Broken(Criterion):
            def score(self, weight, statistics, generator):
                return score(weight)

        with pytest.raises(ValueError, match="scores of layer '0'"):
            prune(network(), pruning_ratio=0.5, method=Broken())


@pytest.mark.parametrize(("method", "metric"), [("ec", "fisher"), ("surgeon", "identity")])
def test_the_automatic_metric_follows_the_loss_unless_the_criterion_has_its_own(method, metric):
    module, X = network(), samples()
    automatic = scores_of(module, X, method=method, loss=nn.CrossEntropyLoss())
    explicit = scores_of(module, X, method=method, output_metric=metric)
    assert all(torch.equal(automatic[name], explicit[name]) for name in explicit)


@pytest.mark.parametrize("method", ["EC", "", None, 3, Criterion, CRITERIA["ec"], ["ec"]])
def test_an_unknown_method_lists_the_known_ones(method):
    with pytest.raises(
        ValueError, match=r"Choose one of \['ec', 'ec_exact', 'ec_network', 'gradient'"
    ):
        CRITERIA.make(method)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_that_are_zero_up_to_rounding_are_zero(dtype):
    """The bias makes up for any weight of a unit that is active for one sample."""
    generator = torch.Generator().manual_seed(0)
    X = torch.rand(40, 30, generator=generator, dtype=dtype)
    network = nn.Sequential(nn.Linear(30, 20), nn.ReLU(), nn.Linear(20, 1)).to(dtype)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=dtype))
        z = network[0](X) - network[0].bias
        first, second = z.topk(2, dim=0).values
        network[0].bias.copy_(-(first + second) / 2)  # above zero for the largest alone
        assert ((network[0](X) > 0).sum(0) == 1).all()
    result = prune(network, X, pruning_ratio=0.5, method="ec", n_steps=1)
    assert result.scores["0"].count_nonzero() == 0
