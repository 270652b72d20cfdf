"""Checks of parameters, shared by several parts of the library."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any


def _is_real(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def check_ratio(ratio: Any, name: str = "pruning_ratio") -> None:
    """Raise unless a pruning ratio is in [0, 1)."""
    if not _is_real(ratio) or not 0 <= ratio < 1:
        raise ValueError(f"{name} must be the fraction to remove, in [0, 1); got {ratio!r}.")


def check_choice(name: str, value: Any, choices: Iterable[str]) -> None:
    """Raise unless a value is one of the choices."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name}={value!r} is unknown. Choose one of {sorted(choices)}.")


def check_count(name: str, value: Any, least: int = 1, also: str = "") -> None:
    """Raise unless a value is an integer of at least ``least``.

    ``also`` names other accepted values in the error message.
    """
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        kind = "positive" if least else "non-negative"
        or_also = f" or {also}" if also else ""
        raise ValueError(f"{name} must be a {kind} integer{or_also}; got {value!r}.")


def check_number(name: str, value: Any, zero: bool = False) -> None:
    """Raise unless a value is a positive, finite number; with ``zero``, 0 is allowed too."""
    if not _is_real(value) or not 0 <= value < math.inf or (value == 0 and not zero):
        kind = "non-negative" if zero else "positive"
        raise ValueError(f"{name} must be a {kind} number; got {value!r}.")


def check_probes(n_probes: Any) -> None:
    """Raise unless ``n_probes`` is a positive integer, None or ``"auto"``."""
    if n_probes is None or (isinstance(n_probes, str) and n_probes == "auto"):
        return
    if not isinstance(n_probes, Integral) or isinstance(n_probes, bool) or n_probes < 1:
        raise ValueError(
            f"n_probes must be a positive integer, None for one backpropagation per output, "
            f"or 'auto'; got {n_probes!r}."
        )
