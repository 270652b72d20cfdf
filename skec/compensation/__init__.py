"""Compensations: what stays makes up for what went. One compensation a file."""

from __future__ import annotations

import importlib
import pkgutil

from ._base import COMPENSATIONS, Compensation

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")


def get_compensation(compensation: str | Compensation) -> Compensation:
    """Return the compensation of a name, or the given one.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    if isinstance(compensation, Compensation):
        return compensation
    if isinstance(compensation, str) and compensation in COMPENSATIONS:
        return COMPENSATIONS[compensation]()
    raise ValueError(
        f"compensation={compensation!r} is unknown. Choose 'auto' or one of "
        f"{sorted(COMPENSATIONS)}, or pass an instance of skec.compensation.Compensation."
    )


__all__ = ["COMPENSATIONS", "Compensation", "get_compensation"]
