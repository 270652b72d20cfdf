"""Networks of scikit-learn as estimators of this library, and back."""

from __future__ import annotations

import copy
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor
from torch import nn

import skec
from skec import ECPruner, PrunedMLPClassifier, PrunedMLPRegressor

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::skec.PruningWarning"),
]

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 5))
TARGET = 40.0 + 7.0 * X[:, 0] - X[:, 1] ** 2
CLASSES = np.array(["a", "b", "c"])[np.digitize(X[:, 0], [-0.5, 0.5])]
HIDDEN = {
    "relu": lambda z: np.maximum(z, 0.0),
    "tanh": np.tanh,
    "logistic": lambda z: 1.0 / (1.0 + np.exp(-z)),
    "identity": lambda z: z,
}
TASKS = {
    "regression": (MLPRegressor, TARGET),
    "two outputs": (MLPRegressor, np.column_stack([TARGET, X[:, 2]])),
    "two classes": (MLPClassifier, CLASSES == "a"),
    "three classes": (MLPClassifier, CLASSES),
}


def fitted(task, **parameters):
    kind, y = TASKS[task]
    defaults = {"hidden_layer_sizes": (7, 4), "solver": "lbfgs", "max_iter": 15, "random_state": 0}
    mlp = kind(**(defaults | parameters))
    return mlp.fit(X, y), y


def predictions(estimator, data=X):
    if hasattr(estimator, "classes_"):
        return estimator.predict_proba(data)
    return estimator.predict(data)


# scikit-learn's networks have neither of the two
CONVERTIBLE = {"feature_scaling": None, "feature_embedding": None}


def own(task="regression", **parameters):
    """A trained float64 network of the library."""
    kind, y = TASKS[task]
    kind = PrunedMLPRegressor if kind is MLPRegressor else PrunedMLPClassifier
    defaults = {
        "hidden_layer_sizes": (8, 6), "activation": "relu", "dtype": "float64", "max_epochs": 4,
        "batch_size": 32, "random_state": 0,
    }  # fmt: skip
    defaults |= CONVERTIBLE
    return kind(**(defaults | parameters)).fit(X, y)


def by_hand(mlp, data):
    """Outputs of the last layer of scikit-learn's network."""
    h = data
    for coef, intercept in zip(mlp.coefs_[:-1], mlp.intercepts_[:-1], strict=True):
        h = HIDDEN[mlp.activation](h @ coef + intercept)
    return h @ mlp.coefs_[-1] + mlp.intercepts_[-1]


