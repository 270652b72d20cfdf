"""Optimal brain surgeon, row by row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..calibration.statistics import RowMoments
from ..utils import check_number
from ._base import Criterion


class Surgeon(Criterion):
    """The output error of removing a weight, after the best change of its unit's other parameters.

    With ``H_i = E[s_i ã ãᵀ]`` over the remaining inputs of unit i and its bias, the score is
    ``w_ij² / [H_i⁻¹]_jj``. In ``"ec"`` only the bias may change.

    When to use it: at high ratios, in several steps (``n_steps`` of 10 to 30), with a few samples
    per input of the widest layer. It needs no targets. ``output_metric="auto"`` is ``"identity"``:
    the Fisher metric is close to zero where a network is certain of its predictions, and then
    nothing determines the fit.

    Parameters
    ----------
    damping : float, default=1e-3
        Added to the diagonal of ``H_i``, as a fraction of its mean.
    max_memory : float, default=2**30
        Bytes for the matrices ``H_i`` held in memory at a time. If those of a layer do not fit,
        they are recomputed when they are needed again.

    References
    ----------
    Hassibi & Stork, "Second order derivatives for network pruning: optimal brain surgeon", NeurIPS
    1992; row by row: Frantar, Singh, Alistarh, "Optimal brain compression", arXiv:2208.11580.
    """

    name = "surgeon"
    n_steps = 15
    requires = (RowMoments,)
    sums = True
    compensation = "network"
    compensation_params: ClassVar[Mapping[str, Any]] = {"preconditioner": "rows"}
    scores_are_errors = True
    output_metric = "identity"

    def __init__(self, damping: float = 1e-3, max_memory: float = 2**30):
        check_number("damping", damping)
        check_number("max_memory", max_memory, zero=True)
        self.damping, self.max_memory = damping, max_memory

    def score(self, weight, statistics, generator) -> Tensor:
        scores = torch.zeros_like(weight)
        padded = torch.nn.functional.pad(weight, (0, 2))  # columns of the bias and unused places
        kept = statistics.kept
        kept = torch.ones_like(weight, dtype=torch.bool) if kept is None else kept
        for block in statistics[RowMoments].blocks(kept, self.max_memory):
            inverse = torch.cholesky_inverse(torch.linalg.cholesky(block.damped(self.damping)))
            rows, place = block.rows[:, None], block.used & (block.columns < weight.shape[1])
            errors = padded[rows, block.columns].square() / inverse.diagonal(dim1=-2, dim2=-1)
            diagonal = block.moments.diagonal(dim1=-2, dim2=-1)
            dead = ~diagonal.any(1)  # units that do not affect the outputs
            errors[dead] = 0.0
            scores[rows.expand_as(place)[place], block.columns[place]] = errors[place]
        return scores
