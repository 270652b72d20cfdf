import copy
import time
import warnings
from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import skec
from skec import PrunedMLPRegressor, PruningWarning, prune
from skec.allocation import SCHEDULES, Schedule, Scope, at_once
from skec.compensation import COMPENSATIONS, Compensation
from skec.criteria import CRITERIA, Criterion


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.outer, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        h = x + torch.tanh(self.inner(x))
        return self.last(h * torch.sigmoid(self.outer(h)))


class WithState(Residual):
    def forward(self, x):
        return super().forward(x), "state"


class Image(nn.Module):
    """A convolution before and a matrix of outputs after the linear layers."""

    def __init__(self):
        super().__init__()
        self.convolution, self.layer = nn.Conv1d(1, 2, 3), nn.Linear(4, 6)

    def forward(self, x):
        h = torch.relu(self.convolution(x[:, None])).flatten(1)
        return self.layer(h).reshape(-1, 2, 3)


def mlp(*widths, activation=nn.Tanh, bias=True):
    layers = []
    for n_in, n_out in pairwise(widths):
        layers += [nn.Linear(n_in, n_out, bias=bias), activation()]
    return nn.Sequential(*layers[:-1])


def normalised(kind):
    module = nn.Sequential(
        nn.Linear(4, 5), kind(5), nn.Dropout(0.5), nn.ReLU(), nn.Linear(5, 3), kind(3)
    )
    for layer in module:
        if isinstance(layer, nn.BatchNorm1d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2.0)
        if isinstance(layer, kind):
            nn.init.normal_(layer.weight)
    return module


ACTIVATIONS = [nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.ELU, nn.LeakyReLU, nn.Identity]
NETWORKS = {
    **{kind.__name__: lambda kind=kind: mlp(4, 7, 5, 3, activation=kind) for kind in ACTIVATIONS},
    "one layer": lambda: mlp(4, 2),
    "one output": lambda: mlp(4, 6, 1),
    "deep": lambda: mlp(4, 5, 5, 5, 5, 2),
    "no bias": lambda: mlp(4, 5, 5, 3, bias=False),
    "in place": lambda: mlp(4, 6, 5, 3, activation=lambda: nn.ReLU(inplace=True)),
    "batch norm": lambda: normalised(nn.BatchNorm1d),
    "layer norm": lambda: normalised(nn.LayerNorm),
    "residual": Residual,
    "tuple": WithState,
    "image": Image,
}


def network(name="Tanh", dtype=torch.float64, seed=0):
    torch.manual_seed(seed)
    return NETWORKS[name]().to(dtype)


def samples(n=23, n_features=4, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, n_features, generator=generator, dtype=torch.float64) * 1.5 + 0.3


def n_removed(result):
    return sum(int((~mask).sum()) for mask in result.masks.values())


def assert_close(found, expected, **kwargs):
    assert list(found) == list(expected)
    for name in found:
        torch.testing.assert_close(found[name], expected[name], **kwargs)


def assert_equal(found, expected):
    assert_close(found, expected, rtol=0, atol=0)


TIGHT = {"rtol": 1e-6, "atol": 1e-15}


class TestScoresOfEliminationCompensation:
    """Against the definition, with the Jacobian of every sample."""

    @pytest.mark.parametrize("weighted", [False, True])
    @pytest.mark.parametrize("name", sorted(NETWORKS))
    def test_equal_the_definition(self, name, weighted, elimination_compensation):
        module, X = network(name), samples(n_features=4)
        w = torch.rand(len(X), dtype=torch.float64) if weighted else None
        # autograd forbids writing in place under vmap
        plain = network("ReLU") if name == "in place" else module
        if name == "in place":
            module = mlp(4, 7, 5, 3, activation=lambda: nn.ReLU(inplace=True)).double()
            module.load_state_dict(plain.state_dict())
        expected, _ = elimination_compensation(plain, X, w)
        result = prune(module, X, pruning_ratio=0, sample_weight=w, batch_size=7)
        assert_close(result.scores, expected, **TIGHT)

    @pytest.mark.parametrize("name", ["Tanh", "ReLU", "residual", "tuple", "batch norm"])
    @pytest.mark.parametrize(
        "choice", [{"output_metric": "fisher"}, {"loss": nn.CrossEntropyLoss()}]
    )
    def test_equal_the_definition_with_the_fisher_metric(
        self, name, choice, elimination_compensation
    ):
        module, X = network(name), samples()
        expected, _ = elimination_compensation(module, X, metric="fisher")
        assert_close(prune(module, X, pruning_ratio=0, **choice).scores, expected, **TIGHT)

    @pytest.mark.parametrize("choice", [{}, {"loss": nn.MSELoss()}])
    def test_measure_the_outputs_themselves_by_default(self, choice, elimination_compensation):
        module, X = network(), samples()
        expected, _ = elimination_compensation(module, X)
        assert_close(prune(module, X, pruning_ratio=0, **choice).scores, expected, **TIGHT)
        explicit = prune(
            module, X, pruning_ratio=0, loss=nn.CrossEntropyLoss(), output_metric="identity"
        )
        assert_close(explicit.scores, expected, **TIGHT)

    @pytest.mark.parametrize("layers", [["0"], ["4", "2"], "2"])
    def test_of_some_layers_are_those_of_all(self, layers, elimination_compensation):
        module, X = network(), samples()
        expected, _ = elimination_compensation(module, X)
        result = prune(module, X, pruning_ratio=0.5, layers=layers)
        chosen = {name: score for name, score in expected.items() if name in layers}
        assert_close(result.scores, chosen, **TIGHT)
        assert n_removed(result) == round(0.5 * sum(s.numel() for s in chosen.values()))
        for name in set(expected) - set(chosen):
            before, after = module.get_submodule(name), result.module.get_submodule(name)
            assert_equal(after.state_dict(), before.state_dict())

    @pytest.mark.parametrize("name", ["Tanh", "SiLU", "batch norm"])
    def test_in_single_precision_are_close(self, name):
        module, X = network(name, torch.float32), samples(600)
        single = prune(module, X, pruning_ratio=0)
        double = prune(copy.deepcopy(module).double(), X, pruning_ratio=0)
        assert all(score.dtype == torch.float64 for score in single.scores.values())
        assert_close(single.scores, double.scores, rtol=1e-4, atol=1e-9)

    def test_ignore_dropout_and_the_batch(self):
        module, X = network("batch norm"), samples()
        training = prune(module.train(), X, pruning_ratio=0).scores
        assert_equal(prune(module.eval(), X, pruning_ratio=0).scores, training)

    def test_do_not_depend_on_gradients_being_on(self):
        module, X = network(), samples()
        expected = prune(module, X, pruning_ratio=0).scores
        with torch.no_grad():
            assert_equal(prune(module, X, pruning_ratio=0).scores, expected)
        for parameter in module.parameters():
            parameter.requires_grad_(False)
        assert_equal(prune(module, X, pruning_ratio=0).scores, expected)

    def test_scale_with_the_square_of_the_outputs(self):
        module, X = network(), samples()
        scaled = copy.deepcopy(module)
        with torch.no_grad():
            scaled[4].weight.mul_(3.0)
        expected = prune(module, X, pruning_ratio=0).scores
        found = prune(scaled, X, pruning_ratio=0).scores
        assert_close(found, {name: 9 * score for name, score in expected.items()}, **TIGHT)


