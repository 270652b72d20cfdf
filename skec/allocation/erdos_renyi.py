"""Densities that follow from the shapes of the layers."""

from __future__ import annotations

from collections.abc import Sequence

from ._base import Scope, at_once
from .counts import keep_highest_of_each, n_removed_weights


class ErdosRenyiScope(Scope):
    """Remove a ratio of each layer that follows from its shape.

    The density of a layer, its fraction of kept weights, is proportional to
    ``(n_in + n_out) / (n_in n_out)``.

    When to use it: at high ratios with scores that are not comparable between layers.

    Source: Mocanu et al., "Scalable training of artificial neural networks with adaptive sparse
    connectivity", Nature Communications 2018.
    """

    name = "erdos_renyi"

    def allocate(self, scores, ratio, *, weights=None, reached=at_once):
        ratio = reached(ratio)
        shapes = [(score.shape[0], score.shape[1]) for score in scores.values()]
        exact = erdos_renyi_counts(shapes, n_removed_weights(scores, ratio))
        return keep_highest_of_each(scores, ratio, exact)


def erdos_renyi_counts(shapes: Sequence[tuple[int, int]], total: int) -> list[float]:
    """Number of weights that each layer loses for densities ``∝ (n_in + n_out) / (n_in n_out)``.

    A layer whose density would exceed one keeps all weights; the other layers lose more.

    Parameters
    ----------
    shapes : sequence of (n_out, n_in) pairs
    total : int
        Number of weights to remove.

    Returns
    -------
    list of float
        Not rounded.

    Examples
    --------
    >>> erdos_renyi_counts([(10, 10), (2, 10)], 60)
    [60.0, 0.0]
    """
    sizes = [n_out * n_in for n_out, n_in in shapes]
    sums = [n_out + n_in for n_out, n_in in shapes]  # density times size, up to a factor
    dense: set[int] = set()
    while True:
        others = [i for i in range(len(shapes)) if i not in dense]
        n_kept = sum(sizes) - total - sum(sizes[i] for i in dense)
        factor = n_kept / max(sum(sums[i] for i in others), 1)
        too_dense = {i for i in others if factor * sums[i] > sizes[i]}
        if not too_dense:
            break
        dense |= too_dense
    return [0.0 if i in dense else size - factor * sums[i] for i, size in enumerate(sizes)]
