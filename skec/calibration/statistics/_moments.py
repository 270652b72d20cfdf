"""Moments of a layer's inputs, weighted by the sensitivities of its units."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...utils import BATCHES_PER_RUN, exact_where_constant, rounding_of_sums
from ._base import LayerBatch, Need
from ._convolutions import SharedWeightMoments
from ._sums import WeightMoments


class SensitivityMoments(WeightMoments):
    """Moments of a layer's inputs, weighted by the sensitivity of each unit.

    With ``s_i`` the squared output sensitivity of unit i and ``a_j`` the layer's inputs, the
    moments are ``S_i = E[s_i]``, ``m_ij = E[s_i a_j] / S_i`` and ``V_ij = E[s_i (a_j − m_ij)²]``.
    The inputs are centred before they are summed, block by block, and the blocks are merged with
    the update of Chan, Golub & LeVeque (1983). A large offset of the inputs therefore causes no
    loss of precision.

    Attributes
    ----------
    total_weight : float
        Sum of the sample weights.
    sensitivity : float64 tensor of shape (n_out,)
        ``S`` times the total weight.
    mean : float64 tensor of shape (n_out, n_in)
        ``m``; for a unit without sensitivity, a value in the range of the inputs.
    scatter : float64 tensor of shape (n_out, n_in)
        ``V`` times the total weight.
    """

    needs = Need.SENSITIVITIES
    for_convolutions = SharedWeightMoments

    def __init__(self, layer: nn.Linear):
        super().__init__(layer)
        self._block: _Block | None = None

    def update(self, batch: LayerBatch) -> None:
        sensitivities = batch.get("sensitivities")
        if batch.weights is not None:
            sensitivities = sensitivities * batch.weights[:, None]
        if self._block is not None and self._block.n_batches == BATCHES_PER_RUN:
            self._close_block()
        if self._block is None:
            self._block = _Block(batch.inputs, sensitivities)
        self._block.add(batch.inputs, sensitivities)
        self.total_weight += batch.total_weight

    def _close_block(self) -> None:
        if self._block is None:
            return
        centre, total = self._block.centre, self._block.total
        first, second = self._block.sums
        self._block = None
        offset = first / torch.where(total > 0, total, 1.0)[:, None]
        rounding = second * rounding_of_sums(centre.dtype)
        scatter = second.addcmul_(first, offset, value=-1.0)
        scatter.masked_fill_(scatter <= rounding, 0.0)  # noise would break ties of scores
        self._merge(total, offset.add_(centre), scatter)


class _Block:
    """Sums over several batches of powers of the centred inputs.

    The work arrays are reused for the next batch: on small networks, allocating them takes longer
    than the arithmetic.

    Attributes
    ----------
    centre : tensor of shape (n_in,)
        The mean of the first batch's inputs, weighted by the summed sensitivities. Exact for a
        constant input.
    total : float64 tensor of shape (n_out,)
        Sum of the sensitivities.
    sums : float64 tensor of shape (2, n_out, n_in)
        Sums of sensitivity times the centred input, and times its square.
    """

    def __init__(self, inputs: Tensor, sensitivities: Tensor):
        n_in, n_out = inputs.shape[1], sensitivities.shape[1]
        weights = sensitivities.sum(1)
        total = weights.sum()
        mean = weights @ inputs / total if total > 0 else inputs.mean(0)
        self.centre = exact_where_constant(mean, inputs)
        self.total = sensitivities.new_zeros(n_out, dtype=torch.float64)
        self.sums = sensitivities.new_zeros((2, n_out, n_in), dtype=torch.float64)
        self.n_batches = 0
        self._powers = torch.empty_like(inputs)
        self._few_inputs = n_in < n_out  # BLAS is fastest with the short side first
        shape = (n_in, n_out) if self._few_inputs else (n_out, n_in)
        self._product = sensitivities.new_empty(shape)
        self._product64 = sensitivities.new_empty(shape, dtype=torch.float64)

    def add(self, inputs: Tensor, sensitivities: Tensor) -> None:
        """Add a batch."""
        if len(inputs) > len(self._powers):
            self._powers = torch.empty_like(inputs)
        powers = torch.sub(inputs, self.centre, out=self._powers[: len(inputs)])
        self.total += sensitivities.sum(0)
        for power, total in enumerate(self.sums, start=1):
            if power == 2:
                powers.square_()
            if self._few_inputs:
                torch.mm(powers.t(), sensitivities, out=self._product)
            else:
                torch.mm(sensitivities.t(), powers, out=self._product)
            product = self._product64.copy_(self._product)
            total += product.t() if self._few_inputs else product
        self.n_batches += 1
