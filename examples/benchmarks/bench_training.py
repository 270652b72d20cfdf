"""Time of training with skec, scikit-learn, skorch and a plain PyTorch loop.

All train the same network. The further rows of skec add five pruning steps, and the modules for
features that its estimators have by default.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from _common import arguments, best_times, kin8nm, print_setting, print_table
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor
from skorch import NeuralNetRegressor
from torch import nn

from skec import PrunedMLPRegressor

HIDDEN, BATCH_SIZE, LR = (256, 256), 64, 1e-3


def network(n_features: int) -> nn.Sequential:
    """The network for PyTorch and skorch; the other two build the same."""
    layers: list[nn.Module] = []
    width = n_features
    for size in HIDDEN:
        layers += [nn.Linear(width, size), nn.ReLU()]
        width = size
    return nn.Sequential(*layers, nn.Linear(width, 1))


def train_plain(X: np.ndarray, y: np.ndarray, epochs: int) -> None:
    """A plain PyTorch loop over random batches, with the fused optimiser."""
    inputs, targets = torch.from_numpy(X), torch.from_numpy(y)[:, None]
    module, loss = network(X.shape[1]), nn.MSELoss()
    optimizer = torch.optim.Adam(module.parameters(), lr=LR, fused=True)
    for _ in range(epochs):
        order = torch.randperm(len(X))
        for start in range(0, len(X), BATCH_SIZE):
            rows = order[start : start + BATCH_SIZE]
            optimizer.zero_grad()
            loss(module(inputs[rows]), targets[rows]).backward()
            optimizer.step()


def train_sklearn(X: np.ndarray, y: np.ndarray, epochs: int) -> None:
    """scikit-learn's MLP."""
    settings: dict[str, Any] = {"hidden_layer_sizes": HIDDEN, "batch_size": BATCH_SIZE}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        MLPRegressor(
            **settings,
            learning_rate_init=LR,
            max_iter=epochs,
            tol=0.0,
            n_iter_no_change=epochs,
        ).fit(X, y)


def train_skorch(X: np.ndarray, y: np.ndarray, epochs: int) -> None:
    """skorch without validation and printing."""
    NeuralNetRegressor(
        network(X.shape[1]),
        optimizer=torch.optim.Adam,
        lr=LR,
        batch_size=BATCH_SIZE,
        max_epochs=epochs,
        train_split=None,
        iterator_train__shuffle=True,
        verbose=0,
    ).fit(X, y[:, None])


PLAIN = {"feature_scaling": None, "feature_embedding": None, "feature_weights": None}


def train_skec(X: np.ndarray, y: np.ndarray, epochs: int, **parameters: Any) -> PrunedMLPRegressor:
    """The dense training phase of the estimator, and its pruning, which is zero by default."""
    parameters = {"pruning_ratio": 0.0, **parameters}
    return PrunedMLPRegressor(
        HIDDEN,
        activation="relu",
        optimizer=torch.optim.Adam,
        lr=LR,
        lr_schedule="constant",
        batch_size=BATCH_SIZE,
        max_epochs=epochs,
        early_stopping=False,
        refit_strategy="none",
        random_state=0,
        **parameters,
    ).fit(X, y)


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__)
    n_samples, epochs, repeat = (2000, 3, 1) if options.quick else (7000, 10, 5)
    X, y, name = kin8nm(n_samples)
    print_setting(
        data=f"{name}, {X.shape[0]} × {X.shape[1]}",
        network=f"hidden {HIDDEN}, ReLU, Adam, batch {BATCH_SIZE}, {epochs} epochs",
        times=f"shortest of {repeat}",
    )
    candidates = {
        "skec": lambda: train_skec(X, y, epochs, **PLAIN),
        "skec, and pruned": lambda: train_skec(X, y, epochs, pruning_ratio=0.8, **PLAIN),
        "skec, with features": lambda: train_skec(X, y, epochs),
        "skec, with features, and pruned": lambda: train_skec(X, y, epochs, pruning_ratio=0.8),
        "PyTorch loop, fused Adam": lambda: train_plain(X, y, epochs),
        "scikit-learn": lambda: train_sklearn(X, y, epochs),
        "skorch": lambda: train_skorch(X, y, epochs),
    }
    train_skec(X[:200], y[:200], 1)  # the first call takes longer
    times = best_times(candidates, repeat)
    print_table(
        [
            {
                "training": name,
                "seconds": seconds,
                "time / scikit-learn": seconds / times["scikit-learn"],
            }
            for name, seconds in times.items()
        ]
    )


if __name__ == "__main__":
    main()
