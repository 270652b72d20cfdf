"""Scopes for units: the groups in which the scores of hidden units are compared.

To add one, write its file and import it here.
"""

from . import layer, ratios, whole
from .layer import UnitLayerScope
from .ratios import UnitLayerRatios
from .whole import UnitGlobalScope

__all__ = [
    "UnitGlobalScope",
    "UnitLayerRatios",
    "UnitLayerScope",
    "layer",
    "ratios",
    "whole",
]
