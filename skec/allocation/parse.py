"""Converts the values of ``scope`` that users pass to scope objects."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ..utils import FOR_WEIGHTS
from ._base import SCOPES, UNIT_SCOPES, Scope, UnitScope
from .pattern import PatternScope
from .ratios import LayerRatios
from .units import UnitLayerRatios

ScopeLike = str | Mapping[str, float] | Scope
UnitScopeLike = str | Mapping[str, float] | UnitScope


def parse_scope(scope: ScopeLike) -> Scope:
    """Convert a name, a pattern such as ``"2:4"`` or a mapping of ratios to a scope.

    An instance of a scope is returned as it is.

    Raises
    ------
    ValueError
        If the scope is unknown, or a ratio is not in [0, 1).

    Examples
    --------
    >>> type(parse_scope("2:4")).__name__, type(parse_scope({"0": 0.5})).__name__
    ('PatternScope', 'LayerRatios')
    """
    if isinstance(scope, Mapping):
        return LayerRatios(scope)
    pattern = PatternScope.parse(scope) if isinstance(scope, str) else None
    return SCOPES.make(scope) if pattern is None else pattern


def parse_unit_scope(scope: UnitScopeLike) -> UnitScope:
    """Convert a name or a mapping of ratios to a scope for units; see :func:`parse_scope`.

    Examples
    --------
    >>> type(parse_unit_scope("global")).__name__
    'UnitGlobalScope'
    """
    if isinstance(scope, Mapping):
        return UnitLayerRatios(scope)
    if isinstance(scope, str) and PatternScope.parse(scope) is not None:
        raise UNIT_SCOPES.unknown(scope, FOR_WEIGHTS)
    return UNIT_SCOPES.make(scope)


def allocate(
    scores: Mapping[str, Tensor],
    ratio: float,
    scope: ScopeLike = "global",
    weights: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Keep the weights with the highest scores.

    Parameters
    ----------
    scores : mapping of layer name to tensor of shape (n_out, n_in)
        Minus infinity marks a weight that is already removed.
    ratio : float
        Fraction of the weights to remove, in [0, 1).
    scope : str, mapping or Scope, default="global"
        The groups in which scores are compared; see :func:`skec.prune`.
    weights : mapping of layer name to tensor of shape (n_out, n_in), default=None
        The weights of the dense network; required by ``"lamp"``.

    Returns
    -------
    dict of layer name to bool tensor
        True marks a kept weight. The number of removed weights is the ratio times the number of
        weights, rounded, unless the scope defines ratios itself. No layer loses its last weight
        while another layer has weights to remove.

    Examples
    --------
    >>> import torch
    >>> scores = {"a": torch.tensor([[1.0, 2.0]]), "b": torch.tensor([[3.0, 4.0]])}
    >>> allocate(scores, 0.5)
    {'a': tensor([[False,  True]]), 'b': tensor([[False,  True]])}
    >>> allocate({"a": torch.tensor([[4.0, 3.0, 2.0, 1.0]])}, 0.5, "2:4")
    {'a': tensor([[ True,  True, False, False]])}
    """
    return parse_scope(scope).allocate(scores, ratio, weights=weights)


def allocate_units(
    scores: Mapping[str, Tensor], ratio: float, scope: UnitScopeLike = "layer"
) -> dict[str, Tensor]:
    """Keep the units with the highest scores.

    Parameters
    ----------
    scores : mapping of layer name to tensor of shape (n_units,)
        Minus infinity marks a unit that is already removed.
    ratio : float
        Fraction of the units to remove, in [0, 1).
    scope : str, mapping or UnitScope, default="layer"
        The groups in which scores are compared; see :func:`skec.prune`.

    Returns
    -------
    dict of layer name to bool tensor of shape (n_units,)
        True marks a kept unit. Of n units, ``n (1 − ratio)`` are kept, rounded down, but at least
        one unit of each layer.

    Examples
    --------
    >>> import torch
    >>> scores = {"a": torch.tensor([1.0, 2.0, 3.0]), "b": torch.tensor([4.0, 5.0])}
    >>> allocate_units(scores, 0.5)
    {'a': tensor([False, False,  True]), 'b': tensor([False,  True])}
    >>> allocate_units(scores, 0.5, "global")
    {'a': tensor([False, False,  True]), 'b': tensor([False,  True])}
    """
    return parse_unit_scope(scope).allocate(scores, ratio)
