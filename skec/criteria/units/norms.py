"""Norms of a unit's incoming weights."""

from __future__ import annotations

from torch import Tensor

from ._base import UnitCriterion


class L1Norm(UnitCriterion):
    """The sum of the absolute values of a unit's incoming weights and its bias.

    When to use it: without calibration data, or as a baseline.

    Source: Li, Kadav, Durdanovic, Samet, Graf, "Pruning filters for efficient ConvNets", ICLR 2017.
    """

    name = "l1"

    def score(self, units, statistics, generator) -> Tensor:
        return units.rows.abs().sum(1)


class L2Norm(UnitCriterion):
    """The Euclidean norm of a unit's incoming weights and its bias.

    When to use it: without calibration data and with ``compensation="lbyl"``. It is the baseline
    of most papers.

    Source: He, Kang, Dong, Fu, Yang, "Soft filter pruning for accelerating deep convolutional
    neural networks", IJCAI 2018.
    """

    name = "l2"

    def score(self, units, statistics, generator) -> Tensor:
        return units.rows.norm(dim=1)
