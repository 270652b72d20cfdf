"""Gradient magnitude."""

from __future__ import annotations

from torch import Tensor

from ..calibration.statistics import LossGradient
from ._base import Criterion


class GradientMagnitude(Criterion):
    """The absolute gradient of the mean loss, ``|∂L/∂w|``.

    When to use it: as a comparison. At a minimum of the loss all gradients are close to zero,
    whatever the effect of the weights.

    Source: one of the baselines of arXiv:2602.20467; see also Molchanov et al., "Pruning
    convolutional neural networks for resource efficient inference", ICLR 2017.
    """

    name = "gradient"
    n_steps = 5
    requires = (LossGradient,)
    sums = True

    def score(self, weight, statistics, generator) -> Tensor:
        return statistics[LossGradient].mean.abs()
