"""The state of a pruner over sequences of calls, of which some fail or are interrupted."""

import copy
import inspect
import itertools
import pickle
import sys
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, InconsistentVersionWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import Callback, EarlyStopping
from torch import nn

import skec
from skec import ECPruner, PrunedMLPClassifier, PrunedMLPRegressor

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::skec.PruningWarning"),
]
RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 5))
Y = X[:, 0] - X[:, 1] ** 2
LABELS = (Y > 0).astype(int)
SMALL = {"hidden_layer_sizes": (7, 4), "random_state": 0}


def module(n_outputs, *end):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 4), nn.ReLU(), nn.Linear(4, n_outputs), *end
    )


SKORCH = {"max_epochs": 1, "verbose": 0, "train_split": None}
MAKE = {
    "skec regressor": lambda: PrunedMLPRegressor(max_epochs=2, **SMALL),
    "skec classifier": lambda: PrunedMLPClassifier(max_epochs=2, **SMALL),
    "perceptron": lambda: MLPRegressor(max_iter=2, **SMALL),
    "perceptron of classes": lambda: MLPClassifier(max_iter=2, **SMALL),
    "skorch": lambda: NeuralNetRegressor(module(1, nn.Flatten(0)), **SKORCH),
    "skorch of classes": lambda: NeuralNetClassifier(
        module(2), criterion=nn.CrossEntropyLoss, **SKORCH
    ),
    "pipeline": lambda: make_pipeline(StandardScaler(), PrunedMLPRegressor(max_epochs=2, **SMALL)),
}


def targets(name):
    return LABELS if "class" in name else Y


def fitted(name, **parameters):
    parameters = {"pruning_ratio": 0.7, "random_state": 0, "n_steps": 2, **parameters}
    pruner = ECPruner(MAKE[name](), **parameters).fit(X, targets(name))
    pruner.predict(X)  # skorch sets modes in it
    return pruner


def state(*objects):
    """A hash of all attributes, to the last bit."""
    return pickle.dumps([vars(one) for one in objects])


def global_state():
    numbers = np.random.get_state()[1].tobytes()  # noqa: NPY002
    generator = torch.get_rng_state().numpy().tobytes()
    return (numbers, generator, torch.get_num_threads(), torch.is_grad_enabled(),
            torch.get_default_dtype())  # fmt: skip


