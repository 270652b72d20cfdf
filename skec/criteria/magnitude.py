"""Magnitude."""

from __future__ import annotations

from torch import Tensor

from ._base import Criterion


class Magnitude(Criterion):
    """The absolute value of the weight.

    When to use it: without calibration data, or as a baseline.

    Source: Han, Pool, Tran, Dally, "Learning both weights and connections for efficient neural
    networks", NeurIPS 2015.
    """

    name = "magnitude"

    def score(self, weight, statistics, generator) -> Tensor:
        return weight.abs()
