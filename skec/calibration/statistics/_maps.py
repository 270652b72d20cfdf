"""Statistics of layers whose inputs are maps: several columns for each unit of the previous layer.

A convolution has one column for each position of its kernel and applies it at many positions of
the map. A linear layer reads a flattened map and has one column for each position of the map.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ...networks import PrunableLayer, blocks_of_patches
from ._base import LayerBatch, Need
from ._sums import Average, LeastSquares, UnitMoments


class PatchMean(Average):
    """Mean of the inputs that each weight of a filter multiplies, over samples and positions."""

    def __init__(self, layer: PrunableLayer, n_units: int):
        super().__init__(layer, (layer.weight[0].numel(),))
        self._layer = layer

    def update(self, batch: LayerBatch) -> None:
        for rows, means in self._means(batch.inputs):
            if batch.weights is not None:
                means = means * batch.weights[rows, None]
            self.total += means.sum(0)
        self.total_weight += batch.total_weight

    def _means(self, inputs: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Yield slices of the samples and their means over the positions."""
        if isinstance(self._layer, nn.Linear):
            yield slice(None), inputs.double()
            return
        for rows, patches in blocks_of_patches(self._layer, inputs):
            yield rows, patches[:, 0].mean(2)


class PatchFit(LeastSquares):
    """Least squares of a layer that reads maps; each position of a convolution is a sample."""

    needs = Need.DENSE_OUTPUTS

    def __init__(self, layer: PrunableLayer, n_units: int):
        super().__init__(layer)
        self._layer = layer

    @torch.no_grad()
    def update(self, batch: LayerBatch) -> None:
        if isinstance(self._layer, nn.Linear):
            super().update(batch)
            return
        for rows, patches in blocks_of_patches(self._layer, batch.inputs):
            weights = None if batch.weights is None else batch.weights[rows]
            targets = batch.get("dense_pre_activations")[rows]
            self._add_positions(patches[:, 0], targets.flatten(2), weights)

    def _add_positions(self, inputs: Tensor, targets: Tensor, weights: Tensor | None) -> None:
        """Add patches of shape (n_samples, n_in, n_positions) and their pre-activations."""
        n_samples, _, n_positions = inputs.shape
        total = n_samples if weights is None else float(weights.sum())
        if total == 0:
            return
        inputs, targets = (side.transpose(0, 1).flatten(1) for side in (inputs, targets))
        if weights is None:
            shares = inputs.new_ones(1) / n_samples / n_positions
        else:
            shares = (weights / total / n_positions).repeat_interleave(n_positions)
        mean, target_mean = (
            (side * shares).sum(1, dtype=torch.float64) for side in (inputs, targets)
        )
        inputs = inputs - mean.to(inputs)[:, None]
        targets = targets - target_mean.to(targets)[:, None]
        weighted = inputs * (shares * total)
        self._add(total, mean, target_mean, weighted @ inputs.t(), weighted @ targets.t())


class MapSensitivityMatrix(Average):
    """``G_ij = E[Σ_p g_ipᵀ M g_jp]``, without the products of different positions p."""

    needs = Need.GRADIENTS

    def __init__(self, layer: PrunableLayer, n_units: int):
        super().__init__(layer, (len(layer.weight),) * 2)

    def add_gradient(
        self, batch: LayerBatch, gradient: Tensor, input_gradient: Tensor | None
    ) -> None:
        gradient = gradient.flatten(2) if gradient.ndim > 2 else gradient[:, :, None]
        weighted = gradient if batch.weights is None else gradient * batch.weights[:, None, None]
        self.total += torch.einsum("nip,njp->ij", weighted, gradient)

    def update(self, batch: LayerBatch) -> None:
        self.total_weight += batch.total_weight


class MapMoments(UnitMoments):
    """Moments of units that are maps, each of which is replaced by a constant map.

    Replacing the map ``h_jp`` with positions p by a constant c changes one output by
    ``d_j c − d'_j`` with ``d_j = Σ_p g_jp`` and ``d'_j = Σ_p g_jp h_jp``. The moments are, with
    sums over the outputs, ``S_j = E[d_j²]``, ``m_j = E[d_j d'_j] / S_j`` and
    ``V_j = E[(d'_j − d_j m_j)²]``.

    Attributes
    ----------
    sensitivity, mean, scatter : float64 tensors of shape (n_units,)
    """

    needs = Need.INPUT_GRADIENTS

    def __init__(self, layer: PrunableLayer, n_units: int):
        super().__init__(layer, n_units)
        self._layer = layer
        # the mean of each column for a map of ones: less than one where the padding is zeros
        self._of_ones = layer.weight.detach().new_zeros(
            layer.weight[0].numel(), dtype=torch.float64
        )

    @torch.no_grad()
    def add_gradient(
        self, batch: LayerBatch, gradient: Tensor, input_gradient: Tensor | None
    ) -> None:
        if input_gradient is None:
            raise ValueError("MapMoments needs gradients at the inputs; got input_gradient=None.")
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

    def update(self, batch: LayerBatch) -> None:
        if isinstance(self._layer, nn.Linear):
            self._of_ones.fill_(1.0)
        else:
            with torch.no_grad():
                _, ones = next(blocks_of_patches(self._layer, torch.ones_like(batch.inputs[:1])))
            self._of_ones = ones.mean((0, 1, 3)).double()
        self.total_weight += batch.total_weight

    @property
    def constants(self) -> Tensor:
        """The constant that replaces each column, smaller where it includes zero padding."""
        return self.mean.repeat_interleave(len(self._of_ones) // len(self.mean)) * self._of_ones
