"""The base class of granularities, and the state of a network between pruning steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from ...allocation import Scope, UnitScope
from ...calibration import Calibration
from ...calibration.statistics import LayerStatistics, NetworkStatistic, Statistic
from ...compensation import Compensation, Effort, UnitCompensation
from ...criteria import Criterion, UnitCriterion
from ...networks import layer_of
from ...utils import Registry

CriterionT = TypeVar("CriterionT", Criterion, UnitCriterion)
CompensationT = TypeVar("CompensationT", Compensation, UnitCompensation)


@dataclass(frozen=True)
class State:
    """A network between two pruning steps.

    Attributes
    ----------
    module : torch.nn.Module
        The network, in evaluation mode. Each step makes a new one.
    kept : dict of layer name to bool tensor
        True marks a kept weight or unit, in the shape of the scores. The weight of a convolution
        is a matrix.
    effort : Effort or None
        The effort of the last step's compensation, if it reports one.
    """

    module: nn.Module
    kept: dict[str, Tensor]
    effort: Effort | None = None

    def weight(self, name: str) -> Tensor:
        """A layer's weight, float64 of shape (n_out, n_in); a row is a unit or flattened filter."""
        return layer_of(self.module, name).weight.detach().flatten(1).double()


@dataclass(frozen=True)
class Scoring:
    """The scores of a network, and the statistics they were computed from.

    Attributes
    ----------
    scores : dict of layer name to float64 tensor
    statistics : dict of layer name to LayerStatistics
    probe_error : float or None
        Relative standard error of the sensitivities, if random probes estimate them.
    """

    scores: dict[str, Tensor]
    statistics: dict[str, LayerStatistics] = field(repr=False)
    probe_error: float | None = None


class Granularity(ABC, Generic[CriterionT, CompensationT]):
    """What is removed: single weights, or units with all their weights.

    Holds a criterion, a compensation and a scope, and applies them to networks.

    Parameters
    ----------
    criterion : Criterion or UnitCriterion
    compensation : Compensation or UnitCompensation
    scope : Scope or UnitScope

    Attributes
    ----------
    name : str
    criteria, compensations : Registry
        The criteria and compensations that can be selected by name.
    default_scope : str
        The scope used with ``scope="auto"``.
    without_data : str
        Settings that work without calibration data, for error messages.
    """

    name: ClassVar[str]
    criteria: ClassVar[Registry]
    compensations: ClassVar[Registry]
    default_scope: ClassVar[str]
    without_data: ClassVar[str]

    def __init__(
        self,
        criterion: CriterionT,
        compensation: CompensationT,
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
    ) -> Granularity[CriterionT, CompensationT]:
        """Look up criterion, compensation and scope, as in :func:`skec.prune`.

        Raises
        ------
        ValueError
            If a name, or the name of a parameter, is unknown.
        """
        criterion = cls.criteria.make(method, method_params)
        if isinstance(compensation, str) and compensation == "auto":
            compensation = criterion.compensation
            compensation_params = {**criterion.compensation_params, **(compensation_params or {})}
        compensation = cls.compensations.make(compensation, compensation_params)
        return cls(criterion, compensation, cls.parse_scope(scope))

    @classmethod
    @abstractmethod
    def parse_scope(cls, scope: Any) -> Scope | UnitScope:
        """Return the scope object of a ``scope`` argument, which may be ``"auto"``."""

    @property
    def n_steps(self) -> int:
        """The number of pruning steps that criterion and compensation recommend."""
        return max(self.criterion.n_steps, self.compensation.n_steps)

    @property
    def statistics(self) -> tuple[type[Statistic], ...]:
        """The statistics that criterion and compensation read."""
        return tuple(dict.fromkeys(self.criterion.requires + self.compensation.requires))

    @property
    def all_samples_needed_by(self) -> str | None:
        """What needs all calibration samples in one place, as in ``"method='ec_exact'"``."""
        chosen = {"method": self.criterion, "compensation": self.compensation}
        for parameter, part in chosen.items():
            measured = any(issubclass(kind, NetworkStatistic) for kind in part.requires)
            if measured or getattr(part, "needs_samples", False):
                return f"{parameter}={(part.name or type(part).__name__)!r}"
        return None

    def check(self, module: nn.Module, layers: Sequence[str] | None) -> list[str]:
        """Return the names of the layers to prune, after a check of the network and the scope.

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
        """Return the names of the layers to prune; raise if the network cannot be pruned."""

    def read_layers(self, module: nn.Module, names: Sequence[str]) -> list[str]:
        """The layers whose inputs the statistics are computed from; those to prune by default."""
        return list(names)

    @abstractmethod
    def begin(self, module: nn.Module, names: Sequence[str]) -> State:
        """The state of a network before the first step."""

    @abstractmethod
    def score(self, state: State, calibration: Calibration, generator: torch.Generator) -> Scoring:
        """Score the network; the scores of a layer have the shape of its ``state.kept``."""

    @abstractmethod
    def remove(
        self,
        state: State,
        scoring: Scoring,
        kept: dict[str, Tensor],
        calibration: Calibration,
        *,
        donated: bool = False,
    ) -> State:
        """Remove everything that ``kept`` does not mark, and compensate.

        ``state`` is unchanged, unless it is ``donated``: then its network may become that of the
        result, because nobody else has it.
        """

    @abstractmethod
    def masks(self, state: State) -> dict[str, Tensor]:
        """The kept weights of each layer that can lose some."""

    @abstractmethod
    def report(self, state: State) -> list[dict[str, Any]]:
        """One dict for each layer in ``state.kept``, with its name as ``"layer"``."""


AnyGranularity: TypeAlias = Granularity[Any, Any]


@contextmanager
def solvable(where: str) -> Iterator[None]:
    """Name the layer if a matrix cannot be inverted or factored.

    Parameters
    ----------
    where : str
        Such as ``"layer '0'"``.
    """
    try:
        yield
    # public, but torch's types do not export it
    except torch.linalg.LinAlgError as error:  # pyright: ignore[reportPrivateImportUsage]
        raise ValueError(
            f"The matrices of {where} are singular. Increase the damping or ridge of the method or "
            f"compensation with method_params or compensation_params, or pass more samples in X, "
            f"or scale its columns. torch says: {error}"
        ) from error


@torch.no_grad()
def write(module: nn.Module, name: str, weight: Tensor, bias: Tensor | None) -> None:
    """Set a layer's weight and bias in place. Adds a bias to a layer without one if it is given."""
    layer = layer_of(module, name)
    layer.weight.copy_(weight.view_as(layer.weight))
    if bias is None:
        return
    if layer.bias is None:
        layer.bias = nn.Parameter(
            layer.weight.new_empty(len(layer.weight)), layer.weight.requires_grad
        )
    layer.bias.copy_(bias)
