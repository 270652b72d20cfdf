"""Weight times input."""

from __future__ import annotations

from torch import Tensor

from ..calibration.statistics import InputPower
from ._base import Criterion


class WeightTimesInput(Criterion):
    """The magnitude of the weight times the norm of its input, ``|w_ij| ‖a_j‖``.

    When to use it: with calibration samples, where a backward pass takes too long. Scores are
    comparable within a unit; the source prunes with ``scope="row"``.

    Source: Sun, Liu, Bair, Kolter, "A simple and effective pruning approach for large language
    models", ICLR 2024 (Wanda).
    """

    name = "wanda"
    requires = (InputPower,)
    sums = True

    def score(self, weight, statistics, generator) -> Tensor:
        return weight.abs() * statistics[InputPower].mean.sqrt()
