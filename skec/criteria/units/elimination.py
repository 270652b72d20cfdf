"""Backward elimination of units on the next layer's least squares."""

from __future__ import annotations

import torch
from torch import Tensor

from ...calibration.statistics import DenseFit, SensitivityMatrix
from ...utils import check_number, least_squares, precision
from ._base import UnitCriterion

_ROUNDING = 64.0  # relative rounding error of the targets' fit, in units of the machine precision


class Elimination(UnitCriterion):
    """The output error that removing a unit adds, after all less important units are removed.

    The activations of the units predict the next layer's pre-activations in the dense network by
    least squares. Units are removed one by one: each time the one whose removal increases the
    error of the refitted prediction least. A unit's score is that increase (see
    :func:`skec.utils.least_squares.eliminate`). So one of two redundant units is kept. The error is
    that of the outputs to first order, ``E[δzᵀ G δz]``, with ``G`` the mean product of the next
    units' output sensitivities.

    When to use it: with calibration samples and ``compensation="least_squares"``, its default. It
    is the most accurate of these criteria for units. Its scores are comparable between layers, so
    ``scope="global"`` can prune each layer by its own ratio.

    Parameters
    ----------
    damping : float, default=1e-2
        Added to the covariance of the activations, as a fraction of its mean diagonal.

    References
    ----------
    The score of one elimination is that of Hassibi & Stork, "Second order derivatives for network
    pruning: optimal brain surgeon", NeurIPS 1992, summed over the next layer's units.
    """

    name = "elimination"
    requires = (DenseFit, SensitivityMatrix)
    compensation = "least_squares"
    scores_are_errors = True

    def __init__(self, damping: float = 1e-2):
        check_number("damping", damping)
        self.damping = damping

    def score(self, units, statistics, generator) -> Tensor:
        fit, sensitivity = statistics[DenseFit], statistics[SensitivityMatrix]
        if not torch.isfinite(fit.target_scatter.sum() + sensitivity.total.sum()):
            return torch.full_like(units.kept, torch.nan, dtype=torch.float64)
        kept = units.columns(units.kept)
        weight = units.next_weight[:, kept]
        covariance, cross = fit.equations(kept)
        metric, block = sensitivity.mean, units.block
        power = metric.diagonal() @ fit.target_mean.square() + ((metric @ weight) * cross.t()).sum()
        negligible = float(power) * (_ROUNDING * precision(fit.dtype)) ** 2
        scores = torch.zeros_like(units.kept, dtype=torch.float64)
        scores[units.kept] = least_squares.eliminate(
            covariance, cross, weight, self.damping, metric, block, negligible
        )
        return scores
