"""Test errors of pruned networks for tabular regression, for each method and ratio.

A network is trained once for each set and split. Each method prunes a copy of it to each ratio, and
the copy is refitted. The batches of the refit are the same for all copies.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from _common import arguments, print_setting, print_table
from joblib import Parallel, delayed
from sklearn.model_selection import ShuffleSplit
from sklearn.preprocessing import StandardScaler

from skec import PrunedMLPRegressor
from skec.datasets import UCI_NAMES, fetch_uci
from skec.pruning import PruningWarning

MAX_SAMPLES = 4_000  # of the larger sets
TOLERANCE = 0.01
RATIOS = (0.5, 0.8, 0.9, 0.95, 0.98)
# The weights compete over the whole network unless a scope is given. Magnitude is also measured
# within layers, where it cannot remove all of the small weights of the output layer. Wanda's paper
# prunes within rows. A unit of the first layer has few inputs, so wanda is also measured over the
# whole network.
METHODS = {
    "random": {"method": "random"},
    "magnitude": {"method": "magnitude"},
    "magnitude layer": {"method": "magnitude", "scope": "layer"},
    "magnitude + bias": {"method": "magnitude", "compensation": "bias"},
    "gradient": {"method": "gradient"},
    "taylor": {"method": "taylor"},
    "lamp": {"method": "lamp"},
    "wanda row": {"method": "wanda", "scope": "row"},
    "wanda": {"method": "wanda"},
    "obd": {"method": "obd"},
    "ec": {"method": "ec"},
    "ec_network": {"method": "ec_network"},
    "surgeon": {"method": "surgeon"},
}
FAMILY = ("ec", "surgeon")
QUICK = {"sets": ("yacht", "energy"), "ratios": (0.5, 0.9, 0.98)}
QUICK_METHODS = ("magnitude", "obd", "ec", "ec_network", "surgeon")

# The error before and after the refit, for each method and ratio. The key of the dense network is
# ("dense", 0.0).
Errors = dict[tuple[str, float], tuple[float, float]]
# Log errors of shape (n_sets, n_splits), for each method and ratio.
Logs = dict[tuple[str, float], np.ndarray]


def load(name: str) -> tuple[np.ndarray, np.ndarray]:
    """A set with at most ``MAX_SAMPLES`` samples, drawn at random."""
    X, y = fetch_uci(name, download=False)
    rows = np.random.RandomState(0).permutation(len(X))[:MAX_SAMPLES]
    return X[rows], y[rows]


def available(names: Iterable[str]) -> list[str]:
    """The sets in the data folder; prints the names of the missing ones."""
    found = []
    for name in names:
        try:
            load(name)
        except FileNotFoundError as error:
            print(f"{name} is skipped: {error}")
        else:
            found.append(name)
    return found


def evaluate(
    name: str, split: int, n_splits: int, methods: list[str], ratios: tuple[float, ...], steps: int
) -> Errors:
    """Test errors of all methods at all ratios on one split."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", PruningWarning)
    X, y = load(name)
    splits = ShuffleSplit(n_splits, test_size=0.1, random_state=0).split(X)
    train, test = list(splits)[split]
    X = StandardScaler().fit(X[train]).transform(X)
    dense = PrunedMLPRegressor(random_state=split, n_steps=steps).partial_fit(X[train], y[train])

    def measured(**pruning: Any) -> tuple[float, float]:
        """The error of a pruned copy before and after the refit."""
        net = copy.deepcopy(dense).prune(**pruning)
        return error(net), error(net.refit(X[train], y[train]))

    def error(net: PrunedMLPRegressor) -> float:
        residual = net.predict(X[test]) - y[test]
        return float(np.sqrt(np.mean(residual**2)) / y[train].std())

    results = {("dense", 0.0): measured(method="magnitude", pruning_ratio=0.0)}
    for method in methods:
        for ratio in ratios:
            results[method, ratio] = measured(pruning_ratio=ratio, **METHODS[method])
    return results


def log_ratios(found: dict[str, list[Errors]], after: bool) -> Logs:
    """Logarithms of the errors over those of the dense network, before or after the refit."""
    column = int(after)
    cells = next(iter(found.values()))[0]
    return {
        cell: np.array(
            [
                [np.log(errors[cell][column] / errors["dense", 0.0][column]) for errors in splits]
                for splits in found.values()
            ]
        )
        for cell in cells
        if cell[0] != "dense"
    }


def with_deviation(logs: np.ndarray) -> str:
    """Geometric mean over sets and splits, and its standard error over the splits.

    The variance over the splits is estimated within each set.
    """
    n_sets, n_splits = logs.shape
    mean = np.exp(logs.mean())
    if n_splits < 2:
        return f"{mean:.3f}"
    deviation = np.sqrt(logs.var(axis=1, ddof=1).sum() / n_splits) / n_sets
    return f"{mean:.3f} ± {mean * deviation:.3f}"


