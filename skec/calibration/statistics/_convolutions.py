"""The statistics of convolutions, whose weights are used at many positions of a sample."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...networks import blocks_of_patches, patches_bytes, weight_gradients
from ._base import LayerBatch, Need
from ._sums import Average, WeightMoments

_REMEMBERED = 2**27  # bytes of a batch's patches


class SharedWeightMoments(WeightMoments):
    """The moments of elimination–compensation for weights that are used at many positions.

    The gradient of one output for a weight is, for a sample, ``d_ij = Σ_p g_ip a_jp``, and for the
    bias ``d_i = Σ_p g_ip``, with p the positions. With sums over the outputs,
    ``S_i = E[d_i²]``, ``m_ij = E[d_i d_ij] / S_i`` and ``V_ij = E[(d_ij − d_i m_ij)²]``: with one
    position these are the moments of a linear layer. Inputs are centred first, which takes ``d_i``
    times the centre from ``d_ij``. The samples are looked at in blocks, which bounds the memory.
    """

    needs = Need.GRADIENTS

    def __init__(self, layer: nn.Conv1d | nn.Conv2d):
        super().__init__(layer)
        self._layer = layer
        self._n_out = len(layer.weight)
        self._centre: Tensor | None = None
        self._sums: tuple[Tensor, Tensor, Tensor] | None = None
        self._seen: list[tuple[slice, Tensor]] | tuple | None = None

    @torch.no_grad()
    def add_gradient(self, batch, gradient, input_gradient):
        gradient = gradient.flatten(2)
        for rows, seen in self._centred_patches(batch):
            of_weights = weight_gradients(seen, gradient[rows])
            of_biases = gradient[rows].sum(2)
            weights = None if batch.weights is None else batch.weights[rows].sqrt()
            if weights is not None:
                of_weights *= weights[:, None, None]
                of_biases *= weights[:, None]
            total, first, second = self._sums
            total += of_biases.square().sum(0)
            first += torch.einsum("no,noq->oq", of_biases, of_weights)
            second += of_weights.square_().sum(0)

    def _centred_patches(self, batch: LayerBatch):
        """The patches of a batch less the centre; remembered for the next seed if they are few."""
        if self._seen is None:
            n_bytes = patches_bytes(self._layer, batch.inputs)
            blocks = self._centred(batch)
            self._seen = list(blocks) if n_bytes <= _REMEMBERED else ()
            return self._seen or blocks
        return self._seen or self._centred(batch)

    def _centred(self, batch: LayerBatch):
        for rows, seen in blocks_of_patches(self._layer, batch.inputs):
            if self._sums is None:
                self._begin(seen)
            yield rows, seen.sub_(self._centre[:, :, None])

    def _begin(self, seen: Tensor) -> None:
        """Take the mean of the first patches as the centre."""
        n_out, n_in = self._n_out, seen.shape[2]
        self._centre = seen.mean((0, 3))
        total = seen.new_zeros(n_out, dtype=torch.float64)
        self._sums = (total, total.new_zeros((n_out, n_in)), total.new_zeros((n_out, n_in)))

    def update(self, batch):
        self._seen = None
        self.total_weight += batch.total_weight

    def _close_block(self):
        if self._sums is None:
            return
        total, first, second = self._sums
        self._sums = None
        offset = first / torch.where(total > 0, total, 1.0)[:, None]
        scatter = (second - first * offset).clamp_min_(0.0)
        centre = self._centre.repeat_interleave(len(total) // len(self._centre), 0)
        self._merge(total, offset + centre, scatter)


class SharedInputPower(Average):
    """Mean square of what each weight of a filter meets, over samples and positions."""

    def __init__(self, layer: nn.Conv1d | nn.Conv2d):
        super().__init__(layer, (layer.groups, layer.weight[0].numel()))
        self._layer = layer

    @torch.no_grad()
    def update(self, batch: LayerBatch) -> None:
        for rows, seen in blocks_of_patches(self._layer, batch.inputs):
            squares = seen.square_()
            if batch.weights is not None:
                squares *= batch.weights[rows, None, None, None]
            self.total += squares.mean(3).sum(0)
        self.total_weight += batch.total_weight

    @property
    def mean(self) -> Tensor:
        """``E[a_j²]`` for each filter, float64 of shape (n_out, n_in)."""
        filters = self._layer.out_channels // self._layer.groups
        return (self.total / self.total_weight).repeat_interleave(filters, 0)
