"""ECPruner around scikit-learn's multilayer perceptrons."""

from __future__ import annotations

import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import has_fit_parameter
from torch import nn

import skec
from skec import ECPruner
from skec.criteria import CRITERIA
from skec.criteria.units import UNIT_CRITERIA

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::skec.PruningWarning"),
]

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 6))
TARGET = X[:, 0] - X[:, 1] ** 2
CLASSES = np.array(["a", "b", "c"])[np.digitize(TARGET, [-1.0, 0.0])]
LABELS = (X[:, :3] > 0).astype(int)
TASKS = {
    "regression": (MLPRegressor, TARGET),
    "two outputs": (MLPRegressor, np.column_stack([TARGET, X[:, 2]])),
    "two classes": (MLPClassifier, CLASSES == "a"),
    "three classes": (MLPClassifier, CLASSES),
    "three labels": (MLPClassifier, LABELS),
}
HIDDEN = {
    "relu": lambda z: np.maximum(z, 0.0),
    "tanh": np.tanh,
    "logistic": lambda z: 1.0 / (1.0 + np.exp(-z)),
    "identity": lambda z: z,
}
METHODS = [("weight", m) for m in CRITERIA] + [("neuron", m) for m in UNIT_CRITERIA]
EVERY_METHOD = [("three labels", *method) for method in METHODS] + [
    (task, *method)
    for task in ("regression", "two classes", "three classes")
    for method in [("weight", "taylor"), ("weight", "surgeon"), ("neuron", "elimination")]
]
SMALL = {"hidden_layer_sizes": (9, 5), "learning_rate_init": 0.02, "max_iter": 12,
         "random_state": 0}  # fmt: skip
HAS_WEIGHTS = has_fit_parameter(MLPRegressor(), "sample_weight")


def mlp_for(task="regression", **parameters):
    kind, y = TASKS[task]
    return kind(**(SMALL | parameters)), y


def fitted(task="regression", **parameters):
    mlp, y = mlp_for(task, **parameters)
    return mlp.fit(X, y), y


def hidden_by_hand(mlp, data):
    for coef, intercept in zip(mlp.coefs_[:-1], mlp.intercepts_[:-1], strict=True):
        data = HIDDEN[mlp.activation](data @ coef + intercept)
    return data


def outputs_by_hand(mlp, data):
    return hidden_by_hand(mlp, data) @ mlp.coefs_[-1] + mlp.intercepts_[-1]


def module_by_hand(mlp):
    """A torch network made without the library."""
    layers = []
    for coef, intercept in zip(mlp.coefs_, mlp.intercepts_, strict=True):
        layer = nn.Linear(*coef.shape, dtype=torch.float64)
        layer.weight.data, layer.bias.data = torch.tensor(coef.T), torch.tensor(intercept)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def assert_masked(pruner):
    coefs = pruner.estimator_.coefs_
    names = [f"hidden_{i}" for i in range(len(coefs) - 1)] + ["output"]
    for name, mask in pruner.masks_.items():
        coef = coefs[names.index(name)]
        assert mask.shape == coef.T.shape
        assert (coef[~mask.numpy().T] == 0).all()


QUICK = {"hidden_layer_sizes": (12,), "max_iter": 30, "learning_rate_init": 0.03}
EQUAL_WEIGHTS = {f"check_sample_weight_equivalence_on_{kind}_data" for kind in ("dense", "sparse")}
NEED_WEIGHTS = {
    f"check_{name}"
    for name in (
        "sample_weights_pandas_series", "sample_weights_not_an_array", "sample_weights_list",
        "sample_weights_shape", "sample_weights_not_overwritten",
        "classifiers_one_label_sample_weights",
    )
}  # fmt: skip


def expected_failures(pruner):
    """Those of scikit-learn's own estimators, in its versions that have no weights."""
    failures = set() if HAS_WEIGHTS else EQUAL_WEIGHTS | NEED_WEIGHTS
    return dict.fromkeys(failures, "this version of scikit-learn has no sample weights")


@parametrize_with_checks(
    [
        ECPruner(MLPRegressor(**QUICK), pruning_ratio=0.5),
        ECPruner(MLPClassifier(**QUICK), pruning_ratio=0.5, refit_epochs=1),
    ],
    expected_failed_checks=expected_failures,
)
def test_conformance(estimator, check):
    check(estimator)


