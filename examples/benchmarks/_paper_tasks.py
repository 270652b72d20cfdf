"""Networks, data and methods of the benchmark of the paper's claims."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from sklearn.preprocessing import StandardScaler

from skec import PrunedMLPClassifier, PrunedMLPRegressor
from skec.datasets import fetch_mnist, make_diffusion_sorption

RATIOS = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
REFIT_RATIOS = (0.8, 0.95)
FORECAST_RATIOS = (0.05, 0.1, 0.3, 0.5, 0.7, 0.9)
N_STEPS = 10

# Labels of methods with their parameters. n_steps is 1 unless it is given. The scores of magnitude
# and random do not depend on earlier steps, so these two are compared in one step only.
OTHERS = {name: {"method": name} for name in ("magnitude", "gradient", "taylor", "random")}
OTHERS_IN_STEPS = {
    f"{name}, {N_STEPS} steps": {"method": name, "n_steps": N_STEPS}
    for name in ("gradient", "taylor")
}
ONE_SHOT, IN_STEPS, EXACT = "ec", f"ec, {N_STEPS} steps", "ec_exact"
IDENTITY = {"method": "ec", "output_metric": "identity"}
FISHER = {"method": "ec", "output_metric": "fisher"}
EC = {ONE_SHOT: IDENTITY, IN_STEPS: IDENTITY | {"n_steps": N_STEPS}}
EC_FISHER = {"ec fisher": FISHER, f"ec fisher, {N_STEPS} steps": FISHER | {"n_steps": N_STEPS}}


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


QUICK: dict[str, Any] = {
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
    """Training and test samples; the test targets have no noise."""

    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray


@dataclass
class Task:
    """A network, its data, and the methods and measures that are compared on it.

    ``load`` and ``model`` take a seed and return data and an estimator. ``methods`` maps labels to
    parameters. ``found`` maps the phase, the measure, the label and the ratio to one value for each
    seed.
    """

    name: str
    load: Callable[[int], Data]
    model: Callable[[int], Any]
    methods: dict[str, dict[str, Any]]
    measures: tuple[str, ...]
    refit_epochs: int
    found: dict[tuple[str, str, str, float], list[float]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def record(self, phase: str, label: str, ratio: float, estimator: Any, data: Data) -> None:
        """Measure a network on the test samples."""
        loss, accuracy = test_loss(estimator, data)
        for measure in self.measures:
            value = accuracy if measure == "accuracy" else loss
            self.found[phase, measure, label, ratio].append(value)


def test_loss(estimator: Any, data: Data) -> tuple[float, float]:
    """Cross-entropy and accuracy of a classifier; mean squared error of a regressor."""
    if isinstance(estimator, PrunedMLPRegressor):
        return float(np.mean((estimator.predict(data.X_test) - data.y_test) ** 2)), np.nan
    logits, y = outputs(estimator.module_, data.X_test), torch.from_numpy(data.y_test)
    accuracy = (logits.argmax(1) == y).double().mean()
    return float(torch.nn.functional.cross_entropy(logits, y)), float(accuracy)


@torch.no_grad()
def outputs(module: torch.nn.Module, X: np.ndarray) -> torch.Tensor:
    """Outputs of a network; for a regressor in units of the standardised targets."""
    return module(torch.from_numpy(X)).double().reshape(len(X), -1)


def images(size: Size) -> Callable[[int], Data]:
    """MNIST; the seed selects the training samples."""
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
        X = np.asarray(StandardScaler().fit(X[:n_points]).transform(X), dtype=np.float32)
        return Data(X[:n_points], y[:n_points], X[n_points:], clean[n_points:])

    return load


def dense(
    cls: type[Any],
    hidden: tuple[int, ...],
    activation: str,
    epochs: int,
    calibration_samples: int,
) -> Callable[[int], Any]:
    """A function of a seed that returns an estimator; its ``fit`` trains a dense network."""

    def model(seed: int) -> Any:
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
    """Two classifiers of digits; none if MNIST is not in the data folder."""
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
            methods=EC | EC_FISHER | OTHERS | OTHERS_IN_STEPS,
            measures=("cross-entropy", "accuracy"),
            refit_epochs=2,
        )
        for hidden, activation in (((300, 100), "relu"), ((128, 64), "tanh"))
    ]


def equation_tasks(size: Size) -> list[Task]:
    """Two regressors for each noise level."""
    return [
        Task(
            name=f"equation, noise {noise}, 2-{'-'.join(map(str, hidden))}-1 {activation}",
            load=equation(noise, size.points),
            model=dense(
                PrunedMLPRegressor, hidden, activation, size.point_epochs, size.calibration
            ),
            methods=EC | OTHERS | OTHERS_IN_STEPS,
            measures=("mean squared error",),
            refit_epochs=10,
        )
        for noise in size.noises
        for hidden, activation in (((64, 64, 64), "tanh"), ((100, 100), "relu"))
    ]


def small_tasks(size: Size) -> list[Task]:
    """Networks that are small enough to compute the exact scores."""
    return [
        Task(
            name=f"equation, noise 0.005, 2-{'-'.join(map(str, hidden))}-1 {activation}",
            load=equation(0.005, size.points),
            model=dense(
                PrunedMLPRegressor, hidden, activation, size.point_epochs, size.exact_samples
            ),
            methods={ONE_SHOT: IDENTITY, EXACT: {"method": EXACT}},
            measures=("mean squared error",),
            refit_epochs=0,
        )
        for hidden, activation in (((20, 20), "tanh"), ((20, 20), "relu"), ((30, 30), "tanh"))
    ]
