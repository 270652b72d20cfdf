"""Size and prediction time of compact networks, and the time of pruning.

The dense network is compared with the pruned one, which still contains the removed weights as
zeros, and with the compact one.
"""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from _common import arguments, best_times, print_setting, print_table

from skec import PrunedMLPRegressor
from skec.pruning import PruningWarning

WIDTHS = (256, 512, 1024, 2048)
RATIOS = (0.5, 0.8, 0.9, 0.95, 0.98)
N_FEATURES, N_SAMPLES, N_ROWS = 32, 10_000, 10_000
EPOCHS = 3
N_CALLS = 20  # for a single row, in each round
PRUNINGS = {
    "weights, magnitude": {"method": "magnitude", "scope": "layer", "n_steps": 1},
    "weights, ec": {"method": "ec", "n_steps": 5},
    "units, elimination": {"granularity": "neuron", "method": "elimination", "n_steps": 1},
}
TIMED = {
    "weights, ec": {"method": "ec", "n_steps": 1},
    "weights, ec, 5 steps": {"method": "ec", "n_steps": 5},
    "units, l2 and lbyl": {
        "granularity": "neuron", "method": "l2", "compensation": "lbyl", "n_steps": 1,
    },
    "units, ec": {"granularity": "neuron", "method": "ec", "n_steps": 1},
    "units, elimination": {"granularity": "neuron", "method": "elimination", "n_steps": 1},
    "units, elimination, 5 steps": {"granularity": "neuron", "method": "elimination", "n_steps": 5},
}  # fmt: skip
LONG = 5.0  # seconds; a longer run is not repeated


def trained(width: int, epochs: int) -> tuple[PrunedMLPRegressor, np.ndarray, np.ndarray]:
    """An estimator with two hidden layers after a few epochs, and its training data."""
    rng = np.random.RandomState(0)
    X = rng.normal(size=(N_SAMPLES, N_FEATURES)).astype(np.float32)
    y = np.sin(X[:, :8] @ rng.normal(size=(8, 4))).sum(1)  # y does not depend on the others
    estimator = PrunedMLPRegressor(
        (width, width),
        lr=1e-3,
        lr_schedule="constant",
        max_epochs=epochs,
        early_stopping=False,
        random_state=0,
    )
    return estimator.partial_fit(X, y), X, y


def megabytes(estimator: PrunedMLPRegressor) -> float:
    """Size of the pickle without the calibration samples.

    A dense estimator also contains the moments of its optimiser, and a pruned one the dense
    weights, from which ``prune`` starts.
    """
    estimator = copy.copy(estimator)
    vars(estimator).pop("_calibration_", None)
    return len(pickle.dumps(estimator)) / 1e6


def megabytes_of_weights(estimator: PrunedMLPRegressor) -> float:
    """Size of a file with the weights of the network only."""
    file = io.BytesIO()
    torch.save(estimator.module_.state_dict(), file)
    return file.tell() / 1e6


def sizes(estimator: PrunedMLPRegressor) -> str:
    """Number of input columns that the network reads, and of units of each hidden layer."""
    layers = [part for part in estimator.module_.modules() if isinstance(part, torch.nn.Linear)]
    return ", ".join(str(layer.in_features) for layer in layers)


def times_over_dense(
    estimators: Mapping[str, PrunedMLPRegressor], X: np.ndarray, repeat: int, n_calls: int
) -> dict[str, float]:
    """Time of ``predict`` over that of the estimator ``"dense"``."""

    def predict(estimator: PrunedMLPRegressor) -> None:
        for _ in range(n_calls):
            estimator.predict(X)

    functions = {name: partial(predict, estimator) for name, estimator in estimators.items()}
    times = best_times(functions, repeat)
    return {name: seconds / times["dense"] for name, seconds in times.items()}


