"""Granularities of pruning: single weights, or units with all their weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...utils import check_choice
from ._base import AnyGranularity, Granularity, Scoring, State
from .neuron import NeuronGranularity
from .weight import WeightGranularity

GRANULARITIES: dict[str, type[AnyGranularity]] = {
    kind.name: kind for kind in (WeightGranularity, NeuronGranularity)
}


def get_granularity(
    granularity: str,
    method: Any,
    compensation: Any = "auto",
    method_params: Mapping[str, Any] | None = None,
    compensation_params: Mapping[str, Any] | None = None,
    scope: Any = "auto",
) -> AnyGranularity:
    """Return a granularity with its criterion, compensation and scope, as in :func:`skec.prune`.

    Raises
    ------
    ValueError
        If a name, or the name of a parameter, is unknown.

    Examples
    --------
    >>> get_granularity("neuron", "l2", "lbyl").compensation.ridge
    0.3
    """
    check_choice("granularity", granularity, GRANULARITIES)
    return GRANULARITIES[granularity].find(
        method, compensation, method_params, compensation_params, scope
    )


__all__ = [
    "GRANULARITIES",
    "AnyGranularity",
    "Granularity",
    "NeuronGranularity",
    "Scoring",
    "State",
    "WeightGranularity",
    "get_granularity",
]
