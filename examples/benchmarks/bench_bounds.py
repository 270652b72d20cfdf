"""How often certificates are wrong, and how tight they are.

Each certificate is made many times from new samples of a known distribution. It fails if its
sentence is false for that distribution. The failure rate must be at most delta, up to the error of
the simulation.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from _common import arguments, print_setting, print_table
from scipy.stats import binomtest

from skec import PrunedMLPClassifier, PrunedMLPRegressor
from skec.bounds import (
    MaxChange,
    bernstein_upper_bound,
    betting_upper_bound,
    certificate_sample_size,
    change_at_rate,
    changes,
    rate_p_value,
    rate_upper_bound,
    t_upper_bound,
)

RATES = (0.002, 0.01, 0.05, 0.3)
SIZES = (300, 1000)
DELTAS = (0.05, 0.2)
# shares of the changes 0, 1, ..., 5: many ties
DISCRETE = np.array([0.5, 0.3, 0.145, 0.045, 0.008, 0.002])
N_NEW = 20_000  # rows that give the true share of a fitted network
EPSILONS = {"regressor": 0.1, "classifier": 0.03}


def row(failures: int, n_repeats: int, delta: float, **setting: Any) -> dict[str, Any]:
    """A failure rate with its 95 % interval, and whether it agrees with at most delta."""
    test = binomtest(failures, n_repeats, delta, alternative="greater")
    interval = binomtest(failures, n_repeats).proportion_ci(0.95)
    return setting | {
        "δ": delta,
        "failures": f"{failures} of {n_repeats}",
        "rate": f"{failures / n_repeats:.4f}",
        "95 % interval": f"[{interval.low:.4f}, {interval.high:.4f}]",
        "at most δ": "yes" if test.pvalue > 0.001 else "NO",
    }


def rates(n_repeats: int) -> list[dict[str, Any]]:
    """The bound of Clopper and Pearson."""
    rows, rng = [], np.random.default_rng(0)
    for n in SIZES:
        for rate in RATES:
            for delta in DELTAS:
                bounds = np.array([rate_upper_bound(k, n, delta) for k in range(n + 1)])
                found = bounds[rng.binomial(n, rate, n_repeats)]
                failures = int((found < rate).sum())
                rows.append(
                    row(failures, n_repeats, delta, n=n, rate_of_rows=rate)
                    | {"mean bound": f"{found.mean():.4f}"}
                )
    return rows


def order_statistics(n_repeats: int) -> list[dict[str, Any]]:
    """The change that a share exceeds; continuous and discrete."""
    rows, rng = [], np.random.default_rng(1)
    above = 1 - np.cumsum(DISCRETE)
    draws: dict[str, tuple[Callable, Callable]] = {
        "exponential": (lambda n: rng.exponential(size=n), lambda e: np.exp(-e)),
        "six values": (lambda n: rng.choice(6, n, p=DISCRETE), lambda e: above[int(e)]),
    }
    for name, (draw, tail) in draws.items():
        for n, alpha in ((300, 0.01), (1000, 0.01), (300, 0.05), (1000, 0.055)):
            for delta in DELTAS:
                if n < certificate_sample_size(alpha, delta):
                    continue
                found = [change_at_rate(draw(n), alpha, delta) for _ in range(n_repeats)]
                shares = np.array([tail(e) for e in found])
                failures = int((shares > alpha + 1e-12).sum())
                rows.append(
                    row(failures, n_repeats, delta, changes=name, n=n, α=alpha)
                    | {"mean share": f"{shares.mean():.4f}"}
                )
    return rows


def stratified(n_repeats: int) -> list[dict[str, Any]]:
    """The test of ``max_change``, with 100 of 400 rows in proportion to two classes."""
    rows, rng, n_all, n, alpha = [], np.random.default_rng(3), 400, 100, 0.1
    for shares, changing in (((0.5, 0.5), (0.0, 0.2)), ((0.9, 0.1), (0.05, 0.55))):
        for delta in DELTAS:
            of_first = rng.multinomial(n_all, shares, n_repeats)[:, 0]
            first = np.round(of_first * n / n_all).astype(int)
            counts = {
                "in proportion": rng.binomial(first, changing[0])
                + rng.binomial(n - first, changing[1]),
                "at random": rng.binomial(n, alpha, n_repeats),
            }
            for held_out, count in counts.items():
                accepted = sum(rate_p_value(k, n, alpha) <= delta for k in count.tolist())
                setting = {"classes": shares, "changing": changing, "held out": held_out}
                rows.append(row(accepted, n_repeats, delta, **setting))
    return rows


def means(n_repeats: int) -> list[dict[str, Any]]:
    """Bounds for the mean of differences in [-1, 1]."""
    rng = np.random.default_rng(2)
    draws: dict[str, tuple[Callable, float]] = {
        "labels, 2 % worse, 1 % better": (
            lambda n: rng.choice([1.0, -1.0, 0.0], n, p=[0.02, 0.01, 0.97]),
            0.01,
        ),
        "rare: 1 in 200": (lambda n: rng.binomial(1, 0.005, n).astype(float), 0.005),
        "uniform on [-0.1, 0.12]": (lambda n: rng.uniform(-0.1, 0.12, n), 0.01),
    }
    bounds: dict[str, Callable] = {
        "t": t_upper_bound,
        "Bernstein": lambda x, delta: bernstein_upper_bound(x, -1.0, 1.0, delta),
        "betting": lambda x, delta: betting_upper_bound(x, -1.0, 1.0, delta),
    }
    rows = []
    for name, (draw, mean) in draws.items():
        for n in SIZES:
            samples = [draw(n) for _ in range(n_repeats)]
            for kind, bound in bounds.items():
                found = np.array([bound(sample, 0.05) for sample in samples])
                failures = int((found < mean).sum())
                rows.append(
                    row(failures, n_repeats, 0.05, differences=name, n=n, bound=kind)
                    | {"mean": mean, "mean bound": f"{found.mean():.4f}"}
                )
    return rows


def data(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Features and a noisy target."""
    X = rng.normal(size=(n, 4)).astype(np.float32)
    return X, X[:, 0] + np.sin(2 * X[:, 1]) + 0.5 * rng.normal(size=n)


