"""Dense fits that are stored, and found again for equal data and parameters."""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Callable, Mapping
from importlib import metadata
from numbers import Integral
from typing import Any

from sklearn.utils.validation import check_memory

from ..utils import BatchedSamples, LazyRows, Samples, private
from .fit_data import FitData
from .prune_estimator import PRUNING_PARAMETERS
from .versions import version

# Parameters without influence on the dense phase; all others have one.
LATER_PARAMETERS = frozenset(
    {
        *PRUNING_PARAMETERS,
        "layers",
        "prune_output_layer",
        "step_epochs",
        "max_loss_increase",
        "max_change",
        "calibration_samples",
        "calibration_batch_size",
        "refit_epochs",
        "refit_lr",
        "refit_weight_decay",
        "refit_strategy",
        "memory",
        "verbose",
        "progress",
        "warm_start",
        "random_state",  # the seed that is drawn from it counts
    }
)
_OF_THE_DENSE_PHASE = ("history_", "callbacks_", "dense_epochs_", "_valid_loss", "initial_module_")


def train_or_recall(net: Any, data: FitData, train: Callable[[], None]) -> bool:
    """Train the dense network of an estimator, or take the stored one of an equal fit.

    Parameters
    ----------
    net : PrunedMLP
        Initialised, with the parameter ``memory``.
    data : FitData
    train : callable
        Trains it in place.

    Returns
    -------
    bool
        Whether it was trained.
    """
    if net.memory is None or net.random_state is None or len(net.history):
        train()
        return True
    dataset = data.dataset
    if isinstance(dataset, BatchedSamples):
        _warn(net.memory, "the data come in batches, and are not compared")
        train()
        return True
    if isinstance(dataset, Samples):
        X = (dataset.X.values, dataset.X.rows) if isinstance(dataset.X, LazyRows) else dataset.X
        dataset = X, dataset.y, dataset.sample_weight
    parts = (
        type(net),
        _dense_parameters(net),
        (net._seed_, net.n_outputs_, net._feature_scale),
        dataset,
        data.y if net._data.has_own_split else None,
        (dict(data.split_params), dict(data.forward_params)),
    )

    def trained() -> dict[str, Any]:
        train()
        return _dense_state(net)

    state, new = recall(net.memory, parts, trained)
    if not new:
        vars(net).update(state)
    return new


def fit_or_recall(
    pruner: Any,
    adapter: Any,
    X: Any,
    y: Any,
    fit_params: Mapping[str, Any],
    check: Callable[[], None],
) -> Any:
    """Fit the estimator of a pruner, or take the stored one of an equal fit; in an adapter.

    Parameters
    ----------
    pruner : ECPruner
    adapter : Adapter
        Of an unfitted estimator.
    X, y : array-like
    fit_params : mapping
    check : callable
        Called before the training.
    """
    estimator, random_state = adapter.estimator, pruner.random_state
    parameters = estimator.get_params(deep=False)
    seeded = isinstance(parameters.get("random_state"), Integral)

    def fitted() -> Any:
        with adapter.calling_before_training(check):
            adapter.fit(X, y, random_state=random_state, **fit_params)
        return adapter.estimator

    if pruner.memory is None or not (seeded or isinstance(random_state, Integral)):
        fitted()
        return adapter
    parts = type(estimator), estimator.get_params(), random_state, X, y, dict(fit_params)
    stored, new = recall(pruner.memory, parts, fitted)
    return adapter if new else type(adapter)(stored)


def recall(memory: Any, parts: Any, compute: Callable[[], Any]) -> tuple[Any, bool]:
    """A result from a cache, or computed and stored there.

    Parameters
    ----------
    memory : str, path or joblib.Memory
    parts : object
        What the result depends on.
    compute : callable
        Its result is stored. If that is not possible, it is returned all the same.

    Returns
    -------
    result : object
    new : bool
        Whether it was computed.
    """
    results: list[Any] = []

    def computed() -> bytes:
        results.append(compute())
        return pickle.dumps(results[0])  # much faster than joblib for many small arrays

    versions = (version(), *map(metadata.version, ("scikit-learn", "skorch", "torch")))
    try:
        key = private.content_hash((versions, parts))
        folder = os.fspath(memory) if isinstance(memory, os.PathLike) else memory
        cached = check_memory(folder).cache(_stored, ignore=["compute"])
    except Exception as error:
        _warn(memory, error)
        return compute(), True
    stored: Any = b""
    try:
        stored = cached(key, computed)
    except Exception as error:
        if not results:  # the training itself failed
            raise
        _warn(memory, error)
    return (results[0], True) if results else (pickle.loads(stored), False)


def _stored(key: str, compute: Callable[[], Any]) -> Any:
    """The function that joblib caches by the key."""
    return compute()


def _warn(memory: Any, error: Exception | str) -> None:
    where = getattr(memory, "location", memory)
    warnings.warn(
        f"memory={where!r} cannot be used, so the dense network is trained without it: {error}",
        UserWarning,
        stacklevel=2,
    )


def _dense_parameters(net: Any) -> dict[str, Any]:
    """The parameters that the dense phase depends on."""
    given = net.get_params(deep=False)
    return {name: given[name] for name in sorted(given) if name not in LATER_PARAMETERS}


def _dense_state(net: Any) -> dict[str, Any]:
    """What the dense phase has changed."""
    names = (*net._component_names(), *_OF_THE_DENSE_PHASE)
    return {name: vars(net)[name] for name in names if name in vars(net)}