class ScoresOf(CRITERIA["ec"]):
    """The usual scores, but all weights except one are out of reach."""

    def __init__(self, weight):
        self.weight = weight.detach()

    def score(self, weight, statistics, generator):
        scores = super().score(weight, statistics, generator)
        within_reach = torch.zeros_like(scores, dtype=torch.bool)
        if weight.shape == self.weight.shape and torch.equal(weight, self.weight):
            within_reach[1, 2] = True
        return torch.where(within_reach, scores, 1e9)


class TestRecommendedSteps:
    @pytest.mark.parametrize(
        ("arguments", "n_steps"),
        [
            ({}, 5),
            ({"method": "surgeon", "compensation": "none"}, 15),
            ({"method": "magnitude"}, 1),
            ({"method": "magnitude", "compensation": "network"}, 15),
            ({"method": "ec", "granularity": "neuron"}, 5),
            ({"method": "elimination", "granularity": "neuron"}, 1),
        ],
    )
    def test_auto_takes_as_many_as_the_method_recommends(self, arguments, n_steps):
        kwargs = {"pruning_ratio": 0.5} | arguments
        automatic = prune(network(), samples(), **kwargs)
        explicit = prune(network(), samples(), n_steps=n_steps, **kwargs)
        assert automatic.n_steps == explicit.n_steps == n_steps
        for left, right in zip(
            automatic.module.parameters(), explicit.module.parameters(), strict=True
        ):
            assert torch.equal(left, right)


class TestPredictedError:
    @pytest.mark.parametrize("ratio", [0.1, 0.5])
    def test_is_the_sum_of_the_scores_removed(self, ratio, elimination_compensation):
        module, X = network(), samples()
        expected, _ = elimination_compensation(module, X)
        result = prune(module, X, n_steps=1, pruning_ratio=ratio)
        by_layer = {n: float(expected[n][~mask].sum()) for n, mask in result.masks.items()}
        assert result.predicted_error == pytest.approx(sum(by_layer.values()), rel=1e-6)
        for row in result.report:
            assert row["predicted_error"] == pytest.approx(by_layer[row["layer"]], rel=1e-6)

    def test_of_one_weight_is_the_linearised_error(self, jacobians):
        module, X = network(), samples()
        result = prune(module, X, pruning_ratio=1 / 78)
        assert n_removed(result) == 1
        jacobian, change = jacobians(module, X), 0.0
        before, after = dict(module.named_parameters()), dict(result.module.named_parameters())
        for name, derivative in jacobian.items():
            step = (after[name] - before[name]).detach()
            change = change + derivative.flatten(2) @ step.flatten()
        assert result.predicted_error == pytest.approx(
            float(change.square().sum(1).mean()), rel=1e-6
        )

    @pytest.mark.parametrize("name", ["Tanh", "GELU", "residual"])
    def test_of_a_small_weight_is_the_true_error(self, name):
        module, X = network(name), samples(200)
        weight = next(module.parameters())
        n_weights = sum(p.numel() for p in module.parameters() if p.ndim == 2)
        ratios = []
        for size in (1e-1, 1e-2, 1e-3):
            with torch.no_grad():
                weight[1, 2] = size
            result = prune(module, X, pruning_ratio=1 / n_weights, method=ScoresOf(weight))
            (first, *_) = result.masks.values()
            assert not first[1, 2]
            error = (result.module(X) - module(X)).square().sum(1).mean()
            ratios.append(float(error.detach()) / result.predicted_error)
        assert ratios[-1] == pytest.approx(1, abs=1e-2)
        assert abs(ratios[-1] - 1) < abs(ratios[0] - 1)

    def test_is_none_for_scores_that_are_no_errors(self):
        assert prune(network(), pruning_ratio=0.5, method="magnitude").predicted_error is None


def state_of(module):
    """Everything about a module that pruning must leave alone."""
    return (
        {name: (id(p), p.requires_grad, p.grad) for name, p in module.named_parameters()},
        {name: (id(m), m.training) for name, m in module.named_modules()},
        [len(hooks) for m in module.modules() for k, hooks in vars(m).items() if "hooks" in k],
    )


class Raises(Criterion):
    requires = CRITERIA["ec"].requires

    def score(self, weight, statistics, generator):
        raise KeyError("on purpose")


