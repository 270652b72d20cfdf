"""The claims of the elimination–compensation paper (arXiv:2602.20467), measured.

Test loss against the pruning ratio on MNIST and on the diffusion–sorption equation, right after
pruning and after a short refit; the linearised scores against the exact ones; the forecast of the
output change against what it is. Each claim is counted over the cells of the tables.
"""

from __future__ import annotations

import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from _common import arguments, print_setting, print_table
from scipy.stats import spearmanr
from sklearn.preprocessing import StandardScaler

import skec
from skec import PrunedMLPClassifier, PrunedMLPRegressor, PruningWarning
from skec.datasets import fetch_mnist, make_diffusion_sorption

RATIOS = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
REFIT_RATIOS = (0.8, 0.95)
FORECAST_RATIOS = (0.05, 0.1, 0.3, 0.5, 0.7, 0.9)
CLAIMED = 0.9  # one-shot pruning is claimed to work without a refit up to about here
N_STEPS = 10

# Magnitude and random have no staged form: their scores do not depend on what went before.
RIVALS = {name: {"method": name} for name in ("magnitude", "gradient", "taylor", "random")}
STAGED_RIVALS = {
    f"{name}, {N_STEPS} steps": {"method": name, "n_steps": N_STEPS}
    for name in ("gradient", "taylor")
}
ONE_SHOT, STAGED, EXACT = "ec", f"ec, {N_STEPS} steps", "ec_exact"
QUOTIENT = "measured / forecast"
IDENTITY = {"method": "ec", "output_metric": "identity"}
FISHER = {"method": "ec", "output_metric": "fisher"}
EC = {ONE_SHOT: IDENTITY, STAGED: IDENTITY | {"n_steps": N_STEPS}}
EC_FISHER = {"ec fisher": FISHER, f"ec fisher, {N_STEPS} steps": FISHER | {"n_steps": N_STEPS}}

COLORS = {
    "ec": "tab:blue",
    "ec fisher": "tab:cyan",
    "magnitude": "tab:orange",
    "gradient": "tab:green",
    "taylor": "tab:red",
    "random": "tab:gray",
}


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    seeds: int
    ratios: tuple[float, ...] = RATIOS
    refit_ratios: tuple[float, ...] = REFIT_RATIOS
    forecasts: tuple[float, ...] = FORECAST_RATIOS
    calibration: int = 1024
    images: int = 20_000
    test_images: int = 10_000
    image_epochs: int = 10
    noises: tuple[float, ...] = (0.005, 0.05)
    points: int = 6000
    point_epochs: int = 60
    exact_samples: int = 256


QUICK = {
    "ratios": (0.5, 0.9),
    "refit_ratios": (0.9,),
    "forecasts": (0.1, 0.5, 0.9),
    "calibration": 256,
    "images": 2000,
    "test_images": 2000,
    "image_epochs": 4,
    "noises": (0.05,),
    "points": 2000,
    "point_epochs": 20,
    "exact_samples": 64,
}


@dataclass
class Data:
    """Training and test samples; the test targets carry no noise."""

    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray


@dataclass
class Task:
    """A network, the data it learns and what is measured on it.

    ``found`` maps the phase, the name of a measure, the contender and the ratio to one value for
    each seed.
    """

    name: str
    load: Callable[[int], Data]
    model: Callable[[int], object]
    contenders: dict[str, dict]
    measures: tuple[str, ...]
    refit_epochs: int
    found: dict[tuple, list[float]] = field(default_factory=lambda: defaultdict(list))

    def record(self, phase: str, contender: str, ratio: float, estimator, data: Data) -> None:
        """Measure a network on the test samples."""
        loss, accuracy = test_loss(estimator, data)
        for measure in self.measures:
            value = accuracy if measure == "accuracy" else loss
            self.found[phase, measure, contender, ratio].append(value)


def test_loss(estimator, data: Data) -> tuple[float, float]:
    """Cross-entropy and accuracy of a classifier; mean squared error of a regressor."""
    if isinstance(estimator, PrunedMLPRegressor):
        return float(np.mean((estimator.predict(data.X_test) - data.y_test) ** 2)), np.nan
    logits, y = outputs(estimator.module_, data.X_test), torch.from_numpy(data.y_test)
    accuracy = (logits.argmax(1) == y).double().mean()
    return float(torch.nn.functional.cross_entropy(logits, y)), float(accuracy)


@torch.no_grad()
def outputs(module, X: np.ndarray) -> torch.Tensor:
    """Outputs of a network, of which a regressor's are in units of its standardised target."""
    return module(torch.from_numpy(X)).double().reshape(len(X), -1)


