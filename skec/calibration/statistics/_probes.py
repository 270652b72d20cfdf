"""How well random probes know the sensitivities."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ._base import LayerBatch, Statistic


class ProbeError(Statistic):
    """Sums from which the error of sensitivities estimated by random probes follows.

    With ``v`` of independent ±1 entries the variance of ``(vᵀ g)²`` is at most ``2 (gᵀ g)²``, and
    the probes of different samples are independent. So the variance of the sum over the samples
    of a mean over p probes is at most ``2/p`` times the sum of the squared sensitivities.
    """

    needs_sensitivities = True

    def __init__(self, layer: nn.Linear):
        self.total_weight = 0.0
        self.total = layer.weight.new_zeros(len(layer.weight), dtype=torch.float64)
        self.squares = self.total.clone()

    def update(self, batch: LayerBatch) -> None:
        sensitivities = batch.sensitivities.double()
        if batch.weights is not None:
            sensitivities = sensitivities * batch.weights[:, None]
        self.total += sensitivities.sum(0)
        self.squares += sensitivities.square().sum(0)
        self.total_weight += batch.total_weight

    def merge(self, other: ProbeError) -> None:
        self.total += other.total
        self.squares += other.squares
        self.total_weight += other.total_weight

    def relative(self, n_probes: int) -> Tensor:
        """Standard error of each unit's mean sensitivity, relative to it; shape (n_out,).

        An upper bound on average; zero for a unit without sensitivity.
        """
        error = (2.0 / n_probes * self.squares).sqrt()
        return torch.where(self.total > 0, error / self.total, 0.0)


ProbeError.for_convolutions = ProbeError


def relative_probe_error(spreads: Sequence[ProbeError], n_probes: int) -> float:
    """The relative standard error of all units, averaged with their sensitivities as weights."""
    total = sum(float(spread.total.sum()) for spread in spreads)
    error = sum(float((spread.relative(n_probes) * spread.total).sum()) for spread in spreads)
    return error / total if total > 0 else 0.0
