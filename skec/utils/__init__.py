"""Helpers shared by all parts of the library."""

from . import least_squares, private
from .lamp import lamp_scores
from .lazy_rows import LazyRows, in_dtype, is_mapped, small_when_dense
from .modes import plain_tensors
from .progress import print_line, progress_bar
from .quantiles import weighted_quantiles
from .registry import FOR_UNITS, FOR_WEIGHTS, Registered, Registry
from .rounding import (
    all_finite,
    equal_up_to_rounding,
    exact_where_constant,
    precision,
    rounding_of_sums,
    without_rounding,
)
from .samples import Samples
from .seeds import drawn_seed
from .sentinels import NOT_GIVEN, NotGiven, given
from .validation import check_choice, check_count, check_number, check_probes, check_ratio

__all__ = [
    "FOR_UNITS",
    "FOR_WEIGHTS",
    "NOT_GIVEN",
    "LazyRows",
    "NotGiven",
    "Registered",
    "Registry",
    "Samples",
    "all_finite",
    "check_choice",
    "check_count",
    "check_number",
    "check_probes",
    "check_ratio",
    "drawn_seed",
    "equal_up_to_rounding",
    "exact_where_constant",
    "given",
    "in_dtype",
    "is_mapped",
    "lamp_scores",
    "least_squares",
    "plain_tensors",
    "precision",
    "print_line",
    "private",
    "progress_bar",
    "rounding_of_sums",
    "small_when_dense",
    "weighted_quantiles",
    "without_rounding",
]
