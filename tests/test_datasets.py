"""Loaders of the benchmark data."""

from __future__ import annotations

import numpy as np
import pytest

from skec import datasets


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SKEC_DATA_HOME", str(tmp_path))
    return tmp_path


def test_the_folder_is_that_of_the_environment(home, monkeypatch):
    assert datasets.data_home() == home
    monkeypatch.delenv("SKEC_DATA_HOME")
    assert datasets.data_home().name == "skec_data"


def test_a_set_in_the_folder_is_read(home):
    (home / "uci").mkdir()
    X, y = np.arange(6.0).reshape(3, 2), np.arange(3.0)
    np.savez(home / "uci" / "yacht.npz", X=X, y=y)
    found = datasets.fetch_uci("yacht", download=False)
    np.testing.assert_array_equal(found[0], X)
    np.testing.assert_array_equal(found[1], y)


def test_mnist_in_the_folder_is_scaled(home):
    pixels, labels = np.full((2, 28, 28), 255, np.uint8), np.array([3, 4], np.uint8)
    np.savez(home / "mnist.npz", x_train=pixels, y_train=labels, x_test=pixels, y_test=labels)
    X_train, y_train, X_test, _ = datasets.fetch_mnist(download=False)
    assert X_train.shape == X_test.shape == (2, 784)
    assert X_train.dtype == np.float32 and X_train.max() == 1.0
    assert y_train.tolist() == [3, 4] and y_train.dtype == np.int64


def test_what_is_not_there_says_where_it_should_be(home):
    with pytest.raises(FileNotFoundError, match="SKEC_DATA_HOME"):
        datasets.fetch_uci("energy", download=False)
    with pytest.raises(ValueError, match="'boston' is unknown"):
        datasets.fetch_uci("boston")


def test_a_download_is_kept(home, monkeypatch):
    calls = []

    def fetch_openml(**arguments):
        calls.append(arguments["data_id"])
        return np.ones((4, 2)), np.zeros(4)

    monkeypatch.setattr(datasets, "fetch_openml", fetch_openml)
    for _ in range(2):
        X, y = datasets.fetch_uci("energy")
    assert len(calls) == 1
    assert X.shape == (4, 2) and y.shape == (4,)


def test_without_a_network_the_error_says_what_to_do(home, monkeypatch):
    def fetch_openml(*_, **__):
        raise OSError("no route")

    monkeypatch.setattr(datasets, "fetch_openml", fetch_openml)
    with pytest.raises(FileNotFoundError, match="Put the file there"):
        datasets.fetch_mnist()


@pytest.mark.parametrize("name", datasets.UCI_NAMES)
def test_the_real_sets(name):
    try:
        X, y = datasets.fetch_uci(name, download=False)
    except FileNotFoundError:
        pytest.skip(f"{name} is not in the data folder")
    assert X.ndim == 2 and X.shape[0] == len(y) > 300
    assert np.isfinite(X).all() and np.isfinite(y).all()
    assert X.dtype == y.dtype == np.float64
