"""Statistics of layers whose inputs are maps: several columns for each unit of the layer before.

A convolution reads a unit by the positions of its kernel, and sees it at many places; a linear
layer reads a flattened map.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...networks.patches import blocks_of_patches, is_convolution
from ._base import LayerBatch
from ._inputs import InputMean
from ._probes import ProbeError
from ._units import DenseFit, InputMoments, InputProbeError, SensitivityMatrix


class PatchMean(InputMean):
    """Mean of what each weight of a filter meets, over samples and positions."""

    def __init__(self, layer: nn.Module, n_units: int):
        self._layer = layer
        self.total_weight = 0.0
        self.total = layer.weight.new_zeros(layer.weight[0].numel(), dtype=torch.float64)

    def update(self, batch):
        if not is_convolution(self._layer):
            super().update(batch)
            return
        for rows, seen in blocks_of_patches(self._layer, batch.inputs):
            means = seen[:, 0].mean(2)
            if batch.weights is not None:
                means *= batch.weights[rows, None]
            self.total += means.sum(0)
        self.total_weight += batch.total_weight


class PatchFit(DenseFit):
    """The least-squares problem of a convolution; each position is a sample."""

    def __init__(self, layer: nn.Module, n_units: int):
        super().__init__(_as_linear(layer))
        self._layer = layer

    @torch.no_grad()
    def update(self, batch):
        if not is_convolution(self._layer):
            super().update(batch)
            return
        for rows, seen in blocks_of_patches(self._layer, batch.inputs):
            weights = None if batch.weights is None else batch.weights[rows]
            self._add_positions(seen[:, 0], batch.dense_pre_activations[rows].flatten(2), weights)

    def _add_positions(self, inputs: Tensor, targets: Tensor, weights: Tensor | None) -> None:
        """Add patches of shape (n_samples, n_in, n_positions) and what the layer made of them."""
        n_samples, _, n_positions = inputs.shape
        total = n_samples if weights is None else float(weights.sum())
        if total == 0:
            return
        inputs, targets = (side.transpose(0, 1).flatten(1) for side in (inputs, targets))
        if weights is None:
            shares = inputs.new_ones(1) / n_samples / n_positions
        else:
            shares = (weights / total / n_positions).repeat_interleave(n_positions)
        means = [(side * shares).sum(1, dtype=torch.float64) for side in (inputs, targets)]
        inputs, targets = (
            side - mean.to(side)[:, None]
            for side, mean in zip((inputs, targets), means, strict=True)
        )
        weighted = inputs * (shares * total)
        self._add(total, *means, weighted @ inputs.t(), weighted @ targets.t())


class MapSensitivityMatrix(SensitivityMatrix):
    """``G_ij = E[Σ_p g_ipᵀ M g_jp]``: the positions count as if they did not know of each other."""

    def __init__(self, layer: nn.Module, n_units: int):
        super().__init__(layer)

    def add_gradient(self, batch, gradient, input_gradient):
        gradient = gradient.flatten(2) if gradient.ndim > 2 else gradient[:, :, None]
        weighted = gradient if batch.weights is None else gradient * batch.weights[:, None, None]
        self.total += torch.einsum("nip,njp->ij", weighted, gradient)


class MapMoments(InputMoments):
    """Moments of units that are maps, with a constant in the place of a map.

    With p its positions, a constant c for ``h_jp`` changes one output by ``d_j c − d'_j`` with
    ``d_j = Σ_p g_jp`` and ``d'_j = Σ_p g_jp h_jp``. So with sums over the outputs,
    ``S_j = E[d_j²]``, ``m_j = E[d_j d'_j] / S_j`` and ``V_j = E[(d'_j − d_j m_j)²]``.

    Attributes
    ----------
    sensitivity, mean, scatter : float64 tensors of shape (n_units,)
    """

    needs_input_sensitivities = False
    needs_input_gradients = True

    def __init__(self, layer: nn.Module, n_units: int):
        zeros = layer.weight.new_zeros(n_units, dtype=torch.float64)
        self.total_weight = 0.0
        self.sensitivity, self.mean, self.scatter = zeros, zeros.clone(), zeros.clone()
        self._layer = layer
        self._seen = layer.weight.new_zeros(layer.weight[0].numel(), dtype=torch.float64)

    @torch.no_grad()
    def add_gradient(self, batch, gradient, input_gradient):
        g = input_gradient.reshape(len(input_gradient), len(self.mean), -1).double()
        h = batch.inputs.reshape(g.shape).double()
        weights = None if batch.weights is None else batch.weights.double()[:, None]
        shift = g.sum(2)
        weighted = shift if weights is None else shift * weights
        total = (weighted * shift).sum(0)
        centre = h.mean((0, 2))
        change = (g * (h - centre[:, None])).sum(2)
        offset = (weighted * change).sum(0) / torch.where(total > 0, total, 1.0)
        rest = (change - shift * offset).square()
        self._add(total, centre + offset, (rest if weights is None else rest * weights).sum(0))

    def update(self, batch):
        """Count the samples, and how much of a constant map each column sees."""
        if is_convolution(self._layer):
            with torch.no_grad():
                _, ones = next(blocks_of_patches(self._layer, torch.ones_like(batch.inputs[:1])))
            self._seen = ones.mean((0, 1, 3)).double()
        else:
            self._seen.fill_(1.0)
        self.total_weight += batch.total_weight

    @property
    def constants(self):
        """What takes the place of each column; less than the constant where padding is seen."""
        return self.mean.repeat_interleave(len(self._seen) // len(self.mean)) * self._seen


class MapProbeError(ProbeError):
    """How well random probes know the sensitivities to units that are maps."""

    needs_sensitivities = False
    needs_input_sensitivities = True

    def __init__(self, layer: nn.Module, n_units: int):
        self.total_weight = 0.0
        self.total = layer.weight.new_zeros(n_units, dtype=torch.float64)
        self.squares = self.total.clone()

    def update(self, batch):
        s = batch.input_sensitivities
        s = s.reshape(len(s), len(self.total), -1).sum(2)
        super().update(LayerBatch(batch.inputs, s, batch.weights))


def _as_linear(layer: nn.Module) -> nn.Module:
    """A linear layer of the shape of a layer's matrix."""
    n_out, n_in = layer.weight.flatten(1).shape
    linear = nn.utils.skip_init(nn.Linear, n_in, n_out, dtype=layer.weight.dtype)
    return linear.to(layer.weight.device)


InputMean.for_maps = PatchMean
InputMoments.for_maps = MapMoments
InputProbeError.for_maps = MapProbeError
DenseFit.for_maps = PatchFit
SensitivityMatrix.for_maps = MapSensitivityMatrix
