"""What pruning removes: the protocol of a granularity."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from ...calibration.collect import CalibrationData
from ...calibration.metric import OutputMetric
from ...calibration.statistics import LayerStatistics, Statistic
from ...utils.registry import Registry


@dataclass
class Pruning:
    """A network while it is pruned, step by step.

    Attributes
    ----------
    module : torch.nn.Module
        The network as it is now, in evaluation mode; changed in place.
    dense : torch.nn.Module
        The network before any pruning; not to be changed.
    data : CalibrationData or None
    metric : OutputMetric
    loss : torch.nn.Module or None
    generator : torch.Generator
    probed : bool
        Whether the metric is seen through random probes.
    kept : dict of layer name to bool tensor
        What is left, in the shape of the scores; the weight of a convolution is a matrix.
    measured : dict of layer name to LayerStatistics
        What the last scores were computed from.
    probe_error : float or None
        Relative standard error of the sensitivities of the last scores, if they were probed.
    """

    module: nn.Module
    dense: nn.Module
    data: CalibrationData | None
    metric: OutputMetric
    loss: nn.Module | None
    generator: torch.Generator
    probed: bool = False
    kept: dict[str, Tensor] = field(default_factory=dict)
    measured: dict[str, LayerStatistics] = field(default_factory=dict)
    probe_error: float | None = None

    def layer(self, name: str) -> nn.Module:
        """A layer of the network as it is now."""
        return self.module.get_submodule(name)

    def weight(self, name: str) -> Tensor:
        """A layer's weight as a matrix, float64 of shape (n_out, n_in); a filter is a row."""
        return self.layer(name).weight.detach().flatten(1).double()


class Granularity(ABC):
    """What is removed as one: a single weight, or a unit with all its weights.

    Holds a criterion and a compensation for such things, and knows what their removal does to a
    network.

    Attributes
    ----------
    name : str
    criteria, compensations : Registry
        The criteria and compensations that are known by name.
    default_scope : str
    without_data : str
        What works without calibration data, for messages.
    """

    name: ClassVar[str]
    criteria: ClassVar[Registry]
    compensations: ClassVar[Registry]
    default_scope: ClassVar[str]
    without_data: ClassVar[str]

    def __init__(self, criterion, compensation):
        self.criterion, self.compensation = criterion, compensation

    @classmethod
    def find(
        cls,
        method,
        compensation="auto",
        method_params: Mapping | None = None,
        compensation_params: Mapping | None = None,
    ) -> Granularity:
        """Look up criterion and compensation; the arguments are those of :func:`skec.prune`.

        Raises
        ------
        ValueError
            If a name, or the name of a parameter, is unknown.
        """
        criterion = cls.criteria.make(method, method_params)
        if isinstance(compensation, str) and compensation == "auto":
            compensation = criterion.compensation
        return cls(criterion, cls.compensations.make(compensation, compensation_params))

    @classmethod
    def resolve(cls, scope):
        """The scope that ``"auto"`` stands for, or the given one."""
        return cls.default_scope if isinstance(scope, str) and scope == "auto" else scope

    @property
    def n_steps(self) -> int:
        """The number of pruning steps that criterion and compensation recommend."""
        return max(self.criterion.n_steps, self.compensation.n_steps)

    @property
    def statistics(self) -> tuple[type[Statistic], ...]:
        """All that criterion and compensation read."""
        return tuple(dict.fromkeys(self.criterion.requires + self.compensation.requires))

    @staticmethod
    @abstractmethod
    def check_scope(scope, names: Sequence[str] | None = None) -> None:
        """Raise unless a scope is known, or maps names of layers to ratios."""

    @abstractmethod
    def layers(self, module: nn.Module, names: Sequence[str] | None) -> list[str]:
        """Names of the layers that lose something, or raise if the network does not allow it."""

    @abstractmethod
    def begin(self, pruning: Pruning, names: Sequence[str]) -> None:
        """Take a network that has lost nothing yet, and set ``kept``."""

    @abstractmethod
    def score(self, pruning: Pruning) -> dict[str, Tensor]:
        """Scores of the network as it is now, for each layer in the shape of ``kept``."""

    @staticmethod
    @abstractmethod
    def allocate(
        scores: Mapping[str, Tensor],
        ratio: float | Mapping[str, float],
        scope: str,
        weights: Mapping[str, Tensor] | None,
    ) -> dict[str, Tensor]:
        """Scores and a ratio, or one for each layer, in; what is kept out."""

    @abstractmethod
    def remove(self, pruning: Pruning, kept: dict[str, Tensor]) -> None:
        """Remove what is not kept any more, with compensation, and set ``kept``."""

    @abstractmethod
    def masks(self, pruning: Pruning) -> dict[str, Tensor]:
        """Which weights are left of each layer that may have lost some."""

    @abstractmethod
    def report(self, pruning: Pruning) -> list[dict]:
        """A row for each layer in ``kept``, which begins with its name as ``"layer"``."""


@torch.no_grad()
def write(layer: nn.Module, weight: Tensor, bias: Tensor | None) -> None:
    """Give a layer new values in place; one without a bias gets one if it is given."""
    layer.weight.copy_(weight.view_as(layer.weight))
    if bias is None:
        return
    if layer.bias is None:
        layer.bias = nn.Parameter(
            layer.weight.new_empty(len(layer.weight)), layer.weight.requires_grad
        )
    layer.bias.copy_(bias)
