"""Elimination–compensation."""

from __future__ import annotations

from torch import Tensor

from ..calibration.statistics import SensitivityMoments
from ._base import Criterion


class EliminationCompensation(Criterion):
    """The output error of removing a weight, after the best change of the bias.

    Removing ``W_ij`` and adding ``W_ij m_ij`` to the bias of its unit causes, to first order, the
    mean squared output change ``W_ij² V_ij``. ``m_ij`` is the mean and ``V_ij`` the scatter of the
    input ``a_j``, both weighted by the unit's output sensitivity. A weight on a constant input has
    score zero.

    When to use it: as the first choice. It needs calibration samples but no targets.

    Source: Ballini, Muscarnera, Fumagalli, Scotti, Regazzoni, "Elimination-compensation pruning
    for fully-connected neural networks", arXiv:2602.20467 (2026).
    """

    name = "ec"
    n_steps = 5
    requires = (SensitivityMoments,)
    sums = True
    compensation = "bias"
    scores_are_errors = True

    def score(self, weight, statistics, generator) -> Tensor:
        moments = statistics[SensitivityMoments]
        return weight.square() * moments.scatter / moments.total_weight
