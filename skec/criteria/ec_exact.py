"""Elimination–compensation without the linearisation."""

from __future__ import annotations

from torch import Tensor

from ..calibration.statistics import ExactElimination
from ._base import Criterion


class ExactEliminationCompensation(Criterion):
    """The exact output error of removing a weight, after the best change of the bias.

    ``min_Δb E‖y(x) − y(x; W_ij = 0, b_i + Δb)‖²``, minimised for each weight separately by
    Gauss–Newton steps on ``Δb``.

    When to use it: on small networks, to measure the effect of the linearisation in ``"ec"``. It
    needs several forward passes over all samples for every weight.

    Source: the non-linear baseline of Ballini et al., arXiv:2602.20467 (2026).
    """

    name = "ec_exact"
    requires = (ExactElimination,)
    sums = True
    compensation = "bias_exact"
    scores_are_errors = True

    def score(self, weight, statistics, generator) -> Tensor:
        return statistics[ExactElimination].error
