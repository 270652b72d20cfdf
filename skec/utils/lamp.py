"""Layer-adaptive magnitudes (LAMP): scores of weights, also used to set the layers' ratios."""

from __future__ import annotations

import torch
from torch import Tensor


def lamp_scores(weight: Tensor) -> Tensor:
    """LAMP scores of a layer's weights: ``w² / Σ w_u²`` over all ``u`` with ``|w_u| ≥ |w|``.

    Source: Lee, Park, Mo, Ahn, Shin, "Layer-adaptive sparsity for the magnitude-based pruning",
    ICLR 2021.

    Parameters
    ----------
    weight : tensor of any shape

    Returns
    -------
    tensor in the shape of ``weight``

    Examples
    --------
    >>> lamp_scores(torch.tensor([[1.0, 2.0]]))
    tensor([[0.2000, 1.0000]])
    """
    squares, order = torch.sort(weight.square().reshape(-1), stable=True)
    at_least = squares.flip(0).cumsum(0).flip(0)
    scores = torch.empty_like(squares)
    scores[order] = torch.where(squares > 0, squares / at_least, 0.0)
    return scores.reshape(weight.shape)
