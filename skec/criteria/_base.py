"""The base class of criteria, and the registry of their names."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..calibration.statistics import LayerStatistics, Statistic
from ..utils import Registered, Registry

CRITERIA = Registry("method")


class Criterion(Registered, registry=CRITERIA):
    """A score for every weight; weights with the lowest scores are removed first.

    To add a criterion, write one class in a file of this folder. Giving it a ``name`` makes it
    available as ``method=name`` everywhere; an instance can be passed in place of a name.

    Attributes
    ----------
    name : str
    requires : tuple of Statistic classes
        The statistics that ``score`` reads.
    compensation : str
        The compensation used with ``compensation="auto"``.
    compensation_params : dict
        Its parameters, unless others are given.
    scores_are_errors : bool
        Whether a score is the mean squared output change of removing the weight. The predicted
        error is then the sum of the scores of the removed weights.
    output_metric : str or None
        The metric used with ``output_metric="auto"``; None selects it by the loss.
    n_steps : int
        The number of pruning steps used with ``n_steps="auto"``.
    sums : bool
        Whether a score is computed from sums over samples, which rounding makes differ between
        equal weights. Scores of a layer that differ by rounding only are then made equal, so that
        the position decides and not chance.
    """

    requires: ClassVar[tuple[type[Statistic], ...]] = ()
    compensation: ClassVar[str] = "none"
    compensation_params: ClassVar[Mapping[str, Any]] = {}
    scores_are_errors: ClassVar[bool] = False
    output_metric: ClassVar[str | None] = None
    n_steps: ClassVar[int] = 1
    sums: ClassVar[bool] = False

    @abstractmethod
    def score(
        self, weight: Tensor, statistics: LayerStatistics, generator: torch.Generator
    ) -> Tensor:
        """Score the weights of a layer.

        Parameters
        ----------
        weight : float64 tensor of shape (n_out, n_in)
        statistics : LayerStatistics
            ``statistics[Class]`` for each class in ``requires``.
        generator : torch.Generator
            The source of random numbers.

        Returns
        -------
        float64 tensor of shape (n_out, n_in)
            Non-negative; higher is more important.
        """
