"""Optimal brain surgeon, row by row."""

from __future__ import annotations

import torch
from torch import Tensor

from ..calibration.statistics import RowMoments
from ..utils import check_number
from ._base import Criterion


class Surgeon(Criterion):
    """The output error left after the best change of everything else that enters the unit.

    With ``H_i = E[s_i ã ãᵀ]`` over the inputs that unit i has left and its bias, the score is
    ``w_ij² / [H_i⁻¹]_jj``. ``"ec"`` is the same with the bias as the only thing that may move.

    When to use it: at high ratios, in several steps (``n_steps`` of 10 to 30) and with a few
    samples for each input of the widest layer. It needs no targets. ``output_metric="auto"`` is the
    squared change of the outputs: in the Fisher metric a network that is sure of its samples leaves
    nothing to fit.

    Parameters
    ----------
    damping : float, default=1e-3
        Added to the diagonal of ``H_i``, as a fraction of its mean.
    max_memory : float, default=2**30
        Bytes for the matrices ``H_i`` at a time. Those of a wide layer that do not fit together
        are computed again when they are needed again.

    References
    ----------
    Hassibi & Stork, "Second order derivatives for network pruning: optimal brain surgeon", NeurIPS
    1992; row by row: Frantar, Singh, Alistarh, "Optimal brain compression", arXiv:2208.11580.
    """

    name = "surgeon"
    n_steps = 15
    requires = (RowMoments,)
    compensation = "network"
    scores_are_errors = True
    output_metric = "identity"

    def __init__(self, damping: float = 1e-3, max_memory: float = 2**30):
        check_number("damping", damping)
        check_number("max_memory", max_memory, zero=True)
        self.damping, self.max_memory = damping, max_memory

    def score(self, weight, statistics, generator) -> Tensor:
        scores = torch.zeros_like(weight)
        padded = torch.nn.functional.pad(weight, (0, 2))  # bias and unused places
        for block in statistics[RowMoments].blocks(statistics.kept, self.max_memory):
            inverse = torch.cholesky_inverse(torch.linalg.cholesky(block.damped(self.damping)))
            rows, place = block.rows[:, None], block.used & (block.columns < weight.shape[1])
            errors = padded[rows, block.columns].square() / inverse.diagonal(dim1=-2, dim2=-1)
            scores[rows.expand_as(place)[place], block.columns[place]] = errors[place]
        return scores
