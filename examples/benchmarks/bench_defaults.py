"""Test error and time of the default regressor and of other MLPs on thirteen tables.

If pytabkit is installed (``pip install pytabkit``), RealMLP-TD is measured too. Otherwise the table
shows errors of RealMLP-TD from an earlier measurement on other splits.
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
import torch
from _common import arguments, print_setting, print_table, with_error
from joblib import Parallel, delayed
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import ShuffleSplit
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skec import PrunedMLPRegressor
from skec.datasets import UCI_NAMES, fetch_uci

# Errors of RealMLP-TD (arXiv:2407.04491), which is not pruned, on three other splits.
REALMLP = {
    "concrete": 0.296,
    "energy": 0.056,
    "kin8nm": 0.233,
    "naval-propulsion-plant": 0.010,
    "power-plant": 0.224,
    "protein-tertiary-structure": 0.678,
    "wine-quality-red": 0.720,
    "yacht": 0.064,
}
MAX_SAMPLES = 12_000  # bike, kin40k and protein have more


def models() -> dict[str, Any]:
    """The models: skec, which is pruned, and dense ones."""
    candidates = {
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
    try:
        from pytabkit import RealMLP_TD_Regressor
    except ImportError:
        return candidates
    realmlp = RealMLP_TD_Regressor(device="cpu", random_state=0, n_threads=1)
    return candidates | {"RealMLP": realmlp}


def evaluate(
    name: str, split: int, n_splits: int, chosen: list[str]
) -> dict[str, tuple[float, float]]:
    """Test error and seconds of a fit for each model on one split."""
    torch.set_num_threads(1)
    X, y = fetch_uci(name, download=False)
    if len(X) > MAX_SAMPLES:
        rows = np.random.RandomState(0).permutation(len(X))[:MAX_SAMPLES]
        X, y = X[rows], y[rows]
    splits = ShuffleSplit(n_splits, test_size=0.1, random_state=0).split(X)
    train, test = list(splits)[split]
    results = {}
    for model_name in chosen:
        model = models()[model_name]
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(X[train], y[train])
        seconds = time.perf_counter() - start
        residual = model.predict(X[test]) - y[test]
        results[model_name] = np.sqrt(np.mean(residual**2)) / y[train].std(), seconds
    return results


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__, splits=10, jobs=1, models=";".join(models()))
    names = ("yacht", "energy") if options.quick else UCI_NAMES
    n_splits = 1 if options.quick else options.splits
    candidates = options.models.split(";")
    print_setting(
        data=f"{len(names)} tables, at most {MAX_SAMPLES} samples, {n_splits} 90/10 splits",
        error="RMSE over the standard deviation of the training target, ± standard error",
        skec="all defaults, pruned to the default ratio; the other models are dense",
        times=f"seconds of a fit on one thread, {options.jobs} fits in parallel",
    )
    tasks = [(name, split) for name in names for split in range(n_splits)]
    try:
        found = Parallel(n_jobs=options.jobs, verbose=5)(
            delayed(evaluate)(name, split, n_splits, candidates) for name, split in tasks
        )
    except FileNotFoundError as error:
        print(f"skipped: {error}")
        return
    rows: list[dict[str, Any]] = []
    errors: dict[str, dict[str, float]] = {c: {} for c in candidates}
    times: dict[str, dict[str, float]] = {c: {} for c in candidates}
    for name in names:
        here: list[Any] = [
            result for (task, _), result in zip(tasks, found, strict=True) if task == name
        ]
        row: dict[str, Any] = {"set": name}
        for c in candidates:
            values, seconds = np.array([result[c] for result in here]).T
            errors[c][name], times[c][name] = float(values.mean()), float(seconds.mean())
            row[c] = with_error(values, 4)
            row[f"{c} s"] = round(times[c][name], 2)
        if "RealMLP" not in candidates:
            row["RealMLP, earlier"] = REALMLP.get(name, "")
        rows.append(row)
    print_table(rows)
    print()
    reference = errors.get("RealMLP", REALMLP)
    compared = [name for name in names if name in reference]
    summary = []
    for c in candidates:
        ratios = [errors[c][name] / reference[name] for name in compared]
        row: dict[str, Any] = {
            "model": c,
            "mean error": float(np.mean(list(errors[c].values()))),
            "error / RealMLP": float(np.exp(np.mean(np.log(ratios)))),
            "sets": len(compared),
            "best in sets": sum(errors[c][n] == min(e[n] for e in errors.values()) for n in names),
        }
        if "RealMLP" in times:
            ratios = [times[c][name] / times["RealMLP"][name] for name in names]
            row["time / RealMLP"] = float(np.exp(np.mean(np.log(ratios))))
        summary.append(row)
    print(
        "over all sets (mean error; geometric means of the quotients; sets with the lowest error)"
    )
    print_table(summary)


if __name__ == "__main__":
    main()
