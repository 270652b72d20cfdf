"""Compensations for units: what the next layer does about those that go."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping

from ...utils.registry import FOR_WEIGHTS, look_up
from .._base import COMPENSATIONS
from ._base import UNIT_COMPENSATIONS, UnitCompensation

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")


def get_unit_compensation(
    compensation: str | UnitCompensation, parameters: Mapping | None = None, auto: str | None = None
) -> UnitCompensation:
    """Return the compensation of a name, made with its parameters, or the given one.

    ``auto`` is the name that ``"auto"`` stands for, the one that goes with a criterion.

    Raises
    ------
    ValueError
        If the name, or the name of a parameter, is unknown.
    """
    if auto is not None and isinstance(compensation, str) and compensation == "auto":
        compensation = auto
    return look_up(
        "compensation",
        compensation,
        parameters,
        UNIT_COMPENSATIONS,
        UnitCompensation,
        "compensation_params",
        dict.fromkeys(COMPENSATIONS, FOR_WEIGHTS),
    )


__all__ = ["UNIT_COMPENSATIONS", "UnitCompensation", "get_unit_compensation"]
