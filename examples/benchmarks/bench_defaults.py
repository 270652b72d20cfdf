"""Test error of the defaults on the UCI regression sets, against scikit-learn's MLPs."""

from __future__ import annotations

import time
import warnings

import numpy as np
from _common import arguments, print_setting, print_table
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import ShuffleSplit
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skec import PrunedMLPRegressor
from skec.datasets import UCI_NAMES, fetch_uci

# Dense errors of RealMLP-TD (arXiv:2407.04491), measured before on three splits.
REALMLP = dict(
    zip(UCI_NAMES, (0.296, 0.056, 0.233, 0.010, 0.224, 0.678, 0.720, 0.064), strict=True)
)
MAX_SAMPLES = 12_000  # of the largest set, protein


def models() -> dict:
    """The candidates: pruned by default, and two dense ones of scikit-learn."""
    return {
        "skec": make_pipeline(StandardScaler(), PrunedMLPRegressor(random_state=0)),
        "sklearn default": make_pipeline(StandardScaler(), MLPRegressor(random_state=0)),
        "sklearn (256, 256)": make_pipeline(
            StandardScaler(),
            TransformedTargetRegressor(
                MLPRegressor(hidden_layer_sizes=(256, 256), max_iter=300, random_state=0),
                transformer=StandardScaler(),
            ),
        ),
    }


def evaluate(name: str, n_splits: int, max_samples: int) -> dict[str, tuple[float, float, float]]:
    """Mean error, its standard error and the mean seconds of a fit, for each model."""
    X, y = fetch_uci(name, download=False)
    if len(X) > max_samples:
        rows = np.random.RandomState(0).permutation(len(X))[:max_samples]
        X, y = X[rows], y[rows]
    errors: dict[str, list] = {model: [] for model in models()}
    seconds: dict[str, list] = {model: [] for model in models()}
    for train, test in ShuffleSplit(n_splits, test_size=0.1, random_state=0).split(X):
        for model_name, model in models().items():
            start = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.fit(X[train], y[train])
            seconds[model_name].append(time.perf_counter() - start)
            residual = model.predict(X[test]) - y[test]
            errors[model_name].append(np.sqrt(np.mean(residual**2)) / y[train].std())
    return {
        model: (
            float(np.mean(errors[model])),
            float(np.std(errors[model]) / np.sqrt(n_splits)),
            float(np.mean(seconds[model])),
        )
        for model in errors
    }


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__, splits=10)
    names = ("yacht", "energy") if options.quick else UCI_NAMES
    n_splits = 1 if options.quick else options.splits
    print_setting(
        data=f"{len(names)} UCI sets, at most {MAX_SAMPLES} samples, {n_splits} 90/10 splits",
        error="RMSE over the standard deviation of the training target, ± standard error",
        skec="all defaults, pruned to the default ratio; the others are dense",
        RealMLP="dense, measured before on three splits, not in this run",
    )
    rows, results = [], {}
    for name in names:
        try:
            results[name] = evaluate(name, n_splits, MAX_SAMPLES)
        except FileNotFoundError as error:
            print(f"skipped {name}: {error}")
            continue
        row = {"set": name}
        for model, (mean, error, seconds) in results[name].items():
            row[model] = f"{mean:.4f} ± {error:.4f}"
            row[f"{model} s"] = round(seconds, 2)
        rows.append(row | {"RealMLP": REALMLP[name]})
        print(f"{name}: {row}", flush=True)
    if not rows:
        return
    print()
    print_table(rows)
    print()
    for model in models():
        errors = [results[name][model][0] for name in results]
        ratio = [e / REALMLP[name] for e, name in zip(errors, results, strict=True)]
        print(
            f"{model}: mean error {np.mean(errors):.4f}, geometric mean of the ratio to RealMLP "
            f"{np.exp(np.mean(np.log(ratio))):.3f}"
        )


if __name__ == "__main__":
    main()
