"""Neuron pruning without training: comparison of unit criteria and compensations.

First, units of 784-300-100-10 networks on MNIST are removed without data, then with samples without
labels. Last, units and single weights are removed from networks for tabular regression until the
same number of weights is kept.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from _common import arguments, print_setting, print_table, with_error
from sklearn.model_selection import ShuffleSplit
from sklearn.preprocessing import StandardScaler

import skec
from skec import PrunedMLPClassifier, PrunedMLPRegressor
from skec.datasets import fetch_mnist, fetch_uci
from skec.pruning import PruningWarning

RATIOS = (0.5, 0.6, 0.7, 0.8, 0.9)
TRAININGS = {
    "SGD with momentum, weight decay 5e-4": {
        "optimizer": torch.optim.SGD,
        "optimizer__momentum": 0.9,
        "optimizer__weight_decay": 5e-4,
        "lr": 0.02,
        "max_epochs": 20,
    },
    "AdamW, weight decay 0": {"lr": 1e-3, "optimizer__weight_decay": 0.0, "max_epochs": 10},
}
# The LBYL paper uses a different ridge for each ratio up to 0.8, chosen by the test accuracy.
PAPER_RIDGES = {0.5: 0.3, 0.6: 0.6, 0.7: 0.3, 0.8: 1e-6, 0.9: 1e-6}
WITHOUT_DATA = {
    "l2": ("l2", "none"),
    "l2, merging": ("l2", "merging"),
    "l2, lbyl": ("l2", "lbyl"),
    "l2, lbyl, ridges of the LBYL paper": ("l2", "lbyl"),
    "l1, lbyl": ("l1", "lbyl"),
    "geometric_median, lbyl": ("geometric_median", "lbyl"),
    "random, lbyl": ("random", "lbyl"),
}
CRITERIA = ("random", "l2", "ec", "elimination")
COMPENSATIONS = ("none", "merging", "lbyl", "mean", "bias", "least_squares")
N_SAMPLES, N_FEW = 5_000, 500

SETS = ("kin8nm", "protein-tertiary-structure")
MAX_SAMPLES = 4_000  # of each set
UNIT_STEPS = 5
UNIT_RATIOS = (0.5, 0.8)
UNIT_METHODS = {
    "l2": {"method": "l2"},
    "l2, least_squares": {"method": "l2", "compensation": "least_squares"},
    "elimination": {"method": "elimination"},
}


Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def mnist(n_train: int | None) -> Arrays:
    """MNIST, scaled to [-1, 1]."""
    X_train, y_train, X_test, y_test = fetch_mnist(download=False)
    return 2 * X_train[:n_train] - 1, y_train[:n_train], 2 * X_test - 1, y_test


def network(X: np.ndarray, y: np.ndarray, seed: int, training: str) -> torch.nn.Module:
    """A trained 784-300-100-10 network."""
    estimator = PrunedMLPClassifier(
        (300, 100),
        activation="relu",
        batch_size=128,
        early_stopping=False,
        pruning_ratio=0.0,
        refit_strategy="none",
        random_state=seed,
        **TRAININGS[training],
    )
    return estimator.fit(X, y).module_


def accuracies(
    modules: Sequence[torch.nn.Module],
    ratios: Sequence[float],
    data: Arrays,
    samples: int | None = None,
    **pruning: Any,
) -> dict[str, str]:
    """Test accuracies in per cent at each ratio, mean and standard error over the networks.

    Parameters
    ----------
    modules : sequence of torch.nn.Module
    ratios : sequence of float
    data : tuple of arrays
    samples : int, default=None
        Number of calibration samples; None prunes without data.
    **pruning : dict
        Passed to ``skec.prune``; the defaults are one step and the Fisher metric. ``ridge`` is a
        mapping of ratios to the ridge of lbyl.
    """
    X, _, X_test, y_test = data
    ridges = pruning.pop("ridge", None)
    found = {}
    for ratio in ratios:
        if ridges is not None:
            pruning["compensation_params"] = {"ridge": ridges[ratio]}
        values = []
        for seed, module in enumerate(modules):
            rows = np.random.RandomState(seed).permutation(len(X))[:samples]
            result = skec.prune(
                module,
                None if samples is None else X[rows],
                granularity="neuron",
                pruning_ratio=ratio,
                **({"n_steps": 1, "output_metric": "fisher"} | pruning),
                random_state=seed,
            )
            values.append(accuracy(result.module, X_test, y_test))
        found[f"{ratio:g}"] = with_error(values, 2)
    return found


def accuracy(module: torch.nn.Module, X: np.ndarray, y: np.ndarray) -> float:
    """Test accuracy in per cent."""
    with torch.no_grad():
        return 100 * float((module(torch.from_numpy(X)).argmax(1).numpy() == y).mean())


def without_data(
    modules: Sequence[torch.nn.Module], ratios: Sequence[float], data: Arrays
) -> list[dict[str, str]]:
    """Rows of the methods that need no data."""
    rows = []
    for name, (criterion, compensation) in WITHOUT_DATA.items():
        further: dict[str, Any] = {"ridge": PAPER_RIDGES} if "paper" in name else {}
        found = accuracies(
            modules, ratios, data, method=criterion, compensation=compensation, **further
        )
        rows.append({"method": name} | found)
    return rows


def with_data(
    modules: Sequence[torch.nn.Module], ratios: Sequence[float], data: Arrays, n_samples: int
) -> list[dict[str, str]]:
    """Rows of each criterion with each compensation, on samples without labels."""
    return [
        {"criterion": criterion, "compensation": compensation}
        | accuracies(modules, ratios, data, n_samples, method=criterion, compensation=compensation)
        for criterion in CRITERIA
        for compensation in COMPENSATIONS
    ]


def strongest(
    modules: Sequence[torch.nn.Module],
    ratios: Sequence[float],
    data: Arrays,
    n_samples: int,
    n_few: int,
) -> list[dict[str, str]]:
    """Rows of elimination with least squares, with one setting changed at a time."""
    variants: dict[str, tuple[int, dict[str, Any]]] = {
        f"{n_samples:,} samples": (n_samples, {}),
        "scope='global'": (n_samples, {"scope": "global"}),
        "five steps": (n_samples, {"n_steps": 5}),
        "identity metric": (n_samples, {"output_metric": "identity"}),
        f"{n_few:,} samples": (n_few, {}),
    }
    rows = []
    for name, (samples, pruning) in variants.items():
        found = accuracies(modules, ratios, data, samples, method="elimination", **pruning)
        rows.append({"elimination, least_squares": name} | found)
    return rows


def small_network_errors(
    name: str, split: int, n_splits: int, max_samples: int
) -> list[dict[str, Any]]:
    """Errors on one split over those of the dense network, with one dict for each ratio.

    Each error is an array of two values: before and after a refit.
    """
    X, y = fetch_uci(name, download=False)
    rows = np.random.RandomState(0).permutation(len(X))[:max_samples]
    X, y = X[rows], y[rows]
    train, test = list(ShuffleSplit(n_splits, test_size=0.1, random_state=0).split(X))[split]
    X = StandardScaler().fit(X[train]).transform(X)
    dense = PrunedMLPRegressor(random_state=split).partial_fit(X[train], y[train])

    def measured(**pruning: Any) -> tuple[np.ndarray, float]:
        net = copy.deepcopy(dense).prune(n_steps=UNIT_STEPS, **pruning)
        errors = [error(net), error(net.refit(X[train], y[train]))]
        return np.array(errors), net.sparsity_

    def error(net: PrunedMLPRegressor) -> float:
        return float(np.sqrt(np.mean((net.predict(X[test]) - y[test]) ** 2)))

    reference, _ = measured(method="magnitude", pruning_ratio=0.0)
    found = []
    for ratio in UNIT_RATIOS:
        errors = {}
        for method, pruning in UNIT_METHODS.items():
            errors[method], sparsity = measured(
                granularity="neuron", pruning_ratio=ratio, **pruning
            )
        errors["weights, ec"], _ = measured(method="ec", pruning_ratio=sparsity)
        found.append(
            {"weights kept": 1 - sparsity} | {name: e / reference for name, e in errors.items()}
        )
    return found


def tabular(n_splits: int, max_samples: int) -> list[dict[str, Any]]:
    """Rows that compare units and weights, for each set and ratio, before and after the refit."""
    rows = []
    for name in SETS:
        splits = [
            small_network_errors(name, split, n_splits, max_samples) for split in range(n_splits)
        ]
        for ratio, found in zip(UNIT_RATIOS, zip(*splits, strict=True), strict=True):
            for when, refit in enumerate(("no", "yes")):
                rows.append(
                    {
                        "set": name.split("-")[0],
                        "units removed": ratio,
                        "weights kept": f"{found[0]['weights kept']:.3f}",
                        "refit": refit,
                    }
                    | {
                        method: with_error([errors[method][when] for errors in found], 3)
                        for method in (*UNIT_METHODS, "weights, ec")
                    }
                )
    return rows


def print_mnist(
    seeds: range, ratios: Sequence[float], n_train: int | None, n_samples: int, n_few: int
) -> None:
    """Measure on MNIST and print."""
    data = mnist(n_train)
    X, y, X_test, y_test = data
    print_setting(
        data=f"MNIST, scaled to [-1, 1], {len(X)} training samples",
        network="784-300-100-10, ReLU; the same ratio of units is removed from each hidden layer",
        pruning="one step unless stated otherwise, no training afterwards; Fisher metric",
        accuracy=f"test, per cent, {len(seeds)} networks, mean ± standard error",
    )
    for number, training in enumerate(TRAININGS):
        modules = [network(X, y, seed, training) for seed in seeds]
        dense = with_error([accuracy(module, X_test, y_test) for module in modules], 2)
        print(f"{training}: dense {dense} %\n\nwithout data")
        print_table(without_data(modules, ratios, data))
        if number == 0:
            print(f"\n{n_samples:,} training samples without labels")
            print_table(with_data(modules, ratios, data, n_samples))
        print()
        print_table(strongest(modules, ratios, data, n_samples, n_few))
        print()


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__, seeds=3)
    warnings.simplefilter("ignore", PruningWarning)
    seeds = range(1) if options.quick else range(options.seeds)
    try:
        if options.quick:
            print_mnist(seeds, (0.5, 0.8), 6_000, 1_000, 200)
        else:
            print_mnist(seeds, RATIOS, None, N_SAMPLES, N_FEW)
    except FileNotFoundError as error:
        print(f"skipped: {error}")
    n_splits, max_samples = (1, 1_500) if options.quick else (options.seeds, MAX_SAMPLES)
    print_setting(
        data=f"UCI sets, at most {max_samples} samples, {n_splits} 90/10 splits",
        network="PrunedMLPRegressor with its defaults",
        pruning=f"{UNIT_STEPS} steps for all methods",
        error="RMSE over that of the dense network, before and after a refit of both; mean ± "
        "standard error over the splits",
        weights="pruned by ec until as many weights are kept as after the removal of the units",
    )
    try:
        print_table(tabular(n_splits, max_samples))
    except FileNotFoundError as error:
        print(f"skipped: {error}")


if __name__ == "__main__":
    main()
