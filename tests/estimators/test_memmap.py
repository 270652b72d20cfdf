"""Features in a file (numpy.memmap), of which only the rows in use are in memory."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.model_selection import cross_val_score
from skorch.callbacks import Callback
from skorch.dataset import ValidSplit

from skec.utils import LazyRows, lazy_rows


@pytest.fixture
def mapped(case, tmp_path, monkeypatch):
    """The features of the case in a file; every file counts as large."""
    monkeypatch.setattr(lazy_rows, "_SMALL", 0)
    X = np.memmap(tmp_path / "X", np.float64, "w+", shape=case.X.shape)
    X[:] = case.X
    X.flush()
    return np.memmap(tmp_path / "X", np.float64, "r", shape=case.X.shape)


class EveryBatch(Callback):
    def on_batch_end(self, net, **kwargs):
        pass


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"early_stopping": True},
        {"feature_scaling": "auto", "feature_embedding": "auto"},
        {"callbacks": [EveryBatch()]},
        {"iterator_train": torch.utils.data.DataLoader},
        {"train_split": ValidSplit(4)},
        {"batch_size": 32, "calibration_samples": 60},
        {"dtype": "float64"},
    ],
    ids=lambda settings: " ".join(settings) or "plain",
)
def test_the_fit_is_that_of_the_array(case, mapped, settings):
    net = case.make(**settings).fit(mapped, case.y)
    expected = case.make(**settings).fit(case.X, case.y)
    np.testing.assert_array_equal(case.outputs(net, mapped), case.outputs(expected))
    for call in ("refit", "partial_fit"):
        for estimator, X in ((net, mapped), (expected, case.X)):
            getattr(estimator, call)(X, case.y, epochs=1)
    net.prune(mapped, case.y, pruning_ratio=0.3)
    expected.prune(case.X, case.y, pruning_ratio=0.3)
    np.testing.assert_array_equal(case.outputs(net), case.outputs(expected))


def test_rows_are_read_from_the_file_when_they_are_used(case, mapped, monkeypatch):
    largest, read = [0], LazyRows.__getitem__

    def counting(self, rows):
        found = read(self, rows)
        if self.values is not None and lazy_rows.is_mapped(self.values):
            largest[0] = max(largest[0], len(found))
        return found

    monkeypatch.setattr(LazyRows, "__getitem__", counting)
    case.make(batch_size=16, calibration_samples=20).fit(mapped, case.y)
    assert 20 <= largest[0] <= 64  # the check of the outputs looks at 64 rows


def test_a_pickle_has_no_file(case, mapped):
    size = len(pickle.dumps(case.make(calibration_samples=10).fit(mapped, case.y)))
    assert size < len(pickle.dumps(case.make(calibration_samples=20).fit(case.X, case.y)))


def test_weights_of_zero_and_parts_of_the_file(case, mapped):
    weights = np.arange(len(case.y)) % 3.0
    net = case.make().fit(mapped, case.y, sample_weight=weights)
    assert np.isfinite(case.outputs(net)).all()
    half = case.make().fit(mapped[::2], case.y[::2])
    expected = case.make().fit(case.X[::2], case.y[::2])
    np.testing.assert_array_equal(case.outputs(half), case.outputs(expected))
    scores = [cross_val_score(case.make(), X, case.y, cv=2) for X in (mapped, case.X)]
    np.testing.assert_array_equal(*scores)


def test_a_file_that_is_read_only_is_not_changed(case, mapped):
    before = np.array(mapped)
    case.make().fit(mapped, case.y).prune(mapped, case.y).predict(mapped)
    np.testing.assert_array_equal(mapped, before)


def test_numbers_that_are_no_numbers_are_found_before_the_training(case, mapped, tmp_path):
    broken = np.memmap(tmp_path / "broken", np.float64, "w+", shape=case.X.shape)
    broken[:] = case.X
    broken[7, 2] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        case.make().fit(broken, case.y)
