"""Dense fits that are stored and found again."""

import os
import pickle

import numpy as np
import pytest
import scipy.sparse
import torch
from joblib import Memory
from sklearn.base import clone
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetRegressor
from skorch.callbacks import Callback
from torch import nn

from skec import ECPruner, PrunedMLPClassifier


def state(estimator):
    return {name: value.clone() for name, value in estimator.network_.state_dict().items()}


def assert_equal(a, b, case):
    for name, value in state(a).items():
        assert torch.equal(state(b)[name], value)
    assert {n: m.tolist() for n, m in a.masks_.items()} == {
        n: m.tolist() for n, m in b.masks_.items()
    }
    np.testing.assert_array_equal(case.outputs(a), case.outputs(b))
    for ours, theirs in zip(a.history, b.history, strict=True):
        for name in ("epoch", "phase", "train_loss", "valid_loss"):
            assert ours.get(name) == theirs.get(name)
    assert a.dense_epochs_ == b.dense_epochs_


def test_equal_fits_train_once(case, tmp_path, dense_fits):
    memory = {"memory": str(tmp_path), "early_stopping": True}
    first = case.fit(**memory)
    again = case.fit(**memory)
    assert dense_fits() == 1
    assert_equal(first, again, case)
    assert_equal(again, case.fit(early_stopping=True), case)
    again.refit(case.X, case.y).partial_fit(case.X, case.y)  # and life goes on
    first.refit(case.X, case.y).partial_fit(case.X, case.y)
    for name, value in state(first).items():
        assert torch.equal(state(again)[name], value)


def test_other_data_are_other_fits(case, tmp_path, dense_fits):
    net = case.make(memory=tmp_path)
    weights = np.ones(len(case.X))
    weights[0] = 2.0
    other = case.X.copy()
    other[0, 0] += 1e-3
    net.fit(case.X, case.y)
    net.fit(case.X, case.y, sample_weight=weights)
    net.fit(other, case.y)
    net.fit(case.X[:-1], case.y[:-1])
    net.fit(case.X, case.y[::-1])
    assert dense_fits() == 5
    net.fit(case.X.tolist(), case.y.tolist())
    net.fit(case.X, case.y, sample_weight=weights)
    net.fit(scipy.sparse.csr_matrix(case.X), case.y)
    assert dense_fits() == 5


def test_without_a_seed_nothing_is_stored(case, tmp_path, dense_fits):
    for _ in range(2):
        case.fit(memory=tmp_path, random_state=None)
    assert dense_fits() == 2
    assert not list(tmp_path.iterdir())


def test_a_random_state_draws_new_seeds(case, tmp_path, dense_fits):
    net = case.make(memory=tmp_path, random_state=np.random.RandomState(0))
    net.fit(case.X, case.y).fit(case.X, case.y)
    assert dense_fits() == 2
    clone(case.make(memory=tmp_path, random_state=np.random.RandomState(0))).fit(case.X, case.y)
    assert dense_fits() == 2


def test_a_warm_start_goes_on(case, tmp_path, dense_fits):
    net = case.make(memory=tmp_path, warm_start=True).fit(case.X, case.y)
    before = case.outputs(net)
    net.fit(case.X, case.y)
    assert dense_fits() == 2
    assert not np.array_equal(case.outputs(net), before)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_grid_search_trains_once_per_fold(case, tmp_path, dense_fits, n_jobs):
    grid = {"pruning_ratio": [0.3, 0.8], "method": ["ec", "magnitude"], "refit_epochs": [0, 2]}
    plain = GridSearchCV(case.make(), grid, cv=3).fit(case.X, case.y)
    assert dense_fits() == 8 * 3 + 1
    search = GridSearchCV(case.make(memory=str(tmp_path)), grid, cv=3, n_jobs=n_jobs)
    search.fit(case.X, case.y)
    if n_jobs == 1:
        assert dense_fits() == 8 * 3 + 1 + 3 + 1
    np.testing.assert_array_equal(
        search.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"]
    )
    assert search.best_params_ == plain.best_params_


def test_a_halving_search(case, tmp_path, dense_fits):
    grid = {"pruning_ratio": [0.2, 0.5, 0.7, 0.9]}
    HalvingGridSearchCV(
        case.make(memory=Memory(tmp_path, verbose=0)), grid, cv=2, factor=2, min_resources=60,
        random_state=0,
    ).fit(case.X, case.y)  # fmt: skip
    assert dense_fits() <= 2 * 2 + 1


def test_a_broken_file_is_trained_again(case, tmp_path, dense_fits):
    first = case.fit(memory=tmp_path)
    (file,) = tmp_path.rglob("output.pkl")
    file.write_bytes(file.read_bytes()[:100])
    again = case.fit(memory=tmp_path)
    assert dense_fits() == 2
    assert_equal(first, again, case)
    assert_equal(first, case.fit(memory=tmp_path), case)
    assert dense_fits() == 2


