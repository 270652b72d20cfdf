"""Layer-adaptive magnitude."""

from __future__ import annotations

import torch
from torch import Tensor

from ._base import Criterion


class LayerAdaptiveMagnitude(Criterion):
    """The squared weight relative to all squares in its layer that are at least as large.

    The score makes weights of different layers comparable: removing weights by it over the whole
    network is magnitude pruning with a ratio for each layer.

    When to use it: without data, with ``scope="global"``, where plain magnitude would empty the
    layers that have small weights.

    Source: Lee, Park, Mo, Ahn, Shin, "Layer-adaptive sparsity for the magnitude-based pruning",
    ICLR 2021.
    """

    name = "lamp"

    def score(self, weight, statistics, generator) -> Tensor:
        return lamp_scores(weight)


def lamp_scores(weight: Tensor) -> Tensor:
    """``w² / Σ w_u²`` over the weights ``u`` of the layer with ``|w_u| ≥ |w|``.

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
