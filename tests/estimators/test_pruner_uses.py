"""ECPruner inside the meta-estimators of scikit-learn, in threads and in processes."""

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import set_config
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    BaggingRegressor,
    StackingRegressor,
    VotingClassifier,
)
from sklearn.feature_selection import SequentialFeatureSelector
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import permutation_importance
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.multioutput import MultiOutputRegressor, RegressorChain
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import has_fit_parameter
from skorch import NeuralNetClassifier, NeuralNetRegressor
from torch import nn

from skec import ECPruner, PrunedMLPClassifier, PrunedMLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 4))
Y = X[:, 0] - X[:, 1] ** 2
LABELS = (Y > 0).astype(int)
SMALL = {"hidden_layer_sizes": (8,), "random_state": 0}


class Dropping(nn.Module):
    """Draws its first weights, and drops units in training, from torch's generator."""

    def __init__(self, n_outputs=1):
        super().__init__()
        last = [nn.Flatten(0)] if n_outputs == 1 else []
        self.layers = nn.Sequential(
            nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, n_outputs), *last
        )

    def forward(self, x):
        return self.layers(x)


def skorch_net(**parameters):
    defaults = {"max_epochs": 2, "verbose": 0, "train_split": None, "iterator_train__shuffle": True}
    return NeuralNetRegressor(Dropping, **(defaults | parameters))


def skorch_classifier():
    return NeuralNetClassifier(
        Dropping, module__n_outputs=2, criterion=nn.CrossEntropyLoss, max_epochs=2, verbose=0,
        train_split=None,
    )  # fmt: skip


REGRESSORS = {
    "skec": lambda: PrunedMLPRegressor(max_epochs=3, **SMALL),
    "perceptron": lambda: MLPRegressor(max_iter=3, **SMALL),
    "skorch": skorch_net,
    "pipeline": lambda: make_pipeline(StandardScaler(), PrunedMLPRegressor(max_epochs=3, **SMALL)),
    "pipeline of skorch": lambda: make_pipeline(StandardScaler(), skorch_net()),
}
CLASSIFIERS = {
    "skec": lambda: PrunedMLPClassifier(max_epochs=3, **SMALL),
    "perceptron": lambda: MLPClassifier(max_iter=3, **SMALL),
    "skorch": skorch_classifier,
}
regressors = pytest.mark.parametrize("name", REGRESSORS)
classifiers = pytest.mark.parametrize("name", CLASSIFIERS)


def pruner_of(make, **parameters):
    parameters = {"pruning_ratio": 0.5, "n_steps": 1, "random_state": 0, **parameters}
    return ECPruner(make(), **parameters)


REGRESSION = {
    "bagging": lambda one: BaggingRegressor(one, n_estimators=2, random_state=0),
    "bagging in threads": lambda one: BaggingRegressor(one, n_estimators=2, n_jobs=2),
    "targets": lambda one: TransformedTargetRegressor(one, transformer=StandardScaler()),
    "stacking": lambda one: StackingRegressor([("a", one), ("b", Ridge())], cv=2),
    "search": lambda one: GridSearchCV(one, {"pruning_ratio": [0.2, 0.6]}, cv=2),
    "selection": lambda one: SequentialFeatureSelector(one, n_features_to_select=3, cv=2),
    "pipeline": lambda one: make_pipeline(StandardScaler(), one, Ridge()),
    "frozen": lambda one: FrozenEstimator(clone(one).fit(X, Y)),
}


@regressors
@pytest.mark.parametrize("meta", REGRESSION)
def test_regression(name, meta):
    if meta == "selection" and "skorch" in name:
        pytest.skip("the number of inputs of the module is fixed")
    model = REGRESSION[meta](pruner_of(REGRESSORS[name])).fit(X, Y)
    found = model.transform(X) if meta == "selection" else model.predict(X)
    assert np.isfinite(found).all()
    assert len(found) == 80


@regressors
def test_several_targets(name):
    both = np.column_stack([Y, X[:, 2]])
    for meta in (MultiOutputRegressor, RegressorChain):
        if meta is RegressorChain and "skorch" in name:
            continue  # the number of inputs of the module is fixed
        assert meta(pruner_of(REGRESSORS[name])).fit(X, both).predict(X).shape == (80, 2)


CLASSIFICATION = {
    "bagging": lambda one: BaggingClassifier(one, n_estimators=2, random_state=0),
    "calibration": lambda one: CalibratedClassifierCV(one, cv=2),
    "calibrated later": lambda one: CalibratedClassifierCV(
        FrozenEstimator(clone(one).fit(X, LABELS)), cv=2
    ),
    "voting": lambda one: VotingClassifier([("a", one), ("b", clone(one))], voting="soft"),
}


