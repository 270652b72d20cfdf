"""Sums over the calibration data from which scores and compensations are computed.

Every statistic is a sum over samples: it takes data in batches, and two of them that saw
different data merge into the one that saw both. Sums are kept in float64.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn


@dataclass
class LayerBatch:
    """What one layer saw of one batch.

    Attributes
    ----------
    inputs : tensor of shape (n_samples, n_in)
    sensitivities : tensor of shape (n_samples, n_out) or None
        ``s_i(x)``, there if a statistic asks for it.
    weights : tensor of shape (n_samples,) or None
        Sample weights; None stands for ones.
    loss_gradient : tensor of shape (n_out, n_in) or None
        Gradient of the batch's summed, weighted loss, there if a statistic asks for it.
    """

    inputs: Tensor
    sensitivities: Tensor | None = None
    weights: Tensor | None = None
    loss_gradient: Tensor | None = None

    @property
    def total_weight(self) -> float:
        return float(len(self.inputs) if self.weights is None else self.weights.sum())


class Statistic(ABC):
    """Base class: a sum over samples for one layer.

    Parameters
    ----------
    layer : torch.nn.Linear
        Gives the shapes; nothing of it is kept.
    """

    needs_sensitivities: ClassVar[bool] = False
    needs_loss_gradient: ClassVar[bool] = False

    @abstractmethod
    def __init__(self, layer: nn.Linear): ...

    @abstractmethod
    def update(self, batch: LayerBatch) -> None:
        """Add a batch."""

    @abstractmethod
    def merge(self, other: Statistic) -> None:
        """Add what another statistic of the same layer saw."""


class SensitivityMoments(Statistic):
    """Moments of a layer's inputs, weighted by the sensitivity of each unit.

    With ``s_i`` the squared output sensitivity of unit i and ``a_j`` the layer's inputs, the
    moments are ``S_i = E[s_i]``, ``m_ij = E[s_i a_j] / S_i`` and ``V_ij = E[s_i (a_j − m_ij)²]``.
    The inputs are centred before they are summed, block by block, and the blocks are merged with
    the update of Chan, Golub & LeVeque (1983), so a large offset of the inputs costs no digits.

    Attributes
    ----------
    total_weight : float
        Sum of the sample weights.
    sensitivity : float64 tensor of shape (n_out,)
        ``S`` times the total weight.
    mean : float64 tensor of shape (n_out, n_in)
        ``m``; where the unit has no sensitivity, some value in the range of the inputs.
    scatter : float64 tensor of shape (n_out, n_in)
        ``V`` times the total weight.
    """

    needs_sensitivities = True
    _BATCHES_PER_BLOCK = 16

    def __init__(self, layer: nn.Linear):
        self.total_weight = 0.0
        self._merged: tuple[Tensor, Tensor, Tensor] | None = None
        self._block: tuple[Tensor, Tensor, Tensor, Tensor] | None = None
        self._batches = 0
        self._shape = layer.weight.shape

    def update(self, batch: LayerBatch) -> None:
        sensitivities = batch.sensitivities
        if batch.weights is not None:
            sensitivities = sensitivities * batch.weights[:, None]
        if self._batches == self._BATCHES_PER_BLOCK:
            self._close_block()
        if self._block is None:
            zeros = sensitivities.new_zeros(self._shape, dtype=torch.float64)
            self._block = (
                _centre(batch.inputs, sensitivities),
                zeros[:, 0].clone(),
                zeros,
                zeros.clone(),
            )
        centre, total, first, second = self._block
        centred = batch.inputs - centre
        total += sensitivities.sum(0)
        first += sensitivities.t() @ centred
        second += sensitivities.t() @ centred.square_()
        self._batches += 1
        self.total_weight += batch.total_weight

    def _close_block(self) -> None:
        """Turn the block's sums about its centre into moments and merge them."""
        if self._block is None:
            return
        centre, total, first, second = self._block
        self._block, self._batches = None, 0
        offset = first / torch.where(total > 0, total, 1.0)[:, None]
        scatter = second.addcmul_(first, offset, value=-1.0).clamp_min_(0.0)
        self._merge((total, offset.add_(centre), scatter))

    def _merge(self, block: tuple[Tensor, Tensor, Tensor]) -> None:
        if self._merged is None:
            self._merged = tuple(moment.clone() for moment in block)
            return
        (total, mean, scatter), (block_total, block_mean, block_scatter) = (
            self._merged,
            block,
        )
        joint = total + block_total
        share = (block_total / torch.where(joint > 0, joint, 1.0))[:, None]
        shift = block_mean - mean
        scatter += block_scatter
        scatter.addcmul_(shift.square(), share * total[:, None])
        mean.addcmul_(shift, share)
        self._merged = (joint, mean, scatter)

    def merge(self, other: SensitivityMoments) -> None:
        if other.total_weight == 0.0:
            return
        self._close_block()
        self._merge(other.moments)
        self.total_weight += other.total_weight

    @property
    def moments(self) -> tuple[Tensor, Tensor, Tensor]:
        """Sensitivity, mean and scatter."""
        self._close_block()
        return self._merged

    @property
    def sensitivity(self) -> Tensor:
        return self.moments[0]

    @property
    def mean(self) -> Tensor:
        return self.moments[1]

    @property
    def scatter(self) -> Tensor:
        return self.moments[2]


def _centre(inputs: Tensor, sensitivities: Tensor) -> Tensor:
    """A point near the inputs that count: their mean weighted by the summed sensitivities."""
    weights = sensitivities.sum(1)
    total = weights.sum()
    return weights @ inputs / total if total > 0 else torch.zeros_like(inputs[0])


class LossGradient(Statistic):
    """Gradient of the mean loss with respect to a layer's weight.

    Attributes
    ----------
    total_weight : float
    total : float64 tensor of shape (n_out, n_in)
        Gradient of the summed, weighted loss.
    """

    needs_loss_gradient = True

    def __init__(self, layer: nn.Linear):
        self.total_weight = 0.0
        self.total = torch.zeros_like(layer.weight, dtype=torch.float64, requires_grad=False)

    def update(self, batch: LayerBatch) -> None:
        self.total += batch.loss_gradient
        self.total_weight += batch.total_weight

    def merge(self, other: LossGradient) -> None:
        self.total += other.total
        self.total_weight += other.total_weight

    @property
    def mean(self) -> Tensor:
        """Gradient of the mean loss, float64 of shape (n_out, n_in)."""
        return self.total / self.total_weight


@dataclass
class LayerStatistics:
    """The statistics of one layer, by their class."""

    by_class: dict[type[Statistic], Statistic] = field(default_factory=dict)

    @classmethod
    def empty(cls, layer: nn.Linear, classes: Sequence[type[Statistic]]) -> LayerStatistics:
        return cls({statistic: statistic(layer) for statistic in classes})

    def __getitem__(self, statistic: type[Statistic]) -> Statistic:
        return self.by_class[statistic]

    def update(self, batch: LayerBatch) -> None:
        for statistic in self.by_class.values():
            statistic.update(batch)

    def merge(self, other: LayerStatistics) -> None:
        """Add the statistics of the same layer over other data."""
        for kind, statistic in self.by_class.items():
            statistic.merge(other[kind])


def merge(
    shards: Sequence[Mapping[str, LayerStatistics]],
) -> dict[str, LayerStatistics]:
    """Merge the statistics of shards of the data into those of the whole."""
    first, *others = shards
    total = copy.deepcopy(dict(first))
    for other in others:
        for name, statistics in other.items():
            total[name].merge(statistics)
    return total
