"""The remaining weights and the bias of each unit compensate for its removed weights."""

from __future__ import annotations

import torch
from torch import Tensor

from ..calibration.statistics import RowMoments
from ..utils import check_number
from ._base import Compensation


class WeightCompensation(Compensation):
    """Fit the kept weights and the bias of each unit: ``w̃_K = H_KK⁻¹ (H w̃)_K``.

    ``H`` are the second moments of the unit's inputs, and of a one for its bias, weighted by its
    output sensitivity. ``K`` are the kept inputs and the bias. For any mask this minimises the
    linearised output error over the parameters of one unit.

    When to use it: with any criterion and a few hundred calibration samples or more.

    Parameters
    ----------
    damping : float, default=1e-3
        Added to the diagonal of ``H``, as a fraction of its mean: a ridge penalty on the change of
        the weights.
    max_memory : float, default=2**30
        Bytes for the matrices held in memory at a time.

    References
    ----------
    Hassibi & Stork, NeurIPS 1992; Frantar, Singh, Alistarh, "Optimal brain compression",
    arXiv:2208.11580.
    """

    name = "weights"
    requires = (RowMoments,)

    def __init__(self, damping: float = 1e-3, max_memory: float = 2**30):
        check_number("damping", damping)
        check_number("max_memory", max_memory, zero=True)
        self.damping, self.max_memory = damping, max_memory

    def apply(self, weight, bias, removed, statistics):
        if not removed.any():
            return weight, bias
        n_in = weight.shape[1]
        before = torch.cat(
            [weight, torch.zeros_like(weight[:, :1]) if bias is None else bias[:, None]], dim=1
        )
        remaining = torch.nn.functional.pad(~removed, (0, 1), value=True)  # the bias
        after = before.clone()
        before = torch.nn.functional.pad(before, (0, 1))  # unused places
        remaining = torch.nn.functional.pad(remaining, (0, 1), value=False)
        present = torch.ones_like(removed) if statistics.kept is None else statistics.kept
        for block in statistics[RowMoments].blocks(present, self.max_memory):
            block = block.take(removed[block.rows].any(1))
            if not len(block.rows):
                continue
            rows = block.rows[:, None].expand_as(block.columns)
            kept = remaining[rows, block.columns] & block.used
            solution = solve_kept(block.damped(self.damping), before[rows, block.columns], kept)
            after[rows[kept], block.columns[kept]] = solution[kept]
        return after[:, :n_in], after[:, n_in]


def solve_kept(moments: Tensor, weights: Tensor, kept: Tensor) -> Tensor:
    """``H_KK⁻¹ (H w)_K`` for a batch of rows, zero outside ``K``.

    Parameters
    ----------
    moments : float64 tensor of shape (n_rows, size, size)
    weights : float64 tensor of shape (n_rows, size)
    kept : bool tensor of shape (n_rows, size)

    Examples
    --------
    >>> H = torch.tensor([[[2.0, 1.0], [1.0, 2.0]]])
    >>> solve_kept(H, torch.tensor([[3.0, 4.0]]), torch.tensor([[True, False]]))
    tensor([[5., 0.]])
    """
    right = (moments @ weights[:, :, None]) * kept[:, :, None]
    factor = factor_kept(moments, kept)
    return torch.cholesky_solve(right, factor)[:, :, 0].masked_fill(~kept, 0.0)


def factor_kept(moments: Tensor, kept: Tensor) -> Tensor:
    """Cholesky factors of ``H_KK``, with ones on the diagonal outside ``K``."""
    inside = moments * (kept[:, :, None] & kept[:, None, :])
    inside.diagonal(dim1=-2, dim2=-1).add_((~kept).to(moments))
    return torch.linalg.cholesky(inside)
