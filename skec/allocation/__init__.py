"""Which weights or units are removed: scores and a ratio in, masks out."""

from .schedule import SCHEDULES, ratio_at
from .scopes import (
    SCOPES,
    UNIT_SCOPES,
    allocate,
    allocate_ratios,
    allocate_units,
    erdos_renyi_counts,
    lamp_scores,
    n_of_m,
    n_removed_units,
    split_count,
)

__all__ = [
    "SCHEDULES",
    "SCOPES",
    "UNIT_SCOPES",
    "allocate",
    "allocate_ratios",
    "allocate_units",
    "erdos_renyi_counts",
    "lamp_scores",
    "n_of_m",
    "n_removed_units",
    "ratio_at",
    "split_count",
]
