"""Calibration, predictions and a search on one and two workers of Dask, beside local runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any

import dask.array as da
import joblib
import numpy as np
from _common import arguments, best_times, print_setting, print_table
from distributed import Client, LocalCluster
from sklearn.model_selection import GridSearchCV

import skec

HIDDEN = (128, 128)
N_FEATURES = 30
CHUNK = 2**14
RATIOS = [0.3, 0.5, 0.7, 0.8, 0.9, 0.95]


def regressor(max_epochs: int) -> skec.PrunedMLPRegressor:
    """A regressor with a network of the benchmark."""
    return skec.PrunedMLPRegressor(HIDDEN, max_epochs=max_epochs, random_state=0)


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__)
    n_rows, n_train, epochs, repeat = (2**17, 500, 3, 2) if options.quick else (2**18, 1000, 10, 3)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, N_FEATURES)).astype(np.float32)
    y = X[:, 0] + X[:, 1] * X[:, 2] + 0.1 * rng.normal(size=n_rows)
    few = X[:n_train], y[:n_train]
    net = regressor(epochs).fit(*few)
    search = GridSearchCV(regressor(epochs), {"pruning_ratio": RATIOS}, cv=3, refit=False)
    cv = skec.PrunedMLPRegressorCV(
        HIDDEN, pruning_ratios=RATIOS, cv=3, max_epochs=epochs, random_state=0
    )

    def prune(values: Any) -> skec.PruningResult:
        return skec.prune(net.network_, values, pruning_ratio=0.8, n_steps=1)

    works: dict[str, Callable[[Any], object]] = {
        "skec.prune, EC, one step": prune,
        "predict": lambda values: float(net.predict(values).sum()),  # the rows stay on the workers
        f"GridSearchCV, {3 * len(RATIOS)} fits": lambda values: search.fit(*few),
        f"PrunedMLPRegressorCV, 3 folds, {len(RATIOS)} ratios": lambda values: cv.fit(*few),
    }
    print_setting(
        data=f"{n_rows} × {N_FEATURES} float32 in chunks of {CHUNK} rows, held by the workers",
        network=f"hidden {HIDDEN}, searches on {n_train} rows, {epochs} epochs",
        times=f"shortest of {repeat}, in turns; workers are processes with one thread",
    )
    with ExitStack() as stack:
        places: dict[str, tuple[Callable[[], Any], Any]] = {"local": (nullcontext, X)}
        for title, n_workers in (("1 worker", 1), ("2 workers", 2)):
            cluster = LocalCluster(
                n_workers=n_workers, threads_per_worker=1, dashboard_address=None
            )
            client = stack.enter_context(Client(stack.enter_context(cluster), set_as_default=False))
            with client.as_current():
                on_dask = da.from_array(X, chunks=(CHUNK, N_FEATURES)).persist()
                client.run(regressor(1).fit, *few)  # imports
            places[title] = partial(on_cluster, client), on_dask
        rows, local, difference = [], prune(X), 0.0
        for work, function in works.items():

            def timed(place: Callable[[], Any], values: Any, function: Any = function) -> None:
                with place():
                    function(values)

            seconds = best_times({n: partial(timed, *place) for n, place in places.items()}, repeat)
            one, two = seconds["1 worker"], seconds["2 workers"]
            rows.append(
                {"work": work}
                | {f"{name}, s": time for name, time in seconds.items()}
                | {"1 worker / 2 workers": one / two, "local / 2 workers": seconds["local"] / two}
            )
        with on_cluster(client):
            found = prune(on_dask)
        for name, scores in local.scores.items():
            change = (found.scores[name] - scores).abs() / scores.abs().clamp_min(1e-300)
            difference = max(difference, float(change.max()))
    print_table(rows)
    print(f"\nlargest relative difference of a score from the local one: {difference:.1e}")


@contextmanager
def on_cluster(client: Client) -> Iterator[None]:
    """Compute Dask collections and the jobs of joblib on the workers of a cluster."""
    with client.as_current(), joblib.parallel_config(backend="dask"):
        yield


if __name__ == "__main__":
    main()
