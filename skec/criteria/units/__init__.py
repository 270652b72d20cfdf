"""Criteria for units: a score for every unit of a hidden layer. One criterion a file."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping

from ...utils.registry import FOR_WEIGHTS, look_up
from .._base import CRITERIA
from ._base import UNIT_CRITERIA, UnitCriterion

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")


def get_unit_criterion(
    method: str | UnitCriterion, parameters: Mapping | None = None, name: str = "method"
) -> UnitCriterion:
    """Return the criterion of a name, made with its parameters, or the given one.

    ``name`` is what messages call the argument.

    Raises
    ------
    ValueError
        If the name, or the name of a parameter, is unknown.

    Examples
    --------
    >>> get_unit_criterion("elimination", {"damping": 0.01}).damping
    0.01
    """
    hints = dict.fromkeys(CRITERIA, FOR_WEIGHTS)
    return look_up(name, method, parameters, UNIT_CRITERIA, UnitCriterion, "method_params", hints)


__all__ = ["UNIT_CRITERIA", "UnitCriterion", "get_unit_criterion"]
