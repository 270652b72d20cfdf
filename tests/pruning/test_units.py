"""Whole units leave a network."""

import copy
import math
import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from skec import prune
from skec.allocation import ratio_at
from skec.criteria.units import UNIT_CRITERIA

NEURON = {"granularity": "neuron", "pruning_ratio": 0.5}
METHODS = sorted(UNIT_CRITERIA)


def network(widths=(4, 8, 6, 3), activation=nn.Tanh, bias=True, seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    parts = []
    for n_in, n_out in pairwise(widths):
        parts += [nn.Linear(n_in, n_out, bias=bias), activation()]
    return nn.Sequential(*parts[:-1]).to(dtype)


def samples(n=31, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 4, generator=generator, dtype=torch.float64) + 0.5


def assert_same(found, expected):
    for left, right in zip(found.parameters(), expected.parameters(), strict=True):
        assert torch.equal(left, right)


def n_left(result):
    return {name: int(kept.sum()) for name, kept in result.unit_masks.items()}


class TestMasks:
    @given(
        method=st.sampled_from(METHODS),
        ratio=st.floats(0, 0.95),
        bias=st.booleans(),
        scope=st.sampled_from(["layer", "global"]),
        n_steps=st.integers(1, 3),
    )
    def test_rows_biases_and_columns_of_removed_units_are_zero(
        self, method, ratio, bias, scope, n_steps
    ):
        module, X = network(bias=bias), samples()
        kwargs = {"scope": scope, "n_steps": n_steps, "random_state": 0}
        result = prune(module, X, **NEURON | {"pruning_ratio": ratio}, method=method, **kwargs)
        first, second = result.unit_masks["0"], result.unit_masks["2"]
        assert torch.equal(result.masks["0"], first[:, None].expand(8, 4))
        assert torch.equal(result.masks["2"], torch.outer(second, first))
        assert torch.equal(result.masks["4"], second.expand(3, 6))
        for name, mask in result.masks.items():
            layer = result.module.get_submodule(name)
            assert not layer.weight[~mask].any()
            assert layer.weight[mask].all()
        for name, kept in result.unit_masks.items():
            layer = result.module.get_submodule(name)
            assert kept.any()
            assert layer.bias is None or not layer.bias[~kept].any()

    @pytest.mark.parametrize("ratio", [0.0, 0.1, 0.25, 0.5, 0.8, 0.99])
    def test_each_layer_keeps_its_share_rounded_down(self, ratio):
        result = prune(network(), method="l1", granularity="neuron", pruning_ratio=ratio)
        expected = {"0": max(1, int(8 * (1 - ratio))), "2": max(1, int(6 * (1 - ratio)))}
        assert n_left(result) == expected

    @pytest.mark.parametrize("method", ["l1", "l2", "geometric_median", "ec", "elimination"])
    def test_the_units_of_the_lowest_scores_go(self, method):
        result = prune(network(), samples(), method=method, n_steps=1, **NEURON)
        for name, kept in result.unit_masks.items():
            score = result.scores[name]
            assert score[kept].min() > score[~kept].max()

    def test_over_the_network_the_lowest_scores_go(self):
        module = network()
        with torch.no_grad():
            module[0].weight *= 100
        result = prune(module, samples(), method="l2", scope="global", **NEURON)
        assert n_left(result) == {"0": 6, "2": 1}  # 14 units, and one of each layer stays

    def test_a_mapping_gives_each_layer_its_ratio(self):
        scope = {"2": 0.5}
        result = prune(network(), samples(), scope=scope, **NEURON | {"pruning_ratio": 0.9})
        assert n_left(result) == {"0": 8, "2": 3}
        assert result.masks["0"].all()

    def test_named_layers_alone_lose_units(self):
        module, X = network(), samples()
        result = prune(module, X, layers=["2"], **NEURON)
        assert list(result.unit_masks) == list(result.scores) == ["2"]
        assert list(result.masks) == ["2", "4"]
        assert_same(result.module, prune(module, X, scope={"2": 0.5}, **NEURON).module)
        assert torch.equal(result.module[0].weight, module[0].weight)
        assert result.sparsity == pytest.approx(1 - (24 + 9) / (48 + 18))

    def test_scores_of_units_with_one_input_are_a_vector(self):
        result = prune(network((1, 8, 3)), method="l1", **NEURON)
        assert result.scores["0"].shape == (8,)

    def test_a_result_says_what_it_is_about(self):
        result = prune(network(), samples(), **NEURON)
        assert result.granularity == "neuron"
        assert {n: s.shape for n, s in result.scores.items()} == {"0": (8,), "2": (6,)}
        weights = prune(network(), samples(), pruning_ratio=0.5)
        assert weights.granularity == "weight"
        assert weights.unit_masks is None


class TestReport:
    def test_counts_units_and_weights(self):
        result = prune(network(), samples(), method="l2", **NEURON)
        assert result.report == [
            {
                "layer": "0", "units": 8, "units_left": 4, "sparsity": 0.5,
                "weights": 32, "weights_left": 16,
            },
            {
                "layer": "2", "units": 6, "units_left": 3, "sparsity": 0.5,
                "weights": 48, "weights_left": 12,
            },
        ]  # fmt: skip
        assert result.sparsity == pytest.approx(1 - (16 + 12 + 9) / (32 + 48 + 18))

    def test_the_sparsity_is_that_of_the_weights(self):
        result = prune(network(), samples(), **NEURON)
        weights = torch.cat([result.module[i].weight.flatten() for i in (0, 2, 4)])
        assert result.sparsity == pytest.approx(float((weights == 0).double().mean()))

    @pytest.mark.parametrize("method", ["ec", "elimination"])
    def test_has_the_error_that_the_scores_expect(self, method):
        result = prune(network(), samples(), method=method, n_steps=1, **NEURON)
        for row in result.report:
            removed = result.scores[row["layer"]][~result.unit_masks[row["layer"]]]
            assert row["predicted_error"] == pytest.approx(float(removed.sum()))
        total = sum(row["predicted_error"] for row in result.report)
        assert result.predicted_error == pytest.approx(total)

    def test_prints_a_row_for_each_hidden_layer(self):
        lines = str(prune(network(), samples(), method="l2", **NEURON).report).splitlines()
        assert lines[0].split()[:3] == ["layer", "units", "units_left"]
        assert [line.split()[0] for line in lines[1:]] == ["0", "2"]


class TestPredictedError:
    @pytest.mark.parametrize("method", ["l1", "l2", "geometric_median", "random"])
    def test_is_none_where_scores_are_no_errors(self, method):
        result = prune(network(), method=method, **NEURON)
        assert result.predicted_error is None
        with pytest.raises(ValueError, match=r"not output errors.*'ec' or 'elimination'"):
            result.forecast(0.5)

    @given(seed=st.integers(0, 1000), weighted=st.booleans())
    def test_of_one_unit_is_the_true_error_before_a_linear_output(self, seed, weighted):
        module, X = network((4, 8, 3), seed=seed), samples(seed=seed)
        w = torch.rand(31).double() + 0.1 if weighted else torch.ones(31).double()
        result = prune(module, X, sample_weight=w, **NEURON | {"pruning_ratio": 0.125})
        change = (result.module(X) - module(X)).square().sum(1).detach()
        assert n_left(result) == {"0": 7}
        assert result.predicted_error == pytest.approx(float(w @ change / w.sum()), rel=1e-8)

    @given(seed=st.integers(0, 1000))
    def test_of_elimination_is_the_true_error_before_a_linear_output(self, seed):
        module, X = network((4, 8, 3), seed=seed), samples(200, seed)
        kwargs = {"method": "elimination", "method_params": {"damping": 1e-9}}
        kwargs["compensation_params"] = {"damping": 1e-9}
        (scores,) = prune(module, X, **NEURON, **kwargs).scores.values()
        levels = scores.sort().values  # equal but for rounding where units share their costs
        n_gone = 1 + int((levels[1:] > levels[:-1] * (1 + 1e-9)).nonzero()[-1])
        result = prune(module, X, **NEURON | {"pruning_ratio": n_gone / 8}, **kwargs)
        change = (result.module(X) - module(X)).square().sum(1).mean().detach()
        assert result.predicted_error == pytest.approx(float(change), rel=1e-4)

    @pytest.mark.parametrize("method", ["ec", "elimination"])
    @pytest.mark.parametrize("scope", ["layer", "global", {"2": 0.5}, {"0": 0.3, "2": 0.9}])
    def test_a_forecast_is_what_pruning_predicts(self, method, scope):
        module, X = network(), samples()
        forecast = prune(module, X, method=method, n_steps=2, **NEURON).forecast
        ratios = [0.0, 0.2, 0.5, 0.95]
        for ratio, found in zip(ratios, forecast(ratios, scope), strict=True):
            kwargs = NEURON | {"pruning_ratio": ratio}
            result = prune(module, X, method=method, scope=scope, n_steps=1, **kwargs)
            assert found == pytest.approx(result.predicted_error, rel=1e-9, abs=1e-15)

    @pytest.mark.parametrize("method", ["ec", "elimination"])
    @given(drawn=st.lists(st.floats(0, 0.99), min_size=2, max_size=6))
    def test_a_forecast_grows_with_the_ratio(self, method, drawn):
        result = prune(network(), samples(), method=method, **NEURON)
        assert (np.diff(result.forecast(sorted(drawn))) >= 0).all()

    def test_a_forecast_takes_the_scope_of_units_unless_told_otherwise(self):
        result = prune(network(), samples(), n_steps=1, **NEURON)
        assert result.forecast(0.5) == result.forecast(0.5, "layer") == result.predicted_error
        assert result.forecast(0.5) != result.forecast(0.5, "global")


class TestSteps:
    @pytest.mark.parametrize("schedule", ["geometric", "linear", "cubic"])
    @pytest.mark.parametrize("method", METHODS)
    def test_units_once_gone_stay_away_and_the_numbers_follow_the_schedule(self, schedule, method):
        seen = []
        result = prune(
            network(),
            samples(),
            method=method,
            n_steps=4,
            schedule=schedule,
            after_step=lambda module, masks: seen.append({n: m.any(1) for n, m in masks.items()}),
            random_state=0,
            **NEURON | {"pruning_ratio": 0.75},
        )
        seen.append(result.unit_masks)
        assert len(seen) == 4
        for step, kept in enumerate(seen, 1):
            ratio = ratio_at(schedule, 0.75, step, 4)
            for name, n in (("0", 8), ("2", 6)):
                assert int(kept[name].sum()) == math.floor(n * (1 - ratio) + 1e-9)
                if step > 1:
                    assert not (kept[name] & ~seen[step - 2][name]).any()

    def test_scores_are_those_of_the_first_step(self):
        module, X = network(), samples()
        one, three = (prune(module, X, n_steps=n, **NEURON) for n in (1, 3))
        for name, score in one.scores.items():
            assert torch.equal(three.scores[name], score)

    def test_each_step_looks_at_the_network_that_the_last_one_left(self):
        module, X = network(), samples()
        ratios = [ratio_at("linear", 0.5, step, 2) for step in (1, 2)]
        kwargs = NEURON | {"pruning_ratio": ratios[0]}
        first = prune(module, X, method="l2", compensation="lbyl", **kwargs)
        both = prune(
            module, X, method="l2", compensation="lbyl", n_steps=2, schedule="linear", **NEURON
        )
        for name, kept in both.unit_masks.items():
            gone = first.unit_masks[name] & ~kept
            layer = first.module.get_submodule(name)
            length = torch.cat([layer.weight, layer.bias[:, None]], 1).norm(dim=1)
            assert length[kept].min() > length[gone].max()

    def test_the_network_may_be_trained_after_each_step(self):
        module, seen = network(), []

        def after_step(network, masks):
            seen.append(copy.deepcopy(masks))
            assert not network.training
            weight = network[0].weight
            assert not weight[~masks["0"]].any()
            with torch.no_grad():  # what was the strongest unit becomes the weakest
                weight[weight.norm(dim=1).argmax()] *= 1e-9
            network.train()

        module[0].bias.data.zero_()
        strongest = int(module[0].weight.norm(dim=1).argmax())
        kwargs = {"method": "l2", "compensation": "none", "n_steps": 2}
        plain = prune(module, **kwargs, **NEURON)
        trained = prune(module, after_step=after_step, **kwargs, **NEURON)
        assert len(seen) == 1
        assert list(seen[0]) == ["0", "2", "4"]
        assert plain.unit_masks["0"][strongest]
        assert not trained.unit_masks["0"][strongest]

    def test_one_step_calls_nothing(self):
        def after_step(module, masks):
            raise AssertionError

        prune(network(), method="l2", after_step=after_step, **NEURON)

    def test_least_squares_aims_at_the_dense_network_in_every_step(self):
        module, X = network((4, 20, 12, 3)), samples(300)
        kwargs = {"method": "elimination", "n_steps": 3, **NEURON}

        def spoil(network, masks):
            with torch.no_grad():
                for i in (2, 4):
                    network[i].weight *= 0.5
                    network[i].bias += 1.0

        params = {"damping": 1e-6}
        expected, spoiled = (
            prune(module, X, after_step=f, compensation_params=params, **kwargs).module(X)
            for f in (None, spoil)
        )
        variance = module(X).var()
        for outputs in (expected, spoiled):
            assert (outputs - module(X)).square().mean() < 0.1 * variance


class TestNetworks:
    def test_the_given_network_is_left_alone(self):
        module, X = network(), samples()
        module[0].train(False)
        state = {name: value.clone() for name, value in module.state_dict().items()}
        result = prune(module, X, method="elimination", n_steps=2, **NEURON)
        assert all(torch.equal(state[name], v) for name, v in module.state_dict().items())
        assert [m.training for m in result.module.modules()] == [
            m.training for m in module.modules()
        ]
        for part in (module, result.module):
            assert all(p.requires_grad and p.grad is None for p in part.parameters())
            assert not any(m._forward_hooks or m._forward_pre_hooks for m in part.modules())
        assert {id(p) for p in module.parameters()}.isdisjoint(map(id, result.module.parameters()))

    @pytest.mark.parametrize("method", ["ec", "elimination", "l2"])
    def test_nested_networks_are_pruned_as_flat_ones(self, method):
        flat, X = network(), samples()
        nested = nn.Sequential(nn.Sequential(flat[0], flat[1]), nn.Sequential(*flat[2:]))
        found, expected = (prune(m, X, method=method, **NEURON) for m in (nested, flat))
        assert list(found.unit_masks) == ["0.0", "1.0"]
        assert_same(found.module, expected.module)

    @pytest.mark.parametrize("method", ["ec", "elimination"])
    def test_images_are_flattened_first(self, method):
        plain, X = network(), samples()
        images, flat = X.reshape(31, 2, 2), nn.Sequential(nn.Flatten(), *plain)
        found = prune(flat, images, method=method, **NEURON).module
        assert_same(found, prune(plain, X, method=method, **NEURON).module)

    @pytest.mark.parametrize("method", ["ec", "elimination"])
    @pytest.mark.parametrize("compensation", ["auto", "mean"])
    def test_activations_may_work_in_place(self, method, compensation):
        plain, X = network(activation=nn.ReLU), samples()
        in_place = network(activation=lambda: nn.ReLU(inplace=True))
        kwargs = {"method": method, "compensation": compensation, **NEURON}
        found, expected = (prune(m, X, **kwargs) for m in (in_place, plain))
        assert_same(found.module, expected.module)

    @pytest.mark.parametrize(
        "compensation",
        ["lbyl", "merging", "mean", "bias", "least_squares"],
    )
    @pytest.mark.parametrize("method", ["l2", "ec"])
    def test_single_precision_gives_about_the_same(self, method, compensation):
        X = samples(100)
        kwargs = {"method": method, "compensation": compensation, **NEURON}
        double, single = (
            prune(network(dtype=dtype), X, **kwargs) for dtype in (torch.float64, torch.float32)
        )
        for name, kept in double.unit_masks.items():
            assert torch.equal(single.unit_masks[name], kept)
        assert all(p.dtype == torch.float32 for p in single.module.parameters())
        outputs = single.module(X.float()).double()
        torch.testing.assert_close(outputs, double.module(X), rtol=1e-4, atol=1e-5)

    def test_an_activation_without_parameters_may_be_used_twice(self):
        plain, X = network(), samples()
        shared = nn.Sequential(plain[0], plain[1], plain[2], plain[1], plain[4])
        found, expected = (prune(m, X, **NEURON).module for m in (shared, plain))
        assert_same(found, expected)

    def test_units_that_never_fire_are_not_missed(self):
        module, X = network(activation=nn.ReLU), samples()
        with torch.no_grad():
            module[0].bias += 2.0
            module[0].bias[[1, 6]] = -100.0
        result = prune(module, X, **NEURON | {"pruning_ratio": 0.0}, scope={"0": 0.25})
        assert torch.nonzero(~result.unit_masks["0"]).flatten().tolist() == [1, 6]
        torch.testing.assert_close(result.module(X), module(X))
        assert result.predicted_error == 0.0

    def test_random_units_follow_the_random_state(self):
        first, again, other = (
            prune(network(), method="random", random_state=seed, **NEURON) for seed in (0, 0, 1)
        )
        assert_same(first.module, again.module)
        assert any(
            not torch.equal(other.unit_masks[n], kept) for n, kept in first.unit_masks.items()
        )

    def test_data_without_use_are_not_looked_at(self):
        result = prune(network(), "not looked at", method="l2", compensation="lbyl", **NEURON)
        assert n_left(result) == {"0": 4, "2": 3}

    @pytest.mark.parametrize("scope", ["layer", "global"])
    def test_one_unit_of_each_layer_stays_and_keeps_the_outputs_reached(self, scope):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            result = prune(network(), method="l2", scope=scope, **NEURON | {"pruning_ratio": 0.999})
        assert n_left(result) == {"0": 1, "2": 1}


class WithOwnForward(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.last(torch.relu(self.first(x)))


def linear(n_in=4, n_out=4):
    return nn.Linear(n_in, n_out)


def twice():
    layer = linear()
    return nn.Sequential(layer, nn.ReLU(), layer, nn.ReLU(), linear())


def shared_weight():
    module = nn.Sequential(linear(), nn.ReLU(), linear(), nn.ReLU(), linear())
    module[2].weight = module[0].weight
    return module


def broken():
    module = network()
    with torch.no_grad():
        module[0].weight[0] = torch.nan
    return module


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"granularity": "channel"}, r"granularity='channel'.*one of \['neuron', 'weight'\]"),
            ({"granularity": None}, "granularity=None is unknown"),
            (
                {"method": "surgeon"},
                r"method='surgeon' is unknown for whole units.*granularity='weight'.*\['ec', ",
            ),
            (
                {"method": "l2", "granularity": "weight"},
                r"method='l2' is unknown for single weights.*granularity='neuron'.*'magnitude'",
            ),
            ({"method": "wanda"}, "method='wanda' is unknown for whole units"),
            ({"method": "l3"}, r"method='l3' is unknown\. Choose one of \['ec', 'elimination'"),
            (
                {"compensation": "weights"},
                r"compensation='weights' is unknown for whole units.*'auto' or one of \['bias'",
            ),
            (
                {"compensation": "lbyl", "granularity": "weight"},
                r"compensation='lbyl' is unknown for single weights.*granularity='neuron'",
            ),
            (
                {"compensation": "lbyl", "compensation_params": {"lambda": 1}},
                r"compensation_params=\{'lambda': 1\}.*'lbyl'.*\['ridge', 'shift_penalty'\]",
            ),
            (
                {"method": "elimination", "method_params": {"ridge": 1}},
                r"method_params=\{'ridge': 1\}.*'elimination'.*\['damping'\]",
            ),
            ({"scope": "row"}, r"scope='row' is unknown for whole units.*\['global', 'layer'\]"),
            ({"scope": "2:4"}, r"scope='2:4' is unknown for whole units.*\['global', 'layer'\]"),
            ({"scope": "lamp"}, "scope='lamp' is unknown for whole units"),
            ({"scope": "rows"}, r"scope='rows' is unknown.*\['global', 'layer'\]"),
            ({"scope": {"9": 0.5}}, r"scope names layers \['9'\].*\['0', '2'\]"),
            ({"scope": {"4": 0.5}}, r"scope names layers \['4'\].*\['0', '2'\]"),
            ({"scope": {"0": 1.0}}, r"scope\['0'\] .* in \[0, 1\); got 1.0"),
            ({"layers": ["0"], "scope": {"2": 0.5}}, r"scope names layers \['2'\]"),
            ({"layers": ["4"]}, r"layers=\['4'\].*'4' are the network's outputs.*\['0', '2'\]"),
            ({"layers": ["0", "4"]}, "the network's outputs, which are never removed"),
            ({"layers": ["9"]}, r"layers=\['9'\].*\['0', '2', '4'\]"),
            ({"layers": []}, r"layers=\[\] names no prunable layer"),
            ({"X": None}, r"got X=None\. Pass X, or use method='l2' with compensation='lbyl'"),
            ({"X": None, "method": "l2", "compensation": "mean"}, "got X=None"),
            ({"X": None, "method": "elimination", "compensation": "none"}, "got X=None"),
            ({"X": samples() * torch.nan}, "X contains NaN"),
            ({"pruning_ratio": 1.0}, r"pruning_ratio must be .* in \[0, 1\); got 1.0"),
            ({"n_steps": 0}, "n_steps must be a positive integer or .auto.; got 0"),
        ],
    )
    def test_of_value_name_the_parameter_and_the_choices(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            prune(network(), **{"X": samples()} | NEURON | arguments)

    @pytest.mark.parametrize("layers", [None, ["0"]])
    @pytest.mark.parametrize(
        ("module", "message"),
        [
            (WithOwnForward(), "torch.nn.Sequential.*this WithOwnForward is neither"),
            (nn.Sequential(linear(), nn.LayerNorm(4), linear()), "module '1', a LayerNorm"),
            (nn.Sequential(linear(), nn.Softmax(1), linear()), "module '1', a Softmax"),
            (nn.Sequential(linear(), WithOwnForward()), "module '1', a WithOwnForward"),
            (twice(), "'0' and '2' are one module, which runs twice"),
            (shared_weight(), "'0' and '2' share one weight"),
            (nn.Sequential(nn.ReLU()), "no prunable layer"),
        ],
        ids=["own forward", "layer norm", "softmax", "inner forward", "twice", "tied", "empty"],
    )
    def test_of_networks_say_what_is_wrong(self, module, message, layers):
        layers = ["first"] if layers and hasattr(module, "first") else layers
        with pytest.raises(ValueError, match=message):
            prune(module, samples(), layers=layers, **NEURON)

    @pytest.mark.parametrize("module", [linear(), nn.Sequential(linear(), nn.Softmax(1))])
    def test_a_network_without_hidden_layers(self, module):
        with pytest.raises(ValueError, match=r"this network has none\. Use granularity='weight'"):
            prune(module, samples(), **NEURON)

    @pytest.mark.parametrize(
        "method",
        [
            "l2",
            "geometric_median",
            "ec",
            pytest.param(
                "elimination",
            ),
        ],
    )
    def test_weights_that_are_no_numbers(self, method):
        with pytest.raises(ValueError, match=r"parameter '0\.weight' of the network is NaN"):
            prune(broken(), samples(), method=method, **NEURON)

    def test_of_a_forecast_at_a_scope_for_weights(self):
        result = prune(network(), samples(), **NEURON)
        with pytest.raises(ValueError, match="scope='row' is unknown for whole units"):
            result.forecast(0.5, "row")
        with pytest.raises(ValueError, match=r"scope names layers \['4'\]"):
            result.forecast(0.5, {"4": 0.5})
