"""What pruning removes: the protocol of a granularity."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...allocation import Scope, UnitScope
from ...calibration import Calibration
from ...calibration.statistics import LayerStatistics, Statistic
from ...compensation import Compensation, Effort, UnitCompensation
from ...criteria import Criterion, UnitCriterion
from ...networks import layer_of
from ...utils import Registry


@dataclass(frozen=True)
class State:
    """A network between two pruning steps.

    Attributes
    ----------
    module : torch.nn.Module
        The network, in evaluation mode. A step makes a new one.
    kept : dict of layer name to bool tensor
        True marks what is kept, in the shape of the scores; the weight of a convolution is a
        matrix.
    effort : Effort or None
        How the compensation of the last step went, if it reports that.
    """

    module: nn.Module
    kept: dict[str, Tensor]
    effort: Effort | None = None

    def weight(self, name: str) -> Tensor:
        """A layer's weight as a matrix, float64 of shape (n_out, n_in); a filter is a row."""
        return layer_of(self.module, name).weight.detach().flatten(1).double()


@dataclass(frozen=True)
class Scoring:
    """The scores of a network, and what they were computed from.

    Attributes
    ----------
    scores : dict of layer name to float64 tensor
    statistics : dict of layer name to LayerStatistics
    probe_error : float or None
        Relative standard error of the sensitivities behind the scores, if they were probed.
    """

    scores: dict[str, Tensor]
    statistics: dict[str, LayerStatistics] = field(repr=False)
    probe_error: float | None = None


class Granularity(ABC):
    """What is removed as one: a single weight, or a unit with all its weights.

    Holds a criterion, a compensation and a scope for such things, and knows what their removal
    does to a network.

    Parameters
    ----------
    criterion : Criterion or UnitCriterion
    compensation : Compensation or UnitCompensation
    scope : Scope or UnitScope

    Attributes
    ----------
    name : str
    criteria, compensations : Registry
        The criteria and compensations that are known by name.
    default_scope : str
        The scope that ``"auto"`` stands for.
    without_data : str
        What works without calibration data, for messages.
    """

    name: ClassVar[str]
    criteria: ClassVar[Registry]
    compensations: ClassVar[Registry]
    default_scope: ClassVar[str]
    without_data: ClassVar[str]

    def __init__(
        self,
        criterion: Criterion | UnitCriterion,
        compensation: Compensation | UnitCompensation,
        scope: Scope | UnitScope,
    ):
        self.criterion, self.compensation, self.scope = criterion, compensation, scope

    @classmethod
    def find(
        cls,
        method: Any,
        compensation: Any = "auto",
        method_params: Mapping[str, Any] | None = None,
        compensation_params: Mapping[str, Any] | None = None,
        scope: Any = "auto",
    ) -> Granularity:
        """Look up criterion, compensation and scope, as in :func:`skec.prune`.

        Raises
        ------
        ValueError
            If a name, or the name of a parameter, is unknown.
        """
        criterion = cls.criteria.make(method, method_params)
        if isinstance(compensation, str) and compensation == "auto":
            compensation = criterion.compensation
        compensation = cls.compensations.make(compensation, compensation_params)
        return cls(criterion, compensation, cls.parse_scope(scope))

    @classmethod
    @abstractmethod
    def parse_scope(cls, scope: Any) -> Any:
        """The scope object that a scope stands for, with ``"auto"``."""

    @property
    def n_steps(self) -> int:
        """The number of pruning steps that criterion and compensation recommend."""
        return max(self.criterion.n_steps, self.compensation.n_steps)

    @property
    def statistics(self) -> tuple[type[Statistic], ...]:
        """The statistics that criterion and compensation read."""
        return tuple(dict.fromkeys(self.criterion.requires + self.compensation.requires))

    def check(self, module: nn.Module, layers: Sequence[str] | None) -> list[str]:
        """Names of the layers that lose something; raise if the network does not allow it.

        Parameters
        ----------
        module : torch.nn.Module
        layers : sequence of str or None
            As in :func:`skec.prune`.
        """
        names = self.layers(module, layers)
        self.scope.check(names)
        return names

    @abstractmethod
    def layers(self, module: nn.Module, names: Sequence[str] | None) -> list[str]:
        """Names of the layers that lose something; raise if the network does not allow it."""

    @abstractmethod
    def begin(self, module: nn.Module, names: Sequence[str]) -> State:
        """The state of a network before the first step."""

    @abstractmethod
    def score(self, state: State, calibration: Calibration, generator: torch.Generator) -> Scoring:
        """Score the network as it is now, for each layer in the shape of ``state.kept``."""

    @abstractmethod
    def remove(
        self,
        state: State,
        scoring: Scoring,
        kept: dict[str, Tensor],
        calibration: Calibration,
    ) -> State:
        """Remove what is not in ``kept``, with compensation. ``state`` is not changed."""

    @abstractmethod
    def masks(self, state: State) -> dict[str, Tensor]:
        """Which weights are kept in each layer that may have lost some."""

    @abstractmethod
    def report(self, state: State) -> list[dict[str, Any]]:
        """A row for each layer in ``state.kept``, which begins with its name as ``"layer"``."""


@torch.no_grad()
def write(module: nn.Module, name: str, weight: Tensor, bias: Tensor | None) -> None:
    """Give a layer new values in place; one without a bias gets one if it is given."""
    layer = layer_of(module, name)
    layer.weight.copy_(weight.view_as(layer.weight))
    if bias is None:
        return
    if layer.bias is None:
        layer.bias = nn.Parameter(
            layer.weight.new_empty(len(layer.weight)), layer.weight.requires_grad
        )
    layer.bias.copy_(bias)
