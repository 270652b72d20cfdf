"""Mistakes end in an error that names them, before any training, and change nothing."""

import copy

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
import torch
from sklearn.exceptions import NotFittedError
from sklearn.utils._param_validation import InvalidParameterError
from torch import nn

DATA = (ValueError, TypeError)


@pytest.fixture(scope="module")
def fitted():
    """Fitted estimators by class; no test may change what they predict."""
    return {}


@pytest.fixture
def good(case, fitted, epoch_counter):
    """A fitted estimator that must come out of the test as it went in."""
    if case.kind not in fitted:
        fitted[case.kind] = case.fit()
    estimator = fitted[case.kind]
    state, n_rows = vars(estimator).copy(), len(estimator.history)
    outputs = case.outputs(estimator)
    estimator.set_params(callbacks=[("counter", epoch_counter)])
    yield estimator
    names = set(vars(estimator))
    vars(estimator).update({name: state[name] for name in estimator.get_params(deep=False)})
    estimator.initialize_callbacks()
    assert epoch_counter.began == 0, "it trained before it failed"
    assert names == set(state)
    assert len(estimator.history) == n_rows
    np.testing.assert_array_equal(case.outputs(estimator), outputs)


# -- data -----------------------------------------------------------------------------------------


def with_cell(value):
    def change(X):
        X = X.astype(object if isinstance(value, str) else float)
        X[3, 1] = value
        return X

    return change


BAD_X = {
    "nan": (with_cell(np.nan), r"X contains NaN"),
    "infinity": (with_cell(-np.inf), r"X contains infinity"),
    "string": (with_cell("red"), r"\bX\b.*(number|numeric)"),
    "strings": (lambda X: np.full(X.shape, "red"), r"\bX\b.*(number|numeric)"),
    "sparse nan": (lambda X: scipy.sparse.csr_array(with_cell(np.nan)(X)), r"X contains NaN"),
    "sparse too large": (lambda X: scipy.sparse.csc_array(1e300 * X), r"too large.*float32"),
    "complex": (lambda X: X + 1j, r"(?i)complex data not supported"),
    "one column less": (lambda X: X[:, :4], r"X has 4 features.*expecting 5"),
    "one dimension": (lambda X: X[:, 0], r"(?s)Expected 2D array.*[Rr]eshape"),
    "three dimensions": (lambda X: X[None], r"dim 3"),
    "no rows": (lambda X: X[:0], r"0 sample\(s\).*minimum of"),
    "no columns": (lambda X: X[:, :0], r"0 feature\(s\)"),
    "dates": (
        lambda X: pd.DataFrame({"a": pd.date_range("2020", periods=len(X)), "b": X[:, 0]}),
        r"X must hold numbers.*dates",
    ),
    "too large": (lambda X: 1e300 * X, r"X has values too large for dtype='float32'.*float64"),
}


@pytest.mark.parametrize(
    "method, bad",
    [
        (method, bad)
        for method in ("fit", "partial_fit", "prune", "refit", "predict")
        for bad in BAD_X
        if (method, bad) != ("fit", "one column less")  # other data may have another shape
    ],
)
def test_bad_features(case, good, method, bad):
    change, message = BAD_X[bad]
    X = change(case.X)
    y = case.y[:0] if bad == "no rows" else case.y[: 1 if bad == "three dimensions" else None]
    with pytest.raises(DATA, match=message):
        good.predict(X) if method == "predict" else getattr(good, method)(X, y)


@pytest.mark.parametrize("method", ["fit", "prune", "refit"])
def test_one_row_is_too_few(case, good, method):
    with pytest.raises(ValueError, match=r"1 sample.*minimum of 2|1 class"):
        getattr(good, method)(case.X[:1], case.y[:1])


def missing(form, value):
    """Targets with one missing value, in a container."""

    def change(y):
        values = y.astype(object)
        values[3] = value
        return form(values)

    return change


MISSING = [
    ("an array", np.asarray, None),
    ("an array", np.asarray, pd.NA),
    ("an array", np.asarray, pd.NaT),
    ("a list", list, None),
    ("a series", pd.Series, None),
    ("a series", pd.Series, pd.NA),
    ("a nullable series", lambda y: pd.Series(y.tolist()).convert_dtypes(), None),
    ("a frame", lambda y: pd.DataFrame({"y": y}), None),
    ("a column of objects", lambda y: pl.Series("y", y.tolist(), dtype=pl.Object), None),
    ("dates", lambda y: pd.to_datetime(pd.Series(y)), None),
    ("strings", lambda y: pd.Series([v if v is None else str(v) for v in y]), None),
    ("categories", lambda y: pd.Series(y, dtype="category"), None),
]

