"""Statistics of layers whose inputs are maps: several columns for each unit of the layer before.

A convolution reads a unit by the positions of its kernel, and sees it at many places; a linear
layer reads a flattened map.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ...networks import blocks_of_patches, is_convolution
from ._base import LayerBatch, Need
from ._sums import Average, LeastSquares, UnitMoments


class PatchMean(Average):
    """Mean of what each weight of a filter meets, over samples and positions."""

    def __init__(self, layer: nn.Module, n_units: int):
        super().__init__(layer, (layer.weight[0].numel(),))
        self._layer = layer

    def update(self, batch: LayerBatch) -> None:
        for rows, means in self._means(batch.inputs):
            if batch.weights is not None:
                means = means * batch.weights[rows, None]
            self.total += means.sum(0)
        self.total_weight += batch.total_weight

    def _means(self, inputs: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Yield slices of the samples with the mean over the positions."""
        if not is_convolution(self._layer):
            yield slice(None), inputs.double()
            return
        for rows, seen in blocks_of_patches(self._layer, inputs):
            yield rows, seen[:, 0].mean(2)


class PatchFit(LeastSquares):
    """The least-squares problem of a convolution; each position is a sample."""

    needs = Need.DENSE_OUTPUTS

    def __init__(self, layer: nn.Module, n_units: int):
        super().__init__(layer)
        self._layer = layer

    @torch.no_grad()
    def update(self, batch):
        if not is_convolution(self._layer):
            super().update(batch)
            return
        for rows, seen in blocks_of_patches(self._layer, batch.inputs):
            weights = None if batch.weights is None else batch.weights[rows]
            targets = batch.get("dense_pre_activations")[rows]
            self._add_positions(seen[:, 0], targets.flatten(2), weights)

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


class MapSensitivityMatrix(Average):
    """``G_ij = E[Σ_p g_ipᵀ M g_jp]``: the positions count as if they did not know of each other."""

    needs = Need.GRADIENTS

    def __init__(self, layer: nn.Module, n_units: int):
        super().__init__(layer, (len(layer.weight),) * 2)

    def add_gradient(self, batch, gradient, input_gradient):
        gradient = gradient.flatten(2) if gradient.ndim > 2 else gradient[:, :, None]
        weighted = gradient if batch.weights is None else gradient * batch.weights[:, None, None]
        self.total += torch.einsum("nip,njp->ij", weighted, gradient)

    def update(self, batch: LayerBatch) -> None:
        self.total_weight += batch.total_weight


class MapMoments(UnitMoments):
    """Moments of units that are maps, with a constant in the place of a map.

    With p its positions, a constant c for ``h_jp`` changes one output by ``d_j c − d'_j`` with
    ``d_j = Σ_p g_jp`` and ``d'_j = Σ_p g_jp h_jp``. So with sums over the outputs,
    ``S_j = E[d_j²]``, ``m_j = E[d_j d'_j] / S_j`` and ``V_j = E[(d'_j − d_j m_j)²]``.

    Attributes
    ----------
    sensitivity, mean, scatter : float64 tensors of shape (n_units,)
    """

    needs = Need.INPUT_GRADIENTS

    def __init__(self, layer: nn.Module, n_units: int):
        super().__init__(layer, n_units)
        self._layer = layer
        self._seen = layer.weight.detach().new_zeros(layer.weight[0].numel(), dtype=torch.float64)

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
