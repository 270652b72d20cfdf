"""What a pruner finds before its estimator is trained."""

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetBinaryClassifier, NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import Callback, InputShapeSetter
from torch import nn

from skec import ECPruner, PrunedMLPClassifier, PrunedMLPRegressor

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 6)).astype(np.float32)
Y = (X[:, 0] - X[:, 1] ** 2)[:, None]
CLASSES = np.digitize(Y.ravel(), [-1.0, 0.0])


class Trained(Exception):
    """The training has begun."""


class Stop(Callback):
    """Fails in the first batch."""

    def on_batch_begin(self, net, **kwargs):
        raise Trained


class TwoLayers(nn.Module):
    def __init__(self, n_features=6, n_outputs=1):
        super().__init__()
        self.a, self.b = nn.Linear(n_features, 5), nn.Linear(5, n_outputs)

    def forward(self, x):
        return self.b(torch.relu(self.a(x)))


class Twice(TwoLayers):
    """Runs its first layer twice."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(6, 6)
        self.b = nn.Linear(6, 1)

    def forward(self, x):
        return self.b(torch.relu(self.a(torch.relu(self.a(x)))))


class OnSequences(TwoLayers):
    """Its first layer reads a sequence."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(1, 3), nn.Linear(18, 1)

    def forward(self, x):
        return self.b(torch.relu(self.a(x[..., None])).flatten(1))


class Idle(TwoLayers):
    """Has a layer that never runs."""

    def __init__(self):
        super().__init__()
        self.idle = nn.Linear(2, 2)


