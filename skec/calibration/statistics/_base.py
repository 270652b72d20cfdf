"""The protocol of a statistic, and the statistics of one layer."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Flag, auto
from typing import Any, ClassVar, TypeVar, cast

from torch import Tensor, nn

from ...utils import Samples
from ..metric import OutputMetric


class Need(Flag):
    """What a statistic needs to see of a batch, beside the layer's inputs.

    Attributes
    ----------
    NOTHING
        The inputs are enough.
    SENSITIVITIES
        ``batch.sensitivities``: squared output sensitivities to the pre-activations.
    INPUT_SENSITIVITIES
        ``batch.input_sensitivities``: the same for the inputs.
    GRADIENTS
        Calls of ``add_gradient`` with gradients at the pre-activations.
    INPUT_GRADIENTS
        Calls of ``add_gradient`` with gradients at the pre-activations and the inputs.
    LOSS_GRADIENT
        ``batch.loss_gradient``: the gradient of the loss. Needs targets.
    DENSE_OUTPUTS
        ``batch.dense_pre_activations``: the layer's pre-activations in the dense network.

    Examples
    --------
    >>> bool(Need.GRADIENTS & (Need.GRADIENTS | Need.DENSE_OUTPUTS))
    True
    """

    NOTHING = 0
    SENSITIVITIES = auto()
    INPUT_SENSITIVITIES = auto()
    GRADIENTS = auto()
    INPUT_GRADIENTS = auto()
    LOSS_GRADIENT = auto()
    DENSE_OUTPUTS = auto()

    @classmethod
    def of(cls, statistics: Sequence[type[Statistic]]) -> Need:
        """Everything that some statistics need."""
        total = cls.NOTHING
        for statistic in statistics:
            total |= statistic.needs
        return total


# What has to be computed by differentiating the outputs.
BACKWARD = Need.SENSITIVITIES | Need.INPUT_SENSITIVITIES | Need.GRADIENTS | Need.INPUT_GRADIENTS


@dataclass
class LayerBatch:
    """One layer's part of one batch.

    Attributes
    ----------
    inputs : tensor of shape (n_samples, n_in)
        For a convolution (n_samples, n_channels, ...).
    sensitivities : tensor of shape (n_samples, n_out) or None
        ``s_i(x)``; given if a statistic needs it.
    weights : tensor of shape (n_samples,) or None
        Sample weights; None stands for ones.
    loss_gradient : tensor of shape (n_out, n_in) or None
        Gradient of the batch's summed, weighted loss; given if a statistic needs it.
    input_sensitivities : tensor of shape (n_samples, n_in) or None
        Squared output sensitivity to each input; given if a statistic needs it. For a convolution
        (n_samples, n_channels), to a shift of the whole channel.
    dense_pre_activations : tensor of shape (n_samples, n_out) or None
        The layer's pre-activations in the dense network; given if a statistic needs them.
    """

    inputs: Tensor
    sensitivities: Tensor | None = None
    weights: Tensor | None = None
    loss_gradient: Tensor | None = None
    input_sensitivities: Tensor | None = None
    dense_pre_activations: Tensor | None = None

    @property
    def total_weight(self) -> float:
        """Sum of the sample weights."""
        return float(len(self.inputs) if self.weights is None else self.weights.sum())

    def get(self, name: str) -> Tensor:
        """A field that a statistic needs, which the pass over the data has filled in."""
        value = getattr(self, name)
        if value is None:
            raise ValueError(f"This batch has no {name}: the statistic must name it in ``needs``.")
        return value


class Statistic(ABC):
    """Base class: a sum over samples for one layer.

    Parameters
    ----------
    layer : torch.nn.Module
        A linear layer, or for ``for_convolutions`` a convolution. It gives the shapes.

    Attributes
    ----------
    needs : Need
        What a batch must have.
    for_convolutions : Statistic class or None
        The class that takes the place of this one for a convolution, whose weight is a matrix of
        shape (n_out, n_in) with ``n_in`` the size of a filter. None if there is none.
    for_maps : Statistic class or None
        The class that takes the place of this one for a layer whose inputs are maps: several
        columns for each unit of the layer before. Made with the number of those units.

    Notes
    -----
    ``for_convolutions`` and ``for_maps`` are declared in the body of a class and are not
    inherited: a subclass that says nothing is not defined for convolutions and maps. ``"self"``
    says that the class is its own form.
    """

    needs: ClassVar[Need] = Need.NOTHING
    for_convolutions: ClassVar[type[Statistic] | None] = None
    for_maps: ClassVar[type[Statistic] | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in ("for_convolutions", "for_maps"):
            declared = vars(cls).get(name)
            setattr(cls, name, cls if declared == "self" else declared)

    @classmethod
    def needs_backward(cls) -> bool:
        """Whether the outputs have to be differentiated."""
        return bool(cls.needs & BACKWARD)

    @classmethod
    def of(cls, layer: nn.Module, n_units: int | None = None) -> Statistic:
        """The statistic of a layer; ``n_units`` is how many units it reads, if that counts."""
        linear = isinstance(layer, nn.Linear)
        one_column_each = linear and n_units in (None, layer.in_features)
        if one_column_each:
            return cls(layer)
        form = cls.for_convolutions if n_units is None else cls.for_maps
        if form is None:
            what = "convolutions" if n_units is None else "units that are maps"
            raise ValueError(f"The statistic {cls.__name__} is not defined for {what}.")
        return form(layer) if n_units is None else cast(Any, form)(layer, n_units)

    @abstractmethod
    def __init__(self, layer: Any): ...

    @abstractmethod
    def update(self, batch: LayerBatch) -> None:
        """Add a batch."""

    def add_gradient(  # noqa: B027
        self, batch: LayerBatch, gradient: Tensor, input_gradient: Tensor | None
    ) -> None:
        """Add one seed's gradients of a batch, before its ``update``.

        Called with ``Need.GRADIENTS`` and ``Need.INPUT_GRADIENTS``; with the latter,
        ``input_gradient`` is given.
        """

    @abstractmethod
    def merge(self, other: Any) -> None:
        """Add what another statistic of the same layer saw."""


class NetworkStatistic(Statistic):
    """Base class: a measurement that runs the network itself, so it is no sum over batches.

    Its ``measure`` takes the place of ``update``. It cannot be merged.
    """

    @classmethod
    @abstractmethod
    def measure(
        cls,
        module: nn.Module,
        layers: Mapping[str, nn.Module],
        samples: Samples,
        metric: OutputMetric,
    ) -> dict[str, Statistic]:
        """Return the statistic of each layer.

        Parameters
        ----------
        module : torch.nn.Module
        layers : mapping of layer name to torch.nn.Linear
        samples : Samples
        metric : OutputMetric
        """

    def update(self, batch: LayerBatch) -> None:
        raise TypeError(f"{type(self).__name__} is measured, not summed over batches.")

    def merge(self, other: Any) -> None:
        raise TypeError(f"{type(self).__name__} is measured on all samples and cannot be merged.")


S = TypeVar("S", bound=Statistic)


@dataclass
class LayerStatistics:
    """The statistics of one layer, by their class.

    Attributes
    ----------
    by_class : dict of Statistic class to Statistic
    kept : bool tensor of shape (n_out, n_in) or None
        The weights that earlier pruning steps have kept; None stands for all.
    """

    by_class: dict[type[Statistic], Statistic] = field(default_factory=dict)
    kept: Tensor | None = None

    @classmethod
    def empty(
        cls,
        layer: nn.Module,
        classes: Sequence[type[Statistic]],
        n_units: int | None = None,
        kept: Tensor | None = None,
    ) -> LayerStatistics:
        """The statistics of a layer before the first batch."""
        return cls({statistic: statistic.of(layer, n_units) for statistic in classes}, kept)

    def __getitem__(self, statistic: type[S]) -> S:
        return cast(S, self.by_class[statistic])

    def add_gradient(
        self, batch: LayerBatch, gradient: Tensor, input_gradient: Tensor | None
    ) -> None:
        """Add one seed's gradients to the statistics that need them."""
        for statistic in self.by_class.values():
            if statistic.needs & (Need.GRADIENTS | Need.INPUT_GRADIENTS):
                statistic.add_gradient(batch, gradient, input_gradient)

    def update(self, batch: LayerBatch) -> None:
        """Add a batch to each statistic."""
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
