"""Estimators that choose their pruning ratio and method by cross-validation."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skec import (
    PrunedMLPClassifier,
    PrunedMLPClassifierCV,
    PrunedMLPRegressor,
    PrunedMLPRegressorCV,
)
from skec.criteria import CRITERIA

LEFT_OUT = (
    "pruning_ratio",
    "max_loss_increase",
    "max_change",
    "method",
    "method_params",
    "step_epochs",
    "warm_start",
    "memory",
)
RATIOS, METHODS = [0.2, 0.6, 0.9], ["ec", "magnitude", "lamp", "taylor"]
QUICK = {"hidden_layer_sizes": (16,), "lr": 0.03, "max_epochs": 10, "refit_epochs": 10}
# weights count as repeated rows where all rows fit in one batch
SEARCH = {"pruning_ratios": [0.5, 0.8], "cv": 2, "batch_size": 256}


@parametrize_with_checks(
    [
        PrunedMLPRegressorCV(**QUICK, **SEARCH),
        PrunedMLPClassifierCV(**QUICK, **SEARCH, dropout=0.0),
    ]
)
@pytest.mark.filterwarnings("ignore")
def test_conformance(estimator, check):
    check(estimator)


def make(case, plain=False, **parameters):
    """The search with the small settings of the other tests."""
    given = case.make().get_params(deep=False)
    for name in LEFT_OUT:
        given.pop(name)
    kind = PrunedMLPClassifierCV if case.kind is PrunedMLPClassifier else PrunedMLPRegressorCV
    defaults = {"pruning_ratios": RATIOS, "methods": METHODS, "cv": 3}
    return kind(**(given | defaults | parameters))


def grid_search(case, **parameters):
    grid = {"method": METHODS, "pruning_ratio": RATIOS}
    return GridSearchCV(case.make(**parameters), grid, cv=3).fit(case.X, case.y)


@pytest.mark.parametrize("refit", ["finetune", "none"])
def test_equals_a_grid_search_and_trains_once_per_fold(case, refit, dense_fits):
    expected = grid_search(case, refit_strategy=refit)
    before = dense_fits()
    assert before == 12 * 3 + 1
    found = make(case, refit_strategy=refit, refit_all=True).fit(case.X, case.y)
    assert dense_fits() - before == 3 + 1
    theirs = expected.cv_results_
    exact = refit == "none"  # networks that are fine-tuned as one differ by rounding
    for name in ("split0_test_score", "split2_test_score", "mean_test_score", "std_test_score"):
        np.testing.assert_allclose(
            found.cv_results_[name], theirs[name], rtol=1e-12 if exact else 1e-5
        )
    np.testing.assert_array_equal(found.cv_results_["rank_test_score"], theirs["rank_test_score"])
    assert found.cv_results_["params"] == theirs["params"]
    best = {"method": found.best_method_, "pruning_ratio": found.best_pruning_ratio_}
    assert best == expected.best_params_
    assert found.best_score_ == pytest.approx(expected.best_score_, rel=1e-5)
    np.testing.assert_array_equal(case.outputs(found), case.outputs(expected.best_estimator_))
    assert found.scores_.shape == (4, 3, 3)


@pytest.mark.parametrize(
    "settings", [{}, {"one_standard_error": True}, {"refit_all": True}], ids=str
)
def test_the_number_of_processes_does_not_matter(case, settings):
    one, two = (make(case, n_jobs=n, **settings).fit(case.X, case.y) for n in (1, 2))
    for name, values in one.cv_results_.items():
        if "time" not in name:
            np.testing.assert_array_equal(np.asarray(two.cv_results_[name]), np.asarray(values))
    np.testing.assert_array_equal(case.outputs(one), case.outputs(two))


def kept_by_the_rule(full, by_ratio):
    """The candidates of each fold, from the scores without elimination."""
    scores = full.scores_.reshape(12, 3)
    before = full.cv_results_["mean_test_score_before_refit"]
    ratios = np.array([one["pruning_ratio"] for one in full.cv_results_["params"]])
    alive = []
    for ratio in RATIOS:
        here = np.flatnonzero(ratios == ratio)
        alive += list(here[np.argsort(-before[here], kind="stable")][:2])
    rounds = []
    for fold in range(3):
        alive = sorted(alive)  # the first of several that are equally good goes on
        rounds.append(set(alive))
        means = scores[:, : fold + 1].mean(1)
        if by_ratio:
            alive = [
                max((i for i in alive if ratios[i] == r), key=lambda i: means[i]) for r in RATIOS
            ]
        else:
            alive = sorted(alive, key=lambda i: -means[i])[: max(2, -(-len(alive) // 3))]
    return rounds


@pytest.mark.parametrize("by_ratio", [False, True])
def test_candidates_that_cannot_win_are_left_out(case, by_ratio):
    full = make(case, refit_all=True).fit(case.X, case.y)
    found = make(case, one_standard_error=by_ratio).fit(case.X, case.y)
    rounds = kept_by_the_rule(full, by_ratio)
    for fold, kept in enumerate(rounds):
        scores = found.cv_results_[f"split{fold}_test_score"]
        assert set(np.flatnonzero(~np.isnan(scores))) == kept
        everything = full.cv_results_[f"split{fold}_test_score"]
        np.testing.assert_allclose(scores[list(kept)], everything[list(kept)], rtol=1e-5)
    assert found.best_index_ in rounds[-1]
    ranks = found.cv_results_["rank_test_score"]
    assert max(ranks[i] for i in rounds[-1]) < min(ranks[i] for i in set(range(12)) - rounds[-1])
    frame = pd.DataFrame(found.cv_results_)
    assert len(frame) == 12 and frame["n_folds"].max() == 3


def test_the_largest_ratio_within_one_standard_error(case):
    net = make(case, one_standard_error=True, refit_all=True).fit(case.X, case.y)
    scores = net.scores_.reshape(12, 3)
    means, best = scores.mean(1), scores.mean(1).argmax()
    bound = means[best] - scores[best].std(ddof=1) / np.sqrt(3)
    ratios = [one["pruning_ratio"] for one in net.cv_results_["params"]]
    assert net.best_pruning_ratio_ == max(
        r for r, m in zip(ratios, means, strict=True) if m >= bound
    )
    assert net.sparsity_ == pytest.approx(net.best_pruning_ratio_, abs=0.02)


def test_scoring_splits_weights_and_objects(regression):
    weights = np.random.default_rng(0).uniform(0.5, 2.0, len(regression.X))
    net = make(
        regression,
        methods=[CRITERIA.make("magnitude"), "ec"],
        cv=KFold(2, shuffle=True, random_state=0),
        scoring="neg_mean_absolute_error",
        refit_strategy="none",
    ).fit(regression.X, regression.y, sample_weight=weights)
    assert net.best_score_ < 0
    assert net.n_splits_ == 2
    train, test = next(KFold(2, shuffle=True, random_state=0).split(regression.X))
    plain = regression.make(method="magnitude", pruning_ratio=0.2, refit_strategy="none")
    plain.fit(regression.X[train], regression.y[train], sample_weight=weights[train])
    error = np.abs(plain.predict(regression.X[test]) - regression.y[test])
    assert net.scores_[0, 0, 0] == pytest.approx(-np.average(error, weights=weights[test]))
    other = make(regression, refit_strategy="none").fit(regression.X, regression.y)
    assert net.predict(regression.X).tolist() != other.predict(regression.X).tolist()


def test_the_result_is_an_ordinary_estimator(case):
    net = make(case).fit(case.X, case.y)
    again = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(case.outputs(again), case.outputs(net))
    assert again.best_pruning_ratio_ == net.best_pruning_ratio_
    other = net.prune(pruning_ratio=0.3, method="magnitude", copy=True)
    assert other.sparsity_ == pytest.approx(0.3, abs=0.01)
    net.refit(case.X, case.y, epochs=1).partial_fit(case.X, case.y, epochs=1)
    net.compact()
    with pytest.raises(ValueError, match="pruning_ratio"):
        net.prune(case.X, pruning_ratio=2.0)
    fresh = clone(net)
    assert not hasattr(fresh, "best_pruning_ratio_")
    assert fresh.get_params(deep=False)["pruning_ratios"] == RATIOS


def test_parameters_of_components_and_pipelines(case):
    net = make(case, module__bias=False, optimizer__weight_decay=0.1, methods=["magnitude"])
    model = make_pipeline(StandardScaler(), net).fit(case.X, case.y)
    assert model[-1].network_.hidden_0.bias is None
    assert clone(net).get_params()["optimizer__weight_decay"] == 0.1
    assert model[-1].optimizer_.param_groups[0]["weight_decay"] == 0.1


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"pruning_ratios": []}, "pruning_ratios is empty"),
        ({"methods": []}, "methods is empty"),
        ({"pruning_ratios": [0.5, 1.5]}, "pruning_ratio"),
        ({"methods": ["ec", "nothing"]}, "nothing"),
        ({"pruning_ratios": 0.5}, "pruning_ratios"),
        ({"n_jobs": 1.5}, "n_jobs"),
        ({"refit_all": "yes"}, "refit_all"),
        ({"scoring": "no score"}, "no score"),
        ({"cv": 1}, "n_splits|cv"),
        ({"lr": -1.0}, "lr"),
    ],
    ids=str,
)
def test_errors_come_before_any_work(case, parameters, message, dense_fits):
    with pytest.raises((ValueError, TypeError), match=message):
        make(case, **parameters).fit(case.X, case.y)
    assert dense_fits() == 0


def test_a_failed_search_changes_nothing(case):
    net = make(case, methods=["magnitude"], refit_strategy="none").fit(case.X, case.y)
    before, best = case.outputs(net), net.best_pruning_ratio_
    with pytest.raises(ValueError):
        net.fit(case.X, case.y[:-1])
    np.testing.assert_array_equal(case.outputs(net), before)
    assert net.best_pruning_ratio_ == best


def test_parameters_are_those_of_the_estimators():
    for kind, plain in (
        (PrunedMLPRegressorCV, PrunedMLPRegressor), (PrunedMLPClassifierCV, PrunedMLPClassifier),
    ):  # fmt: skip
        ours, theirs = kind().get_params(deep=False), plain().get_params(deep=False)
        assert {name: ours[name] for name in theirs if name in ours} == {
            name: value for name, value in theirs.items() if name in ours
        }
        assert set(theirs) - set(ours) == set(LEFT_OUT)
        with pytest.raises(TypeError, match="pruning_ratio"):
            kind(pruning_ratio=0.5)
