import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from skec.calibration import OUTPUT_METRICS, fisher_metric, identity_metric
from skec.networks import (
    Recorder,
    output_tensor,
    prunable_layers,
    sensitivities,
)


def nested():
    return nn.Sequential(
        nn.Linear(4, 3), nn.Sequential(nn.Tanh(), nn.Linear(3, 3)), nn.ReLU(), nn.Linear(3, 2)
    )


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 1)
        self.second.weight = self.first.weight


class Calls(nn.Module):
    """A layer in a forward pass that is given as a function of the layer and the inputs."""

    def __init__(self, forward):
        super().__init__()
        self.layer, self.function = nn.Linear(4, 4), forward

    def forward(self, x):
        return self.function(self.layer, x)


class TestPrunableLayers:
    def test_finds_nested_layers_in_their_order(self):
        module = nested()
        layers = prunable_layers(module)
        assert list(layers) == ["0", "1.1", "3"]
        assert layers["1.1"] is module[1][1]

    @pytest.mark.parametrize("layers", [["3", "0"], ("0", "3"), ["0", "3", "0"]])
    def test_takes_the_named_layers_in_the_order_of_the_network(self, layers):
        assert list(prunable_layers(nested(), layers)) == ["0", "3"]

    def test_one_name_may_be_a_string(self):
        assert list(prunable_layers(nested(), "1.1")) == ["1.1"]

    @pytest.mark.parametrize("layers", [["7"], ["0", "2"], [], [0]])
    def test_says_which_layers_there_are(self, layers):
        with pytest.raises(ValueError, match=r"\['0', '1.1', '3'\]"):
            prunable_layers(nested(), layers)

    def test_no_linear_layer(self):
        with pytest.raises(ValueError, match=r"no prunable layer.*Bilinear"):
            prunable_layers(nn.Sequential(nn.Bilinear(1, 1, 1)))

    def test_shared_weight(self):
        with pytest.raises(ValueError, match="'first' and 'second' share one weight"):
            prunable_layers(Tied())
        assert list(prunable_layers(Tied(), ["last"])) == ["last"]

    def test_weight_shared_with_a_layer_that_is_left_out(self):
        with pytest.raises(ValueError, match="share"):
            prunable_layers(Tied(), ["first"])

    def test_a_weight_that_is_computed_is_refused(self):
        layer = nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))
        with pytest.raises(ValueError, match="parametri"):
            prunable_layers(nn.Sequential(layer))


class TestRecorder:
    def test_records_inputs_and_pre_activations(self):
        module, X = nested().double(), torch.randn(5, 4, dtype=torch.float64)
        layers = prunable_layers(module)
        with Recorder(module, layers) as record:
            module(X)
        inputs = X
        for layer, name, function in [
            (module[0], "0", torch.tanh),
            (module[1][1], "1.1", torch.relu),
            (module[3], "3", None),
        ]:
            z = inputs @ layer.weight.T + layer.bias
            torch.testing.assert_close(record.inputs[name], inputs)
            torch.testing.assert_close(record.pre_activations[name], z)
            inputs = function(z) if function else None

    def test_records_what_was_there_before_an_in_place_module(self):
        torch.manual_seed(0)
        plain = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        in_place = nn.Sequential(plain[0], nn.ReLU(inplace=True), plain[2])
        X = torch.randn(6, 4)
        records = []
        for module in (plain, in_place):
            with Recorder(module, prunable_layers(module)) as record:
                outputs = module(X)
            records.append((record, outputs))
        (first, y), (second, y_in_place) = records
        assert torch.equal(y, y_in_place)
        for name in ("0", "2"):
            assert torch.equal(first.inputs[name], second.inputs[name])
            assert torch.equal(first.pre_activations[name], second.pre_activations[name])

    def test_inputs_are_points_to_differentiate_at_where_asked(self):
        module, X = nested().double(), torch.randn(5, 4, dtype=torch.float64)
        for parameter in module.parameters():
            parameter.requires_grad_(False)
        layers = prunable_layers(module)
        with Recorder(module, layers, at_inputs=True) as record:
            y = module(X)
        points = record.input_points
        assert list(points) == list(layers)
        tails = module, nn.Sequential(module[1][1], *module[2:]), module[3]
        for name, tail in zip(layers, tails, strict=True):
            torch.testing.assert_close(points[name].detach(), record.inputs[name])
            (found,) = torch.autograd.grad(y.sum(), points[name], retain_graph=True)
            inputs = record.inputs[name].clone().requires_grad_()
            (expected,) = torch.autograd.grad(tail(inputs).sum(), inputs)
            torch.testing.assert_close(found, expected)
        with Recorder(module, layers) as plain:
            torch.testing.assert_close(module(X), y)
        assert plain.input_points == {}
        record.clear()
        assert record.input_points == {}

    def test_inputs_are_points_after_an_in_place_module_too(self):
        torch.manual_seed(0)
        plain = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 3), nn.ReLU())
        in_place = nn.Sequential(plain[0], nn.ReLU(inplace=True), plain[2], nn.ReLU(inplace=True))
        X = torch.randn(6, 4)
        gradients = []
        for module in (plain, in_place):
            with Recorder(module, prunable_layers(module), at_inputs=True) as record:
                y = record.forward(module, X)
            gradients.append(torch.autograd.grad(y.sum(), list(record.input_points.values())))
        assert all(map(torch.equal, *gradients))

    @pytest.mark.parametrize("at_inputs", [False, True])
    @pytest.mark.parametrize("fails", [False, True])
    def test_leaves_no_hook(self, fails, at_inputs):
        module = nested()
        try:
            with Recorder(module, prunable_layers(module), at_inputs):
                if fails:
                    raise KeyError
        except KeyError:
            pass
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())

    @pytest.mark.parametrize(
        ("forward", "message"),
        [
            (lambda layer, x: layer(layer(x)), "'layer' runs more than once"),
            (lambda layer, x: layer(x[:, None]), r"'layer' gets an input of shape \(5, 1, 4\)"),
            (lambda layer, x: layer(x[0]), r"'layer' gets an input of shape \(4,\)"),
        ],
    )
    def test_layers_that_cannot_be_recorded(self, forward, message):
        module = Calls(forward)
        with pytest.raises(ValueError, match=message), Recorder(module, prunable_layers(module)):
            module(torch.randn(5, 4))

    def test_a_layer_may_be_called_by_keyword(self):
        module, X = Calls(lambda layer, x: layer(input=x)), torch.randn(5, 4)
        with Recorder(module, prunable_layers(module)) as record:
            module(X)
        assert torch.equal(record.inputs["layer"], X)


