"""A pruning ratio for each hidden layer."""

from __future__ import annotations

from collections.abc import Mapping

from .._base import UnitScope, at_once, check_ratios
from ..counts import keep_highest, n_removed_units


class UnitLayerRatios(UnitScope):
    """Remove a given ratio of the units of each hidden layer.

    The ratios are used instead of the pruning ratio. Layers without a ratio keep all units, and
    every layer keeps at least one.

    Parameters
    ----------
    ratios : mapping of layer name to float
        In [0, 1). A mapping passed as ``scope`` is converted to this class.
    """

    replaces_ratio = True

    def __init__(self, ratios: Mapping[str, float]):
        check_ratios(ratios)
        self.ratios = dict(ratios)

    def check(self, names):
        check_ratios(self.ratios, names)

    def allocate(self, scores, ratio, *, weights=None, reached=at_once):
        ratios = {name: reached(self.ratios.get(name, 0.0)) for name in scores}
        return {
            name: keep_highest(
                score, min(n_removed_units(len(score), ratios[name]), len(score) - 1)
            )
            for name, score in scores.items()
        }