class PrunerMachine(RuleBasedStateMachine):
    """Calls in any order, also some that fail."""

    @initialize(name=st.sampled_from(list(MAKE)), granularity=st.sampled_from(["weight", "neuron"]))
    def begin(self, name, granularity):
        self.name, self.y, self.compacted = name, targets(name), False
        self.given = MAKE[name]()
        self.given_state = state(self.given)
        self.pruner = ECPruner(self.given, granularity=granularity, random_state=0, n_steps=1)
        self.globals = global_state()

    fitted = precondition(lambda self: hasattr(self.pruner, "estimator_"))

    @rule(ratio=st.sampled_from([0.0, 0.5, 0.9]), refit_epochs=st.sampled_from([0, 1]))
    def fit(self, ratio, refit_epochs):
        self.pruner.set_params(pruning_ratio=ratio, refit_epochs=refit_epochs).fit(X, self.y)
        self.compacted = False
        assert self.pruner.sparsity_ <= 0.95

    @rule(what=st.sampled_from(["NaN", "rows", "method", "metric", "layers"]))
    def fit_that_fails(self, what):
        before = state(self.pruner)
        parameters = {
            "method": {"method": "best"},
            "metric": {"output_metric": "manhattan"},
            "layers": {"layers": ["nowhere"]},
        }.get(what, {})
        data = {"NaN": (X * np.nan, self.y), "rows": (X, self.y[:7])}.get(what, (X, self.y))
        own = {name: getattr(self.pruner, name) for name in parameters}
        self.pruner.set_params(**parameters)
        with pytest.raises((ValueError, TypeError)):
            self.pruner.fit(*data)
        self.pruner.set_params(**own)
        assert state(self.pruner) == before

    @rule()
    def set_params_that_fails(self):
        before = state(self.pruner, self.pruner.estimator)
        nested = {"estimator__nothing_like_it": 1}
        with pytest.raises((ValueError, TypeError)):
            self.pruner.set_params(pruning_ratio=0.123, output="output", **nested)
        assert state(self.pruner, self.pruner.estimator) == before

    @fitted
    @rule()
    def compact(self):
        before = self.pruner.predict(X)
        self.pruner.compact()
        self.compacted = True
        np.testing.assert_allclose(self.pruner.predict(X), before, rtol=1e-4, atol=1e-4)

    @fitted
    @rule(how=st.sampled_from(["pickle", "deepcopy", "copy"]))
    def store(self, how):
        expected = self.pruner.predict(X)
        self.pruner = {
            "pickle": lambda one: pickle.loads(pickle.dumps(one)),
            "deepcopy": copy.deepcopy,
            "copy": copy.copy,
        }[how](self.pruner)
        np.testing.assert_array_equal(self.pruner.predict(X), expected)

    @fitted
    @rule(output=st.sampled_from(["hidden", "output", "features"]))
    def transform(self, output):
        self.pruner.set_params(output=output)
        if output == "features" and self.name == "pipeline":
            with pytest.raises(ValueError, match="make the pruner the last step"):
                self.pruner.transform(X)
            return
        found = self.pruner.transform(X)
        assert found.shape == (60, len(self.pruner.get_feature_names_out()))
        if output == "features":
            np.testing.assert_array_equal(found, X[:, self.pruner.get_support()])

    @fitted
    @rule(rows=st.sampled_from([X[:, :3], X * np.nan]))
    def predict_that_fails(self, rows):
        self.pruner.predict(X)
        before = state(self.pruner)
        for call in (self.pruner.predict, self.pruner.transform):
            with pytest.raises(ValueError, match=r"NaN|features"):
                call(rows)
        assert state(self.pruner) == before

    @invariant()
    def removed_weights_are_zero_and_counted(self):
        if not hasattr(self.pruner, "estimator_"):
            return
        network, masks = self.pruner._adapter.network, self.pruner.masks_
        for name, mask in masks.items():
            weight = network.get_submodule(name).weight
            assert weight.shape == mask.shape
            assert not weight[~mask].any()
        if not self.compacted and self.pruner.granularity == "weight":
            removed = sum(int((~mask).sum()) for mask in masks.values())
            assert self.pruner.sparsity_ == removed / sum(map(torch.numel, masks.values()))
            counts = {row["layer"]: row["weights_left"] for row in self.pruner.pruning_report_}
            assert counts == {name: int(mask.sum()) for name, mask in masks.items()}

    @invariant()
    def columns_without_support_do_not_matter(self):
        if not hasattr(self.pruner, "estimator_") or self.name == "pipeline":
            return
        moved = X + 3.0 * ~self.pruner.get_support()
        np.testing.assert_array_equal(self.pruner.predict(moved), self.pruner.predict(X))

    @invariant()
    def the_given_estimator_stays(self):
        if hasattr(self, "given"):
            assert state(self.given) == self.given_state

    @invariant()
    def nothing_global_changes(self):
        if hasattr(self, "globals"):
            assert global_state() == self.globals


PrunerMachine.TestCase.settings = settings(
    max_examples=12, stateful_step_count=8, deadline=None, derandomize=True
)
TestSequencesOfCalls = PrunerMachine.TestCase


class Interrupter:
    """Presses Ctrl-C before one of the lines that some files of the library run."""

    FILES = ("pruner.py", "inner.py", "before_training.py", "prune_estimator.py", "rollback.py",
             "_base.py", "_skorch.py", "_sklearn.py", "_pruned_mlp.py", "_pipeline.py",
             "delegation.py", "representation.py", "compaction.py", "steps.py")  # fmt: skip

    def __init__(self, line):
        self.line, self.lines, self.depth = line, 0, 0

    def __call__(self, frame, event, argument):
        code = frame.f_code
        if "/skec/" not in code.co_filename or not code.co_filename.endswith(self.FILES):
            return None
        if event == "line":
            self.lines += 1
            if self.lines == self.line:
                sys.settrace(None)
                raise KeyboardInterrupt
        return self

    def run(self, call):
        """Call a function; whether it was interrupted."""
        before = sys.gettrace()
        sys.settrace(self)
        try:
            call()
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(before)
            # Python does not leave a ``with`` that is interrupted between its last line and its end
            torch.set_grad_enabled(True)
        return False


