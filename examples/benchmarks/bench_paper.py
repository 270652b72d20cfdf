"""The claims of the elimination–compensation paper (arXiv:2602.20467), measured.

Measures the test loss at several pruning ratios on MNIST and on the diffusion–sorption equation,
directly after pruning and after a short refit. Compares the linearised scores with the exact ones,
and the forecast of the output change with the measured change. For each claim, the program counts
the cells of the tables in which it holds.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from _common import arguments, print_setting
from _paper_results import (
    CLAIMED,
    QUOTIENT,
    draw,
    print_claims,
    print_exact,
    print_forecasts,
    print_results,
)
from _paper_tasks import (
    EXACT,
    ONE_SHOT,
    QUICK,
    Data,
    Size,
    Task,
    equation_tasks,
    mnist_tasks,
    outputs,
    small_tasks,
)
from scipy.stats import spearmanr

import skec
from skec import PruningWarning


def measure(task: Task, seed: int, size: Size) -> tuple[Any, Data]:
    """Train the network of a task, then prune and refit it with each method."""
    data = task.load(seed)
    estimator = task.model(seed).fit(data.X, data.y)
    task.record("dense", "dense", 0.0, estimator, data)
    for label, parameters in task.methods.items():
        for ratio in size.ratios:
            estimator.prune(pruning_ratio=ratio, **({"n_steps": 1} | parameters))
            task.record("pruned", label, ratio, estimator, data)
            if task.refit_epochs and ratio in size.refit_ratios:
                estimator.refit(data.X, data.y, epochs=task.refit_epochs)
                task.record("refit", label, ratio, estimator, data)
    return estimator, data


def compare_forecast(task: Task, module: torch.nn.Module, data: Data, size: Size) -> None:
    """Record the change of the outputs on test samples over its forecast by the scores."""
    before = outputs(module, data.X_test)
    prune = partial(
        skec.prune, module, data.X[: size.calibration], n_steps=1, output_metric="identity"
    )
    forecasts = prune(pruning_ratio=0.0).forecast(size.forecasts)
    for ratio, forecast in zip(size.forecasts, forecasts, strict=True):
        result = prune(pruning_ratio=ratio)
        change = (outputs(result.module, data.X_test) - before).square().sum(1).mean()
        if forecast > 0:  # zero if the removed weights belong to units without effect
            task.found["forecast", QUOTIENT, ONE_SHOT, ratio].append(float(change) / forecast)


def compare_scores(task: Task, module: torch.nn.Module, data: Data, size: Size) -> None:
    """Record the rank correlation of the linearised and the exact scores."""
    scores = []
    for method in (ONE_SHOT, EXACT):
        result = skec.prune(
            module, data.X[: size.exact_samples], pruning_ratio=0.0, method=method, n_steps=1
        )
        scores.append(torch.cat([score.flatten() for score in result.scores.values()]))
    correlation = cast(Any, spearmanr(*scores)).statistic
    task.found["scores", "rank correlation", EXACT, 0.0].append(correlation)
    task.found["scores", "weights", EXACT, 0.0].append(len(scores[0]))


def print_setup(size: Size) -> None:
    """Print the setting."""
    print_setting(
        MNIST=f"{size.images} training images, {size.image_epochs} epochs, "
        f"{size.test_images} test images",
        equation=f"{size.points} training points, {size.point_epochs} epochs, "
        f"{size.points // 2} test points without noise, inputs scaled",
        networks="PrunedMLPClassifier and PrunedMLPRegressor, trained dense, otherwise defaults",
        pruning=f"over the whole network with {size.calibration} calibration samples, in one step "
        "unless a number of steps is given; each method has its default compensation; ec measures "
        "a change of the outputs by its square, ec fisher by the Fisher metric",
        values=f"mean ± standard error over {size.seeds} seeds",
    )


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__, seeds=3, figure="")
    size = Size(min(options.seeds, 2), **QUICK) if options.quick else Size(options.seeds)
    # Networks with outputs that no longer depend on the inputs are part of the comparison.
    warnings.simplefilter("ignore", PruningWarning)
    start = time.perf_counter()
    print_setup(size)
    groups = mnist_tasks(size), equation_tasks(size)
    for tasks in groups:
        for task in tasks:
            for seed in range(size.seeds):
                estimator, data = measure(task, seed, size)
                compare_forecast(task, estimator.dense_module_, data, size)
            print_results(task, size)
        if tasks:
            print_claims(tasks, size)
    small, few = (
        small_tasks(size),
        replace(size, ratios=tuple(r for r in size.ratios if r <= CLAIMED)),
    )
    for task in small:
        for seed in range(size.seeds):
            estimator, data = measure(task, seed, few)
            compare_scores(task, estimator.dense_module_, data, size)
    print_exact(small, few)
    all_tasks = [task for tasks in groups for task in tasks]
    print_forecasts(all_tasks, size)
    if options.figure:
        draw(all_tasks, size, options.figure)
    print(f"\n{time.perf_counter() - start:.0f} seconds in total")


if __name__ == "__main__":
    main()
