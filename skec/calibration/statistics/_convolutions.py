"""Statistics of convolutions, which apply each weight at many positions of a sample."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from ...networks import blocks_of_patches, patches_bytes, weight_gradients
from ...utils import exact_where_constant
from ._base import LayerBatch, Need
from ._sums import Average, WeightMoments

_REMEMBERED = 2**27  # the patches of a batch of at most so many bytes are kept for the next seed


class SharedWeightMoments(WeightMoments):
    """The moments of elimination–compensation for the weights of a convolution.

    For one sample and one output, with positions p, the gradient for a weight is
    ``d_ij = Σ_p g_ip a_jp`` and the gradient for the bias is ``d_i = Σ_p g_ip``. With sums over
    the outputs, ``S_i = E[d_i²]``, ``m_ij = E[d_i d_ij] / S_i`` and
    ``V_ij = E[(d_ij − d_i m_ij)²]``. For a single position these are the moments of a linear
    layer. The inputs are centred first, which subtracts ``d_i`` times the centre from ``d_ij``.
    The samples are processed in blocks to bound the memory.
    """

    needs = Need.GRADIENTS

    def __init__(self, layer: nn.Conv1d | nn.Conv2d):
        super().__init__(layer)
        self._layer = layer
        self._sums: _Sums | None = None
        self._remembered: list[tuple[slice, Tensor, _Sums]] | None = None

    @torch.no_grad()
    def add_gradient(
        self, batch: LayerBatch, gradient: Tensor, input_gradient: Tensor | None
    ) -> None:
        gradient = gradient.flatten(2)
        for rows, patches, sums in self._centred_patches(batch):
            of_weights = weight_gradients(patches, gradient[rows])
            of_biases = gradient[rows].sum(2)
            weights = None if batch.weights is None else batch.weights[rows].sqrt()
            if weights is not None:
                of_weights *= weights[:, None, None]
                of_biases *= weights[:, None]
            sums.add(of_weights, of_biases)

    def _centred_patches(self, batch: LayerBatch) -> Iterable[tuple[slice, Tensor, _Sums]]:
        """The centred patches of a batch, block by block, and the sums to add them to."""
        if patches_bytes(self._layer, batch.inputs) > _REMEMBERED:
            return self._centre(batch)
        if self._remembered is None:
            self._remembered = list(self._centre(batch))
        return self._remembered

    def _centre(self, batch: LayerBatch) -> Iterator[tuple[slice, Tensor, _Sums]]:
        for rows, patches in blocks_of_patches(self._layer, batch.inputs):
            if self._sums is None:
                self._sums = _Sums(patches, len(self._layer.weight))
            yield rows, patches.sub_(self._sums.centre[:, :, None]), self._sums

    def update(self, batch: LayerBatch) -> None:
        self._remembered = None
        self.total_weight += batch.total_weight

    def _close_block(self) -> None:
        if self._sums is None:
            return
        centre, total = self._sums.centre, self._sums.total
        first, second = self._sums.first, self._sums.second
        self._sums = None
        offset = first / torch.where(total > 0, total, 1.0)[:, None]
        scatter = (second - first * offset).clamp_min_(0.0)
        self._merge(total, offset + centre.repeat_interleave(len(total) // len(centre), 0), scatter)


class _Sums:
    """Sums over samples of products of the gradients of centred patches.

    Attributes
    ----------
    centre : tensor of shape (groups, n_in)
        The mean of the first patches.
    total : float64 tensor of shape (n_out,)
        Sum of ``d_i²``.
    first, second : float64 tensors of shape (n_out, n_in)
        Sums of ``d_i d_ij`` and ``d_ij²``, with centred inputs.
    """

    def __init__(self, patches: Tensor, n_out: int):
        at_positions = patches.movedim(3, 1).flatten(0, 1)
        self.centre = exact_where_constant(patches.mean((0, 3)), at_positions)
        self.total = patches.new_zeros(n_out, dtype=torch.float64)
        self.first, self.second = self.total.new_zeros((2, n_out, patches.shape[2]))

    def add(self, of_weights: Tensor, of_biases: Tensor) -> None:
        """Add gradients for weights and biases; ``of_weights`` is overwritten."""
        self.total += of_biases.square().sum(0)
        self.first += torch.einsum("no,noq->oq", of_biases, of_weights)
        self.second += of_weights.square_().sum(0)


class SharedInputPower(Average):
    """Mean square of the inputs that each weight of a filter multiplies.

    The mean is over samples and positions.
    """

    def __init__(self, layer: nn.Conv1d | nn.Conv2d):
        super().__init__(layer, (layer.groups, layer.weight[0].numel()))
        self._layer = layer

    @torch.no_grad()
    def update(self, batch: LayerBatch) -> None:
        for rows, patches in blocks_of_patches(self._layer, batch.inputs):
            squares = patches.square_()
            if batch.weights is not None:
                squares *= batch.weights[rows, None, None, None]
            self.total += squares.mean(3).sum(0)
        self.total_weight += batch.total_weight

    @property
    def mean(self) -> Tensor:
        """``E[a_j²]`` for each filter, float64 of shape (n_out, n_in)."""
        filters = self._layer.out_channels // self._layer.groups
        return (self.total / self.total_weight).repeat_interleave(filters, 0)