@classifiers
@pytest.mark.parametrize("meta", CLASSIFICATION)
def test_classification(name, meta):
    model = CLASSIFICATION[meta](pruner_of(CLASSIFIERS[name])).fit(X, LABELS)
    probabilities = model.predict_proba(X)
    np.testing.assert_allclose(probabilities.sum(1), 1.0, rtol=1e-5)
    assert set(model.predict(X)) <= {0, 1}


def test_logarithms_of_probabilities():
    pruner = pruner_of(CLASSIFIERS["perceptron"])
    found = cross_val_predict(pruner, X, LABELS, cv=2, method="predict_log_proba")
    expected = cross_val_predict(pruner, X, LABELS, cv=2, method="predict_proba")
    np.testing.assert_allclose(np.exp(found), expected)
    assert not hasattr(pruner_of(REGRESSORS["perceptron"]), "predict_log_proba")


# -- sample weights ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*REGRESSORS])
@pytest.mark.parametrize("prefit", [False, True])
@pytest.mark.parametrize("refit_epochs", [0, 1])
def test_the_signature_says_whether_weights_can_be_passed(name, prefit, refit_epochs):
    if prefit and name == "pipeline of skorch":
        pytest.skip("its scaler returns float64")
    net = REGRESSORS[name]()
    if prefit:
        net.fit(X.astype(np.float32), Y.astype(np.float32))
    pruner = ECPruner(net, prefit=prefit, refit_epochs=refit_epochs, pruning_ratio=0.5)
    taken = has_fit_parameter(pruner, "sample_weight")
    assert taken == ("skorch" not in name or (prefit and not refit_epochs))
    if taken:
        assert pruner.fit(X, Y, sample_weight=np.ones(80)).sparsity_ > 0.4
    else:
        for arguments, weights in [((np.ones(80),), {}), ((), {"sample_weight": np.ones(80)})]:
            with pytest.raises(ValueError, match=r"\.fit does not take it"):
                pruner.fit(X, Y, *arguments, **weights)
    assert has_fit_parameter(ECPruner, "sample_weight")


def test_boosting_weights_its_samples():
    model = AdaBoostClassifier(pruner_of(CLASSIFIERS["skec"]), n_estimators=2, random_state=0)
    assert model.fit(X, LABELS).score(X, LABELS) > 0.5
    with pytest.raises(ValueError, match="doesn't support sample_weight"):
        AdaBoostClassifier(pruner_of(skorch_classifier), n_estimators=2).fit(X, LABELS)


def test_weights_are_routed():
    weight = RNG.integers(1, 4, 80).astype(float)
    expected = pruner_of(REGRESSORS["skec"]).fit(X, Y, sample_weight=weight).predict(X)
    set_config(enable_metadata_routing=True)
    try:
        net = REGRESSORS["skec"]().set_fit_request(sample_weight=True)
        model = make_pipeline(pruner_of(lambda: net))
        found = model.fit(X, Y, sample_weight=weight).predict(X)
    finally:
        set_config(enable_metadata_routing=False)
    np.testing.assert_array_equal(found, expected)


# -- the same seed -----------------------------------------------------------------------------


@regressors
def test_the_same_seed_gives_the_same_result(name):
    pruner = pruner_of(REGRESSORS[name], refit_epochs=1)
    torch.manual_seed(1)
    a = clone(pruner).fit(X, Y).predict(X)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    fitted = clone(pruner).fit(X, Y)
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(fitted.predict(X), a)
    other = clone(pruner).set_params(random_state=1).fit(X, Y).predict(X)
    assert "skorch" not in name or not np.array_equal(other, a)


@regressors
def test_fits_in_threads_are_those_of_one_thread(name):
    pruner = pruner_of(REGRESSORS[name], refit_epochs=1)
    expected = clone(pruner).fit(X, Y).predict(X)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: clone(pruner).fit(X, Y).predict(X), range(8)))
    for one in found:
        np.testing.assert_array_equal(one, expected)


