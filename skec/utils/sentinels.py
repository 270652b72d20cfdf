"""The default of arguments for which None is a valid value."""

from __future__ import annotations

from enum import Enum
from typing import Any


class NotGiven(Enum):
    """The type of :data:`NOT_GIVEN`."""

    NOT_GIVEN = "not given"

    def __repr__(self) -> str:
        return self.name


NOT_GIVEN = NotGiven.NOT_GIVEN


def given(**arguments: Any) -> dict[str, Any]:
    """Return the arguments that were given.

    Examples
    --------
    >>> given(n_probes=None, n_steps=NOT_GIVEN)
    {'n_probes': None}
    """
    return {name: value for name, value in arguments.items() if value is not NOT_GIVEN}