class TestPurity:
    @pytest.mark.parametrize(
        "method", ["ec", "taylor", "random", Raises()], ids=["ec", "taylor", "random", "raises"]
    )
    @pytest.mark.parametrize("training", [False, True])
    def test_the_network_stays_as_it_was(self, method, training):
        module, X = network("batch norm").train(training), samples()
        module[0].weight.requires_grad_(False)
        module[4].register_forward_hook(lambda *arguments: None)
        before, values = state_of(module), copy.deepcopy(module.state_dict())
        try:
            prune(module, X, torch.zeros(23, 3), pruning_ratio=0.5, method=method, n_steps=2)
        except KeyError:
            assert isinstance(method, Raises)
        assert state_of(module) == before
        assert_equal(module.state_dict(), values)

    @pytest.mark.parametrize("kind", ["tensor", "array"])
    @pytest.mark.parametrize("name", ["Tanh", "in place", "in place first"])
    def test_the_data_stay_as_they_were(self, kind, name):
        module = network(name) if name in NETWORKS else nn.Sequential(nn.ReLU(True), network())
        data = [samples(), torch.zeros(23, 3).double(), torch.rand(23).double()]
        before = copy.deepcopy(data)
        X, y, w = data if kind == "tensor" else [part.numpy() for part in data]
        for method in ("ec", "taylor"):
            prune(module, X, y, sample_weight=w, pruning_ratio=0.5, method=method)
        assert all(map(torch.equal, data, before))

    def test_a_network_that_writes_over_its_inputs_sees_them_anew_in_every_step(self):
        plain, in_place = (nn.Sequential(nn.ELU(inplace=kind), network()) for kind in (False, True))
        expected, found = (
            prune(module, samples(), pruning_ratio=0.6, n_steps=3) for module in (plain, in_place)
        )
        assert_equal(found.masks, expected.masks)
        assert_close(found.module.state_dict(), expected.module.state_dict())

    def test_the_global_random_numbers_stay_as_they_were(self):
        module, X = network(), samples()
        np.random.seed(0)  # noqa: NPY002
        expected = np.random.rand(), torch.get_rng_state()  # noqa: NPY002
        np.random.seed(0)  # noqa: NPY002
        prune(module, X, pruning_ratio=0.5, random_state=0)
        assert np.random.rand() == expected[0]  # noqa: NPY002
        assert torch.equal(torch.get_rng_state(), expected[1])

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_the_result_is_a_copy_in_the_dtype_of_the_network(self, dtype):
        module = network("no bias", dtype)
        pruned = prune(module, samples(), pruning_ratio=0.5).module
        assert type(pruned) is type(module)
        assert {p.dtype for p in pruned.parameters()} == {dtype}
        addresses = [{p.data_ptr() for p in m.parameters()} for m in (module, pruned)]
        assert not addresses[0] & addresses[1]
        assert not any(m._forward_hooks for m in pruned.modules())

    def test_the_result_keeps_flags_hooks_and_modes(self):
        module = network("batch norm").train()
        module[1].eval()
        module[0].weight.requires_grad_(False)
        module[4].register_forward_hook(lambda *arguments: None)
        pruned = prune(module, samples(), pruning_ratio=0.5).module
        assert [m.training for m in pruned.modules()] == [m.training for m in module.modules()]
        assert [p.requires_grad for p in pruned.parameters()] == [
            p.requires_grad for p in module.parameters()
        ]
        assert [len(m._forward_hooks) for m in pruned] == [len(m._forward_hooks) for m in module]

    @pytest.mark.parametrize("name", ["Tanh", "batch norm", "residual", "image"])
    def test_weights_that_stay_keep_their_values(self, name):
        module = network(name, torch.float32)
        result = prune(module, samples(), pruning_ratio=0.5)
        for layer, mask in result.masks.items():
            before = module.get_submodule(layer).weight
            assert torch.equal(result.module.get_submodule(layer).weight, before * mask)
        touched = {f"{name}.{kind}" for name in result.masks for kind in ("weight", "bias")}
        for key, value in module.state_dict().items():
            if key not in touched:
                assert torch.equal(result.module.state_dict()[key], value)

    def test_the_same_call_gives_the_same_result(self):
        module, X = network(), samples()
        first, again = (prune(module, X, pruning_ratio=0.7, n_steps=3) for _ in range(2))
        assert_equal(first.module.state_dict(), again.module.state_dict())


SCOPES = ["global", "layer", "row"]


class TestRatio:
    @given(
        widths=st.lists(st.integers(1, 6), min_size=2, max_size=4),
        ratio=st.floats(0, 0.99),
        scope=st.sampled_from(SCOPES),
        method=st.sampled_from(["ec", "magnitude"]),
        n_steps=st.integers(1, 3),
    )
    @pytest.mark.filterwarnings("ignore::skec.PruningWarning")
    def test_is_met_to_one_weight(self, widths, ratio, scope, method, n_steps):
        torch.manual_seed(0)
        module, X = mlp(*widths), samples(9, widths[0])
        result = prune(module, X, pruning_ratio=ratio, scope=scope, method=method, n_steps=n_steps)
        n_weights = sum(mask.numel() for mask in result.masks.values())
        assert abs(n_removed(result) - ratio * n_weights) <= 0.5 + 1e-9
        assert result.sparsity == n_removed(result) / n_weights
        assert sum(row["weights_left"] for row in result.report) == n_weights - n_removed(result)

    @given(drawn=st.lists(st.floats(0, 0.99), min_size=3, max_size=3), n_steps=st.integers(1, 3))
    @pytest.mark.filterwarnings("ignore::skec.PruningWarning")
    def test_of_each_layer_is_met_to_one_weight(self, drawn, n_steps):
        ratios = dict(zip(("0", "2", "4"), drawn, strict=True))
        result = prune(network(), samples(), pruning_ratio=0, scope=ratios, n_steps=n_steps)
        for name, mask in result.masks.items():
            assert abs(int((~mask).sum()) - ratios[name] * mask.numel()) <= 0.5 + 1e-9

    def test_layers_without_a_ratio_stay_whole(self):
        masks = prune(network(), samples(), pruning_ratio=0, scope={"2": 0.5}).masks
        assert masks["0"].all()
        assert masks["4"].all()
        assert not masks["2"].all()

    def test_of_zero_changes_nothing(self):
        module, X = network(), samples()
        result = prune(module, X, pruning_ratio=0)
        assert_equal(result.module.state_dict(), module.state_dict())
        assert result.sparsity == result.predicted_error == 0

    @pytest.mark.parametrize("ratio", [np.float32(0.5), np.float64(0.5), 0.5])
    def test_may_be_a_number_of_numpy(self, ratio):
        assert prune(network(), pruning_ratio=ratio, method="magnitude").sparsity == 0.5

    @pytest.mark.parametrize("ratio", [0.0, 0.4, 0.8])
    def test_of_rows_is_even(self, ratio):
        for mask in prune(network(), samples(), pruning_ratio=ratio, scope="row").masks.values():
            kept = mask.sum(1)
            assert kept.max() - kept.min() <= 1

    def test_the_lowest_scores_go(self):
        result = prune(network(), samples(), n_steps=1, pruning_ratio=0.5)
        gone = torch.cat([result.scores[name][~mask] for name, mask in result.masks.items()])
        kept = torch.cat([result.scores[name][mask] for name, mask in result.masks.items()])
        assert gone.max() <= kept.min()