class Tied(TwoLayers):
    """Two of its layers share a weight."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 1)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.c(torch.relu(self.b(torch.relu(self.a(x)))))


def skorch_net(module=TwoLayers, kind=NeuralNetRegressor, **parameters):
    defaults = {"max_epochs": 1, "verbose": 0, "train_split": None, "callbacks": [Stop()]}
    if kind is NeuralNetClassifier:
        defaults["criterion"] = nn.CrossEntropyLoss
    return kind(module, **(defaults | parameters))


def skec_net(module, **parameters):
    return PrunedMLPRegressor(module=module, max_epochs=1, callbacks=[Stop()], **parameters)


ODD = {
    Twice: "Layer 'a' runs more than once",
    OnSequences: "Layer 'a' gets an input of shape",
    Idle: r"Layers \['idle'\] take no part",
    Tied: "Layers 'a' and 'b' share one weight",
}


@pytest.mark.parametrize("module", ODD)
@pytest.mark.parametrize("make", [skorch_net, skec_net], ids=lambda make: make.__name__)
class TestOddNetworks:
    def test_are_refused_before_training(self, make, module):
        y = Y if make is skorch_net else Y.ravel()
        with pytest.raises(ValueError, match=ODD[module]):
            ECPruner(make(module)).fit(X, y)

    def test_are_pruned_without_the_odd_layers(self, make, module):
        layers = ["a", "b"] if module is Idle else ["c"] if module is Tied else ["b"]
        y = Y if make is skorch_net else Y.ravel()
        with pytest.raises(Trained):
            ECPruner(make(module), layers=layers).fit(X, y)
        pruner = ECPruner(make(module).set_params(callbacks=None), layers=layers).fit(X, y)
        assert list(pruner.masks_) == layers
        assert pruner.predict(X).shape == y.shape


@pytest.mark.parametrize("module", [Twice, OnSequences])
def test_the_magnitude_of_a_weight_needs_no_inputs(module):
    net = skorch_net(module, callbacks=None)
    assert ECPruner(net, method="magnitude", n_steps=1).fit(X, Y).sparsity_ > 0.7


SETTINGS = [
    ({"output_metric": "fisher"}, "output_metric='fisher' is not known for loss=MSELoss"),
    ({"schedule": "late"}, "schedule='late' is unknown"),
    ({"scope": {"b": 0.5, "z": 0.5}}, r"scope names layers \['z'\]"),
    ({"layers": ["z"]}, r"layers=\['z'\]"),
    ({"scope": {"b": 0.5}, "prune_output_layer": False}, r"scope names layers \['b'\]"),
    ({"granularity": "neuron"}, "granularity='neuron' cannot prune this network"),
]


@pytest.mark.parametrize(("settings", "message"), SETTINGS, ids=str)
@pytest.mark.parametrize("make", [skorch_net, skec_net], ids=lambda make: make.__name__)
@pytest.mark.parametrize("in_pipeline", [False, True])
def test_settings_that_need_the_network(make, settings, message, in_pipeline):
    net = make(TwoLayers)
    net = make_pipeline(StandardScaler(), net) if in_pipeline else net
    with pytest.raises(ValueError, match=message):
        ECPruner(net, **settings).fit(X, Y if make is skorch_net else Y.ravel())


class Untrainable(MLPRegressor):
    def fit(self, X, y):
        raise Trained


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"output_metric": "fisher"}, "output_metric='fisher' is not known for loss=MSELoss"),
        ({"schedule": "late"}, "schedule='late' is unknown"),
        ({"output_metric": "manhattan"}, "output_metric='manhattan' is unknown"),
    ],
    ids=str,
)
def test_settings_for_perceptrons_of_scikit_learn(settings, message):
    for estimator in (Untrainable(), make_pipeline(StandardScaler(), Untrainable())):
        with pytest.raises(ValueError, match=message):
            ECPruner(estimator, **settings).fit(X, Y.ravel())
        with pytest.raises(Trained):
            ECPruner(estimator).fit(X, Y.ravel())


@pytest.mark.parametrize("y", [CLASSES, CLASSES > 0, np.c_[CLASSES > 0, CLASSES > 1]])
def test_the_metric_that_is_known_before_is_that_of_the_trained_perceptron(y):
    mlp = MLPClassifier(4, max_iter=2)
    pruner = ECPruner(mlp, output_metric="fisher", n_steps=1)
    with pytest.warns(match="Maximum iterations"):
        assert pruner.fit(X, y).sparsity_ == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize(
    ("net", "y", "message"),
    [
        (skorch_net(), Y.ravel(), r"\(61, 1\) and \(61,\).*torch.nn.Flatten\(0\)"),
        (skorch_net(module__n_outputs=3), Y, r"\(61, 3\) and \(61, 1\)"),
        (skorch_net(kind=NeuralNetClassifier), CLASSES, "one output for each class"),
        (
            skorch_net(kind=NeuralNetClassifier, module__n_outputs=2),
            CLASSES,
            "Target 2 is out of bounds.*one output for each class",
        ),
        (
            skorch_net(kind=NeuralNetClassifier, module__n_outputs=3),
            CLASSES.astype(float),
            "y the integers 0, 1, …",
        ),
        (
            skorch_net(kind=NeuralNetClassifier, module__n_outputs=3),
            CLASSES.astype(str),
            "Encode strings",
        ),
        (skorch_net(module__n_features=5), Y, r"does not take X of shape|cannot be multiplied"),
    ],
)
def test_modules_that_do_not_fit_the_data(net, y, message):
    with pytest.raises((ValueError, TypeError, RuntimeError), match=message):
        ECPruner(net).fit(X, y)


def test_a_callback_may_make_the_module_first():
    net = skorch_net(callbacks=[InputShapeSetter(param_name="n_features")], module__n_features=2)
    assert ECPruner(net).fit(X, Y).predict(X).shape == (120, 1)


def test_own_losses_and_steps_are_left_to_the_net():
    net = skorch_net(kind=NeuralNetBinaryClassifier, callbacks=None)
    y = (Y.ravel() > 0).astype(np.float32)
    assert ECPruner(net).fit(X, y).predict(X).shape == (120,)


def test_lazy_modules_are_checked_after_the_training():
    net = skorch_net(nn.Sequential(nn.LazyLinear(5), nn.ReLU(), nn.LazyLinear(1)), callbacks=None)
    assert ECPruner(net, random_state=0).fit(X, Y).sparsity_ == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize("callbacks", [None, [], [("mine", Callback())], "disable"])
def test_the_check_leaves_no_trace_in_the_net(callbacks):
    if callbacks == "disable":
        pruner = ECPruner(skorch_net(callbacks=callbacks, train_split=None)).fit(X, Y)
        assert pruner.estimator_.callbacks == "disable"
        return
    net = skorch_net(callbacks=callbacks)
    found = ECPruner(net).fit(X, Y).estimator_
    names = [name for name, _ in found.callbacks_]
    expected = [name for name, _ in net.initialize().callbacks_]
    assert names == [*expected, "keep_masks"]
    assert (found.callbacks is None) == (callbacks is None)
    assert len(found.callbacks or []) == len(callbacks or [])


NUMBERS = ["pruning_ratio", "n_steps", "n_probes", "calibration_samples", "batch_size",
           "refit_epochs"]  # fmt: skip


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [True, False, np.True_])
def test_a_boolean_is_no_number(name, value):
    with pytest.raises(ValueError, match=f"'{name}' parameter of ECPruner must be"):
        ECPruner(Untrainable(), **{name: value}).fit(X, Y.ravel())


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (RandomForestRegressor(), "got RandomForestRegressor"),
        (make_pipeline(StandardScaler(), RandomForestRegressor()), "got RandomForestRegressor"),
        (PrunedMLPClassifier, r"the class PrunedMLPClassifier. Pass an instance: PrunedMLP"),
        (None, "got None"),
        ("mlp", "got 'mlp'"),
        (nn.Linear(6, 1), "skec.prune"),
        (ECPruner(PrunedMLPRegressor()), "got ECPruner"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_estimator_with_a_network(estimator, message):
    pruner = ECPruner(estimator)
    with pytest.raises(TypeError, match=message):
        pruner.fit(X, Y.ravel())
    assert "ECPruner" in repr(pruner)
    assert "ECPruner" in pruner._repr_html_()


def test_missing_targets():
    net = skorch_net(callbacks=None).fit(X, Y)
    for method in ("taylor", "gradient"):
        with pytest.raises(ValueError, match="needs the targets"):
            ECPruner(net, prefit=True, method=method).fit(X)
    with pytest.raises(ValueError, match="requires y"):
        ECPruner(skorch_net()).fit(X)
