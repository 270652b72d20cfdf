"""The protocol of a compensation and the registry of those known by name."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from ..calibration.collect import CalibrationData
from ..calibration.metric import OutputMetric
from ..calibration.statistics import LayerStatistics, Statistic
from ..utils.registry import Registered, Registry

COMPENSATIONS = Registry("compensation", also="'auto' or ")


@dataclass
class Stage:
    """A network in which every layer has been pruned and compensated by itself.

    Attributes
    ----------
    module : torch.nn.Module
        In evaluation mode; may be changed.
    dense : torch.nn.Module
        The network before any pruning; not to be changed.
    layers : dict of str to torch.nn.Linear
        The layers of ``module`` that are pruned.
    kept : dict of layer name to bool tensor of shape (n_out, n_in)
        True marks a kept weight.
    statistics : dict of layer name to LayerStatistics
        Of the network before this step.
    data : CalibrationData
    metric : OutputMetric
    """

    module: nn.Module
    dense: nn.Module
    layers: dict[str, nn.Linear]
    kept: dict[str, Tensor]
    statistics: dict[str, LayerStatistics]
    data: CalibrationData | None
    metric: OutputMetric


class Compensation(Registered, registry=COMPENSATIONS):
    """What the parameters that stay do about the weights that go.

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

    def adjust(self, stage: Stage) -> None:
        """Change what is left of the whole network, after each layer had its turn.

        Does nothing unless a compensation says otherwise. Removed weights must stay zero.
        """
