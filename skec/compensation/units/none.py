"""No compensation."""

from __future__ import annotations

from ._base import UnitCompensation


class NoRestoration(UnitCompensation):
    """Change no remaining parameter."""

    name = "none"

    def restore(self, units, removed, statistics):
        return units.next_weight, units.next_bias
