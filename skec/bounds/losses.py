"""Losses of single rows, in the units of the targets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

_LEAST = np.finfo(np.float64).tiny  # of a probability, so that its logarithm is finite


class RowLoss(NamedTuple):
    """A loss that has one value for each row."""

    name: str
    of: str  # the answers that it takes
    values: Callable[[Any, np.ndarray, Any], np.ndarray]
    range: tuple[float, float] | None = None


def _numbers(y: Any, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    y = np.asarray(y, np.float64)
    if y.size != found.size or len(y) != len(found):
        raise ValueError(
            f"y has shape {y.shape}, and the networks predict arrays of shape {found.shape}. Pass "
            f"one target for each prediction."
        )
    return y.reshape(len(y), -1), found.reshape(len(y), -1)


def _squared(y: Any, found: np.ndarray, classes: Any) -> np.ndarray:
    y, found = _numbers(y, found)
    return ((y - found) ** 2).mean(axis=1)


def _absolute(y: Any, found: np.ndarray, classes: Any) -> np.ndarray:
    y, found = _numbers(y, found)
    return np.abs(y - found).mean(axis=1)


def _zero_one(y: Any, found: np.ndarray, classes: Any) -> np.ndarray:
    y = np.asarray(y)
    if y.shape != found.shape:
        raise ValueError(
            f"y has shape {y.shape}, and the networks predict labels of shape {found.shape}. Pass "
            f"one label for each prediction."
        )
    return (y != found).reshape(len(y), -1).any(axis=1).astype(np.float64)


def _log(y: Any, found: np.ndarray, classes: Any) -> np.ndarray:
    y = np.asarray(y)
    if y.shape == found.shape:  # several labels per row
        return -np.log(np.maximum(np.where(y == 1, found, 1 - found), _LEAST)).mean(axis=1)
    place = np.minimum(np.searchsorted(classes, y), len(classes) - 1)
    if y.ndim != 1 or not (np.asarray(classes)[place] == y).all():
        raise ValueError(f"y must have labels of the classes {classes}, one for each row.")
    return -np.log(np.maximum(found[np.arange(len(y)), place], _LEAST))


LOSSES = {
    "squared_error": RowLoss("squared error", "predictions", _squared),
    "absolute_error": RowLoss("absolute error", "predictions", _absolute),
    "zero_one": RowLoss("zero-one loss", "labels", _zero_one, (0.0, 1.0)),
    "log_loss": RowLoss("log loss", "probabilities", _log),
}


def row_loss(loss: Any, kind: str) -> RowLoss:
    """The loss of a name or a function, for two networks of a kind; raise if it does not fit."""
    if callable(loss):
        name = getattr(loss, "__name__", type(loss).__name__)
        of = "labels" if kind == "classifier" else "predictions"
        return RowLoss(name, of, lambda y, found, classes: _of_function(loss, name, y, found))
    if loss == "auto":
        loss = "zero_one" if kind == "classifier" else "squared_error"
    allowed = {
        "classifier": ("zero_one", "log_loss"),
        "regressor": ("squared_error", "absolute_error"),
        "module": ("squared_error", "absolute_error", "zero_one"),
    }[kind]
    if not isinstance(loss, str) or loss not in allowed:
        raise ValueError(
            f"loss={loss!r} is not known for a {kind}. Choose one of {list(allowed)}, or a "
            f"function that takes y and the predictions and returns one number for each row."
        )
    return LOSSES[loss]


def _of_function(loss: Callable, name: str, y: Any, found: np.ndarray) -> np.ndarray:
    values = np.asarray(loss(y, found), np.float64)
    if values.shape != (len(found),):
        raise ValueError(
            f"The loss {name} returned shape {values.shape} for {len(found)} rows. It must return "
            f"one number for each row."
        )
    return values
