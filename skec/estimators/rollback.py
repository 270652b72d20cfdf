"""Restores an estimator after a failed call."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_STATEFUL = ("module_", "optimizer_")  # changed in place by training


@contextmanager
def unchanged_on_error(estimator: Any) -> Iterator[None]:
    """Restore an estimator's attributes, network, optimiser and history if the body fails."""
    before = vars(estimator).copy()
    stateful = [before[name] for name in _STATEFUL if before.get(name) is not None]
    states = [copy.deepcopy(component.state_dict()) for component in stateful]
    history = copy.copy(before.get("history_"))
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        if history is not None:
            estimator.history_[:] = history
        for component, state in zip(stateful, states, strict=True):
            component.load_state_dict(state)
        raise