BAD_Y = {
    "both": {
        "shorter": (lambda y: y[:-1], r"inconsistent numbers of samples: \[120, 119\]"),
        "nan": (lambda y: np.where(np.arange(len(y)) == 3, np.nan, y), r"y contains NaN"),
        "missing": (lambda y: None, r"requires y"),
        **{
            f"{value!r} in {name}": (missing(form, value), r"y contains NaN or .*missing value")
            for name, form, value in MISSING
        },
        "three dimensions": (lambda y: y.reshape(-1, 1, 1), r"dim 3|1d array"),
        "sparse": (lambda y: scipy.sparse.csr_array(y[:, None].astype(float)), r"(?i)sparse|dense"),
    },
    "regressor": {
        "strings": (lambda y: np.full(len(y), "red"), r"y must be numbers.*PrunedMLPClassifier"),
        "infinity": (lambda y: np.where(np.arange(len(y)) == 3, np.inf, y), r"y contains infinity"),
        "dates": (lambda y: pd.date_range("2020", periods=len(y)), r"y must be numbers"),
        "times": (lambda y: np.arange(len(y)).astype("m8[s]"), r"y must be numbers"),
        "objects": (lambda y: np.array([[]] * len(y) + [None], object)[:-1], r"\by\b"),
    },
    "classifier": {
        "numbers": (lambda y: y + 0.5 * np.random.default_rng(0).random(len(y)), r"continuous"),
        "object numbers": (lambda y: y.astype(object), r"array of objects.*astype\(int\)"),
        "mixed": (lambda y: np.array([0, "a"] * 60, object), r"array of objects.*astype\(str\)"),
        "columns": (lambda y: np.column_stack([y, y]), r"y should be a 1d array"),
    },
}


@pytest.mark.parametrize(
    "case, method, bad",
    [
        (kind, method, bad)
        for kind in ("regressor", "classifier")
        for method in ("fit", "partial_fit", "prune", "refit")
        for bad in BAD_Y["both"] | BAD_Y[kind]
        if (method, bad) != ("prune", "missing")  # targets are optional there
    ],
    indirect=["case"],
)
def test_bad_targets(case, good, method, bad):
    kind = "regressor" if case.y.dtype.kind == "f" else "classifier"
    change, message = (BAD_Y["both"] | BAD_Y[kind])[bad]
    with pytest.raises(DATA, match=message):
        getattr(good, method)(case.X, change(case.y))


@pytest.mark.parametrize("label", [1, "red", -3.0])
def test_one_class_is_too_few(classification, epoch_counter, label):
    estimator = classification.make(callbacks=[("counter", epoch_counter)])
    with pytest.raises(ValueError, match=r"y has 1 class.*at least 2"):
        estimator.fit(classification.X, np.full(len(classification.X), label))
    assert epoch_counter.began == 0
    assert not hasattr(estimator, "classes_")


@pytest.mark.parametrize("method", ["partial_fit", "refit", "prune"])
@pytest.mark.parametrize("label", [7, -1, "red"])
def test_later_data_have_no_new_classes(classification, method, label):
    estimator = classification.fit()
    before = estimator.predict_proba(classification.X)
    y = classification.y.astype(type(label) if isinstance(label, str) else int)
    y[5] = label
    with pytest.raises(ValueError, match=rf"labels .*{label}.* not among the classes"):
        getattr(estimator, method)(classification.X, y)
    np.testing.assert_array_equal(estimator.predict_proba(classification.X), before)
    np.testing.assert_array_equal(estimator.classes_, [0, 1, 2])


def test_the_first_batch_has_no_class_that_is_not_named(classification):
    estimator = classification.make()
    with pytest.raises(ValueError, match=r"labels \[2\].*classes \[0 1\]"):
        estimator.partial_fit(classification.X, classification.y, classes=[0, 1])
    assert not hasattr(estimator, "classes_")


@pytest.mark.parametrize("method", ["partial_fit", "refit", "prune"])
def test_later_targets_have_as_many_columns(regression, method):
    estimator = regression.fit()
    before = estimator.predict(regression.X)
    with pytest.raises(ValueError, match=r"y has 2 outputs, but .* fitted with 1"):
        getattr(estimator, method)(regression.X, np.column_stack([regression.y, regression.y]))
    np.testing.assert_array_equal(estimator.predict(regression.X), before)


