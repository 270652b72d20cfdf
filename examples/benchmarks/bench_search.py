"""Time of a search over pruning ratios and methods, in units of five dense fits.

A grid of 24 candidates and five folds: with ``GridSearchCV`` as it is, with ``memory``, and with
the estimator that searches itself.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from _common import arguments, print_setting, print_table
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV

from skec import PrunedMLPRegressor, PrunedMLPRegressorCV, PruningWarning
from skec.datasets import fetch_uci

RATIOS = [0.5, 0.7, 0.8, 0.9, 0.95, 0.98]
METHODS = ["ec", "obd", "lamp", "magnitude"]
MAX_SAMPLES = 4_000


def dense_fits(settings: dict[str, Any], X: np.ndarray, y: np.ndarray) -> PrunedMLPRegressor:
    """As many dense fits as there are folds."""
    net = PrunedMLPRegressor(**settings | {"pruning_ratio": 0.0, "refit_strategy": "none"})
    for fold in range(5):
        kept = np.arange(len(X)) % 5 != fold
        net.fit(X[kept], y[kept])
    return net


def grid_search(
    settings: dict[str, Any], grid: dict[str, list], X: np.ndarray, y: np.ndarray, memory: Any
) -> GridSearchCV:
    """scikit-learn's search, without the final fit."""
    net = PrunedMLPRegressor(**settings, memory=memory)
    return GridSearchCV(net, grid, cv=5, refit=False).fit(X, y)


def own_search(
    settings: dict[str, Any], grid: dict[str, list], X: np.ndarray, y: np.ndarray
) -> PrunedMLPRegressorCV:
    """The estimator that searches itself; it ends with a fit on all data."""
    return PrunedMLPRegressorCV(
        **settings, pruning_ratios=grid["pruning_ratio"], methods=grid["method"], cv=5
    ).fit(X, y)


def timed(function: Callable[..., Any], *args: Any) -> tuple[Any, float]:
    """The result of a function, and its seconds."""
    start = time.perf_counter()
    return function(*args), time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__, samples=MAX_SAMPLES, plain=1)
    torch.set_num_threads(1)
    for category in (ConvergenceWarning, PruningWarning):
        warnings.simplefilter("ignore", category)
    names = ("concrete",) if options.quick else ("concrete", "kin8nm")
    grid = {"method": METHODS, "pruning_ratio": RATIOS}
    if options.quick:
        grid = {"method": METHODS[:2], "pruning_ratio": RATIOS[:2]}
    epochs = {"max_epochs": 4} if options.quick else {}
    n_candidates = len(grid["method"]) * len(grid["pruning_ratio"])
    print_setting(
        data=f"{', '.join(names)}, at most {options.samples} rows",
        search=f"{n_candidates} candidates, 5 folds, one thread, default network",
        times="over those of five dense fits, in one run; the search of the estimator itself "
        "includes the final fit",
    )
    rows = []
    for name in names:
        try:
            X, y = fetch_uci(name, download=False)
        except FileNotFoundError as error:
            print(f"skipped: {error}")
            continue
        X, y = X[: options.samples], y[: options.samples]
        for refit in ("none", "finetune"):
            settings = {"refit_strategy": refit, "random_state": 0} | epochs
            _, unit = timed(dense_fits, settings, X, y)
            row: dict[str, Any] = {"data": name, "refit": refit, "five dense fits, s": unit}
            with tempfile.TemporaryDirectory() as folder:
                stored, seconds = timed(grid_search, settings, grid, X, y, folder)
            row["memory"] = seconds / unit
            if options.plain:
                _, seconds = timed(grid_search, settings, grid, X, y, None)
                row["plain"] = seconds / unit
            found, seconds = timed(own_search, settings, grid, X, y)
            row["own search"] = seconds / unit
            row["its refits"] = int(np.sum(~np.isnan(found.scores_))) if refit != "none" else 0
            scores = stored.cv_results_
            place = stored.cv_results_["params"].index(
                {"method": found.best_method_, "pruning_ratio": found.best_pruning_ratio_}
            )
            error = scores["std_test_score"][stored.best_index_] / 5**0.5
            loss = scores["mean_test_score"].max() - scores["mean_test_score"][place]
            row["its loss of score, standard errors"] = float(loss / error)
            rows.append(row)
            print_table(rows[-1:])
    print_table(rows)


if __name__ == "__main__":
    main()
