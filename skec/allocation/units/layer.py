"""The units of a layer are compared with each other."""

from __future__ import annotations

from .._base import UnitScope, at_once
from .ratios import UnitLayerRatios


class UnitLayerScope(UnitScope):
    """Remove the same ratio of the units of each hidden layer; every layer keeps one.

    When to use it: with criteria whose scores are not comparable between layers, such as norms.
    """

    name = "layer"

    def allocate(self, scores, ratio, *, weights=None, reached=at_once):
        return UnitLayerRatios(dict.fromkeys(scores, ratio)).allocate(
            scores, ratio, reached=reached
        )
