"""Elimination–compensation of a whole unit."""

from __future__ import annotations

from torch import Tensor

from ...calibration.statistics import InputMoments
from ._base import UnitCriterion


class UnitEliminationCompensation(UnitCriterion):
    """The output error of replacing a unit by the best constant.

    Replacing a unit's activation ``h_j`` by a constant ``c`` changes the outputs, to first order,
    by ``(∂y/∂h_j)(c − h_j)``. The best ``c`` is the mean of ``h_j``, weighted by the squared output
    sensitivity to it, and the error is the weighted variance. The constant is folded into the
    biases of the next layer.

    When to use it: as a quick first choice with calibration samples.

    Source: the criterion of Ballini et al., arXiv:2602.20467 (2026), applied to units instead of
    weights.
    """

    name = "ec"
    n_steps = 5
    requires = (InputMoments,)
    sums = True
    compensation = "bias"
    scores_are_errors = True

    def score(self, units, statistics, generator) -> Tensor:
        moments = statistics[InputMoments]
        return moments.scatter / moments.total_weight
