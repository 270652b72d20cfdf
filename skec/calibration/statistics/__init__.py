"""Sums over the calibration data from which scores and compensations are computed.

A statistic is updated batch by batch. The statistics of two shards of the data merge into the
statistic of all data. Sums are accumulated in float64.
"""

from ._base import (
    BACKWARD,
    LayerBatch,
    LayerStatistics,
    Need,
    NetworkStatistic,
    Statistic,
    add,
    merge,
)
from ._convolutions import SharedInputPower, SharedWeightMoments
from ._exact import ExactElimination
from ._gradient import LossGradient
from ._inputs import InputMean, InputPower
from ._maps import MapMoments, MapSensitivityMatrix, PatchFit, PatchMean
from ._moments import SensitivityMoments
from ._probes import InputProbeError, MapProbeError, ProbeError, relative_probe_error
from ._rows import RowBlock, RowMoments
from ._units import DenseFit, InputMoments, SensitivityMatrix

__all__ = [
    "BACKWARD",
    "DenseFit",
    "ExactElimination",
    "InputMean",
    "InputMoments",
    "InputPower",
    "InputProbeError",
    "LayerBatch",
    "LayerStatistics",
    "LossGradient",
    "MapMoments",
    "MapProbeError",
    "MapSensitivityMatrix",
    "Need",
    "NetworkStatistic",
    "PatchFit",
    "PatchMean",
    "ProbeError",
    "RowBlock",
    "RowMoments",
    "SensitivityMatrix",
    "SensitivityMoments",
    "SharedInputPower",
    "SharedWeightMoments",
    "Statistic",
    "add",
    "merge",
    "relative_probe_error",
]
