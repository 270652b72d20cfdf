"""Training in parts: the scale of the targets, classes, epochs and validation."""

import copy
import io
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import PredefinedSplit
from skorch.dataset import ValidSplit
from torch import nn

from skec import PrunedMLPClassifier, PrunedMLPRegressor
from skec.estimators.target_scale import TargetScale

finite = st.floats(-1e6, 1e6, allow_nan=False, width=32)


@given(
    parts=st.lists(st.lists(finite, min_size=1, max_size=6), min_size=2, max_size=5),
    size=st.sampled_from([1.0, 1e150, 1e-150]),
)
def test_the_scale_of_parts_is_that_of_all(parts, size):
    parts = [size * np.array(part)[:, None] for part in parts]
    whole = np.concatenate(parts)
    scale = TargetScale.of(parts[0])
    for part in parts[1:]:
        scale = scale.merged(TargetScale.of(part))
    largest = np.abs(whole).max()
    np.testing.assert_allclose(scale.mean, whole.mean(0), rtol=0, atol=1e-12 * largest)
    expected = largest * np.std(whole / largest) if largest else 0.0
    np.testing.assert_allclose(scale.scale, expected, rtol=0, atol=1e-7 * largest)
    assert scale.weight == len(whole)


def test_the_scale_of_weighted_parts_is_that_of_repeated_rows():
    y, weight = np.array([[1.0], [4.0], [9.0], [2.0]]), np.array([1.0, 2.0, 1.0, 3.0])
    parts = [slice(0, 2), slice(2, 4)]
    first, second = (TargetScale.of(y[p], weight[p], weight[p].sum()) for p in parts)
    whole = TargetScale.of(np.repeat(y, weight.astype(int), axis=0))
    merged = first.merged(second)
    np.testing.assert_allclose(merged.mean, whole.mean)
    np.testing.assert_allclose(merged.scale, whole.scale)


@pytest.mark.parametrize("after", ["partial_fit", "fit"])
def test_a_new_scale_changes_no_prediction(regression, after, count_revived):
    estimator = getattr(regression.make(), after)(regression.X, regression.y)
    X, before = regression.X, regression.outputs(estimator)
    dense = copy.deepcopy(estimator).prune(pruning_ratio=0.0) if after == "fit" else None
    estimator.partial_fit(X, 50.0 + 20.0 * regression.y, epochs=0)
    assert estimator.y_mean_ != regression.y.mean()
    np.testing.assert_allclose(regression.outputs(estimator), before, rtol=1e-4, atol=1e-4)
    if dense is not None:
        assert count_revived(estimator) == 0
        same = estimator.prune(pruning_ratio=0.0)
        np.testing.assert_allclose(
            regression.outputs(same), regression.outputs(dense), rtol=1e-4, atol=1e-4
        )


def test_a_network_without_a_linear_last_layer_keeps_its_scale(regression):
    module = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1, bias=False))
    estimator = regression.make(module=module).partial_fit(regression.X, regression.y)
    before, scale = regression.outputs(estimator), estimator.y_scale_
    estimator.partial_fit(regression.X, 9.0 * regression.y, epochs=0)
    assert estimator.y_scale_ == scale
    np.testing.assert_array_equal(regression.outputs(estimator), before)


@pytest.mark.parametrize("module", ["own", "without bias"])
def test_a_constant_first_part_does_no_harm(regression, module):
    network = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 1, bias=False))
    modules = {} if module == "own" else {"module": network}
    estimator = regression.make(max_epochs=5, lr_schedule="constant", **modules)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimator.partial_fit(regression.X[:20], np.full(20, 7.0))
    np.testing.assert_allclose(estimator.predict(regression.X), 7.0)
    for _ in range(20):
        estimator.partial_fit(regression.X, regression.y)
    assert estimator.score(regression.X, regression.y) > 0.9


def test_rows_may_come_one_by_one(case):
    labels = {} if case.kind is PrunedMLPRegressor else {"classes": [0, 1, 2]}
    estimator = case.make(lr_schedule="constant")
    for _ in range(2):
        for row in range(len(case.X)):
            estimator.partial_fit(case.X[[row]], case.y[[row]], **labels, epochs=1)
    assert estimator.score(case.X, case.y) > 0.5
    if case.kind is PrunedMLPRegressor:
        np.testing.assert_allclose(estimator.y_mean_, case.y.mean())
        np.testing.assert_allclose(estimator.y_scale_, case.y.std())


def test_one_row_is_too_few_for_batch_normalisation(case):
    labels = {} if case.kind is PrunedMLPRegressor else {"classes": [0, 1, 2]}
    with pytest.raises(ValueError, match="minimum of 2"):
        case.make(batch_norm=True).partial_fit(case.X[:1], case.y[:1], **labels)


def test_epochs_are_those_of_this_call(case):
    estimator = case.make(max_epochs=4).partial_fit(case.X, case.y, epochs=2)
    assert len(estimator.history) == 2
    assert len(estimator.partial_fit(case.X, case.y).history) == 6
    assert estimator.max_epochs == 4
    with pytest.raises(ValueError, match="max_epochs"):
        estimator.partial_fit(case.X, case.y, epochs=-1)


def test_other_classes_are_refused(classification):
    estimator = classification.make().partial_fit(classification.X, classification.y)
    estimator.partial_fit(classification.X, classification.y, classes=[2, 1, 0])
    with pytest.raises(ValueError, match="differs from the classes of this estimator"):
        estimator.partial_fit(classification.X, classification.y, classes=[0, 1, 2, 3])


@pytest.mark.parametrize("pruned", [False, True])
def test_a_given_split_validates(case, pruned):
    folds = np.where(np.arange(len(case.X)) % 5, -1, 0)
    for split in (ValidSplit(4), ValidSplit(PredefinedSplit(folds))):
        estimator = case.make(train_split=split)
        if pruned:
            estimator.fit(case.X, case.y)
        estimator.partial_fit(case.X, case.y)
        assert np.isfinite(estimator.history[-1, "valid_loss"])


def test_the_scale_goes_on_in_another_process(regression):
    estimator = regression.make().partial_fit(regression.X, regression.y)
    file = io.BytesIO()
    estimator.save_params(f_params=file)
    file.seek(0)
    other = regression.make(module__n_features=5, module__n_outputs=1).initialize()
    other.load_params(f_params=file)
    for each in (estimator, other):
        each.partial_fit(regression.X, 3.0 * regression.y, epochs=0)
    np.testing.assert_array_equal(estimator.y_scale_, other.y_scale_)
    np.testing.assert_array_equal(regression.outputs(estimator), regression.outputs(other))


@settings(max_examples=10, deadline=None)
@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=4), seed=st.integers(0, 5))
def test_labels_of_parts_are_those_of_all(sizes, seed):
    rng = np.random.default_rng(seed)
    net = PrunedMLPClassifier((4,), max_epochs=1, random_state=0)
    for size in sizes:
        X, y = rng.normal(size=(size, 2)), rng.choice(["a", "b", "c"], size)
        net.partial_fit(X, y, classes=["a", "b", "c"])
        assert list(net.classes_) == ["a", "b", "c"]
        assert net.predict_proba(X).shape == (size, 3)


def test_the_network_is_not_replaced(regression):
    estimator = regression.make().partial_fit(regression.X, regression.y)
    parameters = list(estimator.module_.parameters())
    estimator.partial_fit(regression.X, 5.0 * regression.y)
    assert all(a is b for a, b in zip(parameters, estimator.module_.parameters(), strict=True))
    assert all(torch.isfinite(parameter).all() for parameter in parameters)