class TestWhatIsPruned:
    @pytest.mark.parametrize(("task", "granularity", "method"), EVERY_METHOD)
    def test_every_method(self, task, granularity, method):
        mlp, y = fitted(task)
        pruner = ECPruner(
            mlp, prefit=True, granularity=granularity, method=method, pruning_ratio=0.4,
            n_steps=2, random_state=0,
        ).fit(X, y)  # fmt: skip
        assert type(pruner.estimator_) is type(mlp)
        assert list(pruner.masks_) == ["hidden_0", "hidden_1", "output"]
        assert_masked(pruner)
        if granularity == "weight":
            total = sum(coef.size for coef in mlp.coefs_)
            assert pruner.sparsity_ == round(0.4 * total) / total
        else:
            kept = [int(m.any(1).sum()) for m in list(pruner.masks_.values())[:2]]
            assert kept == [5, 3]

    @pytest.mark.parametrize("method", ["ec", "gradient", "taylor", "surgeon"])
    def test_as_the_function_does(self, method):
        losses = {"regression": nn.MSELoss(), "two classes": nn.BCEWithLogitsLoss(),
                  "three classes": nn.CrossEntropyLoss(),
                  "three labels": nn.BCEWithLogitsLoss()}  # fmt: skip
        targets = {"regression": TARGET, "two classes": (CLASSES == "a").astype(float),
                   "three classes": np.unique(CLASSES, return_inverse=True)[1],
                   "three labels": LABELS.astype(float)}  # fmt: skip
        for task, loss in losses.items():
            mlp, y = fitted(task)
            settings = {"method": method, "pruning_ratio": 0.6, "n_steps": 3}
            result = skec.prune(module_by_hand(mlp), X, targets[task], loss=loss, **settings)
            pruned = ECPruner(mlp, prefit=True, **settings).fit(X, y).estimator_
            with torch.no_grad():
                expected = result.module(torch.tensor(X)).numpy()
            np.testing.assert_allclose(outputs_by_hand(pruned, X), expected, atol=1e-9)
            for coef, mask in zip(pruned.coefs_, result.masks.values(), strict=True):
                np.testing.assert_array_equal(coef != 0, mask.numpy().T)

    def test_gradients_are_those_of_scikit_learns_loss(self):
        """One step of plain SGD moves the weights by the gradient that the scores are made of."""
        for task in TASKS:
            mlp, y = mlp_for(task, solver="sgd", momentum=0.0, alpha=0.0, learning_rate_init=0.1)
            classes = {"classes": np.unique(y)} if task.endswith("classes") else {}
            classes = {"classes": np.arange(3)} if task == "three labels" else classes
            mlp.partial_fit(X, y, **classes)
            pruner = ECPruner(mlp, prefit=True, method="gradient", pruning_ratio=0.0).fit(X, y)
            before = [coef.copy() for coef in mlp.coefs_]
            mlp.partial_fit(X, y)  # all samples make one batch
            scores = np.concatenate([s.numpy().T.ravel() for s in pruner.scores_.values()])
            moved = [a - b for a, b in zip(before, mlp.coefs_, strict=True)]
            moved = np.abs(np.concatenate([m.ravel() for m in moved]))
            np.testing.assert_allclose(scores / scores.max(), moved / moved.max(), atol=1e-6)

    def test_predict_is_scikit_learns_own(self):
        for task in TASKS:
            mlp, y = mlp_for(task)
            pruner = ECPruner(mlp, pruning_ratio=0.5).fit(X, y)
            outputs = outputs_by_hand(pruner.estimator_, X)
            if task in ("regression", "two outputs"):
                np.testing.assert_allclose(pruner.predict(X), outputs.reshape(y.shape))
            elif task == "three classes":
                exp = np.exp(outputs)
                np.testing.assert_allclose(pruner.predict_proba(X), exp / exp.sum(1)[:, None])
            else:
                p = pruner.predict_proba(X)[:, -outputs.shape[1] :]
                np.testing.assert_allclose(p, HIDDEN["logistic"](outputs))
            assert pruner.score(X, y) == pruner.estimator_.score(X, y)

    def test_layers(self):
        mlp, y = fitted()
        pruner = ECPruner(mlp, prefit=True, prune_output_layer=False).fit(X, y)
        assert list(pruner.masks_) == ["hidden_0", "hidden_1"]
        pruner = ECPruner(mlp, prefit=True, layers=["hidden_1"], refit_epochs=1).fit(X, y)
        assert list(pruner.masks_) == ["hidden_1"]
        assert_masked(pruner)

    def test_without_hidden_layers(self):
        mlp, y = fitted("three classes", hidden_layer_sizes=())
        pruner = ECPruner(mlp, prefit=True, refit_epochs=1, output="features").fit(X, y)
        assert list(pruner.masks_) == ["output"]
        assert pruner.compact().transform(X).shape == (120, int(pruner.get_support().sum()))

    def test_float32(self):
        mlp = MLPRegressor(**SMALL).fit(X.astype(np.float32), TARGET.astype(np.float32))
        pruner = ECPruner(mlp, prefit=True, refit_epochs=1).fit(X.astype(np.float32), TARGET)
        assert {coef.dtype.name for coef in pruner.estimator_.coefs_} == {"float32"}

    def test_poisson(self):
        if "loss" not in MLPRegressor().get_params():
            pytest.skip("scikit-learn before 1.7")
        mlp = MLPRegressor(loss="poisson", **SMALL)
        for method in ("ec", "gradient"):
            pruner = ECPruner(mlp, method=method, refit_epochs=1, pruning_ratio=0.5)
            pruner.fit(X, X[:, 0] ** 2)
            assert (pruner.predict(X) > 0).all()
            assert_masked(pruner)


