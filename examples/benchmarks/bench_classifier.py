"""Log loss, error rate and time of the default classifier and of scikit-learn's.

A quarter of each table is for testing. It was not used for choosing the defaults; the other three
quarters were.
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
import torch
from _common import arguments, print_setting, print_table, with_error
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import LabelEncoder, OneHotEncoder, StandardScaler

from skec import PrunedMLPClassifier
from skec.datasets import CLASSIFICATION_NAMES, fetch_classification

OF_SKLEARN = {
    "breast cancer": load_breast_cancer,
    "digits": load_digits,
    "iris": load_iris,
    "wine": load_wine,
}
SMALLEST = 1e-12  # probability, so that one wrong prediction does not make the loss infinite


def models(seed: int) -> dict[str, Any]:
    """The models with their defaults, both after the same scaler."""
    return {
        "skec": PrunedMLPClassifier(random_state=seed),
        "sklearn": MLPClassifier(random_state=seed),
    }


def table(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Features and classes; categories are one-hot encoded."""
    if name in OF_SKLEARN:
        return OF_SKLEARN[name](return_X_y=True)
    X, y = fetch_classification(name)
    if X.dtype.kind == "U":
        categories = [j for j, column in enumerate(X.T) if not _are_numbers(column)]
        encoder = make_column_transformer(
            (OneHotEncoder(sparse_output=False), categories), remainder="passthrough"
        )
        X = encoder.fit_transform(X)
    return X.astype(np.float64), LabelEncoder().fit_transform(y)


def _are_numbers(column: np.ndarray) -> bool:
    try:
        column.astype(np.float64)
    except ValueError:
        return False
    return True


def evaluate(name: str, seeds: int) -> dict[str, np.ndarray]:
    """Log loss, error rate and seconds of each model, one row for each seed."""
    X, y = table(name)
    split = StratifiedShuffleSplit(1, test_size=0.25, random_state=12345)
    train, test = next(split.split(X, y))
    results: dict[str, list[tuple[float, float, float]]] = {}
    for seed in range(seeds):
        for model_name, model in models(seed).items():
            model = make_pipeline(StandardScaler(), model)
            start = time.perf_counter()
            model.fit(X[train], y[train])
            seconds = time.perf_counter() - start
            probabilities = np.clip(model.predict_proba(X[test]), SMALLEST, 1.0)
            wrong = float(np.mean(model.predict(X[test]) != y[test]))
            loss = log_loss(y[test], probabilities, labels=model.classes_)
            results.setdefault(model_name, []).append((loss, wrong, seconds))
    return {model_name: np.array(values) for model_name, values in results.items()}


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__, seeds=5)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConvergenceWarning)
    names = ["iris", "wine"] if options.quick else [*CLASSIFICATION_NAMES, *OF_SKLEARN]
    seeds = 1 if options.quick else options.seeds
    print_setting(
        data=f"{len(names)} tables, a quarter for testing, {seeds} seeds",
        models="all defaults after StandardScaler; skec is pruned to a fifth of its weights",
        values="mean ± standard error over the seeds; the split is the same for all of them",
    )
    rows, losses, wins = [], [], []
    for name in names:
        try:
            found = evaluate(name, seeds)
        except FileNotFoundError as error:
            print(f"skipped: {error}")
            continue
        ours, theirs = found["skec"], found["sklearn"]
        row: dict[str, Any] = {"table": name}
        for label, place in (("log loss", 0), ("error rate", 1)):
            for model_name, values in found.items():
                row[f"{label}, {model_name}"] = with_error(values[:, place], 3)
        row["time, skec / sklearn"] = round(float(ours[:, 2].mean() / theirs[:, 2].mean()), 2)
        rows.append(row)
        losses.append(float(ours[:, 0].mean() / theirs[:, 0].mean()))
        wins.append(ours[:, 1].mean() <= theirs[:, 1].mean())
    print_table(rows)
    if rows:
        mean = np.exp(np.mean(np.log(losses)))
        print(
            f"\nlog loss over scikit-learn's: geometric mean {mean:.2f}, lower on "
            f"{sum(loss < 1 for loss in losses)} of {len(rows)} tables; error rate no higher on "
            f"{sum(wins)}"
        )


if __name__ == "__main__":
    main()
