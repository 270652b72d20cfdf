"""The automatic ratio that changes of predictions decide."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
from scipy.stats import binom
from sklearn.base import clone, is_classifier
from skorch.dataset import ValidSplit

from skec import ECPruner, PrunedMLPClassifier, PrunedMLPRegressor
from skec.bounds import MaxChange, changes, equal_rows
from skec.estimators.rows import split_indices

WISH = MaxChange(0.3, alpha=0.2, delta=0.1)
AUTO = {
    "pruning_ratio": "auto",
    "max_change": WISH,
    "early_stopping": True,
    "validation_fraction": 0.3,
    "refit_strategy": "none",
    "dtype": "float64",
    "max_epochs": 20,
    "lr": 0.03,
}


@pytest.fixture
def fit(case):
    return lambda **parameters: case.fit(**(AUTO | parameters))


def held_out(estimator, case):
    """The rows of the library's split."""
    stratify = case.y if is_classifier(estimator) else None
    rng = np.random.RandomState(estimator._seed_)
    return case.X[split_indices(len(case.y), 0.3, rng, stratify)[1]]


@pytest.mark.parametrize(
    "wish",
    [
        WISH,
        MaxChange(0.02, alpha=0.2, delta=0.1),
        MaxChange(0.2, alpha=0.3, delta=0.4, norm="max"),
    ],
)
def test_ratios_are_tested_in_order_up_to_the_first_that_fails(case, fit, wish):
    estimator = fit(max_change=wish)
    X = held_out(estimator, case)
    dense = case.outputs(estimator.prune(pruning_ratio=0.0, copy=True), X)
    curve, n = estimator.pruning_curve_, len(X)
    assert curve.n_samples == n == 36
    ratios = [round(0.02 * i, 2) for i in range(1, len(curve.pruning_ratios) + 1)]
    assert curve.pruning_ratios.tolist() == ratios
    for i, ratio in enumerate(ratios):
        pruned = estimator.prune(pruning_ratio=ratio, copy=True)
        size = changes(case.outputs(pruned, X), dense, wish.norm)
        count = (size > wish.epsilon).sum()
        assert curve.n_exceeding[i] == count
        assert curve.p_values[i] == pytest.approx(binom.cdf(count, n, wish.alpha))
    assert curve.accepted[:-1].all() and (len(ratios) == 49 or not curve.accepted[-1])
    assert (curve.accepted == (curve.p_values <= wish.delta)).all()
    chosen = max([0.0, *curve.pruning_ratios[curve.accepted]])
    assert estimator.pruning_ratio_ == chosen
    np.testing.assert_array_equal(
        case.outputs(estimator), case.outputs(estimator.prune(pruning_ratio=chosen, copy=True))
    )


def test_the_certificate_says_what_was_shown_and_about_which_network(fit):
    estimator = fit()
    found = estimator.pruning_curve_.certificate
    assert (found.epsilon, found.alpha, found.delta, found.n_rows) == (0.3, 0.2, 0.1, 36)
    assert (
        found.n_exceeding
        == estimator.pruning_curve_.n_exceeding[estimator.pruning_curve_.accepted][-1]
    )
    assert "before any fine-tuning change by more than 0.3" in str(found)
    assert "for at most 20 % of new rows" in str(found)
    if not is_classifier(estimator):
        assert found.scale == pytest.approx(estimator.y_scale_[0])
    assert str(pickle.loads(pickle.dumps(estimator)).pruning_curve_.certificate) == str(found)


def test_labels_of_a_classifier(classification):
    wish = MaxChange(alpha=0.2, delta=0.1)
    estimator = classification.fit(**(AUTO | {"max_change": wish}))
    X = held_out(estimator, classification)
    dense = estimator.prune(pruning_ratio=0.0, copy=True)
    found = estimator.pruning_curve_.certificate
    assert found.of == "labels"
    assert found.n_exceeding == (estimator.predict(X) != dense.predict(X)).sum()
    assert "predicted labels before any fine-tuning change for at most 20 %" in str(found)


def test_the_held_out_rows_do_not_calibrate_the_pruning(case, fit):
    estimator = fit()
    kept, used = estimator._held_out_.X.numpy(), estimator._calibration_.X.numpy()
    assert len(kept) + len(used) == len(case.X) and not equal_rows(kept, used).any()
    with pytest.raises(ValueError, match="36 of these 36 rows are equal to calibration samples"):
        estimator.prune(case.X, case.y)
    by_loss = fit(max_change=None)
    with pytest.raises(ValueError, match="Call fit with max_change"):
        by_loss.prune(max_change=WISH)
    with pytest.raises(ValueError, match="was fitted to"):
        estimator.certify(held_out(estimator, case), epsilon=1.0)


