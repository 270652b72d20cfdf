"""Tables, counts and figure of the benchmark of the paper's claims."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from _common import print_table
from _paper_tasks import EXACT, IN_STEPS, ONE_SHOT, OTHERS, OTHERS_IN_STEPS, Size, Task

QUOTIENT = "measured / forecast"
CLAIMED = 0.9  # one-shot pruning without a refit is claimed to work up to about this ratio
COLORS = {
    "ec": "tab:blue",
    "ec fisher": "tab:cyan",
    "magnitude": "tab:orange",
    "gradient": "tab:green",
    "taylor": "tab:red",
    "random": "tab:gray",
}

# One combination of network, ratio and other method: its description, and the losses or error
# rates of the two methods for each seed.
Cell = tuple[str, list[float], list[float]]


def text(values: list[float]) -> str:
    """Mean ± standard error over the seeds."""
    if not values:
        return "–"
    mean = np.mean(values)
    if len(values) < 2:
        return f"{mean:.3g}"
    return f"{mean:.3g} ± {np.std(values, ddof=1) / len(values) ** 0.5:.1g}"


def print_results(task: Task, size: Size) -> None:
    """Print a table for each phase and measure, with methods as rows and ratios as columns."""
    refit_ratios = size.refit_ratios if task.refit_epochs else ()
    for phase, ratios in (("pruned", size.ratios), ("refit", refit_ratios)):
        if not ratios:
            continue
        for name in task.measures:
            reference = task.found["dense", name, "dense", 0.0]
            after = "directly after pruning"
            if phase == "refit":
                after = f"after a refit of {task.refit_epochs} epochs"
            print(f"\n{task.name}: {name} {after}; dense {text(reference)}")
            print_table(
                [
                    {"method": label}
                    | {str(r): text(task.found[phase, name, label, r]) for r in ratios}
                    for label in task.methods
                ]
            )


def cells(
    tasks: list[Task],
    phase: str,
    label: str,
    others: Iterable[str],
    ratios: Iterable[float],
    measure: int = 0,
) -> Iterator[Cell]:
    """The cells in which a method is compared with other methods."""
    for task in tasks:
        name = task.measures[measure]

        def errors(label: str, ratio: float, task: Task = task, name: str = name) -> list[float]:
            values = task.found[phase, name, label, ratio]
            return [1 - value for value in values] if name == "accuracy" else values

        for ratio in ratios:
            own = errors(label, ratio)
            for other in others:
                yield f"{task.name}, ratio {ratio}, {other}", own, errors(other, ratio)


def print_claim(claim: str, compared: Iterable[Cell]) -> None:
    """Print in how many cells the mean loss is lower than that of the other method.

    The other cells are listed.
    """
    compared = list(compared)
    if not compared:
        return
    failed = [cell for cell in compared if not np.mean(cell[1]) < np.mean(cell[2])]
    close = sum(undecided(own, other) for _, own, other in failed)
    print(
        f"\n{claim}: in {len(compared) - len(failed)} of {len(compared)} cells; {close} of the "
        f"other {len(failed)} are undecided (~: within two standard errors or 1 %)"
    )
    for where, own, other in failed:
        mark = "~" if undecided(own, other) else " "
        print(f"  not in {mark} {where}: {text(own)} against {text(other)}")


def undecided(own: list[float], other: list[float]) -> bool:
    """Whether two losses differ by less than two standard errors, or by less than 1 %."""
    difference = np.subtract(own, other)
    error = np.std(difference, ddof=1) / len(own) ** 0.5 if len(own) > 1 else 0.0
    return bool(abs(difference.mean()) <= max(2 * error, 0.01 * np.mean(other)))


def print_claims(tasks: list[Task], size: Size) -> None:
    """Count the cells in which the claims hold, by the loss and by the error rate."""
    up_to = tuple(ratio for ratio in size.ratios if ratio <= CLAIMED)
    above = tuple(ratio for ratio in size.ratios if ratio > CLAIMED)
    all_others = (*OTHERS, *OTHERS_IN_STEPS)
    for number, measure in enumerate(tasks[0].measures):
        lower = "a lower error rate" if measure == "accuracy" else "a lower loss"
        claims = [
            (f"each other method, at ratios up to {CLAIMED}", ONE_SHOT, OTHERS, up_to),
            ("each other method, at higher ratios", ONE_SHOT, OTHERS, above),
            ("each other method, in one or more steps", IN_STEPS, all_others, size.ratios),
            (ONE_SHOT, IN_STEPS, (ONE_SHOT,), size.ratios),
        ]
        for than, label, others, ratios in claims:
            compared = cells(tasks, "pruned", label, others, ratios, number)
            print_claim(f"Without refit, {label} has {lower} than {than}", compared)
        for label, others in ((ONE_SHOT, OTHERS), (IN_STEPS, all_others)):
            compared = cells(tasks, "refit", label, others, size.refit_ratios, number)
            print_claim(f"After the refit, {label} has {lower} than each other method", compared)


def print_forecasts(tasks: list[Task], size: Size) -> None:
    """Print the measured change of the outputs over the forecast."""
    found = {
        (task.name, ratio): task.found["forecast", QUOTIENT, ONE_SHOT, ratio]
        for task in tasks
        for ratio in size.forecasts
    }
    print("\nchange of the outputs by one-shot ec on test samples, measured / forecast")
    print("(–: the forecast is 0; on the calibration samples the removed weights have no effect)")
    print_table(
        [
            {"network": task.name} | {str(r): text(found[task.name, r]) for r in size.forecasts}
            for task in tasks
        ]
    )
    means = [float(np.mean(values)) for values in found.values() if values]
    near = sum(0.5 <= mean <= 2 for mean in means)
    print(
        f"\nThe forecast is within a factor of two in {near} of {len(means)} cells; measured / "
        f"forecast is between {min(means):.3g} and {max(means):.3g}"
    )


def print_exact(tasks: list[Task], size: Size) -> None:
    """Print rank correlations of linearised and exact scores, and the losses after pruning."""
    print("\nrank correlation of the scores of ec and ec_exact over all weights")
    print_table(
        [
            {
                "network": task.name,
                "weights": int(task.found["scores", "weights", EXACT, 0.0][0]),
                "rank correlation": text(task.found["scores", "rank correlation", EXACT, 0.0]),
            }
            for task in tasks
        ]
    )
    for task in tasks:
        print_results(task, size)
    print_claim(
        "One-shot ec_exact has a lower loss than one-shot ec",
        cells(tasks, "pruned", EXACT, (ONE_SHOT,), size.ratios),
    )


def draw(tasks: list[Task], size: Size, path: str) -> None:
    """Draw the test loss directly after pruning against the ratio, with a panel per network."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    columns = min(len(tasks), 3)
    rows = -(-len(tasks) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(5 * columns, 4 * rows), squeeze=False, layout="constrained"
    )
    for panel in axes.flat[len(tasks) :]:
        panel.set_axis_off()
    for panel, task in zip(axes.flat, tasks, strict=False):
        draw_task(panel, task, size)
    largest = max(axes.flat, key=lambda panel: len(panel.get_legend_handles_labels()[0]))
    figure.legend(*largest.get_legend_handles_labels(), loc="outside lower center", ncols=5)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_task(panel: Any, task: Task, size: Size) -> None:
    """Draw a line with standard errors for each method, dashed for several steps."""
    loss = task.measures[0]
    for label in task.methods:
        found = np.array([task.found["pruned", loss, label, r] for r in size.ratios])
        mean = found.mean(1)
        error = found.std(1, ddof=1) / found.shape[1] ** 0.5 if found.shape[1] > 1 else 0 * mean
        style, color = "--" if label.endswith("steps") else "-", COLORS[label.split(",")[0]]
        panel.plot(size.ratios, mean, style, color=color, marker="o", ms=3, label=label)
        low = np.maximum(mean - error, mean / 10)  # the axis is logarithmic
        panel.fill_between(size.ratios, low, mean + error, color=color, alpha=0.12, lw=0)
    dense_loss = np.mean(task.found["dense", loss, "dense", 0.0])
    panel.axhline(dense_loss, color="black", lw=1, ls=":", label="dense")
    panel.set(yscale="log", title=task.name, xlabel="pruning ratio", ylabel=f"test {loss}")
    panel.title.set_fontsize(10)
