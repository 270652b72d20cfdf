"""Criteria: a score for every weight. One criterion a file."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping

from ..utils.registry import FOR_UNITS, look_up
from ._base import CRITERIA, Criterion

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")


def get_criterion(
    method: str | Criterion, parameters: Mapping | None = None, name: str = "method"
) -> Criterion:
    """Return the criterion of a name, made with its parameters, or the given one.

    ``name`` is what messages call the argument.

    Raises
    ------
    ValueError
        If the name, or the name of a parameter, is unknown.

    Examples
    --------
    >>> get_criterion("surgeon", {"damping": 0.01}).damping
    0.01
    """
    from .units import UNIT_CRITERIA

    hints = dict.fromkeys(UNIT_CRITERIA, FOR_UNITS)
    return look_up(name, method, parameters, CRITERIA, Criterion, "method_params", hints)


__all__ = ["CRITERIA", "Criterion", "get_criterion"]
