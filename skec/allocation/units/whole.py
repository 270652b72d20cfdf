"""All hidden units of the network are compared with each other."""

from __future__ import annotations

from .._base import UnitScope, at_once
from ..counts import keep_highest_of_all, n_removed_units


class UnitGlobalScope(UnitScope):
    """Remove the units with the lowest scores of the whole network; every layer keeps one.

    When to use it: with scores that are comparable between layers, such as ``"elimination"``.
    """

    name = "global"

    def allocate(self, scores, ratio, *, weights=None, reached=at_once):
        n_units = sum(map(len, scores.values()))
        count = n_removed_units(n_units, reached(ratio))
        return keep_highest_of_all(scores, min(count, n_units - len(scores)))