BAD_WEIGHTS = {
    "negative": (lambda w: np.where(np.arange(len(w)) == 2, -1.0, w), "sample_weight.*negative"),
    "nan": (lambda w: np.where(np.arange(len(w)) == 2, np.nan, w), "sample_weight contains NaN"),
    "infinity": (lambda w: np.where(np.arange(len(w)) == 2, np.inf, w), "sample_weight.*infinity"),
    "zeros": (lambda w: 0.0 * w, r"(?i)sample.weights?\b.*(zero)"),
    "shorter": (lambda w: w[:-1], r"sample_weight.shape == \(119,\), expected \(120,\)"),
    "columns": (lambda w: np.column_stack([w, w]), "(?i)sample.weights? must be 1D"),
}


@pytest.mark.parametrize("method", ["fit", "partial_fit", "prune", "refit"])
@pytest.mark.parametrize("bad", BAD_WEIGHTS)
def test_bad_weights(case, good, method, bad):
    change, message = BAD_WEIGHTS[bad]
    with pytest.raises(DATA, match=message):
        getattr(good, method)(case.X, case.y, sample_weight=change(np.ones(len(case.X))))


# -- parameters -----------------------------------------------------------------------------------


class NoLinear(nn.Module):
    """A network without a linear layer."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n_features, n_outputs))

    def forward(self, X):
        return X @ self.weight


class Tied(nn.Module):
    """A network whose layers share a weight."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.a, self.b = nn.Linear(n_features, n_features), nn.Linear(n_features, n_features)
        self.b.weight = self.a.weight
        self.output = nn.Linear(n_features, n_outputs)

    def forward(self, X):
        return self.output(torch.tanh(self.b(torch.tanh(self.a(X)))))


BAD_PARAMETERS = [
    *({"pruning_ratio": ratio} for ratio in (1.0, 1.5, -0.1, float("nan"), "0.5", None, [0.5])),
    {"method": "importance"},
    {"method": None},
    {"compensation": "weighing"},
    {"activation": "swish"},
    {"scope": "everything"},
    {"scope": {"nowhere": 0.5}},
    {"scope": {"hidden_0": 1.0}},
    {"scope": {"output": 0.5}, "prune_output_layer": False},
    {"schedule": "exponential"},
    {"lr_schedule": "exponential"},
    {"refit_strategy": "again"},
    {"output_metric": "euclidean"},
    {"hidden_layer_sizes": (0,)},
    {"hidden_layer_sizes": (16, -2)},
    {"hidden_layer_sizes": (16.5,)},
    {"hidden_layer_sizes": "16"},
    {"n_steps": 0},
    {"n_steps": 1.5},
    {"lr": 0.0},
    {"lr": "fast"},
    {"refit_lr": -1.0},
    {"refit_epochs": -1},
    {"max_epochs": 2.5},
    {"batch_size": 0},
    {"batch_size": "all"},
    {"validation_fraction": 1.0},
    {"n_iter_no_change": 0},
    {"tol": -1.0},
    {"dropout": 1.0},
    {"early_stopping": "maybe"},
    {"dtype": "float16"},
    {"random_state": "seed"},
    {"calibration_samples": 0},
    {"calibration_batch_size": 0},
    {"device": "cuda:99"},
    {"device": "abacus"},
    {"optimiser__lr": 0.1},
    {"modul__bias": False},
    {"optimizer__speed": 0.1},
    {"module__colour": "red"},
    {"criterion__colour": "red"},
    {"module": NoLinear},
    {"module": Tied},
]
BAD_OF_ONE = {
    "regressor": [{"normalize_y": "yes"}],
    "classifier": [
        {"class_weight": "fair"},
        {"class_weight": {0: 1.0, 1: -1.0, 2: 1.0}},
        {"class_weight": {0: 0.0, 1: 0.0, 2: 0.0}},
        {"class_weight": {0: 1.0, 7: 1.0}},
    ],
}
FACTS = {  # what the message must say where the name of the parameter is not the point
    "NoLinear": r"no prunable layer.*torch\.nn\.Linear",
    "Tied": r"'a' and 'b' share one weight",
    "optimiser__lr": r"optimiser__lr.*Did you mean optimizer__lr",
    "modul__bias": r"modul__bias.*Did you mean module__bias",
    "optimizer__speed": "speed",
    "module__colour": "colour",
    "criterion__colour": "colour",
    "nowhere": r"scope.*nowhere.*hidden_0.*output",
}


def message_for(parameters):
    (name, value), *_ = parameters.items()
    texts = (name, getattr(value, "__name__", None), *(value if isinstance(value, dict) else ()))
    return next((FACTS[text] for text in texts if text in FACTS), rf"(?i){name}")


def bad_parameters(wanted):
    return pytest.mark.parametrize(
        "case, parameters",
        [
            (kind, parameters)
            for kind, own in BAD_OF_ONE.items()
            for parameters in BAD_PARAMETERS + own
            if wanted(parameters)
        ],
        indirect=["case"],
        ids=str,
    )


