"""The bias compensates for the mean of the removed inputs."""

from __future__ import annotations

import torch
from torch import Tensor

from ..calibration.statistics import SensitivityMoments
from ._base import Compensation


class BiasCompensation(Compensation):
    """Add ``Σ_j W_ij m_ij`` over the removed weights of unit i to its bias.

    ``m_ij`` is the mean of input ``a_j`` weighted by the unit's output sensitivity. For any set of
    removed weights, this bias minimises the linearised output error. A unit without sensitivity
    keeps its bias.

    When to use it: with ``"ec"``, and with any other criterion to lower the error at little cost.

    Source: Ballini et al., arXiv:2602.20467 (2026).
    """

    name = "bias"
    requires = (SensitivityMoments,)

    def apply(self, weight, bias, removed, statistics):
        moments = statistics[SensitivityMoments]
        shift = torch.where(moments.sensitivity[:, None] > 0, weight * moments.mean, 0.0)
        return weight, shifted(bias, shift, removed)


def shifted(bias: Tensor | None, shift: Tensor, removed: Tensor) -> Tensor | None:
    """The bias plus the shifts of the removed weights.

    Parameters
    ----------
    bias : tensor of shape (n_out,) or None
    shift : tensor of shape (n_out, n_in)
        The change of the bias for each weight, if it is removed.
    removed : bool tensor of shape (n_out, n_in)

    Returns
    -------
    tensor of shape (n_out,) or None
        None if there is no bias and nothing is removed.
    """
    total = shift.masked_fill(~removed, 0.0).sum(1)
    if bias is None:
        return total if removed.any() else None
    return bias + total
