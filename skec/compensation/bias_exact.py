"""The bias compensates for removed weights, without linearisation."""

from __future__ import annotations

from ..calibration.statistics import ExactElimination
from ._base import Compensation
from .bias import shifted


class ExactBiasCompensation(Compensation):
    """Add the best change of the bias for each removed weight, found without linearisation.

    When to use it: with ``"ec_exact"``. The changes are optimal for one weight at a time; their sum
    is not optimal for all removed weights together.

    Source: the non-linear baseline of Ballini et al., arXiv:2602.20467 (2026).
    """

    name = "bias_exact"
    requires = (ExactElimination,)

    def apply(self, weight, bias, removed, statistics):
        return weight, shifted(bias, statistics[ExactElimination].shift, removed)
