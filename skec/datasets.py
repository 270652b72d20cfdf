"""Data sets of the benchmarks: the UCI regression sets and MNIST.

A loader reads the folder named by the environment variable ``SKEC_DATA_HOME``, or
``~/skec_data`` where that is not set. What is not there it downloads with scikit-learn's
``fetch_openml`` and keeps in that folder.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from sklearn.datasets import fetch_openml

# OpenML's numbers of the sets, where OpenML has them in this form.
_OPENML_IDS = {
    "concrete": 44959,
    "energy": 44960,
    "kin8nm": 44980,
    "naval-propulsion-plant": 44969,
    "power-plant": None,
    "protein-tertiary-structure": 44963,
    "wine-quality-red": 44972,
    "yacht": None,
}

UCI_NAMES = tuple(_OPENML_IDS)


def data_home() -> Path:
    """The folder of the data sets.

    Returns
    -------
    pathlib.Path
        ``$SKEC_DATA_HOME`` if set, else ``~/skec_data``. It need not exist.
    """
    return Path(os.environ.get("SKEC_DATA_HOME") or Path.home() / "skec_data").expanduser()


def fetch_uci(name: str, *, download: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Load one of eight regression sets of the UCI repository.

    Parameters
    ----------
    name : str
        One of ``skec.datasets.UCI_NAMES``.
    download : bool, default=True
        Whether to download what is not in the data folder.

    Returns
    -------
    X : float64 array of shape (n_samples, n_features)
    y : float64 array of shape (n_samples,)

    Raises
    ------
    ValueError
        If the name is unknown.
    FileNotFoundError
        If the set is not in the data folder and cannot be downloaded.
    """
    if name not in _OPENML_IDS:
        raise ValueError(f"name={name!r} is unknown. Choose one of {list(UCI_NAMES)}.")

    def fetch():
        number = _OPENML_IDS[name]
        if number is None:
            return None
        X, y = fetch_openml(data_id=number, as_frame=False, return_X_y=True, parser="liac-arff")
        return {"X": X.astype(np.float64), "y": y.astype(np.float64)}

    arrays = _load(Path("uci") / f"{name}.npz", fetch if download else None)
    return arrays["X"], arrays["y"]


def fetch_mnist(*, download: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Load MNIST with its usual split.

    Parameters
    ----------
    download : bool, default=True
        Whether to download it if it is not in the data folder.

    Returns
    -------
    X_train : float32 array of shape (60000, 784)
        Pixels in [0, 1].
    y_train : int64 array of shape (60000,)
    X_test : float32 array of shape (10000, 784)
    y_test : int64 array of shape (10000,)

    Raises
    ------
    FileNotFoundError
        If it is not in the data folder and cannot be downloaded.
    """

    def fetch():
        X, y = fetch_openml("mnist_784", version=1, as_frame=False, return_X_y=True)
        X, y = X.astype(np.uint8).reshape(-1, 28, 28), y.astype(np.uint8)
        return {
            "x_train": X[:60000],
            "y_train": y[:60000],
            "x_test": X[60000:],
            "y_test": y[60000:],
        }

    arrays = _load(Path("mnist.npz"), fetch if download else None)
    pixels = [arrays[k].reshape(-1, 784).astype(np.float32) / 255 for k in ("x_train", "x_test")]
    labels = [arrays[k].astype(np.int64) for k in ("y_train", "y_test")]
    return pixels[0], labels[0], pixels[1], labels[1]


def _load(relative: Path, fetch) -> dict[str, np.ndarray]:
    """Read arrays from the data folder; else fetch them and write them there."""
    path = data_home() / relative
    if path.exists():
        with np.load(path) as file:
            return {name: file[name] for name in file.files}
    arrays, cause = None, None
    if fetch is not None:
        try:
            arrays = fetch()
        except OSError as error:  # no network
            cause = error
    if arrays is None:
        raise FileNotFoundError(
            f"{path} does not exist and the set could not be downloaded. Put the file there, or "
            f"set SKEC_DATA_HOME to the folder that holds {relative.as_posix()}."
        ) from cause
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)
    return arrays