class Recording(Compensation):
    """Counts how often each weight is removed; layers are known by their shapes."""

    def __init__(self):
        self.times = {}

    def apply(self, weight, bias, removed, statistics):
        times = self.times.setdefault(weight.shape, torch.zeros_like(removed, dtype=torch.int64))
        times += removed
        return weight, bias


@pytest.mark.filterwarnings("ignore::skec.PruningWarning")
class TestSteps:
    @pytest.mark.parametrize("schedule", sorted(SCHEDULES))
    @pytest.mark.parametrize("scope", SCOPES)
    @pytest.mark.parametrize("method", ["ec", "random"])
    def test_nothing_is_removed_twice(self, scope, schedule, method):
        record = Recording()
        result = prune(
            network(),
            samples(),
            pruning_ratio=0.85,
            scope=scope,
            n_steps=12,
            schedule=schedule,
            method=method,
            compensation=record,
            random_state=0,
        )
        for mask in result.masks.values():
            assert torch.equal(record.times[mask.shape], (~mask).long())
        assert n_removed(result) == round(0.85 * 78)

    def test_removed_weights_are_those_that_are_zero(self):
        torch.manual_seed(0)
        module = mlp(10, 6, 10, 2)
        result = prune(module, samples(60, 10), pruning_ratio=0.75, n_steps=20, scope="row")
        for name, mask in result.masks.items():
            assert torch.equal(result.module.get_submodule(name).weight != 0, mask)

    @pytest.mark.parametrize("schedule", sorted(SCHEDULES))
    def test_one_step_is_one_shot(self, schedule):
        module, X = network(), samples()
        expected = prune(module, X, n_steps=1, pruning_ratio=0.6)
        found = prune(module, X, pruning_ratio=0.6, n_steps=1, schedule=schedule)
        assert_equal(found.masks, expected.masks)
        assert_equal(found.module.state_dict(), expected.module.state_dict())

    @pytest.mark.parametrize(
        ("schedule", "ratios"),
        [("linear", [0.2, 0.4, 0.6]), ("geometric", [1 - 0.4 ** (t / 3) for t in (1, 2, 3)])],
    )
    def test_steps_are_calls_one_after_the_other(self, schedule, ratios):
        module, X = network(), samples()
        found = prune(module, X, pruning_ratio=0.6, n_steps=3, schedule=schedule)
        expected, errors = module, 0.0
        for ratio in ratios:
            result = prune(expected, X, n_steps=1, pruning_ratio=ratio)
            expected, errors = result.module, errors + result.predicted_error
        assert_close(found.module.state_dict(), expected.state_dict())
        assert_equal(found.masks, result.masks)
        assert found.predicted_error == pytest.approx(errors)

    def test_the_scores_are_those_of_the_unpruned_network(self):
        module, X = network(), samples()
        staged = prune(module, X, pruning_ratio=0.6, n_steps=4)
        assert_equal(staged.scores, prune(module, X, pruning_ratio=0.6).scores)


def step_by_step(**kwargs):
    """Prune in four steps; keep what is there after each."""
    seen = []

    def after_step(module, masks):
        seen.append((copy.deepcopy(module), dict(masks), module))

    kwargs = {"pruning_ratio": 0.6, "n_steps": 4, "after_step": after_step} | kwargs
    return prune(network(), samples(), **kwargs), seen


