"""Layer-adaptive magnitude."""

from __future__ import annotations

from torch import Tensor

from ..utils import lamp_scores
from ._base import Criterion


class LayerAdaptiveMagnitude(Criterion):
    """The squared weight over the sum of all squared weights of its layer that are not smaller.

    These scores are comparable between layers. Pruning globally by them is magnitude pruning with
    a separate ratio for each layer.

    When to use it: without data and with ``scope="global"``, where plain magnitude would empty
    layers of small weights.

    Source: Lee, Park, Mo, Ahn, Shin, "Layer-adaptive sparsity for the magnitude-based pruning",
    ICLR 2021.
    """

    name = "lamp"

    def score(self, weight, statistics, generator) -> Tensor:
        return lamp_scores(weight)
