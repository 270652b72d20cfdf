"""A pruning ratio for each layer."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ._base import Scope, at_once, check_ratios
from .counts import keep_highest_of_all, n_removed_weights


class LayerRatios(Scope):
    """Remove a given ratio of each layer.

    The ratios are used instead of the pruning ratio. Layers without a ratio keep all weights.

    Parameters
    ----------
    ratios : mapping of layer name to float
        In [0, 1). A mapping passed as ``scope`` is converted to this class.
    """

    replaces_ratio = True

    def __init__(self, ratios: Mapping[str, float]):
        check_ratios(ratios)
        self.ratios = dict(ratios)

    def check(self, names):
        check_ratios(self.ratios, names)

    def allocate(self, scores, ratio, *, weights=None, reached=at_once):
        masks = {name: torch.ones_like(score, dtype=torch.bool) for name, score in scores.items()}
        for name, own in self.ratios.items():
            layer = {name: scores[name]}
            masks |= keep_highest_of_all(layer, n_removed_weights(layer, reached(own)))
        return masks
