"""Estimators that were trimmed for prediction, and prunings of a copy."""

import copy
import pickle

import numpy as np
import pytest
from skorch.exceptions import SkorchTrainingImpossibleError


@pytest.fixture
def trimmed(case):
    estimator = case.fit(refit_strategy="rewind", callbacks=[])
    estimator.trim_for_prediction()
    return estimator


def test_predictions_and_parameters_stay(case, trimmed):
    whole = case.fit(refit_strategy="rewind", callbacks=[])
    np.testing.assert_array_equal(case.outputs(trimmed), case.outputs(whole))
    assert trimmed.get_params().keys() == whole.get_params().keys()
    assert trimmed.callbacks == [] and trimmed.optimizer is whole.optimizer
    assert trimmed.score(case.X, case.y) == whole.score(case.X, case.y)
    assert trimmed.sparsity_ == whole.sparsity_
    assert len(pickle.dumps(trimmed)) < 0.5 * len(pickle.dumps(whole))
    np.testing.assert_array_equal(
        case.outputs(pickle.loads(pickle.dumps(trimmed))), case.outputs(whole)
    )


@pytest.mark.parametrize("method", ["prune", "refit", "partial_fit", "fit_loop"])
def test_nothing_that_needs_what_was_dropped_works(case, trimmed, method):
    before = vars(trimmed).copy()
    with pytest.raises(SkorchTrainingImpossibleError, match=r"trimmed for prediction.*Call fit"):
        getattr(trimmed, method)(case.X, case.y)
    assert vars(trimmed) == before


def test_parameters_can_be_set_and_fit_starts_anew(case, trimmed, assert_same_weights):
    trimmed.set_params(lr=0.02, criterion__reduction="mean")
    trimmed.fit(case.X, case.y)
    twin = case.fit(refit_strategy="rewind", callbacks=[], lr=0.02)
    assert_same_weights(trimmed.module_, twin.module_)
    trimmed.prune(pruning_ratio=0.7)


def test_trimming_twice_is_trimming_once(case, trimmed):
    before = vars(trimmed).copy()
    trimmed.trim_for_prediction()
    assert vars(trimmed) == before


def test_a_trimmed_network_can_be_made_compact(case, trimmed):
    expected = case.outputs(trimmed)
    np.testing.assert_allclose(case.outputs(trimmed.compact()), expected, rtol=1e-5, atol=1e-5)
    assert not hasattr(trimmed, "optimizer_")


def test_weights_can_be_saved_and_loaded(case, trimmed, tmp_path):
    expected = case.outputs(trimmed)
    trimmed.save_params(f_params=tmp_path / "weights.pt")
    trimmed.load_params(f_params=tmp_path / "weights.pt")
    np.testing.assert_array_equal(case.outputs(trimmed), expected)


def test_a_copy_is_pruned_and_the_estimator_stays(case, assert_same_weights):
    estimator = case.fit()
    before, outputs = copy.deepcopy(estimator), case.outputs(estimator)
    pruned = estimator.prune(pruning_ratio=0.9, copy=True)
    assert pruned.sparsity_ > 0.85 and estimator.sparsity_ == before.sparsity_
    np.testing.assert_array_equal(case.outputs(estimator), outputs)
    assert_same_weights(estimator.module_, before.module_)
    assert_same_weights(pruned.module_, estimator.prune(pruning_ratio=0.9).module_)
