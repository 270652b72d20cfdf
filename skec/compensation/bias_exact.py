"""The bias takes over what the true network says it should."""

from __future__ import annotations

from ..calibration.statistics import ExactElimination
from ._base import Compensation
from .bias import shifted


class ExactBiasCompensation(Compensation):
    """Add the best changes of the bias, found on the true network for each removed weight.

    When to use it: with ``"ec_exact"``. The changes were found for one weight at a time, so their
    sum is not the best for all of them together.

    Source: the non-linear baseline of Ballini et al., arXiv:2602.20467 (2026).
    """

    name = "bias_exact"
    requires = (ExactElimination,)

    def apply(self, weight, bias, removed, statistics):
        return weight, shifted(bias, statistics[ExactElimination].shift, removed)
