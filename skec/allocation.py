"""Which weights go: scores and a ratio in, masks out."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

SCOPES = ("global", "layer", "row")


def allocate(
    scores: Mapping[str, Tensor],
    ratio: float,
    scope: str = "global",
) -> dict[str, Tensor]:
    """Keep the highest scores.

    Parameters
    ----------
    scores : mapping of layer name to tensor of shape (n_out, n_in)
        Minus infinity marks a weight that is already gone.
    ratio : float
        Fraction of the weights to remove, in [0, 1).
    scope : {"global", "layer", "row"}, default="global"
        Whether weights compete over the whole network, in their layer or in their row (the
        incoming weights of one unit).

    Returns
    -------
    dict of layer name to bool tensor
        True marks a kept weight. The number removed is the ratio times the number of weights,
        rounded, and no layer loses its last weight as long as another can give one instead.

    Examples
    --------
    >>> import torch
    >>> scores = {"a": torch.tensor([[1.0, 2.0]]), "b": torch.tensor([[3.0, 4.0]])}
    >>> allocate(scores, 0.5)
    {'a': tensor([[False,  True]]), 'b': tensor([[False,  True]])}
    """
    if scope == "global":
        return _allocate_whole(scores, ratio)
    gone = {name: score.isneginf() for name, score in scores.items()}
    sizes = [score.numel() for score in scores.values()]
    total = round(ratio * sum(sizes))
    counts = split_count(total, sizes, [int(mask.sum()) for mask in gone.values()])
    masks = {}
    for (name, score), count in zip(scores.items(), counts, strict=True):
        if scope == "layer":
            masks[name] = _keep_highest(score, count)
        else:
            row_sizes = [score.shape[1]] * len(score)
            row_counts = split_count(count, row_sizes, gone[name].sum(1).tolist())
            rows = zip(score, row_counts, strict=True)
            masks[name] = torch.stack([_keep_highest(row, n) for row, n in rows])
    return masks


def allocate_ratios(scores: Mapping[str, Tensor], ratios: Mapping[str, float]) -> dict[str, Tensor]:
    """Keep the highest scores of each layer, with a ratio for each; others stay whole."""
    masks = {name: torch.ones_like(score, dtype=torch.bool) for name, score in scores.items()}
    for name, ratio in ratios.items():
        masks |= _allocate_whole({name: scores[name]}, ratio)
    return masks


def split_count(total: int, sizes: list[int], at_least: list[int] | None = None) -> list[int]:
    """Split a number to remove over groups in proportion to their sizes.

    Largest remainders first, so that the parts sum to ``total``; no group is emptied while another
    can give a weight instead, and none gives fewer than ``at_least``.

    Examples
    --------
    >>> split_count(5, [4, 4, 1])
    [3, 2, 0]
    """
    at_least = at_least or [0] * len(sizes)
    n = sum(sizes)
    exact = [total * size / n for size in sizes]
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


def _allocate_whole(scores: Mapping[str, Tensor], ratio: float) -> dict[str, Tensor]:
    """Remove the lowest scores of all layers together, but not the best one of a layer."""
    names = list(scores)
    flat = torch.cat([scores[name].reshape(-1) for name in names])
    count = round(ratio * flat.numel())
    if flat.numel() - count >= len(names):
        start = 0
        for name in names:
            flat[start + int(scores[name].reshape(-1).argmax())] = torch.inf
            start += scores[name].numel()
    keep = _keep_highest(flat, count)
    parts = keep.split([scores[name].numel() for name in names])
    return {name: part.reshape(scores[name].shape) for name, part in zip(names, parts, strict=True)}


def _keep_highest(scores: Tensor, count: int) -> Tensor:
    """Mask out the ``count`` lowest scores; of equal ones the first go first."""
    flat = scores.reshape(-1)
    if count == 0:
        return torch.ones_like(scores, dtype=torch.bool)
    threshold = flat.kthvalue(count).values
    keep = flat > threshold
    equal = torch.nonzero(flat == threshold).flatten()
    keep[equal[len(equal) - (len(flat) - count - int(keep.sum())) :]] = True
    return keep.reshape(scores.shape)