@regressors
def test_predictions_in_threads_while_the_pruner_is_made_compact(name):
    pruner = pruner_of(REGRESSORS[name]).fit(X, Y)
    if name not in ("skec", "perceptron", "pipeline"):
        pytest.skip("the module is no Sequential")
    parts = [X[i : i + 8] for i in range(0, 80, 8)] * 3
    expected = [(pruner.predict(part), pruner.transform(part)) for part in parts]
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(lambda p=p: (pruner.predict(p), pruner.transform(p))) for p in parts]
        pruner.compact()
        for job, (predicted, transformed) in zip(jobs, expected, strict=True):
            np.testing.assert_allclose(job.result()[0], predicted, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(job.result()[1], transformed, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["skec", "perceptron", "skorch"])
def test_folds_in_processes(name):
    pruner = pruner_of(REGRESSORS[name])
    alone, together = (cross_val_score(pruner, X, Y, cv=3, n_jobs=n) for n in (1, 2))
    np.testing.assert_array_equal(alone, together)
    importance = permutation_importance(pruner.fit(X, Y), X, Y, n_repeats=2, n_jobs=2)
    assert importance.importances.shape == (4, 2)


def test_a_pickle_in_a_new_process(tmp_path):
    pruner = ECPruner(PrunedMLPRegressor(max_epochs=3, **SMALL)).fit(X, Y)
    joblib.dump((pruner, X), tmp_path / "pruner.joblib")
    code = (
        "import joblib, sys; pruner, X = joblib.load(sys.argv[1]);"
        "joblib.dump((pruner.predict(X), pruner.transform(X)), sys.argv[2])"
    )
    files = [str(tmp_path / "pruner.joblib"), str(tmp_path / "found.joblib")]
    subprocess.run([sys.executable, "-c", code, *files], check=True)
    predicted, transformed = joblib.load(files[1])
    np.testing.assert_array_equal(predicted, pruner.predict(X))
    np.testing.assert_array_equal(transformed, pruner.transform(X))


# -- forms of data -----------------------------------------------------------------------------


def test_a_module_that_ends_in_flatten():
    net = NeuralNetRegressor(
        nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1), nn.Flatten(0)),
        max_epochs=2, verbose=0, train_split=None,
    )  # fmt: skip
    for granularity in ("weight", "neuron"):
        for method in ("ec", "magnitude") if granularity == "weight" else ("elimination", "l2"):
            pruner = ECPruner(net, granularity=granularity, method=method, pruning_ratio=0.5)
            before = pruner.fit(X, Y).predict(X)
            assert before.shape == (80,)
            assert pruner.set_params(output="output").transform(X).shape == (80, 1)
            np.testing.assert_allclose(pruner.compact().predict(X), before, rtol=1e-4, atol=1e-5)
            assert pruner.pruning_report_.loss_after is not None


@pytest.mark.parametrize("name", ["skec", "perceptron", "skorch"])
@pytest.mark.parametrize("form", ["lists", "frames", "tensors", "float32"])
def test_forms_of_data(name, form):
    rows, y = {
        "lists": (X.tolist(), Y.tolist()),
        "frames": (pd.DataFrame(X, columns=list("abcd")), pd.Series(Y)),
        "tensors": (torch.tensor(X), torch.tensor(Y)),
        "float32": (X.astype(np.float32), Y.astype(np.float32)),
    }[form]
    if name == "perceptron" and form == "tensors":
        pytest.skip("scikit-learn wants arrays")
    if name == "skorch" and form == "tensors":
        y = y.float()
    pruner = pruner_of(REGRESSORS[name], refit_epochs=1).fit(rows, y)
    assert pruner.predict(rows).shape == (80,)
    assert pruner.set_output(transform="pandas").transform(rows).shape[0] == 80


@regressors
def test_the_report_has_the_losses(name):
    pruner = pruner_of(REGRESSORS[name], pruning_ratio=0.0).fit(X, Y)
    report = pruner.pruning_report_
    if name.endswith("skorch"):
        assert report.loss_before is not None
    assert report.loss_before == pytest.approx(report.loss_after, rel=1e-5)
    harder = pruner_of(REGRESSORS[name], pruning_ratio=0.9, method="magnitude").fit(X, Y)
    row = harder.pruning_report_[0]
    assert {"loss_before", "loss_after", "sparsity"} <= set(row)
    assert harder.pruning_report_.loss_before == pytest.approx(report.loss_before, rel=1e-5)
    assert harder.pruning_report_.loss_after != report.loss_after


def test_the_page_shows_the_sparsity_and_the_parameters_of_the_user():
    net = PrunedMLPRegressor(max_epochs=3, pruning_ratio=0.25, **SMALL)
    pruner = ECPruner(net, pruning_ratio=0.5)
    assert "pruned)" not in pruner._repr_html_()
    page = pickle.loads(pickle.dumps(pruner.fit(X, Y)))._repr_html_()
    assert f"PrunedMLPRegressor ({100 * pruner.sparsity_:.1f}% pruned)" in page
    assert "0.25" in page
    assert pruner.estimator_.pruning_ratio == 0.25
