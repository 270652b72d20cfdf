"""The error of sensitivities that are estimated by random probes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...networks import PrunableLayer
from ._base import LayerBatch, Need, Statistic


class ProbeError(Statistic):
    """Sums for the error of sensitivities to units that are estimated by random probes.

    For ``v`` with independent ±1 entries, the variance of ``(vᵀ g)²`` is at most ``2 (gᵀ g)²``.
    The probes of different samples are independent. With the mean over p probes for each sample,
    the variance of the sum over the samples is therefore at most ``2/p`` times the sum of the
    squared sensitivities.
    """

    needs = Need.SENSITIVITIES
    for_convolutions = "self"

    def __init__(self, layer: PrunableLayer):
        self._begin(layer.weight, len(layer.weight))

    def _begin(self, weight: Tensor, n_units: int) -> None:
        self.total_weight = 0.0
        self.total = weight.detach().new_zeros(n_units, dtype=torch.float64)
        self.squares = self.total.clone()

    def _sensitivities(self, batch: LayerBatch) -> Tensor:
        """Squared output sensitivities to the units, shape (n_samples, n_units)."""
        return batch.get("sensitivities")

    def update(self, batch: LayerBatch) -> None:
        sensitivities = self._sensitivities(batch).double()
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
        """Relative standard error of each unit's mean sensitivity, shape (n_out,).

        An upper bound on average; zero for a unit without sensitivity.
        """
        error = (2.0 / n_probes * self.squares).sqrt()
        return torch.where(self.total > 0, error / self.total, 0.0)


class MapProbeError(ProbeError):
    """Sums for the error of probed sensitivities to units that are maps."""

    needs = Need.INPUT_SENSITIVITIES

    def __init__(self, layer: PrunableLayer, n_units: int):
        self._begin(layer.weight, n_units)

    def _sensitivities(self, batch: LayerBatch) -> Tensor:
        s = batch.get("input_sensitivities")
        return s.reshape(len(s), len(self.total), -1).sum(2)


class InputProbeError(ProbeError):
    """Sums for the error of probed sensitivities to a layer's inputs."""

    needs = Need.INPUT_SENSITIVITIES
    for_maps = MapProbeError

    def __init__(self, layer: nn.Linear):
        self._begin(layer.weight, layer.in_features)

    def _sensitivities(self, batch: LayerBatch) -> Tensor:
        return batch.get("input_sensitivities")


def relative_probe_error(spreads: Sequence[ProbeError], n_probes: int) -> float:
    """Mean of the units' relative standard errors, weighted by their sensitivities."""
    total = sum(float(spread.total.sum()) for spread in spreads)
    error = sum(float((spread.relative(n_probes) * spread.total).sum()) for spread in spreads)
    return error / total if total > 0 else 0.0
