"""No compensation."""

from __future__ import annotations

from ._base import Compensation


class NoCompensation(Compensation):
    """Leave everything else as it is."""

    name = "none"

    def apply(self, weight, bias, removed, statistics):
        return weight, bias
