"""Weight times input."""

from __future__ import annotations

from torch import Tensor

from ..calibration.statistics import InputPower
from ._base import Criterion


class WeightTimesInput(Criterion):
    """The magnitude of the weight times the norm of its input, ``|w_ij| ‖a_j‖``.

    When to use it: with samples and no time for a backward pass. The score compares the weights of
    one unit; its source prunes with ``scope="row"``.

    Source: Sun, Liu, Bair, Kolter, "A simple and effective pruning approach for large language
    models", ICLR 2024 (Wanda).
    """

    name = "wanda"
    requires = (InputPower,)

    def score(self, weight, statistics, generator) -> Tensor:
        return weight.abs() * statistics[InputPower].mean.sqrt()
