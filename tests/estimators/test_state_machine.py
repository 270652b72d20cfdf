"""Random sequences of calls: what holds after each call, and what a failed call changes (nothing).

After every call: removed weights are exactly zero, counts and reports describe the network,
parameters are those that the user set, and the global state of torch and numpy is as before. At
the end the same calls are made on a new estimator; it has to have the same weights.
"""

import copy
import io
import pickle
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from skorch.callbacks import Callback
from skorch.exceptions import SkorchTrainingImpossibleError
from torch import nn

from skec import ECPruner, PrunedMLPClassifier, PrunedMLPRegressor
from skec.networks import NotAChain

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))
TARGETS = {
    PrunedMLPRegressor: 3.0 * X[:, 0] - X[:, 1] + 8.0,
    PrunedMLPClassifier: np.array(["a", "b", "c"])[np.digitize(X[:, 0], [-0.4, 0.4])],
}
SETTINGS = settings(
    max_examples=12,
    stateful_step_count=10,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


class Bomb(Callback):
    """Raises when its fuse has burnt down."""

    fuse, error = None, RuntimeError

    def on_epoch_end(self, net, **kwargs):
        if Bomb.fuse is not None:
            Bomb.fuse -= 1
            if Bomb.fuse < 0:
                raise Bomb.error("boom")

    on_prune_begin = on_prune_end = on_train_end = on_epoch_end


@contextmanager
def bomb(fuse, error):
    Bomb.fuse, Bomb.error = fuse, error
    try:
        yield
    finally:
        Bomb.fuse = None


def fingerprint(value):
    """Everything that a value consists of, to the last bit, except times and callbacks."""
    if isinstance(value, nn.Parameter | torch.Tensor):
        return value.dtype, tuple(value.shape), value.detach().numpy().tobytes()
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, pickle.dumps(value.tolist())
    if isinstance(value, nn.Module):
        return type(value), fingerprint(dict(value.state_dict())), value.training
    if isinstance(value, torch.optim.Optimizer):
        return type(value), fingerprint(value.state_dict())
    if isinstance(value, dict):
        left_out = {"dur", "callbacks_"}
        return {key: fingerprint(each) for key, each in value.items() if key not in left_out}
    if isinstance(value, list | tuple):
        return [fingerprint(each) for each in value]
    if hasattr(value, "__dict__") and not isinstance(value, type) and not callable(value):
        return type(value), fingerprint(vars(value))
    return value if isinstance(value, int | float | str | bool | None | type) else repr(type(value))


def global_state():
    kind, keys, position, *rest = np.random.get_state()  # noqa: NPY002
    return (
        torch.get_rng_state().numpy().tobytes(),
        (kind, keys.tobytes(), position, *rest),
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        (torch.full((1,), 1e-38) * 1e-3).item(),
        tuple(map(str, warnings.filters)),
    )


OTHERS = {
    "pruning_ratio": [0.3, 0.8],
    "method": ["magnitude", "ec"],
    "refit_strategy": ["finetune", "none"],
    "lr": [0.003, 0.01],
    "optimizer": [torch.optim.SGD, torch.optim.AdamW],
    "optimizer__weight_decay": [0.0, 0.3],
    "dtype": ["float32", "float64"],
    "hidden_layer_sizes": [(6,), (5, 4)],
    "module__activation": ["tanh", "relu"],
    "granularity": ["weight", "neuron"],
    "batch_size": [7, 60],
    "early_stopping": [True, False],
}


class Calls(RuleBasedStateMachine):
    """Calls on a ``PrunedMLPRegressor`` or ``PrunedMLPClassifier``."""

    @initialize(kind=st.sampled_from(sorted(TARGETS, key=str)))
    def begin(self, kind):
        self.kind, self.y = kind, TARGETS[kind]
        self.net = self.new()
        self.parameters = self.net.get_params(deep=False)
        self.done = []  # the calls that changed something
        self.world = global_state()

    def new(self):
        return self.kind(
            (6,), max_epochs=2, pruning_ratio=0.5, random_state=0, callbacks=[("bomb", Bomb())]
        )

    fitted = property(lambda self: self.net.initialized_)
    trimmed = property(lambda self: self.net._trimmed_for_prediction)

    def call(self, name, *arguments, **keywords):
        self.done.append((name, arguments, keywords))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            getattr(self.net, name)(*arguments, **keywords)

    def fails(self, errors, name, *arguments, **keywords):
        """The call fails and changes nothing."""
        before = fingerprint(vars(self.net))
        with warnings.catch_warnings(), pytest.raises(errors):
            warnings.simplefilter("ignore")
            getattr(self.net, name)(*arguments, **keywords)
        assert fingerprint(vars(self.net)) == before

    # -- calls ----------------------------------------------------------------------------------

    @rule()
    def fit(self):
        self.call("fit", X, self.y)

    @rule(first=st.integers(0, 40), size=st.sampled_from([1, 5, 20]))
    def partial_fit(self, first, size):
        rows, keywords = slice(first, first + size), {}
        if self.kind is PrunedMLPClassifier and not self.fitted:
            keywords = {"classes": ["a", "b", "c"]}
        if self.trimmed:
            self.fails(SkorchTrainingImpossibleError, "partial_fit", X[rows], self.y[rows])
        else:
            self.call("partial_fit", X[rows], self.y[rows], epochs=1, **keywords)

    @precondition(lambda self: self.fitted)
    @rule(ratio=st.sampled_from([0.0, 0.4, 0.9]), with_data=st.booleans())
    def prune(self, ratio, with_data):
        data = (X, self.y) if with_data else ()
        if self.trimmed:
            self.fails(SkorchTrainingImpossibleError, "prune", *data, pruning_ratio=ratio)
        elif not with_data and getattr(self.net, "_calibration_", None) is None:
            if self.net.method == "ec":
                self.fails(ValueError, "prune", pruning_ratio=ratio)
        else:
            self.call("prune", *data, pruning_ratio=ratio)

    @precondition(lambda self: self.fitted and hasattr(self.net, "masks_"))
    @rule(epochs=st.integers(0, 2))
    def refit(self, epochs):
        if self.trimmed:
            self.fails(SkorchTrainingImpossibleError, "refit", X, self.y, epochs=epochs)
        else:
            self.call("refit", X, self.y, epochs=epochs)

    @precondition(lambda self: self.fitted)
    @rule()
    def compact(self):
        before = self.outputs()
        try:
            self.call("compact")
        except NotAChain:
            self.done.pop()
        np.testing.assert_allclose(self.outputs(), before, rtol=1e-4, atol=1e-4)

    @precondition(lambda self: self.fitted)
    @rule()
    def trim(self):
        before = self.outputs()
        self.call("trim_for_prediction")
        np.testing.assert_array_equal(self.outputs(), before)

    @rule(data=st.data(), name=st.sampled_from(sorted(OTHERS)))
    def set_params(self, data, name):
        value = data.draw(st.sampled_from(OTHERS[name]))
        before = self.outputs() if self.fitted else None
        self.call("set_params", **{name: value})
        self.parameters[name] = value
        if before is not None:
            np.testing.assert_array_equal(self.outputs(), before)

    @rule(way=st.sampled_from(["pickle", "deepcopy"]))
    def copied(self, way):
        before = fingerprint(vars(self.net))
        twin = (
            copy.deepcopy(self.net) if way == "deepcopy" else pickle.loads(pickle.dumps(self.net))
        )
        if "optimizer_" in vars(twin):  # a pickled optimiser has to know the pickled network
            parameters = {id(p) for p in twin.network_.parameters()}
            groups = twin.optimizer_.param_groups
            assert {id(p) for group in groups for p in group["params"]} <= parameters
        assert fingerprint(vars(twin)) == before
        self.net, self.parameters = twin, twin.get_params(deep=False)

    @precondition(lambda self: self.fitted)
    @rule()
    def saved_and_loaded(self):
        before, file = self.outputs(), io.BytesIO()
        self.net.save_params(f_params=file)
        file.seek(0)
        self.net.load_params(f_params=file)
        np.testing.assert_array_equal(self.outputs(), before)

    # -- failures -------------------------------------------------------------------------------

    @rule(name=st.sampled_from(["fit", "partial_fit", "refit", "prune"]), bad=st.integers(0, 3))
    def bad_data(self, name, bad):
        data = [(X[:, 0], self.y), (X + np.nan, self.y), (X, self.y[:-1]), (X[:0], self.y[:0])]
        self.fails((ValueError, SkorchTrainingImpossibleError), name, *data[bad])

    @rule(
        name=st.sampled_from(["fit", "partial_fit", "refit", "prune"]),
        fuse=st.integers(0, 6),
        error=st.sampled_from([RuntimeError, MemoryError]),
    )
    def failing_callback(self, name, fuse, error):
        if self.trimmed and name != "fit":
            return
        before = fingerprint(vars(self.net))
        with bomb(fuse, error), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                getattr(copy.deepcopy(self.net), name)(X, self.y)
                return  # the fuse was longer than the call
            except (error, ValueError):
                pass
            with pytest.raises((error, ValueError)):
                Bomb.fuse = fuse
                getattr(self.net, name)(X, self.y)
        assert fingerprint(vars(self.net)) == before

    @precondition(lambda self: self.fitted)
    @rule(name=st.sampled_from(["module", "loss", "name", "callback"]))
    def wrong_parameter(self, name):
        wrong = {
            "module": {"lr": 0.5, "criterion__nothing": 1.0},
            "loss": {"pruning_ratio": 0.1, "criterion__nothing": 1.0},
            "name": {"nothing": 1.0},
            "callback": {"lr": 0.5, "callbacks__nothing__at_all": 1.0},
        }[name]
        if self.trimmed and name != "name":
            return
        self.fails((ValueError, TypeError), "set_params", **wrong)

    # -- what always holds ----------------------------------------------------------------------

    def outputs(self):
        net = self.net
        outputs = net.predict(X) if self.kind is PrunedMLPRegressor else net.predict_proba(X)
        assert np.isfinite(outputs).all()
        return outputs

    @invariant()
    def removed_weights_are_zero_and_counts_are_true(self):
        net = self.net
        if not net.initialized_:
            return
        parameters = list(net.network_.parameters())
        assert net.n_parameters_ == sum(p.numel() for p in parameters)
        assert net.n_nonzero_parameters_ == sum(int(p.count_nonzero()) for p in parameters)
        if "optimizer_" in vars(net):
            held = {id(p) for group in net.optimizer_.param_groups for p in group["params"]}
            assert held == {id(p) for p in parameters}
        if not hasattr(net, "masks_"):
            return
        for name, mask in net.masks_.items():
            weight = net.network_.get_submodule(name).weight
            assert weight.shape == mask.shape
            assert int(weight[~mask].count_nonzero()) == 0
        if hasattr(net, "pruning_report_") and hasattr(net, "dense_module_"):
            for row in net.pruning_report_:
                assert row["weights_left"] == int(net.masks_[row["layer"]].sum())

    @invariant()
    def parameters_are_those_of_the_user(self):
        now = self.net.get_params(deep=False)
        assert now.keys() == self.parameters.keys()
        assert all(
            now[name] is value or now[name] == value for name, value in self.parameters.items()
        )

    @invariant()
    def the_world_is_as_before(self):
        assert global_state() == self.world

    @invariant()
    def rows_are_independent(self):
        if self.fitted:
            np.testing.assert_array_equal(self.net.predict(X[7:9]), self.net.predict(X)[7:9])

    def teardown(self):
        if not getattr(self, "done", None):
            return
        again, before = self.new(), fingerprint(X)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name, arguments, keywords in self.done:
                getattr(again, name)(*arguments, **keywords)
        assert again.initialized_ == self.fitted
        if self.fitted:
            assert fingerprint(again.module_) == fingerprint(self.net.module_)
        assert fingerprint(X) == before


class PrunerCalls(RuleBasedStateMachine):
    """Calls on an ``ECPruner``."""

    @initialize(ratio=st.sampled_from([0.3, 0.7]), refit_epochs=st.integers(0, 1))
    def begin(self, ratio, refit_epochs):
        self.y = TARGETS[PrunedMLPClassifier]
        self.inner = PrunedMLPClassifier(
            (6,), max_epochs=2, random_state=0, callbacks=[("bomb", Bomb())]
        )
        self.given = fingerprint(vars(self.inner))
        self.pruner = ECPruner(
            self.inner, pruning_ratio=ratio, refit_epochs=refit_epochs, random_state=0
        )
        self.parameters = self.pruner.get_params(deep=False)
        self.world = global_state()

    fitted = property(lambda self: hasattr(self.pruner, "estimator_"))

    @rule()
    def fit(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.pruner.fit(X, self.y)

    @precondition(lambda self: self.fitted)
    @rule()
    def compact(self):
        before = self.pruner.transform(X)
        self.pruner.compact()
        np.testing.assert_allclose(self.pruner.transform(X), before, rtol=1e-4, atol=1e-4)

    @rule(output=st.sampled_from(["hidden", "output", "features"]))
    def set_output_columns(self, output):
        self.pruner.set_params(output=output)
        self.parameters["output"] = output

    @rule(way=st.sampled_from(["pickle", "deepcopy"]))
    def copied(self, way):
        before = fingerprint(vars(self.pruner))
        pruner = self.pruner
        twin = copy.deepcopy(pruner) if way == "deepcopy" else pickle.loads(pickle.dumps(pruner))
        assert fingerprint(vars(twin)) == before
        self.pruner, self.inner = twin, twin.estimator
        self.parameters = twin.get_params(deep=False)

    @rule(fuse=st.integers(0, 6), error=st.sampled_from([RuntimeError, MemoryError]))
    def failing_fit(self, fuse, error):
        before = fingerprint(vars(self.pruner))
        with bomb(fuse, error), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                copy.deepcopy(self.pruner).fit(X, self.y)
                return
            except error:
                pass
            with pytest.raises(error):
                Bomb.fuse = fuse
                self.pruner.fit(X, self.y)
        assert fingerprint(vars(self.pruner)) == before

    @rule(bad=st.integers(0, 2))
    def bad_data(self, bad):
        data = [(X[:, 0], self.y), (X + np.nan, self.y), (X, self.y[:-1])]
        before = fingerprint(vars(self.pruner))
        with pytest.raises(ValueError):
            self.pruner.fit(*data[bad])
        assert fingerprint(vars(self.pruner)) == before

    @invariant()
    def the_result_is_consistent(self):
        assert fingerprint(vars(self.inner)) == self.given
        now = self.pruner.get_params(deep=False)
        assert all(
            now[name] is value or now[name] == value for name, value in self.parameters.items()
        )
        assert global_state() == self.world
        if not self.fitted:
            return
        network = self.pruner.estimator_.network_
        for name, mask in self.pruner.masks_.items():
            weight = network.get_submodule(name).weight
            assert weight.shape == mask.shape and int(weight[~mask].count_nonzero()) == 0
        columns = self.pruner.transform(X)
        assert columns.shape[1] == len(self.pruner.get_feature_names_out())
        np.testing.assert_array_equal(self.pruner.transform(X[7:9]), columns[7:9])


TestCalls = Calls.TestCase
TestCalls.settings = SETTINGS
TestPrunerCalls = PrunerCalls.TestCase
TestPrunerCalls.settings = SETTINGS
