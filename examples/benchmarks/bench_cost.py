"""Time of one-shot pruning by each method, in training epochs, for networks of several sizes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from _common import arguments, best_times, print_setting, print_table

import skec
from skec import PrunedMLPRegressor
from skec.pruning import PruningWarning
from skec.training import small_network_mode

RATIO = 0.8
BATCH_SIZE = 64  # of the training
LIMIT = 60.0  # seconds; a run with a longer expected time is skipped
LONG = 3.0  # seconds; a longer run is not repeated
METHODS = {
    "magnitude": {"method": "magnitude"},
    "lamp": {"method": "lamp"},
    "wanda": {"method": "wanda"},
    "gradient": {"method": "gradient"},
    "obd": {"method": "obd"},
    "ec": {"method": "ec"},
}
SURGEONS = {
    "surgeon, weights": {"method": "surgeon", "compensation": "weights"},
    "surgeon, network": {"method": "surgeon", "compensation": "network"},
}
COLUMNS = (*METHODS, *SURGEONS)


@dataclass(frozen=True)
class Case:
    """A network and a number of samples."""

    hidden: tuple[int, ...] = (256, 256)
    n_samples: int = 5_000
    n_outputs: int = 1
    n_features: int = 16
    n_probes: int | Literal["auto"] | None = "auto"

    @property
    def surgeon_work(self) -> int:
        """Multiplications for the matrices of all units: squared inputs per unit and sample."""
        sizes = (self.n_features, *self.hidden, self.n_outputs)
        return self.n_samples * sum((n_in + 1) ** 2 * n_out for n_in, n_out in pairwise(sizes))


def cases(base: Case, quick: bool) -> dict[str, Case]:
    """The base case, and cases that differ from it in one setting."""
    width, depth = base.hidden[0], len(base.hidden)
    few = {
        "base": base,
        f"width {width // 4}": replace(base, hidden=(width // 4,) * depth),
        "1 hidden layer": replace(base, hidden=base.hidden[:1]),
        "10 outputs": replace(base, n_outputs=10),
    }
    if quick:
        return few
    return few | {
        f"width {width * 4}": replace(base, hidden=(width * 4,) * depth),
        "4 hidden layers": replace(base, hidden=base.hidden[:1] * 4),
        "1,000 samples": replace(base, n_samples=1_000),
        "10,000 samples": replace(base, n_samples=10_000),
        "50,000 samples": replace(base, n_samples=50_000),
        "100 outputs, 16 probes": replace(base, n_outputs=100),
        "100 outputs, each": replace(base, n_outputs=100, n_probes=None),
    }


def trained(case: Case) -> tuple[PrunedMLPRegressor, np.ndarray, np.ndarray]:
    """An estimator after one epoch on random numbers, and its training data."""
    rng = np.random.RandomState(0)
    X = rng.normal(size=(case.n_samples, case.n_features)).astype(np.float32)
    y = np.sin(X @ rng.normal(size=(case.n_features, case.n_outputs))).astype(np.float32)
    estimator = PrunedMLPRegressor(
        case.hidden,
        max_epochs=1,
        batch_size=BATCH_SIZE,
        lr=1e-3,
        lr_schedule="constant",
        early_stopping=False,
        random_state=0,
    )
    return estimator.partial_fit(X, _as_targets(y)), X, y


def _as_targets(y: np.ndarray) -> np.ndarray:
    """Targets for an estimator; a single column as a vector."""
    return y[:, 0] if y.shape[1] == 1 else y


def functions(case: Case, methods: dict[str, dict[str, Any]]) -> Mapping[str, Callable[[], object]]:
    """The timed functions: an epoch of training, and pruning in one step by each method."""
    estimator, X, y = trained(case)
    module, inputs, targets = estimator.module_, torch.from_numpy(X), torch.from_numpy(y)
    prune = partial(
        skec.prune, module, inputs, targets, pruning_ratio=RATIO, n_steps=1, n_probes=case.n_probes
    )
    return {"epoch": lambda: estimator.partial_fit(X, _as_targets(y))} | {
        name: partial(prune, random_state=0, **parameters) for name, parameters in methods.items()
    }


def measure(case: Case, repeat: int, surgeon_seconds: float = 0.0) -> dict[str, float]:
    """Seconds of an epoch and of each method; the surgeon is skipped if it takes too long.

    Parameters
    ----------
    case : Case
    repeat : int
        Number of rounds.
    surgeon_seconds : float, default=0.0
        Expected time of the surgeon.
    """
    with small_network_mode(), warnings.catch_warnings():  # as in the estimators
        warnings.simplefilter("ignore", PruningWarning)  # layers without weights do not matter here
        times = best_times(functions(case, METHODS), repeat)
        if surgeon_seconds > LIMIT:
            return times
        surgeons = functions(case, SURGEONS)
        slow = best_times(surgeons, 1)
        if max(slow.values()) < LONG:
            again = best_times(surgeons, repeat - 1)
            slow = {name: min(seconds, again[name]) for name, seconds in slow.items()}
    return times | slow | {"epoch": min(times["epoch"], slow["epoch"])}


def measure_all(chosen: dict[str, Case], repeat: int) -> dict[str, dict[str, float]]:
    """Times of all cases; the expected times of the surgeon follow from the base case."""
    base = chosen["base"]
    times = {"base": measure(base, repeat)}
    speed = base.surgeon_work / times["base"]["surgeon, network"]
    for name, case in chosen.items():
        if name != "base":
            times[name] = measure(case, repeat, case.surgeon_work / speed)
    return times


def print_relative(times: dict[str, dict[str, float]]) -> None:
    """Print the times of the methods over the time of an epoch."""
    print_table(
        [
            {"case": name, "epoch s": seconds["epoch"]}
            | {
                m: f"{seconds[m] / seconds['epoch']:.3g}" if m in seconds else "skipped"
                for m in COLUMNS
            }
            for name, seconds in times.items()
        ]
    )


def print_growth(times: dict[str, dict[str, float]]) -> None:
    """Print the times over the times of the base case."""
    base = times["base"]
    print_table(
        [
            {"case": name}
            | {m: f"{seconds[m] / base[m]:.3g}" if m in seconds else "skipped" for m in base}
            for name, seconds in times.items()
        ]
    )


def print_exact(repeat: int) -> None:
    """Print the time of the scores without linearisation for a small network."""
    case = Case(hidden=(8,), n_samples=500, n_features=4)
    methods = {"ec": METHODS["ec"], "ec_exact": {"method": "ec_exact"}}
    with small_network_mode():
        times = best_times(functions(case, methods), repeat)
    print(f"\n{case.n_features} features, hidden {case.hidden}, {case.n_samples} samples")
    print_table(
        [
            {"work": work, "seconds": seconds, "× epoch": seconds / times["epoch"]}
            for work, seconds in times.items()
        ]
    )


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__)
    base = Case(hidden=(128, 128), n_samples=2_000) if options.quick else Case()
    repeat = 2 if options.quick else 3
    print_setting(
        base=f"{base.n_features} features, hidden {base.hidden}, SiLU, {base.n_outputs} output, "
        f"{base.n_samples} samples, random numbers",
        epoch=f"PrunedMLPRegressor, batches of {BATCH_SIZE}, the same samples",
        pruning=f"skec.prune to a ratio of {RATIO} in one step",
        times=f"shortest of {repeat} runs; the surgeon runs once if it takes more than {LONG:g} s, "
        f"and is skipped if more than {LIMIT:g} s are expected",
    )
    times = measure_all(cases(base, options.quick), repeat)
    print("time of pruning over the time of an epoch")
    print_relative(times)
    print("\ntime over the time of the base case")
    print_growth(times)
    print_exact(repeat)


if __name__ == "__main__":
    main()
