"""Criteria: a score for every weight. One criterion a file."""

from __future__ import annotations

import importlib
import pkgutil

from ._base import CRITERIA, Criterion

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")


def get_criterion(method: str | Criterion) -> Criterion:
    """Return the criterion of a name, or the given one.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    if isinstance(method, Criterion):
        return method
    if isinstance(method, str) and method in CRITERIA:
        return CRITERIA[method]()
    raise ValueError(
        f"method={method!r} is unknown. Choose one of {sorted(CRITERIA)}, or pass an instance of "
        f"skec.criteria.Criterion."
    )


__all__ = ["CRITERIA", "Criterion", "get_criterion"]
