"""Elimination–compensation of a whole unit."""

from __future__ import annotations

from torch import Tensor

from ...calibration.statistics import InputMoments
from ._base import UnitCriterion


class UnitEliminationCompensation(UnitCriterion):
    """The output error that is left when a constant takes the place of a unit.

    Putting the constant ``c`` for a unit's activation ``h_j`` changes the outputs, to first order,
    by ``(∂y/∂h_j)(c − h_j)``. The best ``c`` is the mean of ``h_j`` weighted by the squared output
    sensitivity to it, and the weighted variance is what is left. The biases of the next layer take
    the constant in.

    When to use it: as a quick first choice where calibration samples are at hand.

    Source: the criterion of Ballini et al., arXiv:2602.20467 (2026), for a unit in place of a
    weight.
    """

    name = "ec"
    n_steps = 5
    requires = (InputMoments,)
    compensation = "bias"
    scores_are_errors = True

    def score(self, units, statistics, generator) -> Tensor:
        moments = statistics[InputMoments]
        return moments.scatter / moments.total_weight
