"""Restores an estimator after a failed call."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from inspect import isclass
from typing import Any

from torch import nn, optim

_KEPT = ("dense_module_", "initial_module_")  # training does not change them in place


@contextmanager
def all_unchanged_on_error(objects: Iterable[Any]) -> Iterator[None]:
    """Restore several objects as :func:`unchanged_on_error` does; classes are left out."""
    with ExitStack() as stack:
        for one in objects:
            if not isclass(one):
                stack.enter_context(unchanged_on_error(one))
        yield


@contextmanager
def unchanged_on_error(estimator: Any) -> Iterator[None]:
    """Restore an estimator's attributes, networks, optimisers and history if the body fails."""
    before = vars(estimator).copy()
    stateful: list[Any] = [
        value
        for name, value in before.items()
        if name.endswith("_")
        and name not in _KEPT
        and isinstance(value, nn.Module | optim.Optimizer)
    ]
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
