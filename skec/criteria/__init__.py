"""Criteria: a score for every weight. One file per criterion.

To add one, write its file and import it here.
"""

from . import (
    ec,
    ec_exact,
    ec_network,
    gradient,
    lamp,
    magnitude,
    obd,
    random,
    surgeon,
    taylor,
    wanda,
)
from ._base import CRITERIA, Criterion
from .units import UNIT_CRITERIA, UnitCriterion

__all__ = [
    "CRITERIA",
    "UNIT_CRITERIA",
    "Criterion",
    "UnitCriterion",
    "ec",
    "ec_exact",
    "ec_network",
    "gradient",
    "lamp",
    "magnitude",
    "obd",
    "random",
    "surgeon",
    "taylor",
    "wanda",
]
