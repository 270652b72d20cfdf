"""The forms in which data may come."""

import tracemalloc

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.exceptions import DataConversionWarning
from sklearn.neural_network import MLPRegressor
from skorch.callbacks import Callback
from skorch.dataset import Dataset, ValidSplit
from skorch.helper import predefined_split
from torch.utils.data import DataLoader, TensorDataset

from skec import PrunedMLPClassifier, PrunedMLPRegressor


def single(X):
    """Numbers that float32 holds exactly, so that every form has the same."""
    return X.astype(np.float32).astype(np.float64)


# -- features -------------------------------------------------------------------------------------


def wide(X):
    return np.repeat(X, 2, axis=1)[:, ::2]


def read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


FORMS = {
    "float32": lambda X: X.astype(np.float32),
    "lists": lambda X: X.tolist(),
    "objects": lambda X: X.astype(object),
    "fortran": np.asfortranarray,
    "strided": wide,
    "reversed": lambda X: X[::-1].copy()[::-1],
    "read_only": read_only,
    "tensor": torch.from_numpy,
    "float32 tensor": lambda X: torch.from_numpy(X).float(),
    "big-endian": lambda X: X.astype(">f8"),
}


@pytest.mark.filterwarnings("error")
def test_the_form_of_the_features_does_not_matter(case):
    X = single(case.X)
    expected = case.outputs(case.make().fit(X, case.y), X)
    for name, form in FORMS.items():
        estimator = case.make().fit(form(X), case.y)
        np.testing.assert_array_equal(case.outputs(estimator, form(X)), expected, err_msg=name)


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int64, bool])
def test_whole_numbers_are_features(case, dtype):
    X = (case.X > 0.3).astype(dtype) if dtype is bool else np.abs(3 * case.X).astype(dtype)
    expected = case.outputs(case.make().fit(X.astype(np.float64), case.y), X.astype(np.float64))
    np.testing.assert_array_equal(case.outputs(case.make().fit(X, case.y), X), expected)


FRAMES = {
    "pandas": pd.DataFrame,
    "pandas nullable": lambda columns: pd.DataFrame(columns).convert_dtypes(),
    "polars": pl.DataFrame,
}


@pytest.mark.parametrize("frame", FRAMES)
def test_frames_are_features_with_names(case, frame):
    X = single(case.X)
    table = FRAMES[frame]({name: X[:, i] for i, name in enumerate("abcde")})
    estimator = case.make().fit(table, case.y)
    assert list(estimator.feature_names_in_) == list("abcde")
    np.testing.assert_array_equal(
        case.outputs(estimator, table), case.outputs(case.make().fit(X, case.y), X)
    )


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("names", ["abcdx", "bacde"], ids=["renamed", "reordered"])
def test_the_names_of_the_features_must_stay(case, frame, names):
    columns = {name: case.X[:, i] for i, name in enumerate("abcde")}
    estimator = case.make(max_epochs=1, refit_epochs=0).fit(FRAMES[frame](columns), case.y)
    other = FRAMES[frame](dict(zip(names, columns.values(), strict=True)))
    for method in ("predict", "prune", "refit", "partial_fit"):
        arguments = (other,) if method == "predict" else (other, case.y)
        with pytest.raises(ValueError, match="feature names should match those that were passed"):
            getattr(estimator, method)(*arguments)


def test_missing_names_are_noticed(case):
    frame = pd.DataFrame(case.X, columns=list("abcde"))
    estimator = case.make(max_epochs=1, refit_epochs=0).fit(frame, case.y)
    with pytest.warns(UserWarning, match="feature names"):
        estimator.predict(case.X)


# -- targets --------------------------------------------------------------------------------------

LABELS = {
    "strings": np.array(["low", "mid", "top"]),
    "object strings": np.array(["low", "mid", "top"], dtype=object),
    "negative": np.array([-7, -1, 4]),
    "gaps": np.array([0, 10, 10**12]),
    "whole floats": np.array([-1.0, 0.0, 2.0]),
    "bytes": np.array([3, 100, 255], dtype=np.uint8),
}


