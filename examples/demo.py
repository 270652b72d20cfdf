"""Train a network once, prune it with several methods and ratios, refit, and compare.

Each method prunes in five steps. The program prints a table and saves the pruning curves as
``pruning_curves.png``.
"""

from __future__ import annotations

import copy
import sys
import time
from typing import Any

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from skec import PrunedMLPClassifier
from skec.pruning import PruningReport

METHODS = ("ec", "surgeon", "magnitude", "gradient", "taylor", "random")
RATIOS = (0.5, 0.8, 0.9, 0.95, 0.98)
N_STEPS = 5

Samples = tuple[Any, Any]  # features and labels


def compare(dense: PrunedMLPClassifier, train: Samples, test: Samples) -> PruningReport:
    """Prune and refit copies of a dense network; return one row for each method and ratio."""
    rows = PruningReport()
    for method in METHODS:
        for ratio in RATIOS:
            model = copy.deepcopy(dense)
            start = time.perf_counter()
            model.prune(method=method, pruning_ratio=ratio, n_steps=N_STEPS)
            pruned = time.perf_counter()
            before = model.score(*test)
            refit_start = time.perf_counter()
            model.refit(*train)
            rows.append(
                {
                    "method": method,
                    "ratio": ratio,
                    "before refit": before,
                    "after refit": model.score(*test),
                    "weights kept": sum(int(mask.sum()) for mask in model.masks_.values()),
                    "prune s": round(pruned - start, 3),
                    "refit s": round(time.perf_counter() - refit_start, 2),
                }
            )
    return rows


def plot(rows: PruningReport, dense_score: float, path: str) -> None:
    """Plot the accuracy against the ratio, before and after the refit."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for axis, column in zip(axes, ("before refit", "after refit"), strict=True):
        axis.axhline(dense_score, color="0.6", linestyle="--", linewidth=1, label="dense")
        for i, method in enumerate(METHODS):
            curve = [row for row in rows if row["method"] == method]
            axis.plot(
                [row["ratio"] for row in curve],
                [row[column] for row in curve],
                marker="oPs^Dv"[i],
                color=f"C{i}",
                linewidth=2.5 if method in ("ec", "surgeon") else 1.3,
                zorder=3 if method in ("ec", "surgeon") else 2,
                label=method,
            )
        axis.set(xlabel="pruning ratio", title=column)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("test accuracy")
    axes[1].legend(loc="lower left", frameon=False)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Run the comparison on the digits of scikit-learn."""
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.3, random_state=0)
    scaler = StandardScaler().fit(X_train)
    train, test = (scaler.transform(X_train), y_train), (scaler.transform(X_test), y_test)

    start = time.perf_counter()
    dense = PrunedMLPClassifier(pruning_ratio=0.0, refit_epochs=20, random_state=0).fit(*train)
    dense_score = dense.score(*test)
    print(
        f"digits, {len(X_train)} training samples; dense network of {dense.n_parameters_} "
        f"parameters: test accuracy {dense_score:.4f} after {time.perf_counter() - start:.1f} s\n"
    )
    rows = compare(dense, train, test)
    print(rows)

    model = copy.deepcopy(dense).prune(method="ec", pruning_ratio=0.9, n_steps=N_STEPS)
    print("\nEC at a ratio of 0.9; loss on calibration samples if only this layer is pruned:")
    print(model.pruning_report_)

    path = "pruning_curves.png"
    try:
        plot(rows, dense_score, path)
    except ImportError:
        print("\nThe figure needs matplotlib: pip install skec[plot].", file=sys.stderr)
    else:
        print(f"\nThe figure is saved as {path}.")


if __name__ == "__main__":
    main()
