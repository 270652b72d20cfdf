"""All weights of the network are compared with each other."""

from __future__ import annotations

from ._base import Scope, at_once
from .counts import keep_highest_of_all, n_removed_weights


class GlobalScope(Scope):
    """Remove the weights with the lowest scores of the whole network.

    No layer loses its last weight while another layer has weights to remove.

    When to use it: with scores that are comparable between layers, such as those of ``"ec"``.
    """

    name = "global"

    def allocate(self, scores, ratio, *, weights=None, reached=at_once):
        return keep_highest_of_all(scores, n_removed_weights(scores, reached(ratio)))
