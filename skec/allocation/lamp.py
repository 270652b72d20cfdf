"""The number of weights of each layer follows from layer-adaptive magnitudes."""

from __future__ import annotations

from ..utils import lamp_scores
from ._base import Scope, at_once
from .counts import keep_highest_of_all, keep_highest_of_each, n_removed_weights


class LampScope(Scope):
    """Remove from each layer as many weights as layer-adaptive magnitude pruning would.

    The magnitudes determine only the number of weights to remove in each layer. The scores
    determine which weights of the layer are removed.

    When to use it: with scores that are not comparable between layers.

    Source: Lee, Park, Mo, Ahn, Shin, "Layer-adaptive sparsity for the magnitude-based pruning",
    ICLR 2021.
    """

    name = "lamp"

    def allocate(self, scores, ratio, *, weights=None, reached=at_once):
        if weights is None:
            raise ValueError("scope='lamp' needs the weights of the dense network; got None.")
        ratio = reached(ratio)
        magnitudes = {name: lamp_scores(weights[name]) for name in scores}
        kept = keep_highest_of_all(magnitudes, n_removed_weights(scores, ratio))
        return keep_highest_of_each(scores, ratio, [int((~mask).sum()) for mask in kept.values()])
