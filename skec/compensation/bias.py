"""The bias takes over the mean of what was removed."""

from __future__ import annotations

import torch

from ..statistics import SensitivityMoments
from ._base import Compensation


class BiasCompensation(Compensation):
    """Add ``Σ_j W_ij m_ij`` over the removed weights of unit i to its bias.

    ``m_ij`` is the mean of input ``a_j`` weighted by the unit's output sensitivity. The sum is the
    joint minimiser over the bias of the linearised output error, for any set of removed weights.
    A unit without sensitivity keeps its bias.

    Source: Ballini et al., arXiv:2602.20467 (2026).
    """

    name = "bias"
    requires = (SensitivityMoments,)

    def apply(self, weight, bias, removed, statistics):
        moments = statistics[SensitivityMoments]
        shift = (weight * moments.mean).masked_fill(~removed, 0.0).sum(1)
        shift = torch.where(moments.sensitivity > 0, shift, 0.0)
        if bias is None:
            return weight, shift if removed.any() else None
        return weight, bias + shift
