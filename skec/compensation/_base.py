"""The protocol of a compensation and the registry of those known by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from ..statistics import LayerStatistics, Statistic

COMPENSATIONS: dict[str, type[Compensation]] = {}


class Compensation(ABC):
    """What the parameters that stay do about the weights that go.

    Attributes
    ----------
    name : str
    requires : tuple of Statistic classes
        The statistics that ``apply`` reads.
    """

    name: ClassVar[str | None] = None
    requires: ClassVar[tuple[type[Statistic], ...]] = ()

    def __init_subclass__(cls, **kwargs) -> None:
        super().__init_subclass__(**kwargs)
        if vars(cls).get("name") is not None:  # not that of a parent
            COMPENSATIONS[cls.name] = cls

    @abstractmethod
    def apply(
        self,
        weight: Tensor,
        bias: Tensor | None,
        removed: Tensor,
        statistics: LayerStatistics,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the layer's new weight and bias.

        Parameters
        ----------
        weight : float64 tensor of shape (n_out, n_in)
            Before the removal.
        bias : float64 tensor of shape (n_out,) or None
        removed : bool tensor of shape (n_out, n_in)
            True where a weight goes; the caller sets those to zero.
        statistics : LayerStatistics
            Of the network before the removal.
        """
