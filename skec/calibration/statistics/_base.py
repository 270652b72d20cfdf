"""The protocol of a statistic, and the statistics of one layer."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Flag, auto
from typing import Any, ClassVar, Literal, TypeVar, cast

from torch import Tensor, nn

from ...networks import PrunableLayer
from ...utils import BatchedSamples, Samples
from ..metric import OutputMetric


class Need(Flag):
    """The data that a statistic needs in addition to the layer's inputs.

    Attributes
    ----------
    NOTHING
        No further data.
    SENSITIVITIES
        ``batch.sensitivities``: squared output sensitivities to the pre-activations.
    INPUT_SENSITIVITIES
        ``batch.input_sensitivities``: squared output sensitivities to the inputs.
    GRADIENTS
        Calls of ``add_gradient`` with gradients at the pre-activations.
    INPUT_GRADIENTS
        Calls of ``add_gradient`` with gradients at the pre-activations and the inputs.
    LOSS_GRADIENT
        ``batch.loss_gradient``: the gradient of the loss. Requires targets.
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
        """The union of the needs of some statistics."""
        total = cls.NOTHING
        for statistic in statistics:
            total |= statistic.needs
        return total


# The needs that are computed by differentiating the outputs.
BACKWARD = Need.SENSITIVITIES | Need.INPUT_SENSITIVITIES | Need.GRADIENTS | Need.INPUT_GRADIENTS


@dataclass
class LayerBatch:
    """The data of one layer for one batch. A field that no statistic needs is None.

    Attributes
    ----------
    inputs : tensor of shape (n_samples, n_in)
        For a convolution (n_samples, n_channels, ...).
    sensitivities : tensor of shape (n_samples, n_out) or None
        ``s_i(x)``.
    weights : tensor of shape (n_samples,) or None
        Sample weights; None means ones.
    loss_gradient : tensor of shape (n_out, n_in) or None
        Gradient of the batch's summed, weighted loss.
    input_sensitivities : tensor of shape (n_samples, n_in) or None
        Squared output sensitivity to each input. For a convolution (n_samples, n_channels), the
        squared output sensitivity to a shift of the whole channel.
    dense_pre_activations : tensor of shape (n_samples, n_out) or None
        The layer's pre-activations in the dense network. For a convolution
        (n_samples, n_out, ...).
    kept : bool tensor of shape (n_out, n_in) or None
        The weights kept by earlier pruning steps; None means all.
    """

    inputs: Tensor
    sensitivities: Tensor | None = None
    weights: Tensor | None = None
    loss_gradient: Tensor | None = None
    input_sensitivities: Tensor | None = None
    dense_pre_activations: Tensor | None = None
    kept: Tensor | None = None

    @property
    def total_weight(self) -> float:
        """Sum of the sample weights."""
        return float(len(self.inputs) if self.weights is None else self.weights.sum())

    def get(self, name: str) -> Tensor:
        """Return a field; raise a ``ValueError`` if it is None."""
        value = getattr(self, name)
        if value is None:
            raise ValueError(f"The batch has no {name}. Declare it in needs of the statistic.")
        return value


