"""Distance to the other units."""

from __future__ import annotations

import torch
from torch import Tensor

from ._base import UnitCriterion


class GeometricMedian(UnitCriterion):
    """The sum of the Euclidean distances of a unit's incoming weights and bias to the others'.

    A unit near the geometric median of its layer can be replaced by the others.

    When to use it: without data, on layers whose units all have about the same norm.

    Source: He, Liu, Wang, Hu, Yang, "Filter pruning via geometric median for deep convolutional
    neural networks acceleration", CVPR 2019.
    """

    name = "geometric_median"

    def score(self, units, statistics, generator) -> Tensor:
        distances = torch.cdist(
            units.rows, units.rows[units.kept], compute_mode="donot_use_mm_for_euclid_dist"
        )
        return distances.sum(1)
