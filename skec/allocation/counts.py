"""Numbers of weights and units to remove, and the masks that keep the highest scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor


def n_removed_weights(scores: Mapping[str, Tensor], ratio: float) -> int:
    """The ratio times the number of weights, rounded."""
    return round(ratio * sum(score.numel() for score in scores.values()))


def n_removed_units(n_units: int, ratio: float) -> int:
    """Number of units to remove: the number kept is ``n (1 − ratio)``, rounded down.

    Examples
    --------
    >>> n_removed_units(100, 0.8), n_removed_units(10, 0.25)
    (80, 3)
    """
    return math.ceil(n_units * ratio - 1e-9)  # in floating point, 100 * 0.07 > 7


def split_count(
    total: int,
    sizes: Sequence[int],
    at_least: Sequence[int] | None = None,
    exact: Sequence[float] | None = None,
) -> list[int]:
    """Split a number of weights to remove over groups.

    The parts are proportional to the sizes, or close to ``exact`` if given. They are rounded by
    largest remainders to sum to ``total``. A part is at least ``at_least``. A group loses its last
    weight only if every other group has at most one weight left.

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
    missing = total - sum(counts)
    while missing < 0:  # some groups lose more than their share because of at_least
        for i in reversed(order):
            back = min(-missing, counts[i] - at_least[i], 1)
            counts[i] -= back
            missing += back
    for n_spared in (1, 0):  # take the last weight of a group only if nothing else is left
        while missing > 0:
            open_groups = [i for i in order if counts[i] < sizes[i] - n_spared]
            if not open_groups:
                break
            for i in open_groups[:missing]:
                counts[i] += 1
            missing -= min(missing, len(open_groups))
    return counts


def keep_highest(scores: Tensor, count: int) -> Tensor:
    """Mask out the ``count`` lowest scores; among equal scores, the first ones."""
    flat = scores.reshape(-1)
    if count == 0:
        return torch.ones_like(scores, dtype=torch.bool)
    threshold = _kth_lowest(flat, count)
    keep = flat > threshold
    equal = torch.nonzero(flat == threshold).flatten()
    keep[equal[len(equal) - (len(flat) - count - int(keep.sum())) :]] = True
    return keep.reshape(scores.shape)


def _kth_lowest(scores: Tensor, k: int) -> float:
    if scores.device.type == "cpu" and scores.dtype == torch.float64:
        return float(np.partition(scores.numpy(), k - 1)[k - 1])  # much faster than torch
    return float(scores.kthvalue(k).values)


def keep_highest_of_all(scores: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """Mask out the ``count`` lowest scores of all layers.

    The highest score of each layer is kept unless ``count`` is too large for that.
    """
    names = list(scores)
    flat = torch.cat([scores[name].reshape(-1) for name in names])
    if flat.numel() - count >= len(names):
        start = 0
        for name in names:
            flat[start + int(scores[name].reshape(-1).argmax())] = torch.inf
            start += scores[name].numel()
    keep = keep_highest(flat, count)
    parts = keep.split([scores[name].numel() for name in names])
    return {  # copies, because a view would be pickled with the scores of all layers
        name: part.reshape(scores[name].shape).clone()
        for name, part in zip(names, parts, strict=True)
    }


def keep_highest_of_each(
    scores: Mapping[str, Tensor], ratio: float, exact: Sequence[float] | None = None
) -> dict[str, Tensor]:
    """Mask out the lowest scores of each layer.

    Each layer loses the same ratio, or the number of weights in ``exact``.
    """
    counts = counts_per_layer(scores, ratio, exact)
    return {
        name: keep_highest(score, count)
        for (name, score), count in zip(scores.items(), counts, strict=True)
    }


def counts_per_layer(
    scores: Mapping[str, Tensor], ratio: float, exact: Sequence[float] | None = None
) -> list[int]:
    """Number of weights that each layer loses, including those that are already removed."""
    sizes = [score.numel() for score in scores.values()]
    already = [int(score.isneginf().sum()) for score in scores.values()]
    return split_count(round(ratio * sum(sizes)), sizes, already, exact)