def test_a_folder_that_cannot_be_written_is_left_out(case, tmp_path, dense_fits):
    (tmp_path / "file").write_text("no folder")
    with pytest.warns(UserWarning, match="is trained without it"):
        found = case.fit(memory=str(tmp_path / "file"))
    assert dense_fits() == 1
    assert_equal(found, case.fit(), case)


def test_a_full_disk_loses_nothing(case, tmp_path, dense_fits, monkeypatch):
    def no_space(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("joblib._store_backends.numpy_pickle.dump", no_space)
    with pytest.warns(Warning):
        found = case.fit(memory=tmp_path)
    assert dense_fits() == 1
    monkeypatch.undo()
    assert_equal(found, case.fit(), case)


def test_a_training_that_fails_or_is_interrupted_is_not_stored(case, tmp_path):
    class Failing(Callback):
        failed = False

        def on_epoch_end(self, net, **kwargs):
            if not type(self).failed:
                type(self).failed = True
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        case.fit(memory=tmp_path, callbacks=[("failing", Failing())])
    assert not list(tmp_path.rglob("output.pkl"))


class Losses(Callback):
    """Remembers what it has seen."""

    def initialize(self):
        self.seen_ = []
        return self

    def on_epoch_end(self, net, **kwargs):
        self.seen_.append(net.history[-1, "train_loss"])


def test_callbacks_have_the_state_of_the_stored_fit(case, tmp_path, dense_fits):
    first, again = (case.fit(memory=tmp_path, callbacks=[("losses", Losses())]) for _ in range(2))
    assert dense_fits() == 1
    seen = [dict(net.callbacks_)["losses"].seen_ for net in (first, again)]
    assert seen[0] == seen[1] and len(seen[0]) == 4 + 2


def test_what_cannot_be_stored_is_trained(case, tmp_path, dense_fits):
    class Local(Callback):
        pass

    with pytest.warns(UserWarning, match="is trained without it"):
        found = case.fit(memory=tmp_path, callbacks=[("local", Local())])
    assert dense_fits() == 1
    np.testing.assert_array_equal(case.outputs(found), case.outputs(case.fit()))


def test_errors_of_later_parameters_come_before_any_work(case, tmp_path, dense_fits):
    case.fit(memory=tmp_path)
    for bad in ({"pruning_ratio": 2.0}, {"method": "none"}, {"layers": ["nowhere"]}):
        with pytest.raises(ValueError):
            case.fit(memory=tmp_path, **bad)
    assert dense_fits() == 1
    with pytest.raises(ValueError, match="memory"):
        case.fit(memory=3)


def test_a_loaded_estimator_keeps_its_memory(case, tmp_path):
    net = case.fit(memory=str(tmp_path))
    again = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(case.outputs(again), case.outputs(net))
    assert os.fspath(again.memory) == str(tmp_path)


# -- the pruner ----------------------------------------------------------------------------------

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 4))
Y = X[:, 0] - X[:, 1] ** 2
INNER = {
    "own": lambda: PrunedMLPClassifier((8,), max_epochs=3),
    "sklearn": lambda: MLPRegressor(hidden_layer_sizes=(8,), max_iter=5),
    "pipeline": lambda: make_pipeline(
        StandardScaler(), MLPRegressor(hidden_layer_sizes=(8,), max_iter=5)
    ),
    "skorch": lambda: NeuralNetRegressor(
        nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1)), max_epochs=3, verbose=0
    ),
}


@pytest.mark.parametrize("kind", INNER)
@pytest.mark.filterwarnings("ignore")
def test_the_pruner_fits_an_estimator_once(kind, tmp_path, monkeypatch):
    torch.manual_seed(0)
    inner = INNER[kind]()
    data, y = X.astype(np.float32), (Y > 0).astype(int) if kind == "own" else Y
    y = y.astype(np.float32)[:, None] if kind == "skorch" else y
    fitted = [
        ECPruner(inner, pruning_ratio=ratio, memory=str(tmp_path), random_state=3).fit(data, y)
        for ratio in (0.3, 0.6)
    ]
    assert len(list(tmp_path.rglob("output.pkl"))) == 1
    for pruner in fitted:
        plain = clone(pruner).set_params(memory=None).fit(data, y)
        np.testing.assert_array_equal(plain.predict(data), pruner.predict(data))
        assert plain.sparsity_ == pruner.sparsity_
    ECPruner(inner, memory=str(tmp_path), random_state=4).fit(data, y)
    assert len(list(tmp_path.rglob("output.pkl"))) == 2
    ECPruner(inner, memory=str(tmp_path)).fit(data, y)  # no seed anywhere
    assert len(list(tmp_path.rglob("output.pkl"))) == 2
