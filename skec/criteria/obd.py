"""Optimal brain damage."""

from __future__ import annotations

from torch import Tensor

from ..calibration.statistics import SensitivityMoments
from ._base import Criterion


class OptimalBrainDamage(Criterion):
    """The output error without compensation, ``w_ij² E[s_i a_j²]``.

    This is twice the increase of the loss in the diagonal Gauss–Newton approximation, with the
    output metric in place of the loss's second derivative.

    When to use it: as a comparison. Unlike ``"ec"``, it counts the mean of the input, which the
    bias could replace.

    Source: LeCun, Denker, Solla, "Optimal brain damage", NeurIPS 1989.
    """

    name = "obd"
    n_steps = 5
    requires = (SensitivityMoments,)
    sums = True
    scores_are_errors = True

    def score(self, weight, statistics, generator) -> Tensor:
        moments = statistics[SensitivityMoments]
        power = moments.scatter + moments.sensitivity[:, None] * moments.mean.square()
        return weight.square() * power / moments.total_weight
