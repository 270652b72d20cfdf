"""The protocol of a compensation for units and the registry of those known by name."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from ...calibration.statistics import LayerStatistics, Statistic
from ...networks import Units
from ...utils import Registered, Registry
from .._base import COMPENSATIONS

UNIT_COMPENSATIONS = Registry("compensation", also="'auto' or ")
COMPENSATIONS.elsewhere.append(
    (UNIT_COMPENSATIONS, "for single weights; it goes with granularity='neuron'")
)
UNIT_COMPENSATIONS.elsewhere.append(
    (COMPENSATIONS, "for whole units; it goes with granularity='weight'")
)


class UnitCompensation(Registered, registry=UNIT_COMPENSATIONS):
    """What the layer that reads the units does about those that go.

    Attributes
    ----------
    name : str
    n_steps : int
        The least number of pruning steps that ``n_steps="auto"`` takes with it.
    requires : tuple of Statistic classes
        The statistics that ``restore`` reads: those of the layer that reads the units, in the
        network whose earlier layers have lost theirs already.
    """

    requires: ClassVar[tuple[type[Statistic], ...]] = ()
    n_steps: ClassVar[int] = 1

    def check(self, units: Units) -> None:
        """Raise a ``ValueError`` if the units are not such that they can be restored."""

    @abstractmethod
    def restore(
        self, units: Units, removed: Tensor, statistics: LayerStatistics
    ) -> tuple[Tensor, Tensor | None]:
        """Return new outgoing weights and the next layer's bias.

        Parameters
        ----------
        units : Units
            Before the removal.
        removed : bool tensor of shape (n_units,)
            True where a unit goes now; the caller sets what it sends out to zero.
        statistics : LayerStatistics

        Returns
        -------
        next_weight : float64 tensor of shape (n_next, n_units * block)
        next_bias : float64 tensor of shape (n_next,) or None
        """


def with_bias(bias: Tensor | None, shift: Tensor) -> Tensor:
    """A bias, if there is one, plus a shift."""
    return shift if bias is None else bias + shift


def merged(units: Units, kept: Tensor, removed: Tensor, coefficients: Tensor) -> Tensor:
    """Outgoing weights when kept units send on, in part, what removed ones did.

    Parameters
    ----------
    units : Units
    kept, removed : bool tensors of shape (n_units,)
    coefficients : tensor of shape (n_kept, n_removed)

    Returns
    -------
    float64 tensor of shape (n_next, n_units * block)
    """
    blocks = units.next_weight.unflatten(1, (-1, units.block)).clone()
    blocks[:, kept] += torch.einsum("ojb,kj->okb", blocks[:, removed], coefficients)
    return blocks.flatten(1)
