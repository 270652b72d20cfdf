"""Arguments, data, timing and tables for all benchmarks."""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import sklearn
import torch

from skec.datasets import fetch_uci
from skec.pruning import PruningReport


def arguments(description: str | None, **further: Any) -> argparse.Namespace:
    """Parse ``--quick``, ``--threads`` and further options, given by name and default."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="smaller data and fewer repetitions")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of torch")
    for name, default in further.items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    parsed = parser.parse_args()
    torch.set_num_threads(parsed.threads)
    return parsed


def print_setting(**setting: object) -> None:
    """Print a setting, the machine and the versions of the libraries."""
    versions = f"torch {torch.__version__}, scikit-learn {sklearn.__version__}"
    machine = f"{os.cpu_count()} cores {platform.machine()}, {torch.get_num_threads()} threads"
    parts = [f"{name}: {value}" for name, value in setting.items()]
    print("\n".join(["", *parts, f"machine: {machine}; {versions}", ""]))


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    """Print rows that have the same keys as a table."""
    print(PruningReport(rows), flush=True)


def with_error(values: Sequence[float], digits: int) -> str:
    """Mean ± standard error; the mean alone if there is one value."""
    mean = f"{np.mean(values):.{digits}f}"
    if len(values) < 2:
        return mean
    return f"{mean} ± {np.std(values, ddof=1) / len(values) ** 0.5:.{digits}f}"


def best_times(functions: Mapping[str, Callable[[], object]], repeat: int) -> dict[str, float]:
    """The shortest time of each function in seconds.

    Each function runs once per round, so that a slow phase of the machine affects all of them.
    """
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeat):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - start)
    return {name: min(values) for name, values in times.items()}


def kin8nm(n_samples: int) -> tuple[np.ndarray, np.ndarray, str]:
    """Standardised kin8nm and its name; random numbers if it is not in the data folder."""
    try:
        X, y = fetch_uci("kin8nm", download=False)
        name = "kin8nm"
    except FileNotFoundError:
        rng = np.random.RandomState(0)
        X = rng.normal(size=(8192, 8))
        y, name = np.sin(X).sum(1), "random numbers in the shape of kin8nm"
    X, y = X[:n_samples], y[:n_samples]
    X = (X - X.mean(0)) / X.std(0)
    return X.astype(np.float32), ((y - y.mean()) / y.std()).astype(np.float32), name
