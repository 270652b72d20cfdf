"""Random scores."""

from __future__ import annotations

import torch
from torch import Tensor

from ._base import UnitCriterion


class RandomUnits(UnitCriterion):
    """Uniform random numbers.

    When to use it: as the lower bound in a comparison.
    """

    name = "random"

    def score(self, units, statistics, generator) -> Tensor:
        numbers = torch.rand(len(units.weight), dtype=torch.float64, generator=generator)
        return numbers.to(units.weight.device)