class Statistic(ABC):
    """Base class: a sum over samples for one layer.

    Parameters
    ----------
    layer : torch.nn.Linear
        Gives the shapes. The class named by ``for_convolutions`` gets a convolution.

    Attributes
    ----------
    needs : Need
        The data that each batch must have.
    for_convolutions : Statistic class or None
        The class to use for a convolution, whose weight is treated as a matrix of shape
        (n_out, n_in) with ``n_in`` the size of a filter. None if convolutions are not supported.
    for_maps : Statistic class or None
        The class to use for a layer whose inputs are maps, that is several columns for each unit
        of the previous layer. It is created with the number of those units as a second argument.
        None if maps are not supported.

    Notes
    -----
    ``for_convolutions`` and ``for_maps`` are declared in the class body. Subclasses do not inherit
    them. The value ``"self"`` means the class itself; it is replaced when the class is created.
    """

    needs: ClassVar[Need] = Need.NOTHING
    for_convolutions: ClassVar[type[Statistic] | Literal["self"] | None] = None
    for_maps: ClassVar[type[Statistic] | Literal["self"] | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in ("for_convolutions", "for_maps"):
            declared = vars(cls).get(name)
            setattr(cls, name, cls if declared == "self" else declared)

    @classmethod
    def of(cls, layer: PrunableLayer, n_units: int | None = None) -> Statistic:
        """Create the statistic of a layer, in the form for this layer.

        Parameters
        ----------
        layer : torch.nn.Linear, Conv1d or Conv2d
        n_units : int, default=None
            Number of units of the previous layer that this layer reads; None if the statistic does
            not use them.

        Raises
        ------
        ValueError
            If the statistic is not defined for the layer.
        """
        if isinstance(layer, nn.Linear) and n_units in (None, layer.in_features):
            return cls(layer)
        form = cls.for_convolutions if n_units is None else cls.for_maps
        if not isinstance(form, type):
            what = "convolutions" if n_units is None else "units that are maps"
            raise ValueError(f"The statistic {cls.__name__} is not defined for {what}.")
        return form(layer) if n_units is None else cast(Any, form)(layer, n_units)

    @abstractmethod
    def __init__(self, layer: Any) -> None: ...

    @abstractmethod
    def update(self, batch: LayerBatch) -> None:
        """Add a batch."""

    def add_gradient(  # noqa: B027
        self, batch: LayerBatch, gradient: Tensor, input_gradient: Tensor | None
    ) -> None:
        """Add one seed's gradients of a batch.

        Called before ``update`` of the same batch if ``needs`` has ``Need.GRADIENTS`` or
        ``Need.INPUT_GRADIENTS``. With the latter, ``input_gradient`` is not None.
        """

    @abstractmethod
    def merge(self, other: Any) -> None:
        """Add a statistic of the same layer over other data."""


class NetworkStatistic(Statistic):
    """Base class: a measurement that runs the network on all samples, not a sum over batches.

    ``measure`` is called in place of ``update``. The results cannot be merged.
    """

    @classmethod
    @abstractmethod
    def measure(
        cls,
        module: nn.Module,
        layers: Mapping[str, PrunableLayer],
        samples: Samples | BatchedSamples,
        metric: OutputMetric,
    ) -> Mapping[str, Statistic]:
        """Return the statistic of each layer.

        Parameters
        ----------
        module : torch.nn.Module
        layers : mapping of layer name to torch.nn.Linear, Conv1d or Conv2d
        samples : Samples or BatchedSamples
            ``samples.in_memory()`` loads those that come in batches.
        metric : OutputMetric
        """

    def update(self, batch: LayerBatch) -> None:
        raise TypeError(
            f"{type(self).__name__} is measured, not summed over batches. Call measure."
        )

    def merge(self, other: Any) -> None:
        raise TypeError(f"{type(self).__name__} is measured on all samples; it cannot be merged.")


S = TypeVar("S", bound=Statistic)


@dataclass
class LayerStatistics:
    """The statistics of one layer, by their class.

    Attributes
    ----------
    by_class : dict of Statistic class to Statistic
    kept : bool tensor of shape (n_out, n_in) or None
        The weights kept by earlier pruning steps; None means all.
    """

    by_class: dict[type[Statistic], Statistic] = field(default_factory=dict)
    kept: Tensor | None = None

    @classmethod
    def empty(
        cls,
        layer: PrunableLayer,
        classes: Sequence[type[Statistic]],
        n_units: int | None = None,
        kept: Tensor | None = None,
    ) -> LayerStatistics:
        """Create the statistics of a layer, before the first batch."""
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
    """Merge the statistics of shards of the data into the statistics of all data.

    Parameters
    ----------
    shards : sequence of mappings of layer name to LayerStatistics
        Not changed.
    """
    first, *others = shards
    total = copy.deepcopy(dict(first))
    for other in others:
        add(total, other)
    return total


def add(total: Mapping[str, LayerStatistics], further: Mapping[str, LayerStatistics]) -> None:
    """Add the statistics of further data to ``total``, in place."""
    for name, statistics in further.items():
        total[name].merge(statistics)
