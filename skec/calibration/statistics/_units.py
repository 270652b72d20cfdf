"""Statistics for removing units, which are the inputs of the next layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ._base import LayerBatch, Need
from ._maps import MapMoments, MapSensitivityMatrix, PatchFit
from ._sums import Average, LeastSquares, UnitMoments


class InputMoments(UnitMoments):
    """Moments of each input, weighted by the outputs' sensitivity to it.

    With ``s_j`` the squared output sensitivity to the input ``h_j``, these are ``S_j = E[s_j]``,
    ``m_j = E[s_j h_j] / S_j`` and ``V_j = E[s_j (h_j − m_j)²]``. Each batch is centred and then
    merged.
    """

    needs = Need.INPUT_SENSITIVITIES
    for_maps = MapMoments

    def __init__(self, layer: nn.Linear):
        super().__init__(layer, layer.in_features)

    @property
    def constants(self) -> Tensor:
        """The constant that replaces each input, float64 of shape (n_in,)."""
        return self.mean

    def update(self, batch: LayerBatch) -> None:
        inputs, s = batch.inputs.double(), batch.get("input_sensitivities").double()
        if batch.weights is not None:
            s = s * batch.weights[:, None]
        total = s.sum(0)
        mean = (s * inputs).sum(0) / torch.where(total > 0, total, 1.0)
        self._add(total, mean, (s * (inputs - mean).square()).sum(0))
        self.total_weight += batch.total_weight


class SensitivityMatrix(Average):
    """Products of the output gradients of pairs of a layer's units: ``G_ij = E[g_iᵀ M g_j]``.

    ``mean`` is ``G``, float64 of shape (n_out, n_out). Its diagonal is the units' mean sensitivity.
    """

    needs = Need.GRADIENTS
    for_maps = MapSensitivityMatrix

    def __init__(self, layer: nn.Linear):
        super().__init__(layer, (layer.out_features,) * 2)

    def add_gradient(
        self, batch: LayerBatch, gradient: Tensor, input_gradient: Tensor | None
    ) -> None:
        weighted = gradient if batch.weights is None else gradient * batch.weights[:, None]
        self.total += weighted.t() @ gradient

    def update(self, batch: LayerBatch) -> None:
        self.total_weight += batch.total_weight


class DenseFit(LeastSquares):
    """Least squares of the dense network's pre-activations on a layer's inputs.

    ``h`` are the layer's inputs in the current network and ``z`` its pre-activations in the dense
    network, for the same samples. The statistic holds the means and the centred second moments of
    both in float64, so that the intercept is eliminated exactly.
    """

    needs = Need.DENSE_OUTPUTS
    for_maps = PatchFit
