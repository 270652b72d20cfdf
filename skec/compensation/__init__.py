"""Compensations: how the remaining parameters compensate for removed weights. One a file.

To add one, write its file and import it here.
"""

from . import bias, bias_exact, network, none, weights
from ._base import COMPENSATIONS, Compensation, Stage
from .units import UNIT_COMPENSATIONS, UnitCompensation

__all__ = [
    "COMPENSATIONS",
    "UNIT_COMPENSATIONS",
    "Compensation",
    "Stage",
    "UnitCompensation",
    "bias",
    "bias_exact",
    "network",
    "none",
    "weights",
]