def print_errors(logs: Logs, methods: list[str], ratios: tuple[float, ...]) -> None:
    """Print errors over those of the dense network, by method and ratio."""
    print_table(
        [
            {"method": method} | {f"{r:g}": with_deviation(logs[method, r]) for r in ratios}
            for method in methods
        ]
    )


def largest_ratio(of_ratio: Callable[[float], float], ratios: tuple[float, ...]) -> str:
    """The largest ratio up to which the log error is within the tolerance; a dash for none."""
    last = "–"
    for ratio in ratios:
        if of_ratio(ratio) > np.log1p(TOLERANCE):
            break
        last = f"{ratio:g}"
    return last


def print_largest_ratios(
    logs: Logs, names: list[str], methods: list[str], ratios: tuple[float, ...]
) -> None:
    """Print the largest ratio of each method, by set and for the geometric mean over the sets."""
    rows = []
    for method in methods:
        row = {"method": method}
        for i, name in enumerate(names):
            row[name.split("-")[0]] = largest_ratio(
                lambda r, m=method, i=i: logs[m, r][i].mean(), ratios
            )
        row["all"] = largest_ratio(lambda r, m=method: logs[m, r].mean(), ratios)
        rows.append(row)
    print_table(rows)


def print_wins(logs: Logs, methods: list[str], ratios: tuple[float, ...]) -> None:
    """Print in how many cells (set, ratio) each method is the best, by ratio."""
    means = {cell: values.mean(1) for cell, values in logs.items()}
    best = {r: np.argmin([means[method, r] for method in methods], axis=0) for r in ratios}
    rows = []
    for index, method in enumerate(methods):
        wins = {f"{r:g}": int((best[r] == index).sum()) for r in ratios}
        rows.append({"method": method, "all": sum(wins.values())} | wins)
    print_table(rows)


def print_family(logs: Logs, methods: list[str], ratios: tuple[float, ...]) -> None:
    """Print in how many cells ec, surgeon and the better of both beat each other method."""
    family = [method for method in FAMILY if method in methods]
    others = [method for method in methods if method not in family]
    if not (family and others):
        return
    means = {m: np.concatenate([logs[m, r].mean(1) for r in ratios]) for m in methods}
    means["better of both"] = np.min([means[m] for m in family], axis=0)
    means["best other method"] = np.min([means[m] for m in others], axis=0)
    print_table(
        [
            {"other method": other, "cells": means[other].size}
            | {m: int((means[m] < means[other]).sum()) for m in (*family, "better of both")}
            for other in (*others, "best other method")
        ]
    )


def print_dense(found: dict[str, list[Errors]]) -> None:
    """Print the errors of the dense network, which are the reference of the other tables."""
    rows = []
    for name, splits in found.items():
        before, after = np.mean([errors["dense", 0.0] for errors in splits], axis=0)
        rows.append({"set": name, "dense": float(before), "dense, refit": float(after)})
    print_table(rows)


def print_results(
    found: dict[str, list[Errors]], methods: list[str], ratios: tuple[float, ...]
) -> None:
    """Print all tables."""
    logs = log_ratios(found, after=True)
    print("error of the dense network before and after its refit")
    print_dense(found)
    print("\nafter the refit: error over that of the dense network after its refit")
    print_errors(logs, methods, ratios)
    print("\nbefore the refit: error over that of the dense network before its refit")
    print_errors(log_ratios(found, after=False), methods, ratios)
    print(
        f"\nlargest ratio up to which the error after the refit exceeds that of the dense network "
        f"by at most {TOLERANCE:.0%}"
    )
    print_largest_ratios(logs, list(found), methods, ratios)
    print("\nnumber of cells (set, ratio) in which a method is the best after the refit, by ratio")
    print_wins(logs, methods, ratios)
    print("\nnumber of cells in which ec, surgeon and the better of both beat the other methods")
    print_family(logs, methods, ratios)


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__, splits=2, jobs=1, steps=5, methods="")
    names = available(QUICK["sets"] if options.quick else UCI_NAMES)
    ratios = QUICK["ratios"] if options.quick else RATIOS
    n_splits = 1 if options.quick else options.splits
    methods = list(QUICK_METHODS if options.quick else METHODS)
    if options.methods:
        methods = [method for method in METHODS if method in options.methods.split(",")]
    if not names:
        return
    print_setting(
        data=f"{len(names)} UCI sets, at most {MAX_SAMPLES} samples, {n_splits} 90/10 splits",
        network="PrunedMLPRegressor with its defaults",
        pruning=f"{options.steps} steps for all methods",
        error="RMSE over the standard deviation of the training target; geometric means, "
        "± standard error over the splits",
    )
    tasks = [(name, split) for name in names for split in range(n_splits)]
    calls = (
        delayed(evaluate)(name, split, n_splits, methods, ratios, options.steps)
        for name, split in tasks
    )
    results: list[Any] = list(Parallel(n_jobs=options.jobs, verbose=5)(calls))
    found: dict[str, list[Errors]] = {name: [] for name in names}
    for (name, _), errors in zip(tasks, results, strict=True):
        found[name].append(errors)
    print_results(found, methods, ratios)


if __name__ == "__main__":
    main()
