"""The protocol of a statistic, and the statistics of one layer."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

if TYPE_CHECKING:
    from ..collect import CalibrationData
    from ..metric import OutputMetric


@dataclass
class LayerBatch:
    """What one layer saw of one batch.

    Attributes
    ----------
    inputs : tensor of shape (n_samples, n_in)
        For a convolution (n_samples, n_channels, ...).
    sensitivities : tensor of shape (n_samples, n_out) or None
        ``s_i(x)``, there if a statistic asks for it.
    weights : tensor of shape (n_samples,) or None
        Sample weights; None stands for ones.
    loss_gradient : tensor of shape (n_out, n_in) or None
        Gradient of the batch's summed, weighted loss, there if a statistic asks for it.
    input_sensitivities : tensor of shape (n_samples, n_in) or None
        Squared output sensitivity to each input, there if a statistic asks for it. For a
        convolution (n_samples, n_channels), to a shift of the whole channel.
    dense_pre_activations : tensor of shape (n_samples, n_out) or None
        The layer's pre-activations in the dense network, there if a statistic asks for them.
    """

    inputs: Tensor
    sensitivities: Tensor | None = None
    weights: Tensor | None = None
    loss_gradient: Tensor | None = None
    input_sensitivities: Tensor | None = None
    dense_pre_activations: Tensor | None = None

    @property
    def total_weight(self) -> float:
        return float(len(self.inputs) if self.weights is None else self.weights.sum())


class Statistic(ABC):
    """Base class: a sum over samples for one layer.

    Parameters
    ----------
    layer : torch.nn.Linear
        Gives the shapes, and for a convolution what its weights meet.

    Attributes
    ----------
    needs_sensitivities, needs_input_sensitivities, needs_loss_gradient, needs_dense : bool
        Whether a batch must have what is called so.
    needs_gradients, needs_input_gradients : bool
        Whether ``add_gradient`` must be called for each seed of the output metric.
    for_convolutions : Statistic class or None
        What takes the place of this class for a convolution, whose weight is a matrix of shape
        (n_out, n_in) with ``n_in`` the size of a filter; None if nothing does.
    for_maps : Statistic class or None
        The same for a layer whose inputs are maps, several columns for each unit of the layer
        before. Made with the number of those units.
    """

    needs_sensitivities: ClassVar[bool] = False
    needs_input_sensitivities: ClassVar[bool] = False
    needs_gradients: ClassVar[bool] = False
    needs_input_gradients: ClassVar[bool] = False
    needs_loss_gradient: ClassVar[bool] = False
    needs_dense: ClassVar[bool] = False
    for_convolutions: ClassVar[type[Statistic] | None] = None
    for_maps: ClassVar[type[Statistic] | None] = None

    @classmethod
    def needs_backward(cls) -> bool:
        """Whether the outputs have to be differentiated."""
        return any(
            (
                cls.needs_sensitivities,
                cls.needs_input_sensitivities,
                cls.needs_gradients,
                cls.needs_input_gradients,
            )
        )

    @classmethod
    def of(cls, layer: nn.Module, n_units: int | None = None) -> Statistic:
        """The statistic of a layer; ``n_units`` is how many units it reads, if that counts."""
        linear = isinstance(layer, nn.Linear)
        if n_units is None:
            return cls(layer) if linear else cls.for_convolutions(layer)
        one_column_each = linear and layer.in_features == n_units
        return cls(layer) if one_column_each else cls.for_maps(layer, n_units)

    @abstractmethod
    def __init__(self, layer: nn.Linear): ...

    @abstractmethod
    def update(self, batch: LayerBatch) -> None:
        """Add a batch."""

    def add_gradient(  # noqa: B027
        self, batch: LayerBatch, gradient: Tensor, input_gradient: Tensor | None
    ) -> None:
        """Add one seed's gradients of a batch, before its ``update``.

        Called if ``needs_gradients`` with the gradients for the pre-activations, and if
        ``needs_input_gradients`` with those for the inputs too.
        """

    @abstractmethod
    def merge(self, other: Statistic) -> None:
        """Add what another statistic of the same layer saw."""


class NetworkStatistic(Statistic):
    """Base class: what takes runs of the network itself, and so is no sum over batches.

    Its ``measure`` takes the place of ``update``, and it cannot be merged.
    """

    @classmethod
    @abstractmethod
    def measure(
        cls,
        module: nn.Module,
        layers: Mapping[str, nn.Module],
        data: CalibrationData,
        metric: OutputMetric,
    ) -> dict[str, Statistic]:
        """Return the statistic of each layer."""

    def update(self, batch: LayerBatch) -> None:
        raise TypeError(f"{type(self).__name__} is measured, not summed over batches.")

    def merge(self, other: Statistic) -> None:
        raise TypeError(f"{type(self).__name__} is measured on all samples and cannot be merged.")


@dataclass
class LayerStatistics:
    """The statistics of one layer, by their class.

    Attributes
    ----------
    by_class : dict of Statistic class to Statistic
    kept : bool tensor of shape (n_out, n_in) or None
        The weights that earlier pruning steps have left; None stands for all.
    """

    by_class: dict[type[Statistic], Statistic] = field(default_factory=dict)
    kept: Tensor | None = None

    @classmethod
    def empty(
        cls, layer: nn.Module, classes: Sequence[type[Statistic]], n_units: int | None = None
    ) -> LayerStatistics:
        return cls({statistic: statistic.of(layer, n_units) for statistic in classes})

    def __getitem__(self, statistic: type[Statistic]) -> Statistic:
        return self.by_class[statistic]

    def add_gradient(self, batch, gradient: Tensor, input_gradient: Tensor | None) -> None:
        for statistic in self.by_class.values():
            if statistic.needs_gradients or statistic.needs_input_gradients:
                statistic.add_gradient(batch, gradient, input_gradient)

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