class TestSensitivities:
    @pytest.mark.parametrize("metric", sorted(OUTPUT_METRICS))
    def test_equal_the_quadratic_form_of_the_jacobian(self, metric, jacobians):
        torch.manual_seed(0)
        module, X = nested().double(), torch.randn(7, 4, dtype=torch.float64)
        layers = prunable_layers(module)
        with Recorder(module, layers) as record:
            y = module(X)
        found = sensitivities(y, list(record.pre_activations.values()), OUTPUT_METRICS[metric](y))
        jacobian = jacobians(module, X)
        M = torch.eye(2, dtype=X.dtype).expand(7, 2, 2)
        if metric == "fisher":
            p = torch.softmax(y.detach(), 1)
            M = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
        for name, s in zip(layers, found, strict=True):
            g = jacobian[f"{name}.bias"]  # a bias moves the pre-activation one to one
            torch.testing.assert_close(s, torch.einsum("nki,nkl,nli->ni", g, M, g))

    def test_are_zero_where_the_output_does_not_depend_on_the_layer(self):
        X = torch.randn(5, 4, requires_grad=True)
        unused = (X * 2).requires_grad_()
        y = X.sum(1, keepdim=True)
        s, zero = sensitivities(y, [X, unused], identity_metric(y))
        assert torch.equal(s, torch.ones(5, 4))
        assert torch.equal(zero, torch.zeros(5, 4))

    def test_hand_over_the_gradients_of_each_seed(self):
        torch.manual_seed(0)
        module, X = nested().double(), torch.randn(7, 4, dtype=torch.float64)
        with Recorder(module, prunable_layers(module)) as record:
            y = module(X)
        points, seen = list(record.pre_activations.values()), []
        s = sensitivities(y, points, identity_metric(y), also=seen.append)
        assert len(seen) == y.shape[1]
        for k, gradients in enumerate(seen):
            expected = torch.autograd.grad(y[:, k].sum(), points, retain_graph=True)
            for found, gradient in zip(gradients, expected, strict=True):
                torch.testing.assert_close(found, gradient)
        for i, total in enumerate(s):
            torch.testing.assert_close(total, sum(gradients[i] ** 2 for gradients in seen))


class TestMetrics:
    @given(n_outputs=st.integers(2, 6), scale=st.sampled_from([0.0, 1.0, 30.0]))
    def test_seeds_are_the_rows_of_a_square_root(self, n_outputs, scale):
        torch.manual_seed(n_outputs)
        y = scale * torch.randn(4, n_outputs, dtype=torch.float64)
        p = torch.softmax(y, 1)
        for metric, expected in [
            (identity_metric, torch.eye(n_outputs, dtype=y.dtype).expand(4, -1, -1)),
            (fisher_metric, torch.diag_embed(p) - p[:, :, None] * p[:, None, :]),
        ]:
            seeds = torch.stack(list(metric(y)), 1)
            torch.testing.assert_close(torch.einsum("nrk,nrl->nkl", seeds, seeds), expected)

    def test_fisher_needs_two_outputs(self):
        with pytest.raises(ValueError, match="output_metric='identity'"):
            list(fisher_metric(torch.zeros(3, 1)))


class TestOutputTensor:
    @pytest.mark.parametrize(
        "make",
        [
            lambda y: y,
            lambda y: (y, "hidden state"),
            lambda y: [y],
            lambda y: y.reshape(4, 2, 3),
            lambda y: (y[:, :1], [y[:, 1:5].reshape(4, 2, 2)], {"last": y[:, 5]}),
            lambda y: {"a": y[:, :2], "classes": y.argmax(1), "loss": y.sum(), "b": y[:, 2:]},
            lambda y: (torch.zeros(1, 4, 3), y, None),
        ],
        ids=["tensor", "with a state", "list", "matrix", "nested", "dict", "other lengths"],
    )
    def test_has_one_row_per_sample(self, make):
        y = torch.arange(24.0).reshape(4, 6)
        assert torch.equal(output_tensor(make(y), 4), y)

    def test_a_vector_becomes_a_column(self):
        assert output_tensor(torch.zeros(4), 4).shape == (4, 1)

    @pytest.mark.parametrize(
        "outputs",
        [
            *(None, (), torch.zeros(3, 4), ("a",), torch.tensor(1.0)),
            *({"y": torch.zeros(3, 1)}, torch.zeros(4, 1, dtype=torch.int64)),
        ],
        ids=["none", "empty tuple", "wrong length", "text", "scalar", "dict", "integers"],
    )
    def test_refuses_anything_else(self, outputs):
        with pytest.raises(ValueError, match="one row per sample"):
            output_tensor(outputs, 4)