class TestFromSklearn:
    @pytest.mark.parametrize("activation", HIDDEN)
    @pytest.mark.parametrize("task", TASKS)
    def test_predictions_are_the_same(self, task, activation):
        mlp, _ = fitted(task, activation=activation)
        net = skec.from_sklearn(mlp)
        np.testing.assert_allclose(predictions(net), predictions(mlp), rtol=1e-9, atol=1e-9)
        np.testing.assert_array_equal(net.predict(X).shape, mlp.predict(X).shape)
        if hasattr(mlp, "classes_"):
            np.testing.assert_array_equal(net.predict(X), mlp.predict(X))
            np.testing.assert_array_equal(net.classes_, mlp.classes_)
            np.testing.assert_allclose(net.predict_proba(X).sum(1), 1.0)

    def test_logits_of_two_classes(self):
        mlp, _ = fitted("two classes")
        logits = np.concatenate(list(skec.from_sklearn(mlp).forward_iter(X)))
        expected = np.column_stack([np.zeros(len(X)), by_hand(mlp, X)])
        np.testing.assert_allclose(logits, expected, atol=1e-12)

    @pytest.mark.parametrize("sizes", [(), 3, [3], (2, 3, 4)], ids=str)
    def test_any_number_of_layers(self, sizes):
        mlp, _ = fitted("regression", hidden_layer_sizes=sizes)
        net = skec.from_sklearn(mlp)
        np.testing.assert_allclose(net.predict(X), mlp.predict(X))
        assert net.hidden_layer_sizes == tuple(np.ravel(sizes).astype(int))

    def test_float32(self):
        mlp = MLPRegressor(hidden_layer_sizes=6, max_iter=3, random_state=0)
        mlp.partial_fit(X.astype(np.float32), TARGET.astype(np.float32))
        net = skec.from_sklearn(mlp)
        assert net.dtype == "float32"
        np.testing.assert_allclose(
            net.predict(X), mlp.predict(X.astype(np.float32)), rtol=1e-5, atol=1e-6
        )

    @pytest.mark.parametrize("task", TASKS)
    def test_it_can_do_what_the_others_can(self, task):
        mlp, y = fitted(task)
        net = skec.from_sklearn(mlp).set_params(max_epochs=2, lr=1e-4)
        n_weights = sum(layer.weight.numel() for layer in net.module_ if hasattr(layer, "weight"))
        net.prune(X, y, pruning_ratio=0.5)
        assert net.sparsity_ * n_weights == round(0.5 * n_weights)
        net.refit(X, y, epochs=2).partial_fit(X, y)
        assert all((net.module_.get_submodule(n).weight[~m] == 0).all() for n, m in
                   net.masks_.items())  # fmt: skip
        again = pickle.loads(pickle.dumps(net))
        before = predictions(again)
        np.testing.assert_allclose(predictions(again.compact()), before, atol=1e-9)
        again = clone(net).fit(X, y)
        assert again.predict(X).shape == mlp.predict(X).shape
        assert [type(part) for part in again.network_] == [type(part) for part in net.network_]

    def test_names_and_what_is_given(self):
        frame = pd.DataFrame(X, columns=list("vwxyz"))
        mlp = MLPRegressor(hidden_layer_sizes=3, max_iter=2, random_state=0).fit(frame, TARGET)
        before = joblib.hash(mlp)
        net = skec.from_sklearn(mlp)
        assert list(net.feature_names_in_) == list("vwxyz")
        net.prune(frame, pruning_ratio=0.9).refit(frame, TARGET, epochs=1)
        assert joblib.hash(mlp) == before
        with pytest.raises(ValueError, match="feature names"):
            net.predict(frame.rename(columns={"v": "u"}))

    def test_random_numbers_of_others_stay(self):
        mlp, _ = fitted("regression", random_state=np.random.RandomState(1))
        torch.manual_seed(3)
        expected, state = torch.rand(1), mlp.random_state.get_state()[1].copy()
        torch.manual_seed(3)
        others = np.random.get_state()[1].copy()  # noqa: NPY002
        net = skec.from_sklearn(mlp)
        assert torch.rand(1) == expected
        np.testing.assert_array_equal(np.random.get_state()[1], others)  # noqa: NPY002
        net.prune(X, pruning_ratio=0.5, method="random").refit(X, TARGET, epochs=1)
        np.testing.assert_array_equal(mlp.random_state.get_state()[1], state)