def compare(
    width: int, ratios: Sequence[float], repeat: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of sizes and of times for a width."""
    dense, X, _ = trained(width, EPOCHS)
    repeat *= max(1, 1024 // width)  # short times are noisier
    by_size = [
        {"width": width, "network": "dense", "ratio": 0.0, "weights kept": "1"}
        | {"columns, units": sizes(dense)}
        | {"pickle MB": megabytes(dense), "compact pickle MB": megabytes(dense)}
        | {"compact weights MB": megabytes_of_weights(dense)}
    ]
    by_time = []
    for name, pruning in PRUNINGS.items():
        for ratio in ratios:
            pruned = copy.deepcopy(dense).prune(pruning_ratio=ratio, **pruning)
            compact = copy.deepcopy(pruned).compact()
            expected, found = (net.predict(X[:1000]) for net in (pruned, compact))
            row: dict[str, Any] = {"width": width, "network": name, "ratio": ratio}
            by_size.append(
                row
                | {"weights kept": f"{1 - pruned.sparsity_:.3g}"}
                | {"columns, units": sizes(compact)}
                | {"pickle MB": megabytes(pruned), "compact pickle MB": megabytes(compact)}
                | {"compact weights MB": megabytes_of_weights(compact)}
            )
            estimators = {"dense": dense, "pruned": pruned, "compact": compact}
            many = times_over_dense(estimators, X[:N_ROWS], repeat, 1)
            one = times_over_dense(estimators, X[:1], repeat, N_CALLS)
            difference = np.abs(found - expected).max() / np.abs(expected).max()
            by_time.append(
                row
                | {f"{N_ROWS} rows, {kind}": many[kind] for kind in ("pruned", "compact")}
                | {f"1 row, {kind}": one[kind] for kind in ("pruned", "compact")}
                | {"difference": f"{difference:.1e}"}
            )
    return by_size, by_time


def absolute(width: int, repeat: int) -> dict[str, Any]:
    """Time of ``predict`` of the dense network."""
    dense, X, _ = trained(width, 1)
    module, row = dense.module_, torch.from_numpy(X[:1])
    dense.predict(X)
    with torch.no_grad():
        seconds = best_times(
            {
                "many": lambda: dense.predict(X[:N_ROWS]),
                "one": lambda: [dense.predict(X[:1]) for _ in range(N_CALLS)],
                "module": lambda: [module(row) for _ in range(N_CALLS)],
            },
            repeat,
        )
    return {
        "width": width,
        f"{N_ROWS} rows, ms": 1e3 * seconds["many"],
        "1 row, ms": 1e3 * seconds["one"] / N_CALLS,
        "1 row, network alone, ms": 1e3 * seconds["module"] / N_CALLS,
    }


def pruning_times(width: int, repeat: int) -> dict[str, Any]:
    """Time of pruning to 0.9 over that of an epoch of dense training."""
    dense, X, y = trained(width, 1)
    row: dict[str, Any] = {"width": width}
    for name, pruning in TIMED.items():
        functions = {
            "epoch": partial(dense.partial_fit, X, y),
            name: partial(copy.deepcopy(dense).prune, pruning_ratio=0.9, **pruning),
        }
        times = best_times(functions, 1)
        if times[name] < LONG:
            times = best_times(functions, repeat)
        row.setdefault("epoch s", times["epoch"])
        row[name] = times[name] / times["epoch"]
    return row


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__)
    warnings.simplefilter("ignore", PruningWarning)
    widths, ratios, repeat = (WIDTHS[:2], (0.5, 0.9), 1) if options.quick else (WIDTHS, RATIOS, 3)
    print_setting(
        data=f"random numbers, {N_SAMPLES} × {N_FEATURES}, y depends on 8 columns",
        network=f"PrunedMLPRegressor, two hidden layers of the same width, {EPOCHS} epochs",
        times=f"shortest of {repeat} or more runs in turn; 1 row: mean of {N_CALLS} calls",
        sizes="MB of the pickled estimator without calibration samples (dense: with the moments of "
        "the optimiser; pruned: with the dense weights), and of the compact network's weights only",
        difference="largest difference between the predictions of the pruned and the compact "
        "network, over the largest prediction",
    )
    found = [compare(width, ratios, repeat) for width in widths]
    print("sizes")
    print_table([row for by_size, _ in found for row in by_size])
    print("\ntime of predict over that of the dense network")
    print_table([row for _, by_time in found for row in by_time])
    print("\ntime of predict, dense")
    print_table([absolute(width, repeat) for width in widths])
    print("\ntime of pruning to 0.9 over that of an epoch of dense training")
    print_table([pruning_times(width, repeat) for width in widths])


if __name__ == "__main__":
    main()
