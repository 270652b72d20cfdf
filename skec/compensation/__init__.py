"""Compensations: what stays makes up for what went. One compensation a file."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping

from ..utils.registry import FOR_UNITS, look_up
from ._base import COMPENSATIONS, Compensation, Stage

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")


def get_compensation(
    compensation: str | Compensation, parameters: Mapping | None = None, auto: str | None = None
) -> Compensation:
    """Return the compensation of a name, made with its parameters, or the given one.

    ``auto`` is the name that ``"auto"`` stands for, the one that goes with a criterion.

    Raises
    ------
    ValueError
        If the name, or the name of a parameter, is unknown.
    """
    from .units import UNIT_COMPENSATIONS

    if auto is not None and isinstance(compensation, str) and compensation == "auto":
        compensation = auto
    return look_up(
        "compensation",
        compensation,
        parameters,
        COMPENSATIONS,
        Compensation,
        "compensation_params",
        dict.fromkeys(UNIT_COMPENSATIONS, FOR_UNITS),
    )


__all__ = ["COMPENSATIONS", "Compensation", "Stage", "get_compensation"]
