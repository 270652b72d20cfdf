"""What pruning removes as one: single weights, or units with all their weights."""

from __future__ import annotations

from collections.abc import Mapping

from ...utils.validation import check_choice
from ._base import Granularity, Pruning
from .neuron import NeuronGranularity
from .weight import WeightGranularity

GRANULARITIES: dict[str, type[Granularity]] = {
    kind.name: kind for kind in (WeightGranularity, NeuronGranularity)
}


def get_granularity(
    granularity: str,
    method,
    compensation="auto",
    method_params: Mapping | None = None,
    compensation_params: Mapping | None = None,
) -> Granularity:
    """Return a granularity with its criterion and compensation, as in :func:`skec.prune`.

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
    return GRANULARITIES[granularity].find(method, compensation, method_params, compensation_params)


__all__ = [
    "GRANULARITIES",
    "Granularity",
    "NeuronGranularity",
    "Pruning",
    "WeightGranularity",
    "get_granularity",
]
