"""Layer-adaptive magnitude."""

from __future__ import annotations

from torch import Tensor

from ..utils import lamp_scores
from ._base import Criterion


class LayerAdaptiveMagnitude(Criterion):
    """The squared weight relative to all squares in its layer that are at least as large.

    The score makes weights of different layers comparable: removing weights by it over the whole
    network is magnitude pruning with a ratio for each layer.

    When to use it: without data, with ``scope="global"``, where plain magnitude would empty the
    layers that have small weights.

    Source: Lee, Park, Mo, Ahn, Shin, "Layer-adaptive sparsity for the magnitude-based pruning",
    ICLR 2021.
    """

    name = "lamp"

    def score(self, weight, statistics, generator) -> Tensor:
        return lamp_scores(weight)