class TestWhatIsGiven:
    @pytest.mark.parametrize("how", ["prefit", "frozen"])
    @pytest.mark.parametrize("task", TASKS)
    def test_is_never_changed(self, task, how):
        mlp, y = fitted(task)
        before = joblib.hash(mlp)
        given = FrozenEstimator(mlp) if how == "frozen" else mlp
        pruner = ECPruner(given, prefit=how == "prefit", refit_epochs=2)
        pruner.fit(X, y).compact().transform(X)
        assert joblib.hash(mlp) == before
        assert pruner.estimator_ is not mlp

    def test_is_cloned_and_fitted_otherwise(self):
        mlp, y = mlp_for()
        pruner = ECPruner(mlp, pruning_ratio=0.0).fit(X, y)
        with pytest.raises(NotFittedError):
            mlp.predict(X)
        np.testing.assert_array_equal(pruner.predict(X), clone(mlp).fit(X, y).predict(X))

    def test_needs_no_targets_if_it_is_fitted(self):
        mlp, _ = fitted()
        assert ECPruner(mlp, prefit=True, pruning_ratio=0.5).fit(X).sparsity_ == 0.5

    def test_sparse_matrices(self):
        sparse = scipy.sparse.csc_matrix(np.where(X > 0, X, 0.0))
        mlp, y = mlp_for("three classes")
        pruner = ECPruner(mlp, refit_epochs=1, pruning_ratio=0.5, calibration_samples=50, n_steps=1)
        a = clone(pruner).set_params(random_state=0).fit(sparse, y)
        b = clone(pruner).set_params(random_state=0).fit(sparse.toarray(), y)
        np.testing.assert_allclose(a.predict_proba(sparse), b.predict_proba(sparse.toarray()))
        np.testing.assert_allclose(a.transform(sparse), b.transform(sparse.toarray()))
        assert a.set_params(output="features").transform(sparse).shape[0] == 120