def fitted(kind: str, epsilon: float, alpha: float, delta: float, seed: int) -> dict[str, Any]:
    """What a fit claims, and what is true; the held-out rows are used as ``fit`` does."""
    rng = np.random.default_rng(seed)
    (X, y), (X_new, _) = data(rng, 400), data(rng, N_NEW)
    estimator = {"regressor": PrunedMLPRegressor, "classifier": PrunedMLPClassifier}[kind]
    net = estimator(
        (16,),
        max_epochs=8,
        feature_embedding=None,
        lr=0.01,
        early_stopping=True,
        validation_fraction=0.25,
        pruning_ratio="auto",
        n_steps=1,
        max_change=MaxChange(epsilon, alpha=alpha, delta=delta),
        refit_strategy="none",
        random_state=seed,
    ).fit(X, y if kind == "regressor" else (y > 0.8).astype(int))
    dense = copy.deepcopy(net).prune(pruning_ratio=0.0)
    predict = "predict" if kind == "regressor" else "predict_proba"
    after, before = (getattr(each, predict)(X_new) for each in (net, dense))
    share = float((changes(after, before) > epsilon).mean())
    claimed = net.pruning_curve_.certificate is not None
    return {"ratio": net.pruning_ratio_, "share": share, "false": claimed and share > alpha}


def fits(n_repeats: int, alpha: float, delta: float) -> list[dict[str, Any]]:
    """The ratio that ``max_change`` chooses in ``fit``."""
    rows = []
    for kind, epsilon in EPSILONS.items():
        found = [fitted(kind, epsilon, alpha, delta, seed) for seed in range(n_repeats)]
        failures = sum(each["false"] for each in found)
        rows.append(
            row(failures, n_repeats, delta, estimator=kind, ε=epsilon, α=alpha)
            | {name: f"{np.mean([e[name] for e in found]):.3f}" for name in ("ratio", "share")}
        )
    return rows


def main() -> None:
    """Simulate and print."""
    options = arguments(__doc__)
    warnings.simplefilter("ignore")
    n_repeats, n_fits = (2000, 20) if options.quick else (5000, 2000)
    print_setting(
        repetitions=f"{n_repeats} samples for each row, {n_fits} fits for each row of fit",
        failure="the sentence is false for the distribution of the rows",
        interval="exact 95 % interval of the failure rate; 'at most δ' by a binomial test at 0.001",
        fit="400 rows, 100 of them held out, 16 hidden units, 8 epochs, the best epoch chosen on "
        f"the held-out rows, one pruning step; the true share is that of {N_NEW} new rows",
    )
    print("share of rows that change by more than a given ε (Clopper and Pearson)")
    print_table(rates(n_repeats))
    print("\nchange that a share α of rows exceeds (order statistic)")
    print_table(order_statistics(n_repeats))
    print("\nacceptance of a false ratio, held-out rows in proportion to the classes")
    print_table(stratified(n_repeats))
    print("\nmean difference; t is approximate, the others hold for values in [-1, 1]")
    print_table(means(n_repeats))
    print("\nratio that max_change chooses in fit")
    print_table(fits(n_fits, 0.1, 0.2))


if __name__ == "__main__":
    main()
