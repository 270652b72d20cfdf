"""The base class of criteria for units, and the registry of their names."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...calibration.statistics import LayerStatistics, Statistic
from ...networks import Units
from ...utils import FOR_UNITS, FOR_WEIGHTS, Registered, Registry
from .._base import CRITERIA

UNIT_CRITERIA = Registry("method")
CRITERIA.elsewhere.append((UNIT_CRITERIA, FOR_UNITS))
UNIT_CRITERIA.elsewhere.append((CRITERIA, FOR_WEIGHTS))


class UnitCriterion(Registered, registry=UNIT_CRITERIA):
    """A score for every unit of a hidden layer; units with the lowest scores are removed first.

    To add one, write one class in a file of this folder. Giving it a ``name`` makes it available
    as ``method=name`` with ``granularity="neuron"``; an instance can be passed in place of a name.

    Attributes
    ----------
    name, compensation, scores_are_errors, output_metric, n_steps, sums
        As in :class:`skec.criteria.Criterion`.
    requires : tuple of Statistic classes
        The statistics that ``score`` reads, of the next layer: the one that reads the units.
    """

    requires: ClassVar[tuple[type[Statistic], ...]] = ()
    compensation_params: ClassVar[Mapping[str, Any]] = {}
    compensation: ClassVar[str] = "none"
    scores_are_errors: ClassVar[bool] = False
    output_metric: ClassVar[str | None] = None
    n_steps: ClassVar[int] = 1
    sums: ClassVar[bool] = False

    @abstractmethod
    def score(
        self, units: Units, statistics: LayerStatistics, generator: torch.Generator
    ) -> Tensor:
        """Score the units of a layer.

        Parameters
        ----------
        units : Units
        statistics : LayerStatistics
            ``statistics[Class]`` for each class in ``requires``, of the next layer.
        generator : torch.Generator
            The source of random numbers.

        Returns
        -------
        float64 tensor of shape (n_units,)
            Non-negative; higher is more important.
        """
