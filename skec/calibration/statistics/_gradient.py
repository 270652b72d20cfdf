"""The gradient of the loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ._base import LayerBatch, Statistic


class LossGradient(Statistic):
    """Gradient of the mean loss with respect to a layer's weight.

    Attributes
    ----------
    total_weight : float
    total : float64 tensor of shape (n_out, n_in)
        Gradient of the summed, weighted loss.
    """

    needs_loss_gradient = True

    def __init__(self, layer: nn.Linear):
        self.total_weight = 0.0
        weight = layer.weight.detach().flatten(1)
        self.total = torch.zeros_like(weight, dtype=torch.float64)

    def update(self, batch: LayerBatch) -> None:
        self.total += batch.loss_gradient
        self.total_weight += batch.total_weight

    def merge(self, other: LossGradient) -> None:
        self.total += other.total
        self.total_weight += other.total_weight

    @property
    def mean(self) -> Tensor:
        """Gradient of the mean loss, float64 of shape (n_out, n_in)."""
        return self.total / self.total_weight


LossGradient.for_convolutions = LossGradient
