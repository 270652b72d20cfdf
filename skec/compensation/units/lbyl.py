"""LBYL: removed units are replaced by combinations of kept units, without data."""

from __future__ import annotations

import torch
from torch import Tensor

from ...networks import Normalization
from ...utils import check_number
from ._base import UnitCompensation, merged

_BYTES = 2**28  # for the matrices of one block of units


class LBYL(UnitCompensation):
    """Approximate the incoming weights of each removed unit by a combination of the kept units'.

    With ``v_j`` the incoming weights and the bias of a removed unit and ``V`` those of the kept
    units as columns, the coefficients are a ridge regression with intercept,
    ``t = argmin ‖v_j − V t − c 1‖² + λ ‖t‖²``. The outgoing weights of the removed unit, times
    ``t_k``, are added to those of kept unit k. After a batch normalisation the coefficients also
    match its shift (see :func:`normalized_combination`). No data are needed.

    When to use it: without calibration samples, on networks trained with weight decay, to remove up
    to about half of the units. ``"merging"`` is the alternative.

    Parameters
    ----------
    ridge : float, default=0.3
        ``λ``; after a batch normalisation ``λ₂``.
    shift_penalty : float, default=1e-5
        ``λ₁``, the weight of the error of the shift. Used after a batch normalisation only.

    References
    ----------
    Lee, Kim, Choi, "Training-free restoration of pruned neural networks", arXiv:2502.08474.
    """

    name = "lbyl"

    def __init__(self, ridge: float = 0.3, shift_penalty: float = 1e-5):
        check_number("ridge", ridge)
        check_number("shift_penalty", shift_penalty, zero=True)
        self.ridge, self.shift_penalty = ridge, shift_penalty

    def restore(self, units, removed, statistics):
        kept = units.kept & ~removed
        if units.normalization is None:
            coefficients = combination(units.rows[kept], units.rows[removed], self.ridge)
        else:
            coefficients = normalized_combination(
                units.weight,
                units.normalization.of_pre_activations(units.bias),
                kept,
                removed,
                self.ridge,
                self.shift_penalty,
            )
        return merged(units, kept, removed, coefficients), units.next_bias


def combination(kept: Tensor, removed: Tensor, ridge: float) -> Tensor:
    """Coefficients of the ridge regression with intercept of some rows on others.

    Parameters
    ----------
    kept : tensor of shape (n_kept, n_in)
    removed : tensor of shape (n_removed, n_in)
    ridge : float

    Returns
    -------
    tensor of shape (n_kept, n_removed)

    Examples
    --------
    >>> combination(torch.tensor([[1.0, -1.0]]), torch.tensor([[3.0, -3.0]]), ridge=1.0)
    tensor([[2.]])
    """
    kept = kept - kept.mean(1, keepdim=True)
    removed = removed - removed.mean(1, keepdim=True)
    gram = kept @ kept.t()
    gram.diagonal().add_(ridge)
    return torch.linalg.solve(gram, kept @ removed.t())


def normalized_combination(
    weight: Tensor,
    norm: Normalization,
    kept: Tensor,
    removed: Tensor,
    ridge: float,
    shift_penalty: float,
) -> Tensor:
    """Coefficients for units with a batch normalisation ``γ (W a − μ) / σ + β``.

    With ``g_j = γ_j/σ_j``, ``α_k = μ_k − σ_k β_k / γ_k`` and ``K_k = (γ_j/γ_k)(σ_k/σ_j)``, solves
    ``(VᵀV + λ₁ g_j² α αᵀ + λ₂ diag(K²)) t = Vᵀ w_j + λ₁ g_j (g_j μ_j − β_j) α`` for each removed
    unit j. Units with ``γ = 0`` are constant: they replace no unit and are not replaced.

    Parameters
    ----------
    weight : tensor of shape (n_units, n_in)
    norm : Normalization
    kept, removed : bool tensors of shape (n_units,)
    ridge, shift_penalty : float
        ``λ₂`` and ``λ₁``.

    Returns
    -------
    tensor of shape (n_kept, n_removed)
        ``K_k t_k``.
    """
    coefficients = weight.new_zeros((len(weight), int(removed.sum())))
    able, varies = kept & (norm.gamma != 0), (norm.gamma != 0)[removed]
    if not able.any() or not varies.any():
        return coefficients[kept]
    V, w = weight[able], weight[removed][varies]
    ratio = norm.sigma[able] / norm.gamma[able]
    alpha = norm.mu[able] - ratio * norm.beta[able]
    gain = (norm.gamma / norm.sigma)[removed][varies]
    shift = gain * norm.mu[removed][varies] - norm.beta[removed][varies]
    gram, right = V @ V.t(), V @ w.t() + shift_penalty * torch.outer(alpha, gain * shift)
    penalty = shift_penalty * torch.outer(alpha, alpha) + ridge * torch.diag(ratio.square())
    solved = [
        torch.linalg.solve(gram + penalty * g[:, None, None].square(), r.t()[:, :, None])[:, :, 0]
        for g, r in zip(*_blocks(gain, right), strict=True)
    ]
    t = torch.cat(solved).t()
    coefficients[torch.outer(able, varies)] = (t * torch.outer(ratio, gain)).flatten()
    return coefficients[kept]


def _blocks(gain: Tensor, right: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Split removed units into blocks whose matrices fit into memory."""
    size = max(1, _BYTES // (8 * len(right) ** 2))
    return gain.split(size), right.split(size, dim=1)