class TestAfterStep:
    @pytest.mark.parametrize("n_steps", [1, 2, 5])
    def test_is_called_between_the_steps(self, n_steps):
        _, seen = step_by_step(n_steps=n_steps)
        assert len(seen) == n_steps - 1
        assert len({id(module) for _, _, module in seen}) == n_steps - 1

    def test_sees_the_network_as_it_is_then(self):
        result, seen = step_by_step(schedule="linear")
        for step, (module, masks, original) in enumerate(seen, start=1):
            assert sum(int((~m).sum()) for m in masks.values()) == round(0.15 * step * 78)
            for name, mask in masks.items():
                assert torch.equal(module.get_submodule(name).weight != 0, mask)
                assert (result.masks[name] <= mask).all()
            assert_equal(original.state_dict(), module.state_dict())  # later steps leave it alone

    def test_that_does_nothing_changes_nothing(self):
        found, _ = step_by_step()
        expected, _ = step_by_step(after_step=None)
        assert_equal(found.module.state_dict(), expected.module.state_dict())
        assert found.predicted_error == expected.predicted_error

    @pytest.mark.filterwarnings("ignore::skec.PruningWarning")
    @pytest.mark.parametrize("compensation", ["none", "bias", "weights", "network"])
    @pytest.mark.parametrize("careful", [False, True])
    def test_may_train_the_network(self, compensation, careful):
        X = samples()
        targets = torch.ones(23, 3).double()

        def train(module, masks):
            module.train()
            optimizer = torch.optim.SGD(module.parameters(), lr=0.3)
            for _ in range(100):
                optimizer.zero_grad()
                nn.functional.mse_loss(module(X), targets).backward()
                optimizer.step()
                for name, mask in masks.items() if careful else ():
                    module.get_submodule(name).weight.data.mul_(mask)

        result, _ = step_by_step(after_step=train, compensation=compensation)
        untrained, _ = step_by_step(after_step=None, compensation=compensation)
        assert n_removed(result) == round(0.6 * 78)
        for name, mask in result.masks.items():
            assert not result.module.get_submodule(name).weight[~mask].any()
        if compensation != "network":  # that one brings the outputs of the dense network back
            error, before = (
                float(nn.functional.mse_loss(found.module(X), targets).detach())
                for found in (result, untrained)
            )
            assert error < 0.5 * before

    def test_the_network_is_looked_at_in_evaluation_mode(self):
        module = nn.Sequential(nn.Linear(4, 9), nn.Dropout(0.9), nn.Tanh(), nn.Linear(9, 3))
        kwargs = {"pruning_ratio": 0.6, "n_steps": 3}
        expected = prune(module, samples(), **kwargs)
        found = prune(module, samples(), after_step=lambda m, masks: m.train(), **kwargs)
        assert_equal(found.module.state_dict(), expected.module.state_dict())


class TestStats:
    """What a result says of the steps that made it."""

    @pytest.mark.parametrize("granularity", ["weight", "neuron"])
    @pytest.mark.parametrize("n_steps", [1, 3])
    def test_number_of_steps(self, granularity, n_steps):
        result = prune(
            network(), samples(), pruning_ratio=0.3, granularity=granularity, n_steps=n_steps
        )
        assert result.stats.n_steps == result.n_steps == n_steps

    @pytest.mark.parametrize("granularity", ["weight", "neuron"])
    def test_seconds_have_the_stages(self, granularity):
        stages = {"score", "allocate", "remove"}
        kwargs = {"granularity": granularity, "n_steps": 2}
        plain, _ = step_by_step(after_step=None, **kwargs)
        stepwise, _ = step_by_step(**kwargs)
        assert set(plain.stats.seconds) == stages
        assert set(stepwise.stats.seconds) == stages | {"after_step"}
        for seconds in (plain.stats.seconds, stepwise.stats.seconds):
            assert all(isinstance(value, float) and value >= 0 for value in seconds.values())

    def test_seconds_add_up_over_the_steps(self):
        result, _ = step_by_step(n_steps=4, after_step=lambda module, masks: time.sleep(0.01))
        assert 0.03 <= result.stats.seconds["after_step"] < 3

    @pytest.mark.parametrize("n_steps", [1, 4])
    def test_adjusting_the_network_is_reported_for_each_step(self, n_steps):
        compensation = COMPENSATIONS["network"](iterations=3)
        stats = prune(
            network(), samples(), pruning_ratio=0.5, compensation=compensation, n_steps=n_steps
        ).stats
        assert type(stats.cg_iterations) is type(stats.accepted) is tuple
        assert len(stats.cg_iterations) == len(stats.accepted) == n_steps
        assert all(type(n) is int and 0 < n <= 3 for n in stats.cg_iterations)
        assert stats.accepted == (True,) * n_steps

    @pytest.mark.parametrize("compensation", sorted({*COMPENSATIONS} - {"network"}))
    def test_other_compensations_report_nothing(self, compensation):
        kwargs = {"compensation": compensation, "pruning_ratio": 0.5, "n_steps": 2}
        stats = prune(network(), samples(), **kwargs).stats
        assert stats.cg_iterations == stats.accepted == ()

    def test_a_step_that_cannot_lower_the_error_is_not_accepted(self):
        module = network()
        result = prune(module, samples(), pruning_ratio=0, compensation="network", n_steps=2)
        assert result.stats.accepted == (False, False)
        assert result.stats.cg_iterations == (0, 0)
        assert_equal(result.module.state_dict(), module.state_dict())


class ChangesEverything(Compensation):
    """Changes all that remains, and records the state of some networks before it does."""

    def __init__(self, *networks):
        self.networks, self.records = list(networks), []

    def record(self):
        self.records += [(m, copy.deepcopy(m.state_dict())) for m in self.networks]

    def apply(self, weight, bias, removed, statistics):
        self.record()
        return 1.5 * weight, bias + 1.0

    @torch.no_grad()
    def adjust(self, module, kept, statistics, calibration):
        self.record()
        if calibration.dense not in self.networks:
            self.networks.append(calibration.dense)
        for name, mask in kept.items():
            module.get_submodule(name).weight.mul_(2.0 * mask)


@pytest.mark.filterwarnings("ignore::skec.PruningWarning")
def test_a_step_leaves_the_networks_before_it_alone():
    module = network()
    state, masks_seen = copy.deepcopy(module.state_dict()), []
    compensation = ChangesEverything(module)

    def after_step(seen, masks):
        compensation.networks.append(seen)
        masks_seen.append((masks, copy.deepcopy(masks)))

    result = prune(
        module,
        samples(),
        pruning_ratio=0.6,
        n_steps=4,
        compensation=compensation,
        after_step=after_step,
    )
    assert len(compensation.networks) == 5  # the given one, its copy, and one after each step
    first_states = {}
    for seen, recorded in compensation.records:
        assert_equal(recorded, first_states.setdefault(id(seen), recorded))
    assert set(first_states) == {id(seen) for seen in compensation.networks}
    for dense in compensation.networks[:2]:
        assert_equal(first_states[id(dense)], state)
    for seen in compensation.networks:
        assert_equal(seen.state_dict(), first_states[id(seen)])
        assert seen is not result.module
    for masks, before in masks_seen:
        assert_equal(masks, before)


