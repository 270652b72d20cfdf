"""Random scores."""

from __future__ import annotations

import torch
from torch import Tensor

from ._base import Criterion


class Random(Criterion):
    """Uniform random numbers.

    When to use it: as the lower bound in a comparison. A method that is no better uses no
    information about the network.
    """

    name = "random"

    def score(self, weight, statistics, generator) -> Tensor:
        numbers = torch.rand(weight.shape, dtype=torch.float64, generator=generator)
        return numbers.to(weight.device)