def images(size: Size) -> Callable[[int], Data]:
    """MNIST; the seed chooses the training samples."""
    X, y, X_test, y_test = fetch_mnist(download=False)

    def load(seed: int) -> Data:
        rows = np.random.RandomState(seed).permutation(len(X))[: size.images]
        return Data(X[rows], y[rows], X_test[: size.test_images], y_test[: size.test_images])

    return load


def equation(noise: float, n_points: int) -> Callable[[int], Data]:
    """The diffusion–sorption equation with scaled inputs; the seed draws points and noise."""

    def load(seed: int) -> Data:
        n_samples = n_points + n_points // 2
        X, y = make_diffusion_sorption(n_samples, noise=noise, random_state=seed)
        _, clean = make_diffusion_sorption(n_samples, noise=0, random_state=seed)
        X = StandardScaler().fit(X[:n_points]).transform(X).astype(np.float32)
        return Data(X[:n_points], y[:n_points], X[n_points:], clean[n_points:])

    return load


def dense(
    cls, hidden: tuple[int, ...], activation: str, epochs: int, calibration_samples: int
) -> Callable[[int], object]:
    """An estimator, made from a seed, that trains for all its epochs and prunes nothing."""

    def model(seed: int):
        return cls(
            hidden,
            activation=activation,
            pruning_ratio=0.0,
            refit_strategy="none",
            early_stopping=False,
            max_epochs=epochs,
            calibration_samples=calibration_samples,
            random_state=seed,
        )

    return model


def mnist_tasks(size: Size) -> list[Task]:
    """Two classifiers of digits; none where the images are not at hand."""
    try:
        load = images(size)
    except FileNotFoundError as error:
        print(f"MNIST is skipped: {error}")
        return []
    return [
        Task(
            name=f"MNIST, 784-{'-'.join(map(str, hidden))}-10 {activation}",
            load=load,
            model=dense(
                PrunedMLPClassifier, hidden, activation, size.image_epochs, size.calibration
            ),
            contenders=EC | EC_FISHER | RIVALS | STAGED_RIVALS,
            measures=("cross-entropy", "accuracy"),
            refit_epochs=2,
        )
        for hidden, activation in (((300, 100), "relu"), ((128, 64), "tanh"))
    ]


def equation_tasks(size: Size) -> list[Task]:
    """Two regressors on data with little and with much noise."""
    return [
        Task(
            name=f"equation, noise {noise}, 2-{'-'.join(map(str, hidden))}-1 {activation}",
            load=equation(noise, size.points),
            model=dense(
                PrunedMLPRegressor, hidden, activation, size.point_epochs, size.calibration
            ),
            contenders=EC | RIVALS | STAGED_RIVALS,
            measures=("mean squared error",),
            refit_epochs=10,
        )
        for noise in size.noises
        for hidden, activation in (((64, 64, 64), "tanh"), ((100, 100), "relu"))
    ]


def small_tasks(size: Size) -> list[Task]:
    """Networks so small that the exact score of every weight can be found."""
    return [
        Task(
            name=f"equation, noise 0.005, 2-{'-'.join(map(str, hidden))}-1 {activation}",
            load=equation(0.005, size.points),
            model=dense(
                PrunedMLPRegressor, hidden, activation, size.point_epochs, size.exact_samples
            ),
            contenders={ONE_SHOT: IDENTITY, EXACT: {"method": EXACT}},
            measures=("mean squared error",),
            refit_epochs=0,
        )
        for hidden, activation in (((20, 20), "tanh"), ((20, 20), "relu"), ((30, 30), "tanh"))
    ]


def measure(task: Task, seed: int, size: Size) -> tuple[object, Data]:
    """Train the network of a task, then prune and refit it in every way."""
    data = task.load(seed)
    estimator = task.model(seed).fit(data.X, data.y)
    task.record("dense", "dense", 0.0, estimator, data)
    for contender, parameters in task.contenders.items():
        for ratio in size.ratios:
            estimator.prune(pruning_ratio=ratio, **({"n_steps": 1} | parameters))
            task.record("pruned", contender, ratio, estimator, data)
            if task.refit_epochs and ratio in size.refit_ratios:
                estimator.refit(data.X, data.y, epochs=task.refit_epochs)
                task.record("refit", contender, ratio, estimator, data)
    return estimator, data