class TestRefit:
    @pytest.mark.parametrize("task", TASKS)
    @pytest.mark.parametrize(
        "parameters",
        [
            {"batch_size": 7},
            {"early_stopping": True, "solver": "sgd", "learning_rate": "adaptive"},
            {"warm_start": True, "batch_size": 50, "shuffle": False, "n_iter_no_change": 1},
        ],
        ids=str,
    )
    def test_keeps_the_mask_and_the_parameters(self, task, parameters):
        mlp, y = mlp_for(task, **parameters)
        y = np.unique(y, return_inverse=True)[1] if y.dtype.kind == "U" else y
        settings = {"pruning_ratio": 0.6, "random_state": 0}
        short = ECPruner(mlp, **settings).fit(X, y)
        long = ECPruner(mlp, refit_epochs=3, **settings).fit(X, y)
        assert_masked(long)
        for name, mask in short.masks_.items():
            assert torch.equal(mask, long.masks_[name])
        changed = [not np.array_equal(a, b) for a, b in
                   zip(short.estimator_.coefs_, long.estimator_.coefs_, strict=True)]  # fmt: skip
        assert all(changed)
        assert long.estimator_.get_params() == mlp.get_params()
        assert len(long.estimator_.loss_curve_) == len(short.estimator_.loss_curve_) + 3
        assert long.estimator_.n_iter_ == short.estimator_.n_iter_ + 3
        assert long.estimator_.loss_ == long.estimator_.loss_curve_[-1]

    def test_makes_it_better(self):
        mlp, y = mlp_for(max_iter=60)
        dense = ECPruner(mlp, pruning_ratio=0.8, method="magnitude").fit(X, y)
        refitted = clone(dense).set_params(refit_epochs=60).fit(X, y)
        assert refitted.score(X, y) > dense.score(X, y) + 0.1

    @pytest.mark.filterwarnings("ignore:Got `batch_size`")
    @settings(max_examples=8)
    @given(batch_size=st.integers(1, 130), momentum=st.sampled_from([0.0, 0.9]))
    def test_is_stochastic_gradient_descent_under_the_mask(self, batch_size, momentum):
        """One epoch by hand, in the order of the rows."""
        mlp, y = fitted(solver="sgd", hidden_layer_sizes=4, activation="identity", alpha=0.01,
                        momentum=momentum, nesterovs_momentum=False, shuffle=False, max_iter=2,
                        batch_size=batch_size, learning_rate_init=0.01)  # fmt: skip
        pruned = ECPruner(mlp, prefit=True, pruning_ratio=0.5).fit(X, y)
        (W, V), (b, c) = ([a.copy() for a in part] for part in
                          (pruned.estimator_.coefs_, pruned.estimator_.intercepts_))  # fmt: skip
        masks = [m.numpy().T for m in pruned.masks_.values()]
        speed = [np.zeros_like(a) for a in (W, V, b, c)]
        for start in range(0, 120, batch_size):
            data, target = X[start : start + batch_size], y[start : start + batch_size, None]
            error = (data @ W + b) @ V + c - target
            n = len(data)
            back = error @ V.T
            grads = [(data.T @ back + 0.01 * W) / n, ((data @ W + b).T @ error + 0.01 * V) / n,
                     back.sum(0) / n, error.sum(0) / n]  # fmt: skip
            for a, grad, v in zip((W, V, b, c), grads, speed, strict=True):
                v *= momentum
                v -= 0.01 * grad
                a += v
            W *= masks[0]
            V *= masks[1]
        found = ECPruner(mlp, prefit=True, pruning_ratio=0.5, refit_epochs=1).fit(X, y).estimator_
        for a, b_ in zip((W, V, b, c), found.coefs_ + found.intercepts_, strict=True):
            np.testing.assert_allclose(a, b_, atol=1e-9)

    @pytest.mark.parametrize("state", [0, None])
    def test_is_reproducible(self, state):
        mlp, y = mlp_for("three classes", random_state=state)
        a, b = (ECPruner(mlp, refit_epochs=2, random_state=3).fit(X, y) for _ in range(2))
        np.testing.assert_array_equal(a.predict_proba(X), b.predict_proba(X))
        frozen = FrozenEstimator(clone(mlp).fit(X, y))
        a, b = (ECPruner(frozen, refit_epochs=2, random_state=3).fit(X, y) for _ in range(2))
        np.testing.assert_array_equal(a.predict_proba(X), b.predict_proba(X))

    def test_goes_on_after_an_early_stop(self):
        mlp, y = mlp_for("two classes", early_stopping=True, max_iter=20, warm_start=True)
        pruner = ECPruner(mlp, refit_epochs=1, granularity="neuron", pruning_ratio=0.5).fit(X, y)
        pruner.compact()
        again = pruner.estimator_.fit(X, y)
        assert [coef.shape for coef in again.coefs_] == [(6, 4), (4, 2), (2, 1)]

    @pytest.mark.skipif(not HAS_WEIGHTS, reason="scikit-learn before 1.7")
    def test_sample_weight(self):
        weight = RNG.integers(0, 2, 120).astype(float)
        kept = weight > 0
        mlp, y = fitted(shuffle=False, batch_size=16)
        settings = {"prefit": True, "refit_epochs": 2, "n_steps": 1}
        a = ECPruner(mlp, **settings).fit(X, y, sample_weight=weight)
        b = ECPruner(mlp, **settings).fit(X[kept], y[kept])
        np.testing.assert_allclose(a.predict(X), b.predict(X))
        weight = 1.0 + 5.0 * weight
        c = ECPruner(mlp, refit_epochs=1).fit(X, y, sample_weight=weight)
        assert_masked(c)
        assert not np.allclose(c.predict(X), ECPruner(mlp, refit_epochs=1).fit(X, y).predict(X))

    @pytest.mark.skipif(HAS_WEIGHTS, reason="scikit-learn from 1.7 on")
    def test_sample_weight_is_not_known(self):
        mlp, y = fitted()
        ECPruner(mlp, prefit=True).fit(X, y, sample_weight=np.ones(120))
        with pytest.raises(ValueError, match="sample_weight"):
            ECPruner(mlp).fit(X, y, sample_weight=np.ones(120))
        with pytest.raises(ValueError, match="sample_weight"):
            ECPruner(mlp, prefit=True, refit_epochs=1).fit(X, y, sample_weight=np.ones(120))


