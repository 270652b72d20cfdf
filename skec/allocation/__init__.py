"""Scopes, which turn scores and a pruning ratio into masks, and schedules of the ratio.

Each scope has its own file. To add one, write its file and import it here.
"""

from . import erdos_renyi, lamp, layer, pattern, ratios, row, units, whole
from ._base import SCOPES, UNIT_SCOPES, Scope, UnitScope, at_once
from .counts import n_removed_units, split_count
from .erdos_renyi import ErdosRenyiScope, erdos_renyi_counts
from .lamp import LampScope
from .layer import LayerScope
from .parse import (
    ScopeLike,
    UnitScopeLike,
    allocate,
    allocate_units,
    parse_scope,
    parse_unit_scope,
)
from .pattern import PatternScope
from .ratios import LayerRatios
from .row import RowScope
from .schedule import SCHEDULES, Schedule, ratio_at
from .units import UnitGlobalScope, UnitLayerRatios, UnitLayerScope
from .whole import GlobalScope

__all__ = [
    "SCHEDULES",
    "SCOPES",
    "UNIT_SCOPES",
    "ErdosRenyiScope",
    "GlobalScope",
    "LampScope",
    "LayerRatios",
    "LayerScope",
    "PatternScope",
    "RowScope",
    "Schedule",
    "Scope",
    "ScopeLike",
    "UnitGlobalScope",
    "UnitLayerRatios",
    "UnitLayerScope",
    "UnitScope",
    "UnitScopeLike",
    "allocate",
    "allocate_units",
    "at_once",
    "erdos_renyi",
    "erdos_renyi_counts",
    "lamp",
    "layer",
    "n_removed_units",
    "parse_scope",
    "parse_unit_scope",
    "pattern",
    "ratio_at",
    "ratios",
    "row",
    "split_count",
    "units",
    "whole",
]