def compare_forecast(task: Task, module, data: Data, size: Size) -> None:
    """Record the change of the outputs on test samples over what the scores foresee."""
    calibration, before = data.X[: size.calibration], outputs(module, data.X_test)
    foresee = skec.prune(module, calibration, pruning_ratio=0.0, output_metric="identity").forecast
    for ratio, forecast in zip(size.forecasts, foresee(size.forecasts), strict=True):
        result = skec.prune(module, calibration, pruning_ratio=ratio, output_metric="identity")
        change = (outputs(result.module, data.X_test) - before).square().sum(1).mean()
        if forecast > 0:  # else all that goes is on units without effect
            task.found["forecast", QUOTIENT, ONE_SHOT, ratio].append(float(change) / forecast)


def compare_scores(task: Task, module, data: Data, size: Size) -> None:
    """Record the rank correlation of the linearised and the exact scores."""
    scores = []
    for method in (ONE_SHOT, EXACT):
        result = skec.prune(module, data.X[: size.exact_samples], pruning_ratio=0.0, method=method)
        scores.append(torch.cat([score.flatten() for score in result.scores.values()]))
    task.found["scores", "rank correlation", EXACT, 0.0].append(spearmanr(*scores).statistic)
    task.found["scores", "weights", EXACT, 0.0].append(len(scores[0]))


def text(values: list[float]) -> str:
    """Mean ± standard error over the seeds."""
    if not values:
        return "–"
    mean = np.mean(values)
    if len(values) < 2:
        return f"{mean:.3g}"
    return f"{mean:.3g} ± {np.std(values, ddof=1) / len(values) ** 0.5:.1g}"


def print_results(task: Task, size: Size) -> None:
    """One table for each phase and measure: contenders down, ratios across."""
    refit_ratios = size.refit_ratios if task.refit_epochs else ()
    for phase, ratios in (("pruned", size.ratios), ("refit", refit_ratios)):
        if not ratios:
            continue
        for name in task.measures:
            whole = task.found["dense", name, "dense", 0.0]
            after = "right after pruning"
            if phase == "refit":
                after = f"after {task.refit_epochs} epochs of refit"
            print(f"\n{task.name}: {name} {after}; dense {text(whole)}")
            print_table(
                [
                    {"method": c} | {str(r): text(task.found[phase, name, c, r]) for r in ratios}
                    for c in task.contenders
                ]
            )


def cells(
    tasks: list[Task], phase: str, contender: str, rivals, ratios, measure: int = 0
) -> Iterator[tuple[str, list[float], list[float]]]:
    """Where a contender meets a rival: a description, and the losses or errors of the two."""
    for task in tasks:
        name = task.measures[measure]

        def errors(contender, ratio, task=task, name=name):
            values = task.found[phase, name, contender, ratio]
            return [1 - value for value in values] if name == "accuracy" else values

        for ratio in ratios:
            own = errors(contender, ratio)
            for rival in rivals:
                yield f"{task.name}, ratio {ratio}, {rival}", own, errors(rival, ratio)


def print_claim(claim: str, met: Iterator[tuple[str, list[float], list[float]]]) -> None:
    """Print in how many cells the mean loss is lower than the rival's, and where it is not."""
    met = list(met)
    if not met:
        return
    failed = [cell for cell in met if not np.mean(cell[1]) < np.mean(cell[2])]
    close = sum(undecided(own, other) for _, own, other in failed)
    print(
        f"\n{claim}: in {len(met) - len(failed)} of {len(met)} cells; {close} of the "
        f"other {len(failed)} undecided (~: within two standard errors or 1 %)"
    )
    for where, own, other in failed:
        mark = "~" if undecided(own, other) else " "
        print(f"  not so {mark} {where}: {text(own)} against {text(other)}")


def undecided(own: list[float], other: list[float]) -> bool:
    """Whether the seeds do not tell two losses apart, or the losses are as good as equal."""
    difference = np.subtract(own, other)
    error = np.std(difference, ddof=1) / len(own) ** 0.5 if len(own) > 1 else 0.0
    return abs(difference.mean()) <= max(2 * error, 0.01 * np.mean(other))