@bad_parameters(lambda parameters: True)
def test_bad_parameters(case, epoch_counter, parameters):
    estimator = case.make(callbacks=[("counter", epoch_counter)], **parameters)
    state = set(vars(estimator))
    with pytest.raises(DATA, match=message_for(parameters)):
        estimator.fit(case.X, case.y)
    assert epoch_counter.began == 0, "it trained before it failed"
    assert set(vars(estimator)) == state


@pytest.mark.parametrize(
    "parameters", [{"lr": -1.0}, {"optimiser__lr": 0.1}, {"hidden_layer_sizes": (0,)}], ids=str
)
@pytest.mark.parametrize("method", ["partial_fit", "refit", "prune"])
def test_every_method_looks_at_the_parameters(case, good, method, parameters):
    vars(good).update(parameters)
    try:
        with pytest.raises(DATA, match=message_for(parameters)):
            getattr(good, method)(case.X, case.y)
    finally:
        vars(good).pop("optimiser__lr", None)


# a component is made anew as soon as it is set, so its mistakes come earlier
@bad_parameters(lambda parameters: not any("__" in name or name == "module" for name in parameters))
def test_bad_parameters_leave_the_fitted_network(case, good, parameters):
    good.set_params(**parameters)
    with pytest.raises(DATA, match=message_for(parameters)):
        good.fit(case.X, case.y)


def test_the_fisher_metric_needs_several_outputs(regression, epoch_counter):
    estimator = regression.make(output_metric="fisher", callbacks=[("counter", epoch_counter)])
    with pytest.raises(ValueError, match="output_metric"):
        estimator.fit(regression.X, regression.y)
    assert epoch_counter.began == 0, "it trained before it failed"


@pytest.mark.parametrize(
    "arguments",
    [
        *({"pruning_ratio": ratio} for ratio in (1.0, -0.1, float("nan"), "0.5", [0.5])),
        {"method": "importance"},
        {"compensation": "weighing"},
        {"scope": "everything"},
        {"scope": {"nowhere": 0.5}},
        {"scope": {"hidden_0": -1.0}},
        {"n_steps": 0},
        {"schedule": "exponential"},
    ],
    ids=str,
)
def test_bad_arguments_of_prune(good, arguments):
    (name,) = arguments
    masks = copy.deepcopy(good.masks_)
    with pytest.raises(DATA, match=name):
        good.prune(**arguments)
    assert all(torch.equal(good.masks_[key], mask) for key, mask in masks.items())


@pytest.mark.parametrize("epochs", [-1, 1.5, "many", float("nan")])
def test_bad_epochs_of_refit(case, good, epochs):
    with pytest.raises(DATA, match="epochs"):
        good.refit(case.X, case.y, epochs=epochs)


@pytest.mark.parametrize("name", ["learning_rate", "classes", "pruning_ration"])
def test_unknown_parameters(case, name):
    with pytest.raises(TypeError, match=name):
        case.kind(**{name: 1})
    with pytest.raises(ValueError, match=rf"Invalid parameter '{name}'"):
        case.make().set_params(**{name: 1})


def test_errors_of_parameters_are_those_of_scikit_learn(case):
    with pytest.raises(InvalidParameterError, match=r"pruning_ratio.*range \[0.0, 1.0\)"):
        case.make(pruning_ratio=2.0).fit(case.X, case.y)


@pytest.mark.parametrize("slow", [False, True], ids=["fast", "every_batch"])
def test_an_epoch_without_a_batch(case, slow, every_batch):
    estimator = case.make(
        batch_size=1000,
        iterator_train__drop_last=True,
        callbacks=[("every", every_batch)] if slow else None,
    )
    with pytest.raises(ValueError, match="batch"):
        estimator.fit(case.X, case.y)


# -- before fit -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["predict", "score", "prune", "refit"])
def test_before_fit(case, method):
    arguments = (case.X, case.y)[: 1 if method == "predict" else 2]
    with pytest.raises(NotFittedError, match=f"This {case.kind.__name__} is not fitted; call fit"):
        getattr(case.make(), method)(*arguments)


def test_probabilities_before_fit(classification):
    with pytest.raises(NotFittedError, match="This PrunedMLPClassifier is not fitted; call fit"):
        classification.make().predict_proba(classification.X)


@pytest.mark.parametrize("name", ["masks_", "sparsity_", "classes_", "n_features_in_", "module_"])
def test_there_are_no_results_before_fit(case, name):
    assert not hasattr(case.make(), name)