class FirstColumns(Scope):
    """Keeps the first inputs of each unit, whatever the scores."""

    def allocate(self, scores, ratio, *, weights=None, reached=at_once):
        keep = {}
        for name, score in scores.items():
            n_kept = round((1 - reached(ratio)) * score.shape[1])
            keep[name] = (torch.arange(score.shape[1]) < n_kept).expand(score.shape)
        return keep


class AllInTheFirstStep(Schedule):
    """Reaches the final ratio at once."""

    def ratio(self, final, progress):
        return final


class TestYourOwnObjects:
    """Scopes and schedules that are passed as objects and have no name."""

    def test_have_no_name(self):
        assert FirstColumns.name is AllInTheFirstStep.name is None

    def test_a_scope_decides_what_is_kept(self):
        module = mlp(4, 6, 2).double()
        result = prune(module, samples(), pruning_ratio=0.5, scope=FirstColumns(), n_steps=2)
        for mask in result.masks.values():
            n_in = mask.shape[1]
            assert torch.equal(mask, (torch.arange(n_in) < n_in / 2).expand(mask.shape))

    def test_a_scope_can_forecast(self):
        result = prune(mlp(4, 6, 2).double(), samples(), pruning_ratio=0.5, n_steps=1)
        expected = sum(float(s[:, s.shape[1] // 2 :].sum()) for s in result.scores.values())
        assert result.forecast(0.5, FirstColumns()) == pytest.approx(expected)

    def test_a_schedule_decides_when(self):
        _, seen = step_by_step(schedule=AllInTheFirstStep())
        for _, masks, _ in seen:
            assert sum(int((~mask).sum()) for mask in masks.values()) == round(0.6 * 78)

    def test_are_taken_by_the_estimators(self):
        X = samples(40).float().numpy()
        scope, schedule = FirstColumns(), AllInTheFirstStep()
        estimator = PrunedMLPRegressor(
            (6,), pruning_ratio=0.5, scope=scope, schedule=schedule, n_steps=2, max_epochs=2,
            random_state=0,
        ).fit(X, X[:, 0])  # fmt: skip
        assert estimator.scope is scope
        assert estimator.schedule is schedule
        assert estimator.sparsity_ == 0.5
        for mask in estimator.masks_.values():
            n_in = mask.shape[1]
            assert torch.equal(mask, (torch.arange(n_in) < n_in / 2).expand(mask.shape))


@pytest.mark.filterwarnings("ignore::skec.PruningWarning")
class TestForecast:
    @pytest.mark.parametrize("scope", [*SCOPES, "erdos_renyi", "lamp"])
    @pytest.mark.parametrize("method", ["ec", "obd", "surgeon"])
    def test_is_what_pruning_predicts(self, method, scope):
        module, X = network(), samples()
        forecast = prune(module, X, pruning_ratio=0.3, n_steps=3, method=method).forecast
        ratios = [0.0, 0.2, 0.5, 0.85]
        for ratio, found in zip(ratios, forecast(ratios, scope), strict=True):
            result = prune(module, X, n_steps=1, pruning_ratio=ratio, scope=scope, method=method)
            assert found == pytest.approx(result.predicted_error, rel=1e-9, abs=1e-15)

    @pytest.mark.parametrize("scope", ["2:4", {"0": 0.5}, {"0": 0.25, "2": 0.75}])
    def test_scopes_with_their_own_ratio_have_one_error(self, scope):
        module, X = network(), samples()
        expected = prune(module, X, n_steps=1, pruning_ratio=0.9, scope=scope).predicted_error
        found = prune(module, X, n_steps=1, pruning_ratio=0.1).forecast([0.1, 0.9], scope)
        assert found == pytest.approx([expected, expected])

    @given(drawn=st.lists(st.floats(0, 0.99), min_size=2, max_size=6))
    def test_grows_with_the_ratio(self, drawn):
        errors = prune(network(), samples(), pruning_ratio=0.0).forecast(sorted(drawn))
        assert (np.diff(errors) >= 0).all()
        assert errors[0] >= 0

    @pytest.mark.parametrize(
        "ratios", [0.5, np.float32(0.5), [0.5], (0.2, 0.5), np.full((2, 3), 0.5), [], [[0, 0.5]]]
    )
    def test_has_the_shape_of_the_ratios(self, ratios):
        found = prune(network(), samples(), pruning_ratio=0.5).forecast(ratios)
        assert np.shape(found) == np.shape(ratios)
        assert np.asarray(found).dtype == np.float64

    def test_ignores_what_is_done_to_the_pruned_network(self):
        result = prune(network(), samples(), pruning_ratio=0.5)
        before = result.forecast(0.5, "lamp")
        with torch.no_grad():
            for parameter in result.module.parameters():
                parameter.zero_()
        assert result.forecast(0.5, "lamp") == before

    @pytest.mark.parametrize("ratio", [1.0, -0.1, np.nan, [0.5, 1.5]])
    def test_of_a_bad_ratio_is_an_error(self, ratio):
        with pytest.raises(ValueError, match=r"ratios must be .* in \[0, 1\)"):
            prune(network(), samples(), pruning_ratio=0.5).forecast(ratio)

    @pytest.mark.parametrize(
        ("scope", "message"),
        [("rows", "scope='rows'"), ({"1": 0.5}, r"layers \['1'\]"), ("4:2", "scope='4:2'")],
    )
    def test_of_a_bad_scope_is_an_error(self, scope, message):
        with pytest.raises(ValueError, match=message):
            prune(network(), samples(), pruning_ratio=0.5).forecast(0.5, scope)

    def test_of_scores_that_are_no_errors_is_an_error(self):
        result = prune(network(), pruning_ratio=0.5, method="magnitude")
        with pytest.raises(ValueError, match=r"not output errors.*method='ec'"):
            result.forecast(0.5)


@pytest.mark.filterwarnings("ignore::skec.PruningWarning")
class TestPatterns:
    @pytest.mark.parametrize("n_steps", [1, 3])
    @pytest.mark.parametrize("compensation", ["none", "weights", "network"])
    def test_two_of_four_stay(self, n_steps, compensation):
        torch.manual_seed(0)
        module = mlp(8, 12, 4, 3)
        result = prune(
            module, samples(40, 8), pruning_ratio=0.9, scope="2:4", n_steps=n_steps,
            compensation=compensation,
        )  # fmt: skip
        assert result.sparsity == 0.5
        for name, mask in result.masks.items():
            groups = mask.reshape(len(mask), -1, 4)
            assert (groups.sum(2) == 2).all()
            assert torch.equal(result.module.get_submodule(name).weight != 0, mask)

    @pytest.mark.parametrize(
        ("scope", "message"),
        [("4:2", "scope='4:2' must keep"), ("0:4", "scope='0:4' must"), ("a:b", "'a:b' is unkn")],
    )
    def test_that_make_no_sense_are_named(self, scope, message):
        with pytest.raises(ValueError, match=message):
            prune(network(), samples(), pruning_ratio=0.5, scope=scope)

    def test_the_layers_share_the_ratio_by_the_weights_of_the_dense_network(self):
        module, X = network(), samples()
        staged = prune(module, X, pruning_ratio=0.7, scope="lamp", n_steps=4)
        once = prune(module, X, pruning_ratio=0.7, method="lamp", scope="global")
        for name, mask in once.masks.items():
            assert int(staged.masks[name].sum()) == int(mask.sum())


@pytest.fixture(scope="module")
def trained():
    """A small network fitted to a smooth function, and its inputs."""
    torch.manual_seed(0)
    X = torch.randn(256, 4)
    y = torch.sin(2 * X[:, :1]) * X[:, 1:2] + X[:, 2:3].square()
    module = mlp(4, 24, 24, 1)
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
    for _ in range(300):
        optimizer.zero_grad()
        nn.functional.mse_loss(module(X), y).backward()
        optimizer.step()
    return module, X


class TestOnATrainedNetwork:
    def error(self, trained, **kwargs):
        module, X = trained
        pruned = prune(module, X, **kwargs).module
        return float((pruned(X) - module(X)).detach().square().mean())

    @pytest.mark.parametrize("ratio", [0.8, 0.9])
    def test_steps_lower_the_true_error(self, trained, ratio):
        one_shot = self.error(trained, pruning_ratio=ratio, n_steps=1)
        assert self.error(trained, pruning_ratio=ratio, n_steps=20) < one_shot

    @pytest.mark.parametrize("ratio", [0.3, 0.5])
    def test_compensation_lowers_the_true_error(self, trained, ratio):
        without = self.error(trained, pruning_ratio=ratio, compensation="none")
        assert self.error(trained, pruning_ratio=ratio) < 0.7 * without

    @pytest.mark.parametrize("method", ["magnitude", "random"])
    def test_beats_methods_without_data(self, trained, method):
        other = self.error(trained, pruning_ratio=0.6, method=method, random_state=0)
        assert self.error(trained, pruning_ratio=0.6) < 0.7 * other


class TestWarnings:
    def test_of_outputs_that_are_cut_off(self):
        module = mlp(4, 3, 2)
        with torch.no_grad():
            module[2].weight[1] = 1e-3
        message = r"Outputs \[1\] no longer depend on the inputs. Lower pruning_ratio, use scope="
        with pytest.warns(PruningWarning, match=message) as record:
            result = prune(module, pruning_ratio=0.5, method="magnitude")
        assert record[0].filename == __file__
        outputs = result.module(samples().float())
        assert (outputs[:, 1] == outputs[0, 1]).all()
        assert (outputs[1:, 0] != outputs[0, 0]).all()

    def test_of_layers_that_are_emptied(self):
        with pytest.warns(PruningWarning, match=r"Layers .* have no weight left. Lower") as record:
            result = prune(mlp(2, 2, 2, 2), pruning_ratio=0.9, method="magnitude")
        assert not all(mask.any() for mask in result.masks.values())
        assert record[0].filename == __file__

    @pytest.mark.parametrize("name", ["Tanh", "residual", "batch norm"])
    def test_none_without_a_reason(self, name):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            prune(network(name), samples(), pruning_ratio=0.3)

    def test_dead_units_are_counted(self):
        module = mlp(4, 3, 2)
        with torch.no_grad():
            module[0].weight[1] = 1e-6
            module[2].weight[:, 2] = 1e-6
        result = prune(module, pruning_ratio=6 / 18, method="magnitude")
        assert [row["dead_units"] for row in result.report] == [2, 0]


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.last = nn.Linear(4, 4), nn.Linear(4, 1)

    def forward(self, x):
        return self.last(self.layer(torch.tanh(self.layer(x))))


class Shared(Twice):
    def __init__(self):
        super().__init__()
        self.other = nn.Linear(4, 4)
        self.other.weight = self.layer.weight


class WrittenOver(Twice):
    def forward(self, x):
        return self.last(torch.relu_(self.layer(x)))


def with_nan(n=23):
    X = samples(n)
    X[3, 1] = torch.nan
    return X


def broken_network():
    module = mlp(4, 3, 2)
    with torch.no_grad():
        module[0].weight[0, 0] = torch.nan
    return module


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"method": "ecc"}, r"method='ecc' is unknown. Choose one of \['ec', "),
            ({"scope": "rows"}, r"scope='rows' is unknown. .*'auto', .*one of \['erdos_renyi', "),
            ({"scope": None}, "scope=None is unknown"),
            ({"schedule": "exponential"}, r"schedule='exponential' .*\['cubic', 'geometric'"),
            ({"output_metric": "l2"}, r"output_metric='l2' is unknown. .*'auto', 'fisher'"),
            ({"compensation": "mean"}, r"compensation='mean' is unknown.*'bias', 'bias_exact'"),
            ({"layers": ["1"]}, r"layers=\['1'\] .*layers of this network are \['0', '2'"),
            ({"layers": []}, r"layers of this network are \['0', '2'"),
            ({"scope": {"1": 0.5}}, r"scope names layers \['1'\].*\['0', '2', '4'\]"),
            ({"scope": {"0": 1.0}}, r"scope\['0'\] .* in \[0, 1\); got 1.0"),
            ({"layers": ["0"], "scope": {"2": 0.5}}, r"scope names layers \['2'\]"),
            ({"X": None}, "needs calibration data; got X=None. Pass X"),
            ({"method": "magnitude", "compensation": "bias", "X": None}, "got X=None"),
            ({"method": "gradient"}, "needs the targets .* got y=None. Pass y"),
            ({"method": "taylor"}, "needs the targets"),
            ({"X": with_nan()}, "X contains NaN or infinity"),
            ({"X": with_nan().numpy()}, "X contains NaN or infinity"),
            ({"X": samples()[:, 0]}, r"X must have shape \(n_samples, n_features\)"),
            ({"X": samples()[:0]}, "X has no samples"),
            ({"y": np.zeros(22), "method": "taylor"}, "same number of rows; got 23 and 22"),
            ({"sample_weight": np.ones(22)}, "same number of rows; got 23 and 22"),
            ({"sample_weight": -np.ones(23)}, "sample_weight must be one non-negative number"),
            ({"sample_weight": np.zeros(23)}, "not all zero"),
            *(({name: value}, f"{name} must be a positive integer.*; got {value!r}")
              for name in ("n_steps", "batch_size") for value in (0, -1, 1.5, True, "2", None)),
        ],
    )  # fmt: skip
    def test_of_value_name_the_parameter_and_the_choices(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            prune(network(), **{"X": samples(), "pruning_ratio": 0.5} | arguments)

    @pytest.mark.parametrize(
        "ratio", [1, 1.0, 1.5, -0.1, np.nan, np.inf, True, False, "0.5", None, [0.5], 0.5j]
    )
    def test_of_the_ratio(self, ratio):
        with pytest.raises(ValueError, match=r"pruning_ratio must be .* in \[0, 1\); got"):
            prune(network(), samples(), pruning_ratio=ratio)

    @pytest.mark.parametrize(
        "X",
        [
            scipy.sparse.csr_matrix(samples().numpy()),
            samples().numpy().astype(str),
            [["a"] * 4] * 23,
            samples().to_sparse(),
        ],
        ids=["sparse", "strings", "list of strings", "sparse tensor"],
    )
    def test_of_data_that_are_no_dense_numbers(self, X):
        with pytest.raises(TypeError, match="X must be a dense array or tensor of numbers"):
            prune(network(), X, pruning_ratio=0.5)

    @pytest.mark.parametrize("module", [None, "net", mlp, nn.Linear, {"net": 1}])
    def test_of_something_that_is_no_module(self, module):
        with pytest.raises(TypeError, match=r"module must be a torch.nn.Module; got"):
            prune(module, samples(), pruning_ratio=0.5)

    @pytest.mark.parametrize(
        ("module", "message"),
        [
            (nn.Sequential(nn.ReLU()), "no prunable layer"),
            (Twice(), "'layer' runs more than once"),
            (Shared(), "'layer' and 'other' share one weight"),
            (WrittenOver(), "in place"),
            (nn.Sequential(nn.Unflatten(1, (2, 2)), nn.Linear(2, 1)), r"shape \(23, 2, 2\)"),
            (
                nn.Sequential(nn.Linear(4, 1), nn.Flatten(0), nn.Unflatten(0, (1, 23))),
                "one row per",
            ),
            (broken_network(), "parameter '0.weight' of the network is NaN.*Lower lr"),
        ],
        ids=["no layer", "twice", "shared", "in place", "3-D input", "outputs", "nan"],
    )
    def test_of_networks_say_what_is_wrong(self, module, message):
        with pytest.raises(ValueError, match=message):
            prune(module, samples(), pruning_ratio=0.5)

    def test_of_the_fisher_metric_with_one_output(self):
        with pytest.raises(ValueError, match=r"output_metric='fisher'.*'identity'"):
            prune(network("one output"), samples(), pruning_ratio=0.5, output_metric="fisher")

    def test_none_for_data_that_are_not_needed(self):
        result = prune(network(), "not looked at", pruning_ratio=0.5, method="magnitude")
        assert result.sparsity == 0.5

    def test_weights_that_are_not_finite_are_found_without_data(self):
        with pytest.raises(ValueError, match=r"parameter '0\.weight' of the network is NaN"):
            prune(broken_network(), pruning_ratio=0.5, method="magnitude")


@pytest.mark.parametrize("convert", [torch.Tensor.numpy, torch.Tensor.tolist, torch.Tensor.float])
def test_the_form_of_the_data_does_not_matter(convert):
    module, X = network(dtype=torch.float32), samples()
    expected = prune(module, X, pruning_ratio=0.5)
    found = prune(module, convert(X), pruning_ratio=0.5)
    assert_equal(found.module.state_dict(), expected.module.state_dict())


def test_inputs_may_be_indices():
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.layer = nn.Embedding(5, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.layer(self.embedding(x).mean(1))

    torch.manual_seed(0)
    words, module = torch.randint(0, 5, (20, 3)), Words()
    expected = prune(module.layer, module.embedding(words).mean(1), pruning_ratio=0.5)
    found = prune(module, words, pruning_ratio=0.5)
    assert torch.equal(found.masks["layer"], expected.masks[""])


def test_the_result_is_what_the_package_names():
    result = skec.prune(network(), samples(), pruning_ratio=0.5)
    assert type(result) is skec.PruningResult
    with pytest.raises(AttributeError):
        result.sparsity = 0.0
    assert repr(result).startswith("PruningResult(sparsity=0.5, predicted_error=")


@pytest.mark.parametrize("registry", [CRITERIA, COMPENSATIONS])
def test_names_are_those_of_the_classes(registry):
    assert {name: kind.name for name, kind in registry.items()} == {name: name for name in registry}