def test_the_refit_leaves_the_statement_about_the_network_before_it(fit):
    tuned, plain = fit(refit_strategy="finetune"), fit()
    assert tuned.pruning_curve_.certificate == plain.pruning_curve_.certificate
    assert tuned.pruning_ratio_ == plain.pruning_ratio_


def test_a_later_prune_takes_another_wish(fit):
    estimator = fit()
    wider = estimator.prune(max_change=MaxChange(1e6, alpha=0.2, delta=0.1), copy=True)
    assert wider.pruning_ratio_ == 0.98 >= estimator.pruning_ratio_
    assert fit(max_change=wider.max_change).pruning_ratio_ == estimator.pruning_ratio_
    assert not hasattr(copy.deepcopy(estimator).prune(pruning_ratio=0.5), "pruning_curve_")


def test_a_wish_that_nothing_fulfils_leaves_the_network_dense(case, fit):
    of = "probabilities" if is_classifier(case.make()) else "predictions"
    with pytest.warns(UserWarning, match=r"stays dense. With pruning_ratio=0.02, \d+ of 36"):
        estimator = fit(max_change=MaxChange(0.0, alpha=0.1, delta=0.1, of=of))
    assert estimator.pruning_ratio_ == 0.0 and estimator.sparsity_ == 0.0
    assert estimator.pruning_curve_.certificate is None


def test_a_later_wish_is_checked_against_the_kept_rows(case, fit):
    with pytest.raises(ValueError, match=r"needs at least 299 rows; got 36. Fit with a higher"):
        fit().prune(max_change=MaxChange(0.1))
    weight = np.random.default_rng(0).uniform(0.5, 2, len(case.y))
    by_loss = case.make(**(AUTO | {"max_change": None}))
    by_loss.fit(case.X, case.y, sample_weight=weight)
    with pytest.raises(ValueError, match="all of them must count the same"):
        by_loss.prune(max_change=WISH)


def test_weights_of_classes_do_not_count_and_those_of_rows_are_refused(classification):
    case = classification
    estimator = case.fit(**AUTO, class_weight={0: 1.0, 1: 3.0, 2: 2.0})
    assert estimator.pruning_curve_.n_samples == 36
    weight = np.random.default_rng(0).uniform(0.5, 2, len(case.y))
    with pytest.raises(ValueError, match="all of them must count the same"):
        case.make(**AUTO).fit(case.X, case.y, sample_weight=weight)


def test_other_losses_and_splits(regression):
    class Loss(torch.nn.Module):  # without losses of single rows
        def forward(self, outputs, targets):
            return (outputs - targets).abs().mean()

    estimator = regression.fit(**AUTO, criterion=Loss, train_split=ValidSplit(4))
    assert estimator.pruning_curve_.n_samples == 30


@pytest.mark.parametrize(
    ("kind", "parameters", "message"),
    [
        (PrunedMLPRegressor, {"pruning_ratio": 0.5}, "Set pruning_ratio='auto', or max_change"),
        (PrunedMLPRegressor, {"max_change": 0.1}, "'max_change' parameter"),
        (PrunedMLPRegressor, {"max_change": MaxChange()}, "needs epsilon"),
        (PrunedMLPRegressor, {"max_change": MaxChange(0.1)}, "needs at least 299 of them for"),
        (PrunedMLPRegressor, {"max_change": MaxChange(of="labels")}, "possible for a regressor"),
        (PrunedMLPRegressor, {"step_epochs": 1}, "step_epochs=1"),
        (PrunedMLPClassifier, {"max_change": MaxChange(of="predictions")}, "not possible for a"),
        (PrunedMLPClassifier, {"max_change": MaxChange(of="probabilities")}, "needs epsilon"),
    ],
)
def test_impossible_wishes_are_refused_before_any_training(kind, parameters, message):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 5))
    net = kind((8,), **(AUTO | {"max_epochs": 10_000} | parameters))
    with pytest.raises((ValueError, TypeError), match=message):
        net.fit(X, (X[:, 0] > 0).astype(int))


@pytest.mark.parametrize(
    "arguments", [(-1.0,), ("0.1",), (0.1, 0.0), (0.1, 0.1, 1.0), (0.1, 0.1, 0.1, "all")]
)
def test_impossible_numbers_are_refused_at_once(arguments):
    with pytest.raises(ValueError, match=r"must be|is unknown"):
        MaxChange(*arguments)


def test_estimators_with_a_wish_are_cloned_and_pruners_have_none(fit):
    estimator = fit()
    assert clone(estimator).max_change == WISH
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert "max_change" not in ECPruner(estimator).get_params(deep=False)
