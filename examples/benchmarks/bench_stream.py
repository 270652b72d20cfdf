"""Memory and time of training and pruning on data in a file, and on data that come in batches.

Each runs in a process of its own, so that the peak is that of the one form of the data.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import arguments, print_setting, print_table
from torch.utils.data import DataLoader, IterableDataset

import skec
from skec.networks import MLP

N_FEATURES, HIDDEN, BATCH = 20, (32, 32), 1024
CHUNK = 2**18  # rows that are written at a time
FORMS = ("array", "memmap", "iterable", "DataLoader")
WORKS = ("fit", "prune")


class FromFile(IterableDataset):
    """Batches that are read from files, in their order."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        X, y = (np.load(self.folder / f"{name}.npy", mmap_mode="r") for name in "Xy")
        for start in range(0, len(y), BATCH):
            rows = slice(start, start + BATCH)
            yield np.array(X[rows]), np.array(y[rows])


def write(folder: Path, n_rows: int) -> None:
    """Write features and targets of a smooth function."""
    kind = {"mode": "w+", "dtype": np.float32}
    X = np.lib.format.open_memmap(folder / "X.npy", shape=(n_rows, N_FEATURES), **kind)
    y = np.lib.format.open_memmap(folder / "y.npy", shape=(n_rows,), **kind)
    rng = np.random.default_rng(0)
    for start in range(0, n_rows, CHUNK):
        rows = slice(start, start + CHUNK)
        X[rows] = rng.standard_normal(X[rows].shape, np.float32)
        y[rows] = X[rows, 0] + np.sin(2 * X[rows, 1]) + 0.1 * X[rows, 2]


def load(form: str, folder: Path) -> tuple[Any, ...]:
    """The arguments X and y in a form."""
    if form == "iterable":
        return (FromFile(folder),)
    if form == "DataLoader":
        return (DataLoader(FromFile(folder), batch_size=None),)
    X = np.load(folder / "X.npy", mmap_mode="r" if form == "memmap" else None)
    return X, np.load(folder / "y.npy")


def fit(X: Any, y: Any = None) -> float | None:
    """Train for one epoch, prune, and fine-tune for one epoch; returns the seconds of an epoch."""
    net = skec.PrunedMLPRegressor(
        HIDDEN,
        batch_size=BATCH,
        max_epochs=1,
        refit_epochs=1,
        early_stopping=False,
        random_state=0,
    ).fit(X, y)
    return float(np.mean([row["dur"] for row in net.history if "dur" in row]))


def prune(X: Any, y: Any = None) -> float | None:
    """Prune a network with all rows as calibration data, in one pass."""
    generator = torch.Generator().manual_seed(0)
    network = MLP(N_FEATURES, 1, HIDDEN, zero_output=False, generator=generator)
    skec.prune(network, X, y, pruning_ratio=0.8, n_steps=1, batch_size=BATCH)
    return None


def in_use(name: str) -> float:
    """A kind of memory of this process in MB, as /proc/self/status names it."""
    status = Path("/proc/self/status").read_text()
    found = re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) / 2**10


class Peaks(threading.Thread):
    """Watches the memory of this process."""

    def __init__(self, *names: str):
        super().__init__(daemon=True)
        self.base = {name: in_use(name) for name in names}
        self.most, self.done = dict(self.base), threading.Event()

    def run(self) -> None:
        while not self.done.wait(0.005):
            for name in self.most:
                self.most[name] = max(self.most[name], in_use(name))

    def above_base(self) -> dict[str, int]:
        """The largest memory that was used beyond that at the start."""
        self.done.set()
        self.join()
        return {name: round(most - self.base[name]) for name, most in self.most.items()}


def measure(work: str, form: str, folder: Path) -> dict[str, Any]:
    """Memory beyond that before the work, and seconds."""
    function: Callable[..., float | None] = {"fit": fit, "prune": prune}[work]
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(0)
    few = rng.normal(size=(3 * BATCH, N_FEATURES)).astype(np.float32)
    function(few, few[:, 0])  # loads the libraries
    peaks = Peaks("RssAnon", "VmRSS")
    peaks.start()
    start = time.perf_counter()
    epoch = function(*load(form, folder))
    seconds, most = time.perf_counter() - start, peaks.above_base()
    return {
        "work": work,
        "data": form,
        "rows": len(np.load(folder / "y.npy", mmap_mode="r")),
        "MB": most["RssAnon"],
        "MB with the file": most["VmRSS"],
        "seconds per epoch": "" if epoch is None else f"{epoch:.1f}",
        "seconds": round(seconds, 1),
    }


def main() -> None:
    """Measure each form of the data in a process, and print a table."""
    options = arguments(__doc__, setting="", folder="", rows=0)
    if options.setting:
        found = measure(*json.loads(options.setting), Path(options.folder))
        print(json.dumps(found))
        return
    largest = options.rows or (300_000 if options.quick else 10_000_000)
    print_setting(
        data=f"float32 in a file, {N_FEATURES} features; {largest:,} rows take "
        f"{largest * 4 * N_FEATURES / 2**20:.0f} MB",
        fit=f"hidden {HIDDEN}, batches of {BATCH}, one epoch, pruning, one epoch of fine-tuning",
        prune="skec.prune of this network in one step, with all rows as calibration data",
        MB="peak memory without pages of files, minus that before; then with pages of files",
    )
    rows = []
    for n_rows in (largest // 10, largest):
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), n_rows)
            for work in WORKS:
                for form in FORMS:
                    setting = ["--setting", json.dumps([work, form]), "--folder", folder]
                    command = [sys.executable, __file__, "--threads", str(options.threads)]
                    done = subprocess.run(
                        [*command, *setting], check=True, capture_output=True, text=True
                    )
                    rows.append(json.loads(done.stdout.splitlines()[-1]))
    print_table(rows)


if __name__ == "__main__":
    main()