CALLS = {
    "fit": lambda pruner, y: pruner.fit(X, y),
    "compact": lambda pruner, y: pruner.compact(),
    "transform": lambda pruner, y: pruner.transform(X[:3]),
    "score": lambda pruner, y: pruner.score(X[:9], y[:9]),
    "set_params": lambda pruner, y: pruner.set_params(n_steps=1, output="output"),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", ["skec regressor", "perceptron", "skorch", "pipeline"])
def test_an_interrupt_changes_nothing(name, call):
    pruner, y = fitted(name, refit_epochs=1), targets(name)
    counter = Interrupter(line=0)
    counter.run(lambda: CALLS[call](copy.deepcopy(pruner), y))
    before = state(pruner, pruner.estimator)
    hit = 0
    for line in np.unique(np.linspace(1, counter.lines, 40).astype(int)):
        interrupted = Interrupter(line).run(partial(CALLS[call], pruner, y))
        if interrupted:
            assert state(pruner, pruner.estimator) == before, f"line {line}"
            hit += 1
        else:  # skorch ends its training quietly
            pruner = fitted(name, refit_epochs=1)
            before = state(pruner, pruner.estimator)
    assert hit >= 10


class Fails(Callback):
    """Raises in one of its methods, once it is armed."""

    armed = False

    def __init__(self, event="on_train_begin", error=ValueError):
        self.event, self.error = event, error

    def notify(self, event):
        if self.armed and event == self.event:
            raise self.error("of a callback")

    def on_train_begin(self, net, **kwargs):
        self.notify("on_train_begin")

    def on_epoch_end(self, net, **kwargs):
        self.notify("on_epoch_end")

    def on_batch_end(self, net, **kwargs):
        self.notify("on_batch_end")

    def on_train_end(self, net, **kwargs):
        self.notify("on_train_end")


EVENTS = ["on_train_begin", "on_epoch_end", "on_batch_end", "on_train_end"]


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("name", ["skec regressor", "skorch"])
@pytest.mark.parametrize("prefit", [False, True])
def test_an_error_of_a_callback_changes_nothing(monkeypatch, name, event, prefit):
    net = MAKE[name]().set_params(callbacks=[Fails(event)])
    if prefit:
        net.fit(X.astype(np.float32), Y.astype(np.float32))
    pruner = ECPruner(net, prefit=prefit, refit_epochs=1, random_state=0).fit(X, Y)
    pruner.predict(X)
    monkeypatch.setattr(Fails, "armed", True)
    before = state(pruner, net)
    with pytest.raises(ValueError, match="of a callback"):
        pruner.fit(X, Y)
    assert state(pruner, net) == before


@pytest.mark.parametrize("make", ["skec regressor", "skorch"])
def test_a_callback_may_end_the_refit(make):
    net = MAKE[make]().set_params(callbacks=[EarlyStopping("train_loss", patience=2, threshold=9)])
    pruner = ECPruner(net, refit_epochs=30, pruning_ratio=0.5).fit(X, Y)
    assert len(pruner.estimator_.history) < 10
    for name, mask in pruner.masks_.items():
        assert not pruner.estimator_.module_.get_submodule(name).weight[~mask].any()


class Interrupted(nn.Module):
    """A network whose user presses Ctrl-C in one of its forward passes in training."""

    countdown = 0

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(5, 7), nn.Linear(7, 1)

    def forward(self, inputs):
        if self.training:
            type(self).countdown -= 1
            if type(self).countdown == 0:
                raise KeyboardInterrupt
        return self.b(torch.relu(self.a(inputs)))[:, 0]


def test_an_interrupted_refit_ends_with_a_warning():
    net = NeuralNetRegressor(Interrupted, batch_size=20, **SKORCH)  # three batches an epoch
    Interrupted.countdown = 8
    with pytest.warns(ConvergenceWarning, match="in epoch 3 of the refit phase"):
        pruner = ECPruner(net, refit_epochs=5, random_state=0).fit(X, Y)
    assert np.isfinite(pruner.predict(X)).all()
    for name, mask in pruner.masks_.items():
        assert not pruner.estimator_.module_.get_submodule(name).weight[~mask].any()


# -- parameters --------------------------------------------------------------------------------


OWN = {"pruning_ratio": 0.3, "scope": "layer", "refit_strategy": "rewind", "step_epochs": 2,
       "method": "taylor", "granularity": "neuron", "n_steps": 2}  # fmt: skip


@pytest.mark.parametrize("own", [{}, OWN, {"refit_strategy": "none"}], ids=len)
@pytest.mark.parametrize("prefit", [False, True])
def test_the_estimator_keeps_the_parameters_that_the_user_set(own, prefit):
    own = {name: value for name, value in own.items() if name != "method"}
    net = PrunedMLPRegressor(max_epochs=2, **SMALL).set_params(**own)
    if prefit:
        net.fit(X, Y)
    pruner = ECPruner(net, prefit=prefit, refit_epochs=1, pruning_ratio=0.6).fit(X, Y)
    inner = pruner.estimator_
    assert inner.get_params(deep=False) == net.get_params(deep=False)
    assert "_stays_dense" not in vars(inner)
    again, alone = copy.deepcopy(inner).fit(X, Y), clone(net).fit(X, Y)
    np.testing.assert_array_equal(again.predict(X), alone.predict(X))
    assert again.sparsity_ == alone.sparsity_


def test_the_dense_network_is_trained_once_and_pruned_once():
    net = PrunedMLPRegressor(max_epochs=3, step_epochs=2, **SMALL)
    inner = ECPruner(net, refit_epochs=2).fit(X, Y).estimator_
    assert [row["phase"] for row in inner.history] == ["dense"] * 3 + ["prune"] + ["refit"] * 2


def test_a_prune_of_the_estimator_starts_from_the_dense_network():
    pruner = ECPruner(PrunedMLPRegressor(max_epochs=3, **SMALL), pruning_ratio=0.9).fit(X, Y)
    dense = PrunedMLPRegressor(max_epochs=3, pruning_ratio=0.0, **SMALL).fit(X, Y)
    pruner.estimator_.prune(pruning_ratio=0.0)
    np.testing.assert_array_equal(pruner.estimator_.predict(X), dense.predict(X))


def test_weights_of_samples_are_copied():
    for name in ("skec regressor", "perceptron"):
        weight = np.ones(60)
        pruner = ECPruner(MAKE[name](), refit_epochs=1, random_state=0)
        pruner.fit(X, Y, sample_weight=weight)
        before = state(pruner)
        weight[:] = 0.0
        assert state(pruner) == before


class Own(ECPruner):
    """A subclass with a parameter and a signature of its own."""

    def __init__(self, estimator, depth=1, pruning_ratio=0.5):
        super().__init__(estimator, pruning_ratio=pruning_ratio, n_steps=1)
        self.depth = depth

    def fit(self, X, y=None, sample_weight=None, **fit_params):
        return super().fit(X, y, sample_weight, **fit_params)


def test_subclasses():
    pruner = Own(MAKE["skec regressor"](), depth=3)
    assert set(pruner.get_params(deep=False)) == {"estimator", "depth", "pruning_ratio"}
    assert clone(pruner).depth == 3
    pruner.fit(X, Y)
    assert pruner.sparsity_ == pytest.approx(0.5, abs=0.01)
    again = pickle.loads(pickle.dumps(pruner))
    np.testing.assert_array_equal(again.predict(X), pruner.predict(X))


# -- pickles -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MAKE)
@pytest.mark.filterwarnings("error::sklearn.exceptions.InconsistentVersionWarning")
def test_a_pickle_of_this_version(name):
    pruner = fitted(name)
    again = pickle.loads(pickle.dumps(pruner))
    assert "_skec_version" not in vars(again)
    np.testing.assert_array_equal(again.predict(X), pruner.predict(X))


@pytest.mark.parametrize("written_by", ["0.0.1", None])
@pytest.mark.parametrize("kind", [ECPruner, PrunedMLPRegressor])
def test_a_pickle_of_another_version(monkeypatch, kind, written_by):
    pruner = fitted("skec regressor")
    one = pruner if kind is ECPruner else pruner.estimator_
    expected = one.predict(X)
    with monkeypatch.context() as patch:
        if written_by is None:
            patch.setattr("skec.estimators.versions._KEY", "_other")
        else:
            patch.setattr(skec, "__version__", written_by)
        del one.calibration_samples  # a parameter that the other version did not have
        stored = pickle.dumps(one)
    name = "unknown" if written_by is None else written_by
    with pytest.warns(InconsistentVersionWarning, match=f"{kind.__name__} from version {name}"):
        again = pickle.loads(stored)
    default = inspect.signature(kind).parameters["calibration_samples"].default
    assert again.calibration_samples == default
    np.testing.assert_array_equal(again.predict(X), expected)


@pytest.mark.parametrize(
    ("first", "second"), itertools.permutations(["unfitted", "fitted", "compact"], 2)
)
def test_pickles_of_each_stage(first, second):
    stages = {
        "unfitted": lambda pruner: clone(pruner),
        "fitted": lambda pruner: pruner.fit(X, Y),
        "compact": lambda pruner: pruner.fit(X, Y).compact(),
    }
    pruner = stages[first](ECPruner(MAKE["skec regressor"](), random_state=0))
    again = stages[second](pickle.loads(pickle.dumps(pruner)))
    expected = stages[second](ECPruner(MAKE["skec regressor"](), random_state=0))
    if second != "unfitted":
        np.testing.assert_array_equal(again.predict(X), expected.predict(X))
    assert again.get_params(deep=False).keys() == expected.get_params(deep=False).keys()
