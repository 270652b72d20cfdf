"""Base classes of scopes, and the registries of the named scopes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from ..utils import FOR_UNITS, FOR_WEIGHTS, Registered, Registry, check_ratio

Scores = Mapping[str, Tensor]
Masks = dict[str, Tensor]
Reached = Callable[[float], float]

SCOPES = Registry("scope", also="'auto', a pattern such as '2:4', a dict of ratios per layer, ")
UNIT_SCOPES = Registry("scope", also="'auto', a dict of ratios per hidden layer, ")
SCOPES.elsewhere.append((UNIT_SCOPES, FOR_UNITS))
UNIT_SCOPES.elsewhere.append((SCOPES, FOR_WEIGHTS))


def at_once(ratio: float) -> float:
    """Return the ratio unchanged, for pruning in a single step."""
    return ratio


class AnyScope(Registered):
    """What the scopes of weights and those of units have in common."""

    replaces_ratio: ClassVar[bool] = False

    def check(self, names: Sequence[str]) -> None:
        """Raise a ``ValueError`` if the scope cannot be used for the layers to prune."""

    @abstractmethod
    def allocate(
        self,
        scores: Scores,
        ratio: float,
        *,
        weights: Mapping[str, Tensor] | None = None,
        reached: Reached = at_once,
    ) -> Masks:
        """Keep the weights or units with the highest scores.

        Parameters
        ----------
        scores : mapping of layer name to float64 tensor of shape (n_out, n_in) or (n_units,)
            Minus infinity marks a weight or unit that is already removed.
        ratio : float
            Fraction of the weights or units removed after the last step, in [0, 1).
        weights : mapping of layer name to tensor of shape (n_out, n_in), default=None
            The weights of the dense network.
        reached : callable, default=at_once
            Converts a final ratio to the ratio after the current step.

        Returns
        -------
        dict of layer name to bool tensor in the shape of the scores
            True marks a kept weight or unit.
        """


class Scope(AnyScope, registry=SCOPES):
    """Turns scores and a pruning ratio into masks; decides which weights are compared.

    To add a scope, write one class in a file of this folder and import it in ``__init__.py``.
    A class with a ``name`` is available as ``scope=name``. An instance can be passed in place of
    a name.

    Attributes
    ----------
    name : str
    replaces_ratio : bool
        Whether the scope ignores the pruning ratio, because it has ratios of its own.
    """


class UnitScope(AnyScope, registry=UNIT_SCOPES):
    """Turns scores and a pruning ratio into masks; decides which units are compared.

    The same as :class:`Scope` for whole units.

    Attributes
    ----------
    name : str
    replaces_ratio : bool
        Whether the scope ignores the pruning ratio, because it has ratios of its own.
    """


def check_ratios(ratios: Mapping[Any, Any], names: Sequence[str] | None = None) -> None:
    """Raise a ``ValueError`` unless a mapping has ratios in [0, 1) for prunable layers only."""
    unknown = [name for name in ratios if names is not None and name not in names]
    if unknown and names is not None:
        raise ValueError(
            f"scope names layers {unknown} that cannot be pruned. Remove them from scope; the "
            f"prunable layers are {list(names)}."
        )
    for name, ratio in ratios.items():
        check_ratio(ratio, f"scope[{name!r}]")