def print_claims(tasks: list[Task], size: Size) -> None:
    """Count the claims over the networks of some tasks, by the loss and by the accuracy."""
    up_to = tuple(ratio for ratio in size.ratios if ratio <= CLAIMED)
    beyond = tuple(ratio for ratio in size.ratios if ratio > CLAIMED)
    all_rivals = (*RIVALS, *STAGED_RIVALS)
    for number, measure in enumerate(tasks[0].measures):
        lower = "a lower error rate" if measure == "accuracy" else "a lower loss"
        claims = [
            (f"{ONE_SHOT} has {lower} than each rival up to {CLAIMED}", ONE_SHOT, RIVALS, up_to),
            (f"{ONE_SHOT} has {lower} than each rival above that", ONE_SHOT, RIVALS, beyond),
            (f"{STAGED} has {lower} than each rival, staged or not", STAGED, all_rivals, None),
            (f"{STAGED} has {lower} than {ONE_SHOT}", STAGED, (ONE_SHOT,), None),
        ]
        for claim, contender, rivals, ratios in claims:
            where = size.ratios if ratios is None else ratios
            met = cells(tasks, "pruned", contender, rivals, where, number)
            print_claim(f"Without refit, {claim}", met)
        for contender, rivals in ((ONE_SHOT, RIVALS), (STAGED, all_rivals)):
            met = cells(tasks, "refit", contender, rivals, size.refit_ratios, number)
            print_claim(f"After the refit, {contender} has {lower} than each rival", met)


def print_forecasts(tasks: list[Task], size: Size) -> None:
    """The change of the outputs over the forecast, and how far apart the two are."""
    found = {
        (task.name, ratio): task.found["forecast", QUOTIENT, ONE_SHOT, ratio]
        for task in tasks
        for ratio in size.forecasts
    }
    print("\nchange of the outputs by one-shot ec on test samples, measured / forecast")
    print("(–: all that goes is on units without effect on the calibration samples)")
    print_table(
        [
            {"network": task.name} | {str(r): text(found[task.name, r]) for r in size.forecasts}
            for task in tasks
        ]
    )
    means = [float(np.mean(values)) for values in found.values() if values]
    near = sum(0.5 <= mean <= 2 for mean in means)
    print(
        f"\nThe forecast is within a factor of two: in {near} of {len(means)} cells; measured / "
        f"forecast lies between {min(means):.3g} and {max(means):.3g}"
    )


def print_exact(tasks: list[Task], size: Size) -> None:
    """Linearised and exact scores: their order, and the losses they lead to."""
    print("\nrank correlation of the scores of ec and ec_exact over all weights")
    key = "scores", "rank correlation", EXACT, 0.0
    print_table(
        [
            {
                "network": task.name,
                "weights": int(task.found["scores", "weights", EXACT, 0.0][0]),
                "rank correlation": text(task.found[key]),
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
    """Draw the test loss right after pruning against the ratio, a panel for each network."""
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


def draw_task(panel, task: Task, size: Size) -> None:
    """One panel: a line for each contender, dashed in stages, with a band of one standard error."""
    loss = task.measures[0]
    for contender in task.contenders:
        found = np.array([task.found["pruned", loss, contender, r] for r in size.ratios])
        mean = found.mean(1)
        error = found.std(1, ddof=1) / found.shape[1] ** 0.5 if found.shape[1] > 1 else 0 * mean
        staged, color = contender.endswith("steps"), COLORS[contender.split(",")[0]]
        style = "--" if staged else "-"
        panel.plot(size.ratios, mean, style, color=color, marker="o", ms=3, label=contender)
        low = np.maximum(mean - error, mean / 10)  # the axis is logarithmic
        panel.fill_between(size.ratios, low, mean + error, color=color, alpha=0.12, lw=0)
    dense_loss = np.mean(task.found["dense", loss, "dense", 0.0])
    panel.axhline(dense_loss, color="black", lw=1, ls=":", label="dense")
    panel.set(yscale="log", title=task.name, xlabel="pruning ratio", ylabel=f"test {loss}")
    panel.title.set_fontsize(10)


def print_setup(size: Size) -> None:
    """Print what is measured, and how."""
    print_setting(
        MNIST=f"{size.images} training images, {size.image_epochs} epochs, "
        f"{size.test_images} test images",
        equation=f"{size.points} training points, {size.point_epochs} epochs, "
        f"{size.points // 2} test points without noise, inputs scaled",
        networks="PrunedMLPClassifier and PrunedMLPRegressor, trained dense, their defaults else",
        pruning=f"over the whole network with {size.calibration} calibration samples; every "
        "contender with its own compensation; ec measures a change of the outputs by its square, "
        "ec fisher by the Fisher metric",
        numbers=f"mean ± standard error over {size.seeds} seeds",
    )


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__, seeds=3, figure="")
    size = Size(min(options.seeds, 2), **QUICK) if options.quick else Size(options.seeds)
    # A network that pruning cuts in two is part of the comparison.
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
    every = [task for tasks in groups for task in tasks]
    print_forecasts(every, size)
    if options.figure:
        draw(every, size, options.figure)
    print(f"\n{time.perf_counter() - start:.0f} seconds in all")


if __name__ == "__main__":
    main()