class TestTransform:
    @pytest.mark.parametrize("activation", HIDDEN)
    def test_hidden_units(self, activation):
        mlp, y = fitted("three classes", activation=activation)
        pruner = ECPruner(mlp, prefit=True, pruning_ratio=0.7).fit(X, y)
        units = [int(name.removeprefix("hidden_")) for name in pruner.get_feature_names_out()]
        expected = hidden_by_hand(pruner.estimator_, X)[:, units]
        np.testing.assert_allclose(pruner.transform(X), expected, atol=1e-12)
        assert (pruner.estimator_.coefs_[-1][units] != 0).any(1).all()

    def test_outputs(self):
        mlp, y = fitted("two classes")
        pruner = ECPruner(mlp, prefit=True, output="output").fit(X, y)
        np.testing.assert_array_equal(pruner.transform(X), pruner.predict_proba(X))
        assert list(pruner.get_feature_names_out()) == ["output_False", "output_True"]
        mlp, y = fitted("two outputs")
        pruner = ECPruner(mlp, prefit=True, output="output").fit(X, y)
        np.testing.assert_array_equal(pruner.transform(X), pruner.predict(X))
        assert list(pruner.get_feature_names_out()) == ["output_0", "output_1"]

    def test_features(self):
        frame = pd.DataFrame(np.column_stack([X, np.ones((120, 2))]), columns=list("abcdefgh"))
        pruner = ECPruner(mlp_for()[0], refit_epochs=1, output="features", pruning_ratio=0.7)
        pruner.set_output(transform="pandas").fit(frame, TARGET)
        support = pruner.get_support()
        np.testing.assert_array_equal(support, (pruner.estimator_.coefs_[0] != 0).any(1))
        assert not support[6:].any()
        assert list(pruner.transform(frame).columns) == list(np.array(list("abcdefgh"))[support])
        with pytest.raises(ValueError, match="feature names"):
            pruner.predict(frame.rename(columns={"a": "z"}))


class TestCompact:
    @pytest.mark.parametrize("task", TASKS)
    @pytest.mark.parametrize(
        ("granularity", "ratio"), [("weight", 0.3), ("weight", 0.9), ("neuron", 0.6)]
    )
    def test_the_same_predictions_from_fewer_units(self, task, granularity, ratio):
        mlp, y = fitted(task)
        pruner = ECPruner(mlp, prefit=True, granularity=granularity, pruning_ratio=ratio).fit(X, y)
        before, hidden = outputs_by_hand(pruner.estimator_, X), pruner.transform(X)
        names, support = pruner.get_feature_names_out(), pruner.get_support()
        assert pruner.compact() is pruner
        small = pruner.estimator_
        np.testing.assert_allclose(outputs_by_hand(small, X), before, atol=1e-9)
        np.testing.assert_allclose(pruner.transform(X), hidden, atol=1e-9)
        np.testing.assert_array_equal(pruner.get_feature_names_out(), names)
        np.testing.assert_array_equal(pruner.get_support(), support)
        assert small.hidden_layer_sizes == tuple(len(b) for b in small.intercepts_[:-1])
        assert len(small.coefs_[0]) == 6
        assert_masked(pruner)
        if granularity == "neuron":
            assert small.hidden_layer_sizes == (3, 2)
        small.partial_fit(X, y)
        assert pruner.estimator.hidden_layer_sizes == (9, 5)

    def test_columns_that_nobody_reads_stay(self):
        wide = np.column_stack([np.ones(120), X, np.zeros(120)])
        pruner = ECPruner(mlp_for()[0], pruning_ratio=0.8).fit(wide, TARGET)
        before = pruner.predict(wide)
        np.testing.assert_allclose(pruner.compact().predict(wide), before)
        assert len(pruner.estimator_.coefs_[0]) == 8
        assert not pruner.get_support()[[0, 7]].any()


