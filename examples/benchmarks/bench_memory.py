"""Memory and time of pruning on many rows, by every method and compensation.

Each runs in a process of its own, so that the peak is that of the one method.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
import warnings
from typing import Any

import torch
from _common import arguments, print_setting, print_table

import skec
from skec.compensation import COMPENSATIONS
from skec.compensation.units import UNIT_COMPENSATIONS
from skec.criteria import CRITERIA
from skec.criteria.units import UNIT_CRITERIA
from skec.networks import MLP
from skec.pruning import PruningWarning

N_FEATURES, HIDDEN, N_OUTPUTS = 20, (32, 32), 3
N_STEPS = 2
FEW_ROWS = 500  # for ec_exact, which takes a forward pass for each weight and sample


def settings() -> list[dict[str, str]]:
    """Every method without compensation, and every compensation with a method without data."""
    weights = [{"method": name, "compensation": "none"} for name in sorted(CRITERIA)]
    weights += [{"method": "magnitude", "compensation": name} for name in sorted(COMPENSATIONS)]
    units = [{"method": name, "compensation": "none"} for name in sorted(UNIT_CRITERIA)]
    units += [{"method": "l2", "compensation": name} for name in sorted(UNIT_COMPENSATIONS)]
    return [{"granularity": "weight", **one} for one in weights] + [
        {"granularity": "neuron", **one} for one in units
    ]


def peak() -> float:
    """The largest memory that this process has had so far, in MB."""
    per_mb = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / per_mb


def measure(setting: dict[str, str], n_rows: int) -> dict[str, Any]:
    """Memory beyond that before the pruning, and seconds."""
    generator = torch.Generator().manual_seed(0)
    if "exact" in setting["method"] + setting["compensation"]:
        n_rows = min(n_rows, FEW_ROWS)
    X = torch.randn(n_rows, N_FEATURES, generator=generator)
    y = torch.randn(n_rows, N_OUTPUTS, generator=generator)
    network = MLP(N_FEATURES, N_OUTPUTS, HIDDEN, "relu", zero_output=False, generator=generator)
    kwargs: dict[str, Any] = setting | {"pruning_ratio": 0.5, "n_steps": N_STEPS}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PruningWarning)
        skec.prune(network, X[:100], y[:100], random_state=0, **kwargs)  # loads the libraries
        before, start = peak(), time.perf_counter()
        skec.prune(network, X, y, random_state=0, **kwargs)
    seconds = time.perf_counter() - start
    return setting | {"rows": n_rows, "MB": round(peak() - before), "seconds": round(seconds, 1)}


def main() -> None:
    """Measure each setting in a process, and print a table."""
    options = arguments(__doc__, setting="", rows=0)
    if options.setting:
        print(json.dumps(measure(json.loads(options.setting), options.rows)))
        return
    n_rows = options.rows or (50_000 if options.quick else 1_000_000)
    print_setting(
        network=f"{N_FEATURES} features, hidden {HIDDEN}, ReLU, {N_OUTPUTS} outputs, not trained",
        pruning=f"skec.prune to a ratio of 0.5 in {N_STEPS} steps, batches of 512",
        memory=f"peak minus the memory before; X and y take {n_rows * 4 * 23 / 2**20:.0f} MB",
    )
    command = [sys.executable, __file__, "--threads", str(options.threads), "--rows", str(n_rows)]
    rows = []
    for setting in settings():
        done = subprocess.run(
            [*command, "--setting", json.dumps(setting)], check=True, capture_output=True, text=True
        )
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    print_table(rows)


if __name__ == "__main__":
    main()
