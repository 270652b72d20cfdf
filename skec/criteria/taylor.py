"""First-order Taylor expansion of the loss."""

from __future__ import annotations

from torch import Tensor

from ..calibration.statistics import LossGradient
from ._base import Criterion


class Taylor(Criterion):
    """The first-order change of the loss when the weight is removed, ``|w ∂L/∂w|``.

    When to use it: with few calibration samples and targets, for networks that are not yet at a
    minimum of the loss.

    Source: Mozer & Smolensky, "Skeletonization", NeurIPS 1988; as a score of single weights, Lee,
    Ajanthan, Torr, "SNIP", ICLR 2019.
    """

    name = "taylor"
    n_steps = 5
    requires = (LossGradient,)
    sums = True

    def score(self, weight, statistics, generator) -> Tensor:
        return (weight * statistics[LossGradient].mean).abs()