class TestAmongOthers:
    def test_in_a_pipeline_and_a_grid_search(self):
        model = make_pipeline(StandardScaler(), ECPruner(mlp_for("two classes")[0]))
        grid = {"ecpruner__pruning_ratio": [0.2, 0.8], "ecpruner__estimator__alpha": [1e-4, 10.0]}
        search = GridSearchCV(model, grid, cv=2).fit(X, CLASSES == "a")
        scores = search.cv_results_["mean_test_score"]
        assert len(set(scores)) > 1
        assert search.score(X, CLASSES == "a") > 0.7

    def test_clone_and_pickle(self):
        mlp, y = mlp_for("three labels", alpha=0.5)
        pruner = ECPruner(mlp, pruning_ratio=0.4, refit_epochs=1).fit(X, y)
        again = pickle.loads(pickle.dumps(pruner))
        np.testing.assert_array_equal(again.predict(X), pruner.predict(X))
        np.testing.assert_array_equal(again.transform(X), pruner.transform(X))
        assert clone(pruner).get_params()["estimator__alpha"] == 0.5

    def test_methods_are_those_of_the_estimator(self):
        assert hasattr(ECPruner(MLPClassifier()), "predict_proba")
        assert not hasattr(ECPruner(MLPRegressor()), "predict_proba")


class TestErrors:
    @pytest.mark.parametrize("task", ["regression", "two classes"])
    def test_a_solver_without_steps(self, task):
        class Untrained(TASKS[task][0]):
            def fit(self, *args, **kwargs):
                raise AssertionError("it was fitted")

        with pytest.raises(ValueError, match=r"refit_epochs.*solver='lbfgs'.*'adam' or 'sgd'"):
            ECPruner(Untrained(solver="lbfgs"), refit_epochs=1).fit(X, TASKS[task][1])

    def test_another_solver_than_that_of_the_fit(self):
        mlp, y = fitted(solver="lbfgs")
        with pytest.raises(ValueError, match=r"fitted with 'lbfgs'.*Fit it again"):
            ECPruner(mlp.set_params(solver="adam"), prefit=True, refit_epochs=1).fit(X, y)

    def test_of_what_is_given(self):
        with pytest.raises(NotFittedError):
            ECPruner(MLPRegressor(), prefit=True).fit(X)
        mlp, y = fitted("three classes")
        with pytest.raises(ValueError, match=r"labels \['z'\]"):
            ECPruner(mlp, prefit=True).fit(X, np.where(y == "a", "z", y))
        with pytest.raises(ValueError, match="5 features"):
            ECPruner(mlp, prefit=True).fit(X[:, :5], y)
        with pytest.raises(ValueError, match="NaN"):
            ECPruner(mlp, prefit=True).fit(X * np.nan, y)
        with pytest.raises(ValueError, match="inconsistent numbers"):
            ECPruner(mlp, prefit=True).fit(X, y[:10])

    def test_of_the_metric(self):
        mlp, y = fitted("regression")
        with pytest.raises(ValueError, match="output_metric='fisher'"):
            ECPruner(mlp, prefit=True, output_metric="fisher").fit(X, y)

    def test_a_failed_fit_leaves_the_pruner(self):
        mlp, y = fitted()
        pruner = ECPruner(mlp, prefit=True, refit_epochs=1).fit(X, y)
        before = pruner.predict(X)
        with pytest.raises(ValueError, match="NaN"):
            pruner.fit(X, y * np.nan)
        np.testing.assert_array_equal(pruner.predict(X), before)


class Untrainable(MLPRegressor):
    def fit(self, X, y, sample_weight=None):
        raise AssertionError("the training began")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": ["hidden_7"]}, r"layers=\['hidden_7'\].*\['hidden_0', 'output'\]"),
        ({"scope": {"hidden_7": 0.5}}, r"layers \['hidden_7'\]"),
        ({"granularity": "neuron", "method": "l2", "layers": ["output"]}, "network's outputs"),
    ],
)
def test_layers_are_checked_before_any_training(arguments, message):
    X, y = np.zeros((9, 2)), np.zeros(9)
    with pytest.raises(ValueError, match=message):
        ECPruner(Untrainable((4,)), **arguments).fit(X, y)
    with pytest.raises(AssertionError, match="the training began"):
        ECPruner(Untrainable((4,))).fit(X, y)