@pytest.mark.parametrize("kind", LABELS)
def test_the_names_of_the_classes_do_not_matter(classification, kind):
    X, labels = classification.X, LABELS[kind]
    plain, named = classification.fit(), classification.make().fit(X, labels[classification.y])
    np.testing.assert_array_equal(named.classes_, labels)
    assert named.classes_.dtype == labels.dtype
    np.testing.assert_array_equal(named.predict(X), labels[plain.predict(X)])
    np.testing.assert_array_equal(named.predict_proba(X), plain.predict_proba(X))
    assert named.score(X, labels[classification.y]) == plain.score(X, classification.y)


BINARY = {
    "bools": np.array([False, True]),
    "signs": np.array([-1, 1]),
    "strings": np.array(["no", "yes"]),
}


@pytest.mark.parametrize("kind", BINARY)
def test_two_classes_are_two_columns(classification, kind):
    X, y, labels = classification.X, (classification.y > 0).astype(int), BINARY[kind]
    plain, named = (classification.make().fit(X, target) for target in (y, labels[y]))
    np.testing.assert_array_equal(named.classes_, labels)
    np.testing.assert_array_equal(named.predict(X), labels[plain.predict(X)])
    np.testing.assert_array_equal(named.predict_proba(X), plain.predict_proba(X))
    assert named.predict_proba(X).shape == (len(X), 2)


CONTAINERS = {
    "list": list,
    "pandas": lambda y: pd.Series(y, index=np.arange(len(y)) + 1000),
    "polars": lambda y: pl.Series(y.tolist()),
    "read-only": read_only,
}
NUMBERS = CONTAINERS | {"tensor": torch.from_numpy, "pandas nullable": lambda y: pd.array(y)}


@pytest.mark.parametrize("container", NUMBERS)
def test_the_form_of_the_targets_does_not_matter(case, container):
    estimator = case.make().fit(case.X, NUMBERS[container](case.y))
    np.testing.assert_array_equal(case.outputs(estimator), case.outputs(case.fit()))


@pytest.mark.parametrize(
    "container", CONTAINERS | {"categories": lambda y: pd.Series(y, dtype="category")}
)
def test_the_form_of_labels_does_not_matter(classification, container):
    containers = CONTAINERS | {"categories": lambda y: pd.Series(y, dtype="category")}
    labels = LABELS["strings"][classification.y]
    estimator = classification.make().fit(classification.X, containers[container](labels))
    expected = LABELS["strings"][classification.fit().predict(classification.X)]
    np.testing.assert_array_equal(estimator.predict(classification.X), expected)


@pytest.mark.parametrize("shape", [(), (3,)], ids=str)
def test_predictions_have_the_shape_of_the_targets(regression, shape):
    y = regression.y.reshape(-1, *(1,) * len(shape)) * np.ones(shape)
    estimator = regression.make().fit(regression.X, y)
    assert estimator.predict(regression.X).shape == y.shape
    assert estimator.predict(regression.X[:1]).shape == (1, *shape)
    assert estimator.n_outputs_ == (shape[0] if shape else 1)
    assert 0 < estimator.score(regression.X, y) < 1


@pytest.mark.parametrize("form", [np.asarray, pd.DataFrame, pl.DataFrame])
def test_a_column_is_a_vector_as_in_scikit_learn(regression, form):
    column = form(regression.y[:, None])
    for estimator in (regression.make(), MLPRegressor(hidden_layer_sizes=(4,), random_state=0)):
        with pytest.warns(DataConversionWarning, match="column-vector y was passed"):
            predicted = estimator.fit(regression.X, column).predict(regression.X)
        np.testing.assert_array_equal(
            predicted, estimator.fit(regression.X, regression.y).predict(regression.X)
        )


def test_a_column_of_labels_is_taken_as_a_vector_with_a_warning(classification):
    with pytest.warns(UserWarning, match="column-vector y was passed"):
        estimator = classification.make().fit(classification.X, classification.y[:, None])
    np.testing.assert_array_equal(
        estimator.predict(classification.X), classification.fit().predict(classification.X)
    )


