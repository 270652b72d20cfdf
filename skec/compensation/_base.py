"""The base class of compensations, and the registry of their names."""

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
    """Effort and outcome of adjusting the whole network in one pruning step.

    Attributes
    ----------
    cg_iterations : int
        Number of conjugate gradient iterations.
    accepted : bool
        Whether a step that lowers the error was found. If not, the network was not changed.
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
        The minimum number of pruning steps with ``n_steps="auto"``.
    requires : tuple of Statistic classes
        The statistics that ``apply`` reads.
    needs_samples : bool
        Whether ``adjust`` reads the samples, so that they must be in the memory of one process.
    """

    requires: tuple[type[Statistic], ...] = ()  # an instance may have other ones
    n_steps: ClassVar[int] = 1
    needs_samples: ClassVar[bool] = False

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
            True marks a weight to remove; the caller sets it to zero.
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
            None if there is nothing to report.
        """
