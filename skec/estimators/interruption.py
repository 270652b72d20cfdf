"""How a phase of training ends early: by a callback, or by the user."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sklearn.exceptions import ConvergenceWarning
from skorch import NeuralNet


class PhaseStopped(KeyboardInterrupt):
    """A callback stops a phase, as skorch's ``EarlyStopping`` does with ``KeyboardInterrupt``."""


class PhaseInterrupted(Exception):
    """The user has interrupted a phase. The network keeps the weights that it has."""


@contextmanager
def stopped_by_callback(running: bool) -> Iterator[None]:
    """Tell a callback that stops a phase from an interrupt by the user."""
    try:
        yield
    except KeyboardInterrupt as stop:
        if not running:
            raise
        raise PhaseStopped from stop


def raised_by_callback(stop: KeyboardInterrupt) -> bool:
    """Whether a callback of a skorch net has raised an exception, and not the user."""
    frame = stop.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code is NeuralNet.notify.__code__:
            return True
        frame = frame.tb_next
    return False


def check_interrupt(net: Any, phase: str, epoch: int) -> PhaseInterrupted:
    """What an interrupt by the user becomes: an end of ``fit`` with a warning, as in scikit-learn.

    It is raised again in a search or cross-validation of scikit-learn, and in the dense training
    for a pruner. They would go on with a network that is trained in part otherwise.
    """
    if getattr(net, "_stays_dense", False) or _in_model_selection():
        raise
    warnings.warn(
        f"Training was interrupted by the user in epoch {epoch} of the {phase} phase. The network "
        f"keeps its present weights, and the phases after this one are left out.",
        ConvergenceWarning,
        stacklevel=7,
    )
    return PhaseInterrupted()


@contextmanager
def ended_by_interrupt(net: Any) -> Iterator[None]:
    """Leave a consistent estimator where the user has interrupted a phase."""
    try:
        yield
    except PhaseInterrupted:
        masks = getattr(net, "masks_", {}).values()
        n_weights = sum(mask.numel() for mask in masks)
        n_kept = sum(int(mask.sum()) for mask in masks)
        net.sparsity_ = (n_weights - n_kept) / n_weights if n_weights else 0.0


def _in_model_selection() -> bool:
    """Whether a search or cross-validation of scikit-learn is among the callers."""
    frame = inspect.currentframe()
    while frame is not None:
        if str(frame.f_globals.get("__name__")).startswith("sklearn.model_selection"):
            return True
        frame = frame.f_back
    return False
