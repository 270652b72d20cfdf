"""The base class of compensations for units, and the registry of their names."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from ...calibration.statistics import LayerStatistics, Statistic
from ...networks import Units
from ...utils import FOR_UNITS, FOR_WEIGHTS, Registered, Registry
from .._base import COMPENSATIONS

UNIT_COMPENSATIONS = Registry("compensation", also="'auto' or ")
COMPENSATIONS.elsewhere.append((UNIT_COMPENSATIONS, FOR_UNITS))
UNIT_COMPENSATIONS.elsewhere.append((COMPENSATIONS, FOR_WEIGHTS))


class UnitCompensation(Registered, registry=UNIT_COMPENSATIONS):
    """How the next layer compensates for removed units.

    Attributes
    ----------
    name : str
    n_steps : int
        The minimum number of pruning steps with ``n_steps="auto"``.
    requires : tuple of Statistic classes
        The statistics that ``restore`` reads, of the next layer: the one that reads the units.
        The units of earlier layers are already removed.
    """

    requires: ClassVar[tuple[type[Statistic], ...]] = ()
    n_steps: ClassVar[int] = 1

    def check(self, units: Units) -> None:
        """Raise a ``ValueError`` if the compensation is not defined for the units."""

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
            True marks a unit to remove in this step; the caller sets its outgoing weights to zero.
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
    """Add multiples of the outgoing weights of removed units to those of kept ones.

    Parameters
    ----------
    units : Units
    kept, removed : bool tensors of shape (n_units,)
    coefficients : tensor of shape (n_kept, n_removed)
        The multiple of each removed unit's weights that each kept unit gets.

    Returns
    -------
    float64 tensor of shape (n_next, n_units * block)
    """
    blocks = units.next_weight.unflatten(1, (-1, units.block)).clone()
    blocks[:, kept] += torch.einsum("ojb,kj->okb", blocks[:, removed], coefficients)
    return blocks.flatten(1)
