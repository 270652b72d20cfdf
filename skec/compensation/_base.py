"""The protocol of a compensation and the registry of those known by name."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from ..calibration import Calibration
from ..calibration.statistics import LayerStatistics, Statistic
from ..utils import Registered, Registry

COMPENSATIONS = Registry("compensation", also="'auto' or ")


@dataclass(frozen=True)
class Effort:
    """How the adjustment of the whole network went in one pruning step.

    Attributes
    ----------
    cg_iterations : int
        Iterations of the conjugate gradients.
    accepted : bool
        Whether a step lowered the error and was taken.
    """

    cg_iterations: int
    accepted: bool


class Compensation(Registered, registry=COMPENSATIONS):
    """How the remaining parameters compensate for removed weights.

    To add a compensation, write one class in a file of this folder and import it in
    ``__init__.py``. Giving it a ``name`` makes it available as ``compensation=name``. An instance
    can be passed in place of a name.

    Attributes
    ----------
    name : str
    n_steps : int
        The least number of pruning steps that ``n_steps="auto"`` takes with it.
    requires : tuple of Statistic classes
        The statistics that ``apply`` reads.
    """

    requires: ClassVar[tuple[type[Statistic], ...]] = ()
    n_steps: ClassVar[int] = 1

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

    def adjust(
        self,
        module: nn.Module,
        kept: Mapping[str, Tensor],
        statistics: Mapping[str, LayerStatistics],
        calibration: Calibration,
    ) -> Effort | None:
        """Change the remaining parameters of the whole network, after ``apply`` for each layer.

        Does nothing by default. Removed weights must stay zero.

        Parameters
        ----------
        module : torch.nn.Module
            The pruned network in evaluation mode; changed in place.
        kept : mapping of layer name to bool tensor of shape (n_out, n_in)
            True marks a kept weight.
        statistics : mapping of layer name to LayerStatistics
            Of the network before this step.
        calibration : Calibration

        Returns
        -------
        Effort or None
            How it went, if there is something to report.
        """
