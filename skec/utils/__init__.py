"""Helpers shared by all parts of the library."""

from . import least_squares, private
from .dask_blocks import (
    RowBlocks,
    dask_name,
    is_dask,
    is_frame,
    joined_blocks,
    with_whole_rows,
)
from .inputs import Inputs, joined, repeated
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
from .samples import BATCHES_PER_RUN, Samples
from .seeds import drawn_seed
from .sentinels import NOT_GIVEN, NotGiven, given
from .streams import (
    BatchedSamples,
    StreamFacts,
    check_alone,
    check_reiterable,
    is_stream,
    loaded,
    naming_batch,
    parts_of,
)
from .validation import check_choice, check_count, check_number, check_probes, check_ratio

__all__ = [
    "BATCHES_PER_RUN",
    "FOR_UNITS",
    "FOR_WEIGHTS",
    "NOT_GIVEN",
    "BatchedSamples",
    "Inputs",
    "LazyRows",
    "NotGiven",
    "Registered",
    "Registry",
    "RowBlocks",
    "Samples",
    "StreamFacts",
    "all_finite",
    "check_alone",
    "check_choice",
    "check_count",
    "check_number",
    "check_probes",
    "check_ratio",
    "check_reiterable",
    "dask_name",
    "drawn_seed",
    "equal_up_to_rounding",
    "exact_where_constant",
    "given",
    "in_dtype",
    "is_dask",
    "is_frame",
    "is_mapped",
    "is_stream",
    "joined",
    "joined_blocks",
    "lamp_scores",
    "least_squares",
    "loaded",
    "naming_batch",
    "parts_of",
    "plain_tensors",
    "precision",
    "print_line",
    "private",
    "progress_bar",
    "repeated",
    "rounding_of_sums",
    "small_when_dense",
    "weighted_quantiles",
    "with_whole_rows",
    "without_rounding",
]
