"""Compensations: how the remaining parameters compensate for removed weights.

One file per compensation.

To add one, write its file and import it here.
"""

from . import bias, bias_exact, network, none, weights
from ._base import COMPENSATIONS, Compensation, Effort
from .units import UNIT_COMPENSATIONS, UnitCompensation

__all__ = [
    "COMPENSATIONS",
    "UNIT_COMPENSATIONS",
    "Compensation",
    "Effort",
    "UnitCompensation",
    "bias",
    "bias_exact",
    "network",
    "none",
    "weights",
]
