"""Compensations for units: how the next layer compensates for removed units.

One file per compensation.

To add one, write its file and import it here.
"""

from . import constants, lbyl, least_squares, merging, none
from ._base import UNIT_COMPENSATIONS, UnitCompensation

__all__ = [
    "UNIT_COMPENSATIONS",
    "UnitCompensation",
    "constants",
    "lbyl",
    "least_squares",
    "merging",
    "none",
]
