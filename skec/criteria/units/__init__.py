"""Criteria for units: a score for every unit of a hidden layer. One file per criterion.

To add one, write its file and import it here.
"""

from . import ec, elimination, geometric_median, norms, random
from ._base import UNIT_CRITERIA, UnitCriterion

__all__ = [
    "UNIT_CRITERIA",
    "UnitCriterion",
    "ec",
    "elimination",
    "geometric_median",
    "norms",
    "random",
]