# -- what happens to the data ---------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("batch_size", [50, -1])
@pytest.mark.parametrize("form", ["array", "tensor"])
def test_the_data_are_never_changed(case, dtype, batch_size, form):
    y = case.y.astype(dtype) if case.y.dtype.kind == "f" else case.y
    given = [case.X.astype(dtype), y, np.linspace(0, 2, len(y))]
    if form == "tensor":
        given = [torch.from_numpy(array) for array in given]
    before = [np.asarray(array).copy() for array in given]
    estimator = case.make(batch_size=batch_size, dtype=np.dtype(dtype).name)
    for method in ("fit", "prune", "refit", "partial_fit"):
        X, y, weights = given
        getattr(estimator, method)(X, y, sample_weight=weights)
    estimator.predict(given[0])
    estimator.score(given[0], given[1])
    for array, copy in zip(given, before, strict=True):
        np.testing.assert_array_equal(array, copy)


def own_forward(estimator, X):
    """The network's outputs in float64, computed without torch."""
    arrays = {k: v.double().numpy() for k, v in estimator.module_.state_dict().items()}
    hidden = X @ arrays["hidden_0.weight"].T + arrays["hidden_0.bias"]
    hidden = hidden / (1.0 + np.exp(-hidden))
    return hidden @ arrays["output.weight"].T + arrays["output.bias"]


