"""Numbers of weights and units to remove, and the masks that keep the highest scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def n_removed_weights(scores: Mapping[str, Tensor], ratio: float) -> int:
    """The ratio times the number of weights, rounded."""
    return round(ratio * sum(score.numel() for score in scores.values()))


def n_removed_units(n_units: int, ratio: float) -> int:
    """Number of units to remove: ``n (1 − ratio)`` are kept, rounded down.

    Examples
    --------
    >>> n_removed_units(100, 0.8), n_removed_units(10, 0.25)
    (80, 3)
    """
    return math.ceil(n_units * ratio - 1e-9)  # 100 · 0.07 is 7 and a little


def split_count(
    total: int,
    sizes: Sequence[int],
    at_least: Sequence[int] | None = None,
    exact: Sequence[float] | None = None,
) -> list[int]:
    """Split a number to remove over groups, in proportion to their sizes or as ``exact`` says.

    Rounded by largest remainders, so that the parts sum to ``total``. No group loses its last
    weight while another can give one instead, and none loses fewer than ``at_least``.

    Examples
    --------
    >>> split_count(5, [4, 4, 1])
    [3, 2, 0]
    """
    at_least = at_least or [0] * len(sizes)
    n = sum(sizes)
    exact = exact or [total * size / n for size in sizes]
    counts = [
        max(min(int(part), max(size - 1, 0)), least)
        for part, size, least in zip(exact, sizes, at_least, strict=True)
    ]
    order = sorted(range(len(sizes)), key=lambda i: counts[i] - exact[i])
    left = total - sum(counts)
    while left < 0:  # some must give more than their share
        for i in reversed(order):
            back = min(-left, counts[i] - at_least[i], 1)
            counts[i] -= back
            left += back
    for reserve in (1, 0):
        while left > 0:
            open_groups = [i for i in order if counts[i] < sizes[i] - reserve]
            if not open_groups:
                break
            for i in open_groups[:left]:
                counts[i] += 1
            left -= min(left, len(open_groups))
    return counts


def keep_highest(scores: Tensor, count: int) -> Tensor:
    """Mask out the ``count`` lowest scores; of equal scores the first are removed first."""
    flat = scores.reshape(-1)
    if count == 0:
        return torch.ones_like(scores, dtype=torch.bool)
    threshold = flat.kthvalue(count).values
    keep = flat > threshold
    equal = torch.nonzero(flat == threshold).flatten()
    keep[equal[len(equal) - (len(flat) - count - int(keep.sum())) :]] = True
    return keep.reshape(scores.shape)


def keep_highest_of_all(scores: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """Mask out the lowest scores of all layers together, but not the highest one of a layer."""
    names = list(scores)
    flat = torch.cat([scores[name].reshape(-1) for name in names])
    if flat.numel() - count >= len(names):
        start = 0
        for name in names:
            flat[start + int(scores[name].reshape(-1).argmax())] = torch.inf
            start += scores[name].numel()
    keep = keep_highest(flat, count)
    parts = keep.split([scores[name].numel() for name in names])
    return {  # copies, because a pickled part would hold the whole
        name: part.reshape(scores[name].shape).clone()
        for name, part in zip(names, parts, strict=True)
    }


def keep_highest_of_each(
    scores: Mapping[str, Tensor], ratio: float, exact: Sequence[float] | None = None
) -> dict[str, Tensor]:
    """Mask out the lowest scores of each layer.

    The layers lose the same ratio, or the numbers of weights that ``exact`` gives.
    """
    counts = counts_per_layer(scores, ratio, exact)
    return {
        name: keep_highest(score, count)
        for (name, score), count in zip(scores.items(), counts, strict=True)
    }


def counts_per_layer(
    scores: Mapping[str, Tensor], ratio: float, exact: Sequence[float] | None = None
) -> list[int]:
    """How many weights each layer loses, with those that are already removed."""
    sizes = [score.numel() for score in scores.values()]
    already = [int(score.isneginf().sum()) for score in scores.values()]
    return split_count(round(ratio * sum(sizes)), sizes, already, exact)
