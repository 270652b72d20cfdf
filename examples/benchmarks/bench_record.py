"""Pruning of small MNIST networks in several steps: the surgeon against published results.

First a 784-40-20-10 network without biases, pruned without labels; then the same with a refit of
the kept weights; then a larger network, pruned by the surgeon and by EC.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from _common import arguments, print_setting, print_table, with_error

import skec
from skec import PrunedMLPClassifier
from skec.datasets import fetch_mnist
from skec.pruning import PruningResult
from skec.training import AdamW

# Published test accuracies in per cent for another 784-40-20-10 network (93.97 % dense):
# CBS (Yu et al., ICML 2022); CHITA and CHITA++ (Benbaki et al., ICML 2023). CHITA++ uses labels.
PUBLISHED = {
    0.9: {"CBS": 93.14, "CHITA": 92.46, "CHITA++": 95.55},
    0.95: {"CBS": 88.92, "CHITA": 88.09, "CHITA++": 94.70},
    0.98: {"CBS": 55.45, "CHITA": 46.25, "CHITA++": 90.73},
}
N_STEPS, N_SAMPLES = 15, 6000
TIMED = ("ec_network s", "surgeon s", "refit s")  # columns of seconds

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def mnist(n_train: int | None = None) -> Arrays:
    """MNIST, scaled to mean zero and standard deviation one."""
    X_train, y_train, X_test, y_test = fetch_mnist(download=False)
    mean, scale = X_train.mean(), X_train.std()
    rows = slice(n_train)
    return (X_train[rows] - mean) / scale, y_train[rows], (X_test - mean) / scale, y_test


def accuracy(module: torch.nn.Module, X: np.ndarray, y: np.ndarray) -> float:
    """Test accuracy in per cent."""
    with torch.no_grad():
        return 100 * float((module(torch.from_numpy(X)).argmax(1).numpy() == y).mean())


def small_network(X: np.ndarray, y: np.ndarray, seed: int) -> PrunedMLPClassifier:
    """A 784-40-20-10 network without biases, trained to an accuracy of about 94 %."""
    return PrunedMLPClassifier(
        (40, 20),
        activation="relu",
        module__bias=False,
        module__zero_output=False,
        optimizer=torch.optim.SGD,
        lr=0.03,
        lr_schedule="constant",
        batch_size=128,
        max_epochs=2,
        early_stopping=False,
        pruning_ratio=0.0,
        random_state=seed,
    ).fit(X, y)


def large_network(X: np.ndarray, y: np.ndarray, seed: int, epochs: int) -> PrunedMLPClassifier:
    """A 784-300-100-10 network."""
    return PrunedMLPClassifier(
        (300, 100),
        activation="relu",
        lr=2e-3,
        batch_size=128,
        max_epochs=epochs,
        early_stopping=False,
        pruning_ratio=0.0,
        random_state=seed,
    ).fit(X, y)


def pruned(
    module: torch.nn.Module,
    X: np.ndarray,
    ratio: float,
    seed: int,
    n_samples: int,
    n_steps: int,
    **settings: Any,
) -> tuple[PruningResult, float]:
    """Prune on training samples without labels; return the result and the seconds."""
    rows = np.random.RandomState(seed).permutation(len(X))[:n_samples]
    start = time.perf_counter()
    result = skec.prune(
        module, X[rows], pruning_ratio=ratio, n_steps=n_steps, output_metric="fisher", **settings
    )
    return result, time.perf_counter() - start


def refitted(
    dense: PrunedMLPClassifier,
    X: np.ndarray,
    y: np.ndarray,
    ratio: float,
    n_samples: int,
    n_steps: int,
) -> tuple[PrunedMLPClassifier, float]:
    """Prune a copy of an estimator with the surgeon and refit it; return it and the seconds."""
    start = time.perf_counter()
    model = copy.deepcopy(dense)
    model.set_params(optimizer=AdamW, lr=1e-2, lr_schedule="cosine", batch_size=256)
    model.set_params(calibration_samples=n_samples)
    model.prune(X, y, method="surgeon", n_steps=n_steps, pruning_ratio=ratio)
    model.refit(X, y, epochs=10)
    return model, time.perf_counter() - start


def record(
    data: Arrays, seeds: range, ratios: Sequence[float], n_samples: int, n_steps: int
) -> list[dict[str, Any]]:
    """The small network: one row for each ratio, with the methods as columns."""
    X, y, X_test, y_test = data
    methods = {
        "magnitude": {"method": "magnitude"},
        "ec": {"method": "ec"},
        "ec_network": {"method": "ec_network", "schedule": "cubic"},
        "surgeon, weights": {"method": "surgeon", "compensation": "weights"},
        "surgeon": {"method": "surgeon"},
    }
    names = [*methods, "refit"]
    found: dict[float, dict[str, list[float]]] = {
        ratio: {name: [] for name in [*names, *TIMED]} for ratio in ratios
    }
    dense_accuracies = []
    for seed in seeds:
        dense = small_network(X, y, seed)
        dense_accuracies.append(accuracy(dense.module_, X_test, y_test))
        for ratio in ratios:
            for name, settings in methods.items():
                result, seconds = pruned(
                    dense.module_, X, ratio, seed, n_samples, n_steps, **settings
                )
                found[ratio][name].append(accuracy(result.module, X_test, y_test))
                if f"{name} s" in TIMED:
                    found[ratio][f"{name} s"].append(seconds)
            model, seconds = refitted(dense, X, y, ratio, n_samples, n_steps)
            found[ratio]["refit"].append(accuracy(model.module_, X_test, y_test))
            found[ratio]["refit s"].append(seconds)
    print(f"dense: {with_error(dense_accuracies, 2)} %\n")
    return [
        {"sparsity": ratio}
        | {name: with_error(values[name], 2) for name in names}
        | {name: round(float(np.mean(values[name])), 1) for name in TIMED}
        | PUBLISHED[ratio]
        for ratio, values in found.items()
    ]


def larger(data: Arrays, ratios: Sequence[float], epochs: int) -> list[dict[str, Any]]:
    """The large network: EC, EC with the whole network compensating, and the surgeon."""
    X, y, X_test, y_test = data
    dense = large_network(X, y, 0, epochs)
    print(f"dense: {accuracy(dense.module_, X_test, y_test):.2f} %\n")
    rows = []
    for ratio in ratios:
        row: dict[str, Any] = {"sparsity": ratio}
        for method in ("ec", "ec_network", "surgeon"):
            result, seconds = pruned(dense.module_, X, ratio, 0, 5000, N_STEPS, method=method)
            row[method] = round(accuracy(result.module, X_test, y_test), 2)
            row[f"{method} s"] = round(seconds, 1)
        rows.append(row)
    return rows


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__, seeds=3)
    try:
        data = mnist(6000 if options.quick else None)
    except FileNotFoundError as error:
        print(f"skipped: {error}")
        return
    seeds = range(1) if options.quick else range(options.seeds)
    ratios = (0.98,) if options.quick else tuple(PUBLISHED)
    n_samples, n_steps = (1000, 4) if options.quick else (N_SAMPLES, N_STEPS)
    print_setting(
        data=f"MNIST, {len(data[0])} training samples",
        network="784-40-20-10, ReLU, no biases (compensation adds them; they are not counted)",
        pruning=f"{n_steps} steps, {n_samples} training samples without labels, Fisher metric",
        refit="surgeon in the estimator, then 10 epochs on the labels; removed weights stay zero",
        accuracy=f"test, per cent, {len(seeds)} networks, mean ± standard error",
        published="another network, dense 93.97 %",
    )
    print_table(record(data, seeds, ratios, n_samples, n_steps))
    if options.quick:
        return
    print_setting(
        network="784-300-100-10, ReLU",
        pruning=f"{N_STEPS} steps, 5,000 training samples without labels, Fisher metric",
    )
    print_table(larger(data, ratios, epochs=10))


if __name__ == "__main__":
    main()
