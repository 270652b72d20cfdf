"""Means over a layer's inputs."""

from __future__ import annotations

from torch import Tensor, nn

from ._base import LayerBatch
from ._convolutions import SharedInputPower
from ._maps import PatchMean
from ._sums import Average


class InputMean(Average):
    """Mean of each input of a layer; ``mean`` is ``E[a_j]``, float64 of shape (n_in,)."""

    for_maps = PatchMean

    def __init__(self, layer: nn.Linear):
        super().__init__(layer, (layer.in_features,))

    def update(self, batch: LayerBatch) -> None:
        values = self._averaged(batch.inputs.double())
        if batch.weights is not None:
            values = values * batch.weights[:, None]
        self.total += values.sum(0)
        self.total_weight += batch.total_weight

    def _averaged(self, inputs: Tensor) -> Tensor:
        """The quantity to average, computed from the inputs."""
        return inputs


class InputPower(InputMean):
    """Mean square of each input of a layer; ``mean`` is ``E[a_j²]``."""

    for_convolutions = SharedInputPower

    def _averaged(self, inputs: Tensor) -> Tensor:
        return inputs.square()
