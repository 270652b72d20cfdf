"""Means over a layer's inputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ._base import LayerBatch, Statistic


class InputMean(Statistic):
    """Mean of each input of a layer.

    Attributes
    ----------
    total_weight : float
        Sum of the sample weights.
    total : float64 tensor of shape (n_in,)
    """

    def __init__(self, layer: nn.Linear):
        self.total_weight = 0.0
        self.total = torch.zeros_like(layer.weight[0], dtype=torch.float64, requires_grad=False)

    def _averaged(self, inputs: Tensor) -> Tensor:
        return inputs

    def update(self, batch: LayerBatch) -> None:
        values = self._averaged(batch.inputs.double())
        if batch.weights is not None:
            values = values * batch.weights[:, None]
        self.total += values.sum(0)
        self.total_weight += batch.total_weight

    def merge(self, other: InputMean) -> None:
        self.total += other.total
        self.total_weight += other.total_weight

    @property
    def mean(self) -> Tensor:
        """``E[a_j]``, float64 of shape (n_in,)."""
        return self.total / self.total_weight


class InputPower(InputMean):
    """Mean square of each input of a layer; ``mean`` is ``E[a_j²]``."""

    for_maps = None

    def _averaged(self, inputs):
        return inputs.square()