class TestToSklearn:
    @pytest.mark.parametrize("activation", HIDDEN)
    @pytest.mark.parametrize("task", TASKS)
    def test_predictions_are_the_same(self, task, activation):
        net = own(task, activation=activation)
        mlp = skec.to_sklearn(net)
        assert type(mlp) is TASKS[task][0]
        np.testing.assert_allclose(predictions(mlp), predictions(net), rtol=1e-9, atol=1e-9)
        np.testing.assert_array_equal(mlp.predict(X).shape, net.predict(X).shape)
        assert mlp.get_params()["activation"] == activation
        assert mlp.get_params()["hidden_layer_sizes"] == (8, 6)

    @given(
        sizes=st.lists(st.integers(1, 5), max_size=3),
        activation=st.sampled_from(sorted(HIDDEN)),
        n_outputs=st.integers(1, 3),
        seed=st.integers(0, 1000),
        classify=st.booleans(),
    )
    def test_there_and_back(self, sizes, activation, n_outputs, seed, classify):
        rng = np.random.default_rng(seed)
        if classify:
            mlp = MLPClassifier(sizes, activation, random_state=seed)
            mlp.partial_fit(X[:2], [0, n_outputs], classes=np.arange(n_outputs + 1))
        else:
            y = rng.normal(size=(9, n_outputs))
            mlp = MLPRegressor(hidden_layer_sizes=sizes, activation=activation, random_state=seed)
            mlp.partial_fit(X[:9], y[:, 0] if n_outputs == 1 else y)
        back = skec.to_sklearn(skec.from_sklearn(mlp))
        np.testing.assert_allclose(predictions(back), predictions(mlp), atol=1e-12)
        for a, b in zip(back.coefs_ + back.intercepts_, mlp.coefs_ + mlp.intercepts_, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-12)

    def test_targets_of_any_scale(self):
        y = np.column_stack([1e6 + X[:, 0], 1e-6 * X[:, 1], np.full(90, 3.0)])
        with pytest.warns(match="constant"):
            net = PrunedMLPRegressor(
                (6,), activation="tanh", max_epochs=3, random_state=0, **CONVERTIBLE
            ).fit(X, y)
        data = X.astype(np.float32).astype(float)
        found, expected = skec.to_sklearn(net).predict(data), net.predict(data)
        np.testing.assert_allclose((found - expected) / net.predict(X).std(0).clip(1e-9), 0.0,
                                   atol=1e-3)  # fmt: skip
        np.testing.assert_allclose(found[:, 2], 3.0)

    @pytest.mark.parametrize("task", ["two outputs", "three classes"])
    def test_batch_normalisation_is_folded(self, task):
        net = own(task, batch_norm=True, dropout=0.2, activation="tanh")
        mlp = skec.to_sklearn(net)
        np.testing.assert_allclose(predictions(mlp), predictions(net), atol=1e-9)
        assert len(mlp.coefs_) == 3

    @pytest.mark.parametrize("affine", [True, False])
    def test_batch_normalisation_anywhere(self, affine):
        module = nn.Sequential(
            nn.BatchNorm1d(5, affine=affine), nn.Linear(5, 6, bias=False), nn.Sequential(nn.ReLU(),
            nn.BatchNorm1d(6, affine=affine)), nn.Dropout(), nn.Linear(6, 4),
            nn.BatchNorm1d(4, affine=affine), nn.ReLU(), nn.Linear(4, 2),
            nn.BatchNorm1d(2, affine=affine),
        )  # fmt: skip
        net = own("two outputs", module=module)
        np.testing.assert_allclose(skec.to_sklearn(net).predict(X), net.predict(X), atol=1e-9)

    @pytest.mark.parametrize("task", TASKS)
    def test_compact_networks(self, task):
        kind, y = TASKS[task]
        wide = np.column_stack([np.ones(90), X, np.zeros((90, 2))])
        kind = PrunedMLPRegressor if kind is MLPRegressor else PrunedMLPClassifier
        settings = {"activation": "relu", "dtype": "float64", "max_epochs": 4, "random_state": 0}
        net = kind((12,), **settings, **CONVERTIBLE).fit(wide, y).compact()
        assert not net.feature_mask_.all()
        mlp = skec.to_sklearn(net)
        np.testing.assert_allclose(predictions(mlp, wide), predictions(net, wide), atol=1e-9)
        assert mlp.n_features_in_ == 8
        assert (mlp.coefs_[0][~net.feature_mask_] == 0).all()
        assert mlp.hidden_layer_sizes == (len(mlp.intercepts_[0]),)

    def test_a_network_that_ends_in_a_softmax(self):
        module = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3), nn.Softmax(-1))
        net = own("three classes", module=module, criterion=nn.NLLLoss)
        mlp = skec.to_sklearn(net)
        np.testing.assert_allclose(mlp.predict_proba(X), net.predict_proba(X), atol=1e-9)

    @pytest.mark.parametrize("task", TASKS)
    def test_scikit_learn_can_go_on_with_it(self, task):
        y = TASKS[task][1]
        mlp = skec.to_sklearn(own(task))
        again = pickle.loads(pickle.dumps(mlp))
        assert again.score(X, y) == mlp.score(X, y)
        assert clone(mlp).get_params() == mlp.get_params()
        expected = copy.deepcopy(mlp)
        for _ in range(3):
            mlp.partial_fit(X, y)
        assert len(mlp.loss_curve_) == 3
        assert mlp.loss_curve_[-1] < mlp.loss_curve_[0]
        expected.set_params(warm_start=True, max_iter=2)
        assert expected.fit(X, y).n_iter_ == 2
        assert expected.set_params(solver="lbfgs").fit(X, y).n_iter_ <= 2

    def test_a_step_is_that_of_any_other_network(self):
        """Its first step is one of Adam: each weight moves by the learning rate."""
        mlp = skec.to_sklearn(own())
        before = mlp.coefs_[0].copy()
        mlp.partial_fit(X, TARGET)
        moved = np.abs(mlp.coefs_[0] - before)
        np.testing.assert_allclose([np.median(moved[moved > 0]), moved.max()], 0.001, rtol=1e-3)

    def test_from_pruners(self):
        pruner = ECPruner(own(), prefit=True, pruning_ratio=0.7).fit(X, TARGET)
        mlp = skec.to_sklearn(pruner)
        np.testing.assert_allclose(mlp.predict(X), pruner.predict(X))
        for coef, mask in zip(mlp.coefs_, pruner.masks_.values(), strict=True):
            assert (coef[~mask.numpy().T] == 0).all()
        inner, _ = fitted("three classes")
        pruner = ECPruner(inner, prefit=True).fit(X, CLASSES)
        mlp = skec.to_sklearn(pruner)
        assert mlp is not pruner.estimator_
        np.testing.assert_array_equal(mlp.predict(X), pruner.predict(X))

    def test_names_and_what_is_given(self):
        frame = pd.DataFrame(X, columns=list("vwxyz"))
        settings = {"activation": "relu", "max_epochs": 1, "random_state": 1} | CONVERTIBLE
        net = PrunedMLPRegressor((4,), **settings).fit(frame, TARGET)
        before = {name: value.clone() for name, value in net.module_.state_dict().items()}
        state = np.random.get_state()[1].copy()  # noqa: NPY002
        mlp = skec.to_sklearn(net)
        np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
        assert list(mlp.feature_names_in_) == list("vwxyz")
        assert mlp.random_state == 1
        mlp.partial_fit(frame, TARGET)
        assert all(torch.equal(net.module_.state_dict()[name], v) for name, v in before.items())


