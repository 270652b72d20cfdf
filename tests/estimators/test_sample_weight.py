"""Weights of samples and of classes."""

import numpy as np
import pytest
import sklearn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packaging.version import Version
from sklearn import config_context
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.metrics import accuracy_score, get_scorer, r2_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight

WEIGHTS = np.random.default_rng(0).uniform(0.5, 2.0, size=120)

few = settings(
    deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@few
@given(weights=st.lists(st.integers(0, 3), min_size=40, max_size=40), seed=st.integers(0, 9))
@pytest.mark.parametrize("parameters", [{}, {"early_stopping": True}], ids=str)
def test_a_weight_is_a_number_of_rows(case, parameters, weights, seed):
    """To the last bit, in any order of the rows, where all rows are in one batch."""
    X, y, weights = case.X[:40], case.y[:40], np.array(weights)
    weights[:3] = 1
    if case.y.dtype.kind == "i":
        y[:3] = [0, 1, 2]
    make = {"batch_size": 1000, "max_epochs": 2, "refit_epochs": 1} | parameters
    weighted = case.make(**make).fit(X, y, sample_weight=weights)
    order = np.random.default_rng(seed).permutation(weights.sum())
    repeated = case.make(**make).fit(
        np.repeat(X, weights, axis=0)[order], np.repeat(y, weights)[order]
    )
    np.testing.assert_array_equal(case.outputs(weighted), case.outputs(repeated))


@pytest.mark.parametrize("batch_size", [16, -1])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_weight_of_zero_removes_a_row(case, batch_size, early_stopping):
    make = {"batch_size": batch_size, "early_stopping": early_stopping}
    kept = np.arange(len(case.X)) % 3 > 0
    weighted = case.make(**make).fit(case.X, case.y, WEIGHTS * kept)
    removed = case.make(**make).fit(case.X[kept], case.y[kept], WEIGHTS[kept])
    np.testing.assert_array_equal(case.outputs(weighted), case.outputs(removed))


@pytest.mark.parametrize("batch_size", [16, -1])
@pytest.mark.parametrize("scale", [2.0**-10, 8.0])
def test_only_the_proportions_of_the_weights_count(case, batch_size, scale):
    plain = case.make(batch_size=batch_size).fit(case.X, case.y, WEIGHTS)
    scaled = case.make(batch_size=batch_size).fit(case.X, case.y, scale * WEIGHTS)
    np.testing.assert_array_equal(case.outputs(scaled), case.outputs(plain))


@pytest.mark.parametrize("batch_size", [16, -1])
def test_equal_weights_are_no_weights(case, batch_size):
    plain = case.fit(batch_size=batch_size, dtype="float64")
    weighted = case.make(batch_size=batch_size, dtype="float64").fit(
        case.X, case.y, np.full(len(case.X), 0.3)
    )
    np.testing.assert_allclose(case.outputs(weighted), case.outputs(plain), rtol=1e-6, atol=1e-9)


def test_weights_make_a_difference(case):
    weighted = case.make().fit(case.X, case.y, WEIGHTS)
    assert np.abs(case.outputs(weighted) - case.outputs(case.fit())).max() > 1e-3


@pytest.mark.parametrize("form", [list, np.float32, "column"])
def test_the_form_of_the_weights_does_not_matter(case, form):
    weights = np.arange(120) % 4 + 1.0
    if form == "column":
        formed = np.stack([weights, weights], axis=1)[:, 0]
    else:
        formed = weights.astype(form) if form is np.float32 else form(weights)
    np.testing.assert_array_equal(
        case.outputs(case.make().fit(case.X, case.y, formed)),
        case.outputs(case.make().fit(case.X, case.y, weights)),
    )


def test_the_score_is_weighted(case):
    estimator = case.fit()
    metric = r2_score if case.y.dtype.kind == "f" else accuracy_score
    expected = metric(case.y, estimator.predict(case.X), sample_weight=WEIGHTS)
    assert estimator.score(case.X, case.y, WEIGHTS) == pytest.approx(expected)


# -- classes --------------------------------------------------------------------------------------

CLASS_WEIGHTS = ["balanced", {0: 1.0, 1: 5.0, 2: 0.2}, {1: 3.0}, {0: 0.0}]


@pytest.mark.parametrize("class_weight", CLASS_WEIGHTS, ids=str)
@pytest.mark.parametrize("batch_size", [16, -1])
def test_class_weights_are_sample_weights(classification, class_weight, batch_size):
    X, y = classification.X, classification.y
    by_class = classification.fit(class_weight=class_weight, batch_size=batch_size)
    by_sample = classification.make(batch_size=batch_size).fit(
        X, y, compute_sample_weight(class_weight, y)
    )
    np.testing.assert_array_equal(by_class.predict_proba(X), by_sample.predict_proba(X))


def test_weights_of_classes_and_samples_multiply(classification):
    X, y = classification.X, classification.y
    both = classification.make(class_weight={0: 1.0, 1: 4.0, 2: 0.5}).fit(X, y, WEIGHTS)
    product = classification.make().fit(X, y, WEIGHTS * np.array([1.0, 4.0, 0.5])[y])
    np.testing.assert_array_equal(both.predict_proba(X), product.predict_proba(X))


def test_balanced_classes_count_the_weights_of_their_samples(classification):
    X, y, weights = classification.X, classification.y, np.arange(120) % 3
    make = {"class_weight": "balanced", "batch_size": -1}
    weighted = classification.make(**make).fit(X, y, weights)
    repeated = classification.make(**make).fit(np.repeat(X, weights, axis=0), np.repeat(y, weights))
    np.testing.assert_allclose(
        weighted.predict_proba(X), repeated.predict_proba(X), rtol=1e-4, atol=1e-5
    )


def test_labels_that_are_names_have_weights_by_name(classification):
    X, y = classification.X, classification.y
    names = np.array(["a", "b", "c"])
    named = classification.make(class_weight={"a": 1.0, "b": 5.0, "c": 0.2}).fit(X, names[y])
    numbered = classification.fit(class_weight={0: 1.0, 1: 5.0, 2: 0.2})
    np.testing.assert_array_equal(named.predict_proba(X), numbered.predict_proba(X))


# -- on their way through scikit-learn ------------------------------------------------------------


def test_weights_reach_the_last_step_of_a_pipeline(case):
    pipeline = Pipeline([("scaler", StandardScaler()), ("net", case.make())])
    pipeline.fit(case.X, case.y, net__sample_weight=WEIGHTS)
    scaled = StandardScaler().fit_transform(case.X)
    by_hand = case.make().fit(scaled, case.y, WEIGHTS)
    np.testing.assert_array_equal(case.outputs(pipeline), case.outputs(by_hand, scaled))


def test_weights_are_routed_through_a_pipeline_and_a_search(case):
    with config_context(enable_metadata_routing=True):
        net = case.make().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        scorer = None
        if Version(sklearn.__version__) < Version("1.8"):  # pipelines pass score no weights
            scorer = get_scorer("r2" if case.y.dtype.kind == "f" else "accuracy")
            scorer = scorer.set_score_request(sample_weight=True)
        pipeline = Pipeline([("scaler", scaler), ("net", net)])
        search = GridSearchCV(pipeline, {"net__pruning_ratio": [0.2, 0.6]}, cv=2, scoring=scorer)
        search.fit(case.X, case.y, sample_weight=WEIGHTS)
    scaled = StandardScaler().fit_transform(case.X)
    by_hand = case.make(**{"pruning_ratio": search.best_params_["net__pruning_ratio"]})
    by_hand.fit(scaled, case.y, WEIGHTS)
    np.testing.assert_array_equal(case.outputs(search), case.outputs(by_hand, scaled))


def test_routing_wants_to_know_what_to_do_with_weights(case):
    with config_context(enable_metadata_routing=True):
        search = GridSearchCV(case.make(), {"lr": [0.01]}, cv=2)
        with pytest.raises(UnsetMetadataPassedError, match="set_fit_request"):
            search.fit(case.X, case.y, sample_weight=WEIGHTS)
        refused = case.make().set_fit_request(sample_weight=False)
        refused.set_score_request(sample_weight=False)
        search = GridSearchCV(refused, {"lr": [0.01]}, cv=2)
        with pytest.raises(TypeError, match="sample_weight"):
            search.fit(case.X, case.y, sample_weight=WEIGHTS)


# -- where they cannot be honoured ----------------------------------------------------------------


def test_weights_and_a_dataset_do_not_go_together(case):
    from skorch.dataset import Dataset

    dataset = Dataset(case.X.astype(np.float32), case.y)
    with pytest.raises(ValueError, match=r"sample_weight.*Dataset"):
        case.make().fit(dataset, sample_weight=WEIGHTS)
    with pytest.raises(ValueError, match="sample_weight"):
        case.make(dataset=Dataset).fit(case.X, case.y, sample_weight=WEIGHTS)


@pytest.mark.parametrize("where", ["X", "parameter"])
def test_weights_of_classes_and_a_dataset_do_not_go_together(classification, where):
    from skorch.dataset import Dataset

    X, y = classification.X.astype(np.float32), classification.y
    with pytest.raises(ValueError, match="class_weight"):
        if where == "X":
            classification.make(class_weight="balanced").fit(Dataset(X, y))
        else:
            classification.make(class_weight="balanced", dataset=Dataset).fit(X, y)
