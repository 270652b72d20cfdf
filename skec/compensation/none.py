"""No compensation."""

from __future__ import annotations

from ._base import Compensation


class NoCompensation(Compensation):
    """Change no remaining parameter."""

    name = "none"

    def apply(self, weight, bias, removed, statistics):
        return weight, bias