@pytest.mark.parametrize("dtype, rtol", [("float32", 1e-5), ("float64", 1e-13)])
def test_networks_compute_in_the_given_precision(case, dtype, rtol):
    estimator = case.fit(dtype=dtype)
    parameters = list(estimator.module_.parameters()) + list(estimator.dense_module_.parameters())
    assert {parameter.dtype for parameter in parameters} == {getattr(torch, dtype)}
    expected = own_forward(estimator, case.X)
    if case.y.dtype.kind == "f":
        expected = (expected * case.y.std() + case.y.mean())[:, 0]
    else:
        expected = np.exp(expected) / np.exp(expected).sum(axis=1, keepdims=True)
    outputs = case.outputs(estimator)
    assert outputs.dtype == np.float64
    np.testing.assert_allclose(outputs, expected, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("slow", [False, True], ids=["fast", "every_batch"])
def test_losses_in_double_precision_are_not_rounded_to_single(case, slow, every_batch):
    callbacks = [("every", every_batch)] if slow else None
    estimator = case.fit(dtype="float64", callbacks=callbacks)
    losses = [row["train_loss"] for row in estimator.history]
    assert all(float(np.float32(loss)) != float(loss) for loss in losses)


def test_features_that_single_precision_cannot_tell_apart(case):
    estimator = case.fit(dtype="float64")
    nudged = case.X * (1.0 + 1e-10)
    assert (case.outputs(estimator, nudged) != case.outputs(estimator)).any()


ROWS = np.random.default_rng(5).normal(size=(1100, 5))


@pytest.fixture(scope="module")
def fitted():
    """Estimators of several shapes, and what they predict for all rows at once."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 5))
    small = {"max_epochs": 2, "refit_epochs": 1, "random_state": 0, "lr": 0.01}
    fitted = []
    for sizes in [(16,), (33, 7), (128,)]:
        for dtype in ("float32", "float64"):
            parameters = small | {"hidden_layer_sizes": sizes, "dtype": dtype}
            regressor = PrunedMLPRegressor(**parameters).fit(X, X[:, :2])
            classifier = PrunedMLPClassifier(**parameters).fit(X, np.digitize(X[:, 0], [0.0, 1.0]))
            fitted.append((regressor.predict, regressor.predict(ROWS)))
            fitted.append((classifier.predict_proba, classifier.predict_proba(ROWS)))
    return fitted


@settings(deadline=None, max_examples=25)
@given(size=st.integers(1, 200), seed=st.integers(0, 2**32 - 1))
def test_a_prediction_does_not_depend_on_the_other_rows(fitted, size, seed):
    rows = np.random.default_rng(seed).permutation(len(ROWS))[:size]
    for predict, together in fitted:
        np.testing.assert_array_equal(predict(ROWS[rows]), together[rows])


@pytest.mark.parametrize("form", [np.float64, np.float32, ">f8"])
def test_a_prediction_needs_memory_for_its_result_alone(case, form):
    estimator = case.fit()
    X = np.tile(case.X, (2000, 1)).astype(form)
    result, least = case.outputs(estimator, X).nbytes, 2**20
    converted = X.nbytes if form == ">f8" else 0  # scikit-learn's check changes the byte order
    tracemalloc.start()
    try:
        case.outputs(estimator, X)
        assert tracemalloc.get_traced_memory()[1] < 1.2 * result + converted + least
    finally:
        tracemalloc.stop()


def test_calibration_converts_the_drawn_rows_alone(case):
    estimator, X = case.fit(), np.tile(case.X, (2000, 1))
    tracemalloc.start()
    try:
        estimator.prune(X, pruning_ratio=0.5)
        assert tracemalloc.get_traced_memory()[1] < 0.4 * X.nbytes
    finally:
        tracemalloc.stop()


# -- datasets and iterators -----------------------------------------------------------------------


def as_dataset(case, kind=Dataset):
    X = case.X.astype(np.float32)
    y = case.y.astype(np.float32) if case.y.dtype.kind == "f" else case.y
    if kind is TensorDataset:
        return TensorDataset(torch.from_numpy(X), torch.from_numpy(y))
    return kind(X, y)


def in_order(case, **parameters):
    """Settings under which arrays and datasets give the same batches."""
    plain = {"normalize_y": False} if case.y.dtype.kind == "f" else {}
    return case.make(iterator_train__shuffle=False, **plain, **parameters)


@pytest.mark.parametrize("kind", [Dataset, TensorDataset])
@pytest.mark.parametrize("parameters", [{}, {"method": "taylor"}], ids=str)
def test_a_dataset_is_the_same_as_its_arrays(case, kind, parameters, assert_same_weights):
    dataset = as_dataset(case, kind)
    expected = in_order(case, **parameters).fit(case.X, case.y)
    estimator = in_order(case, **parameters).fit(dataset)
    assert_same_weights(estimator.module_, expected.module_, atol=1e-5)
    assert estimator.n_features_in_ == 5
    np.testing.assert_allclose(
        case.outputs(estimator, dataset), case.outputs(expected), rtol=1e-4, atol=1e-4
    )
    estimator.prune(pruning_ratio=0.8).refit(dataset).partial_fit(dataset)
    assert estimator.sparsity_ == pytest.approx(0.8, abs=0.01)


def test_a_dataset_is_split_like_its_arrays(regression, assert_same_weights):
    expected = in_order(regression, early_stopping=True).fit(regression.X, regression.y)
    estimator = in_order(regression, early_stopping=True).fit(as_dataset(regression))
    assert_same_weights(estimator.module_, expected.module_, atol=1e-5)


def test_a_dataset_of_the_users_own_class(case, assert_same_weights):
    estimator = in_order(case, dataset=Dataset).fit(case.X, case.y)
    assert_same_weights(estimator.module_, in_order(case).fit(case.X, case.y).module_, atol=1e-5)


def test_later_datasets_keep_the_scale_of_the_targets(regression):
    estimator = regression.fit()
    mean, scale = estimator.y_mean_.copy(), estimator.y_scale_.copy()
    before = estimator.prune(pruning_ratio=0.3).predict(regression.X)
    dataset = as_dataset(regression)
    estimator.prune(dataset, pruning_ratio=0.3)
    np.testing.assert_array_equal([estimator.y_mean_, estimator.y_scale_], [mean, scale])
    np.testing.assert_allclose(estimator.predict(regression.X), before, rtol=1e-4, atol=1e-4)
    for method in ("refit", "partial_fit"):
        getattr(estimator, method)(dataset)
        np.testing.assert_array_equal([estimator.y_mean_, estimator.y_scale_], [mean, scale])


@pytest.mark.parametrize("method", ["partial_fit", "refit", "prune"])
def test_later_datasets_keep_the_classes(classification, method):
    estimator = classification.make().fit(as_dataset(classification))
    few = classification.y < 2
    fewer = Dataset(classification.X[few].astype(np.float32), classification.y[few])
    getattr(estimator, method)(fewer)
    np.testing.assert_array_equal(estimator.classes_, [0, 1, 2])
    assert estimator.n_outputs_ == 3


def test_labels_that_are_names_keep_them_with_a_later_dataset(classification):
    labels = LABELS["strings"]
    estimator = classification.make().fit(classification.X, labels[classification.y])
    estimator.refit(as_dataset(classification))  # a Dataset has the numbers of the classes
    np.testing.assert_array_equal(estimator.classes_, labels)
    assert set(estimator.predict(classification.X)) <= set(labels)


def test_an_iterator_of_the_users_own_class(case, assert_same_weights):
    class Counted(DataLoader):
        made = 0

        def __init__(self, *args, **kwargs):
            type(self).made += 1
            super().__init__(*args, **kwargs)

    estimator = case.fit(iterator_train=Counted, iterator_train__shuffle=False)
    assert Counted.made > 0
    expected = case.fit(iterator_train__shuffle=False)
    assert_same_weights(estimator.module_, expected.module_, atol=1e-6)


class Sizes(Callback):
    def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        if dataset_valid is not None:
            self.sizes = len(dataset_train), len(dataset_valid)


def test_a_split_of_skorch(case):
    sizes = Sizes()
    split = ValidSplit(4, stratified=case.y.dtype.kind == "i")
    estimator = case.fit(train_split=split, callbacks=[("s", sizes)])
    assert sizes.sizes == (90, 30)
    assert all(row["valid_loss"] > 0 for row in estimator.history if row["phase"] == "dense")


def test_a_split_into_given_datasets(case):
    rng = np.random.default_rng(7)
    X = rng.normal(size=(50, 5)).astype(np.float32)
    y = rng.normal(size=50).astype(np.float32) if case.y.dtype.kind == "f" else np.arange(50) % 3
    estimator = case.fit(
        train_split=predefined_split(Dataset(X, y)),
        lr_schedule="constant",
        max_epochs=1,
        refit_strategy="none",
        pruning_ratio=0.0,
    )
    if case.y.dtype.kind == "f":
        expected = np.mean((estimator.predict(X) - y) ** 2) / case.y.var()
    else:
        expected = -np.log(estimator.predict_proba(X)[np.arange(50), y]).mean()
    assert estimator.history[0]["valid_loss"] == pytest.approx(expected, rel=1e-5)


# -- large and small numbers ----------------------------------------------------------------------


@pytest.mark.parametrize("offset", [1e3, 1e6, 1e9, -1e12])
def test_an_offset_of_the_targets_shifts_the_predictions(regression, offset):
    plain = regression.fit().predict(regression.X)
    shifted = regression.make().fit(regression.X, regression.y + offset).predict(regression.X)
    digits = 1e4 * np.finfo(np.float64).eps * abs(offset)
    np.testing.assert_allclose(shifted - offset, plain, rtol=0, atol=max(digits, 1e-9))


@settings(
    deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(exponent=st.integers(-400, 400))
def test_the_unit_of_the_targets_does_not_matter(regression, exponent):
    """A power of two is exact, so the predictions agree to the last bit."""
    regression.X, y = regression.X[:40], regression.y[:40]
    plain = regression.make(max_epochs=2, refit_epochs=1).fit(regression.X, y)
    scaled = regression.make(max_epochs=2, refit_epochs=1).fit(regression.X, np.ldexp(y, exponent))
    np.testing.assert_array_equal(
        scaled.predict(regression.X), np.ldexp(plain.predict(regression.X), exponent)
    )


@pytest.mark.parametrize("scale", [1e200, 1e-200])
@pytest.mark.filterwarnings("error")
def test_targets_whose_squares_leave_the_range_of_floats(regression, scale):
    plain = regression.fit().predict(regression.X)
    scaled = regression.make().fit(regression.X, regression.y * scale).predict(regression.X)
    np.testing.assert_allclose(scaled / scale, plain, rtol=1e-3, atol=1e-3)


def test_large_features_fit_into_double_precision(case):
    X = case.X * 1e30
    estimator = case.make(dtype="float64", max_epochs=1, refit_epochs=0, activation="tanh")
    assert np.isfinite(case.outputs(estimator.fit(X, case.y), X)).all()
