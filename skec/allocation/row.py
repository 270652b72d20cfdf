"""The incoming weights of a unit are compared with each other."""

from __future__ import annotations

import torch

from ._base import Scope, at_once
from .counts import counts_per_layer, keep_highest, split_count


class RowScope(Scope):
    """Remove the same ratio of the incoming weights of each unit.

    When to use it: with scores that are comparable only within a unit, such as ``"wanda"``.
    """

    name = "row"

    def allocate(self, scores, ratio, *, weights=None, reached=at_once):
        counts = counts_per_layer(scores, reached(ratio))
        masks = {}
        for (name, score), count in zip(scores.items(), counts, strict=True):
            sizes = [score.shape[1]] * len(score)
            of_rows = split_count(count, sizes, score.isneginf().sum(1).tolist())
            rows = zip(score, of_rows, strict=True)
            masks[name] = torch.stack([keep_highest(row, n) for row, n in rows])
        return masks
