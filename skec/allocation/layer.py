"""The weights of a layer are compared with each other."""

from __future__ import annotations

from ._base import Scope, at_once
from .counts import keep_highest_of_each


class LayerScope(Scope):
    """Remove the same ratio of each layer.

    When to use it: with scores that are not comparable between layers.
    """

    name = "layer"

    def allocate(self, scores, ratio, *, weights=None, reached=at_once):
        return keep_highest_of_each(scores, reached(ratio))