class TestErrors:
    def test_other_things(self):
        with pytest.raises(TypeError, match=r"mlp must be .*got Ridge"):
            skec.from_sklearn(Ridge())
        for other in (Ridge(), MLPRegressor()):
            with pytest.raises(TypeError, match=rf"net must be .*got {type(other).__name__}"):
                skec.to_sklearn(other)

    def test_unfitted(self):
        for kind in (MLPRegressor, MLPClassifier):
            with pytest.raises(NotFittedError):
                skec.from_sklearn(kind())
        for net in (PrunedMLPRegressor(), PrunedMLPClassifier(), ECPruner(PrunedMLPRegressor())):
            with pytest.raises(NotFittedError):
                skec.to_sklearn(net)

    def test_one_class(self):
        one = MLPClassifier(2).partial_fit(X, np.zeros(90), classes=[0.0])
        with pytest.raises(ValueError, match=r"one class, .*at least 2"):
            skec.from_sklearn(one)

    def test_poisson(self):
        if "loss" not in MLPRegressor().get_params():
            pytest.skip("scikit-learn before 1.7")
        mlp = MLPRegressor(loss="poisson").partial_fit(X, TARGET.clip(0))
        with pytest.raises(ValueError, match=r"loss='poisson'.*squared_error"):
            skec.from_sklearn(mlp)

    @pytest.mark.parametrize("activation", ["gelu", "silu", "elu", "leaky_relu"])
    def test_other_activations(self, activation):
        with pytest.raises(ValueError, match="'relu', 'tanh', 'logistic' and 'identity'"):
            skec.to_sklearn(own(activation=activation))

    @pytest.mark.parametrize(
        ("module", "message"),
        [
            ([nn.Linear(5, 3), nn.ReLU(), nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 1)], "one act"),
            ([nn.Linear(5, 3), nn.ReLU(), nn.Linear(3, 3), nn.Linear(3, 1)], "one activation"),
            ([nn.Linear(5, 3), nn.ReLU(), nn.Tanh(), nn.Linear(3, 1)], "'2' is a Tanh"),
            ([nn.ReLU(), nn.Linear(5, 1)], "'0' is a ReLU"),
            ([nn.Linear(5, 3), nn.ReLU(), nn.Linear(3, 1), nn.ReLU()], "ends in the activation"),
            ([nn.Linear(5, 3), nn.LayerNorm(3), nn.Linear(3, 1)], "LayerNorm"),
            (
                [nn.Linear(5, 3), nn.BatchNorm1d(3, track_running_stats=False), nn.Linear(3, 1)],
                "running statistics",
            ),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_other_networks(self, module, message):
        net = own(module=nn.Sequential(*module), max_epochs=1, pruning_ratio=0.0)
        with pytest.raises(ValueError, match=message):
            skec.to_sklearn(net)

    def test_networks_that_are_no_chain(self):
        class Skip(nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = nn.Linear(5, 5)
                self.last = nn.Linear(5, 1)

            def forward(self, x):
                return self.last(x + torch.relu(self.layer(x)))

        net = own(module=Skip, max_epochs=1)
        with pytest.raises(ValueError, match=r"no network like this one.*must follow each other"):
            skec.to_sklearn(net)

    @pytest.mark.parametrize("name", CONVERTIBLE)
    def test_modules_for_features(self, name):
        net = own(**{name: "auto"})
        with pytest.raises(ValueError, match=f"{name}=None"):
            skec.to_sklearn(net)

    def test_other_predictions(self):
        net = own("three classes", predict_nonlinearity=torch.sigmoid, max_epochs=1)
        with pytest.raises(ValueError, match="predict_nonlinearity"):
            skec.to_sklearn(net)
        module = nn.Sequential(nn.Linear(5, 3), nn.Softmax(-1))
        net = own("three classes", module=module, max_epochs=1)  # a softmax of a softmax
        with pytest.raises(ValueError, match="CrossEntropyLoss"):
            skec.to_sklearn(net)
