"""The gradient of the loss."""

from __future__ import annotations

from ...networks import PrunableLayer
from ._base import LayerBatch, Need
from ._sums import Average


class LossGradient(Average):
    """Gradient of the mean loss with respect to a layer's weight.

    ``mean`` is the gradient, float64 of shape (n_out, n_in).
    """

    needs = Need.LOSS_GRADIENT
    for_convolutions = "self"

    def __init__(self, layer: PrunableLayer):
        super().__init__(layer, tuple(layer.weight.flatten(1).shape))

    def update(self, batch: LayerBatch) -> None:
        self.total += batch.get("loss_gradient")
        self.total_weight += batch.total_weight
