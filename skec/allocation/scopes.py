"""Which weights go: scores and a ratio in, masks out."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor

SCOPES = ("global", "layer", "row", "erdos_renyi", "lamp")
UNIT_SCOPES = ("global", "layer")


def allocate(
    scores: Mapping[str, Tensor],
    ratio: float,
    scope: str = "global",
    weights: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Keep the highest scores.

    Parameters
    ----------
    scores : mapping of layer name to tensor of shape (n_out, n_in)
        Minus infinity marks a weight that is already gone.
    ratio : float
        Fraction of the weights to remove, in [0, 1).
    scope : str, default="global"
        Where weights compete: over the whole network (``"global"``), in their layer (``"layer"``,
        ``"erdos_renyi"``, ``"lamp"``), in their row, the incoming weights of one unit (``"row"``),
        or among ``m`` consecutive inputs of a unit, of which n are kept (``"2:4"`` and so on).
        The layers share the ratio (``"layer"``), or those with few weights for their units keep
        more (``"erdos_renyi"``), or those in which the large weights stand out keep fewer
        (``"lamp"``).
    weights : mapping of layer name to tensor of shape (n_out, n_in), default=None
        The weights of the dense network, needed by ``"lamp"``.

    Returns
    -------
    dict of layer name to bool tensor
        True marks a kept weight. The number removed is the ratio times the number of weights,
        rounded, and no layer loses its last weight as long as another can give one instead. With
        ``"n:m"`` the pattern takes the place of the number as the ratio comes to 1 − n/m.

    References
    ----------
    Erdős–Rényi: Mocanu et al., "Scalable training of artificial neural networks with adaptive
    sparse connectivity", Nature Communications 2018. LAMP: Lee et al., ICLR 2021. N:m: Mishra et
    al., "Accelerating sparse deep neural networks", arXiv:2104.08378.

    Examples
    --------
    >>> import torch
    >>> scores = {"a": torch.tensor([[1.0, 2.0]]), "b": torch.tensor([[3.0, 4.0]])}
    >>> allocate(scores, 0.5)
    {'a': tensor([[False,  True]]), 'b': tensor([[False,  True]])}
    >>> allocate({"a": torch.tensor([[4.0, 3.0, 2.0, 1.0]])}, 0.5, "2:4")
    {'a': tensor([[ True,  True, False, False]])}
    """
    if scope == "global":
        return _allocate_whole(scores, _count(scores, ratio))
    pattern = n_of_m(scope)
    if pattern is not None:
        n_removed = round(ratio * pattern[1])
        return {name: _keep_of_groups(score, n_removed, *pattern) for name, score in scores.items()}
    gone = {name: score.isneginf() for name, score in scores.items()}
    counts = _counts_per_layer(scores, ratio, scope, weights, gone)
    masks = {}
    for (name, score), count in zip(scores.items(), counts, strict=True):
        if scope != "row":
            masks[name] = _keep_highest(score, count)
        else:
            row_sizes = [score.shape[1]] * len(score)
            row_counts = split_count(count, row_sizes, gone[name].sum(1).tolist())
            rows = zip(score, row_counts, strict=True)
            masks[name] = torch.stack([_keep_highest(row, n) for row, n in rows])
    return masks


def n_of_m(scope: str) -> tuple[int, int] | None:
    """The numbers of a pattern such as ``"2:4"``; None for other scopes.

    Raises
    ------
    ValueError
        Unless 0 < n < m.
    """
    match = re.fullmatch(r"(\d+):(\d+)", scope)
    if match is None:
        return None
    n, m = int(match[1]), int(match[2])
    if not 0 < n < m:
        raise ValueError(
            f"scope={scope!r} must keep at least one and fewer than all weights of a group: n:m "
            f"with 0 < n < m, such as '2:4'."
        )
    return n, m


def _counts_per_layer(scores, ratio, scope, weights, gone) -> list[int]:
    """How many weights each layer loses."""
    sizes = [score.numel() for score in scores.values()]
    total = round(ratio * sum(sizes))
    already = [int(mask.sum()) for mask in gone.values()]
    exact = None
    if scope == "erdos_renyi":
        shapes = [tuple(score.shape) for score in scores.values()]
        exact = erdos_renyi_counts(shapes, total)
    elif scope == "lamp":
        if weights is None:
            raise ValueError("scope='lamp' needs the weights of the dense network; got None.")
        kept = _allocate_whole({name: lamp_scores(weights[name]) for name in scores}, total)
        exact = [int((~mask).sum()) for mask in kept.values()]
    return split_count(total, sizes, already, exact)


def erdos_renyi_counts(shapes: list[tuple[int, int]], total: int) -> list[float]:
    """How many weights each layer loses if its density is proportional to (in + out)/(in · out).

    Layers whose density would exceed one stay whole, and the others make up for them.

    Examples
    --------
    >>> erdos_renyi_counts([(10, 10), (2, 10)], 60)
    [60.0, 0.0]
    """
    sizes = [n_out * n_in for n_out, n_in in shapes]
    sums = [n_out + n_in for n_out, n_in in shapes]  # density times size, up to a factor
    whole: set[int] = set()
    while True:
        others = [i for i in range(len(shapes)) if i not in whole]
        left = sum(sizes) - total - sum(sizes[i] for i in whole)
        factor = left / max(sum(sums[i] for i in others), 1)
        full = {i for i in others if factor * sums[i] > sizes[i]}
        if not full:
            break
        whole |= full
    return [0.0 if i in whole else size - factor * sums[i] for i, size in enumerate(sizes)]


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


def _keep_of_groups(scores: Tensor, n_removed: int, n: int, m: int) -> Tensor:
    """Mask out the lowest scores of each group of m consecutive inputs; n at least are kept."""
    n_out, n_in = scores.shape
    padded = torch.nn.functional.pad(scores, (0, -n_in % m), value=torch.inf)
    groups = padded.reshape(n_out, -1, m)
    rank = groups.argsort(dim=2, stable=True).argsort(dim=2)
    size = torch.full_like(rank[:1, :, :1], m)
    size[:, -1] = m - (-n_in % m)
    removed = rank < (size - n).clamp(0, n_removed)
    return ~removed.reshape(n_out, -1)[:, :n_in]


def allocate_ratios(scores: Mapping[str, Tensor], ratios: Mapping[str, float]) -> dict[str, Tensor]:
    """Keep the highest scores of each layer, with a ratio for each; others stay whole."""
    masks = {name: torch.ones_like(score, dtype=torch.bool) for name, score in scores.items()}
    for name, ratio in ratios.items():
        layer = {name: scores[name]}
        masks |= _allocate_whole(layer, _count(layer, ratio))
    return masks


def _count(scores: Mapping[str, Tensor], ratio: float) -> int:
    """How many weights go."""
    return round(ratio * sum(score.numel() for score in scores.values()))


def allocate_units(
    scores: Mapping[str, Tensor], ratio: float | Mapping[str, float], scope: str = "layer"
) -> dict[str, Tensor]:
    """Keep the units with the highest scores.

    Parameters
    ----------
    scores : mapping of layer name to tensor of shape (n_units,)
        Minus infinity marks a unit that is already gone.
    ratio : float, or mapping of layer name to float
        Fraction of the units to remove, in [0, 1). Layers that a mapping does not name stay whole.
    scope : {"layer", "global"}, default="layer"
        Where units compete: in their layer, or over the network. Not used with a mapping.

    Returns
    -------
    dict of layer name to bool tensor of shape (n_units,)
        True marks a unit that is kept. Of n units ``n (1 − ratio)`` are kept, rounded down, but
        at least one of each layer.

    Examples
    --------
    >>> import torch
    >>> scores = {"a": torch.tensor([1.0, 2.0, 3.0]), "b": torch.tensor([4.0, 5.0])}
    >>> allocate_units(scores, 0.5)
    {'a': tensor([False, False,  True]), 'b': tensor([False,  True])}
    >>> allocate_units(scores, 0.5, "global")
    {'a': tensor([False, False,  True]), 'b': tensor([False,  True])}
    """
    if scope == "global" and not isinstance(ratio, Mapping):
        n_units = sum(map(len, scores.values()))
        return _allocate_whole(scores, min(n_removed_units(n_units, ratio), n_units - len(scores)))
    ratios = ratio if isinstance(ratio, Mapping) else dict.fromkeys(scores, ratio)
    return {
        name: _keep_highest(
            score, min(n_removed_units(len(score), ratios.get(name, 0.0)), len(score) - 1)
        )
        for name, score in scores.items()
    }


def n_removed_units(n_units: int, ratio: float) -> int:
    """How many of some units go: ``n (1 − ratio)`` stay, rounded down.

    Examples
    --------
    >>> n_removed_units(100, 0.8), n_removed_units(10, 0.25)
    (80, 3)
    """
    return math.ceil(n_units * ratio - 1e-9)  # 100 · 0.07 is 7 and a little


def split_count(
    total: int,
    sizes: list[int],
    at_least: list[int] | None = None,
    exact: list[float] | None = None,
) -> list[int]:
    """Split a number to remove over groups, in proportion to their sizes or as ``exact`` says.

    Largest remainders first, so that the parts sum to ``total``; no group is emptied while another
    can give a weight instead, and none gives fewer than ``at_least``.

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


def _allocate_whole(scores: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """Remove the lowest scores of all layers together, but not the best one of a layer."""
    names = list(scores)
    flat = torch.cat([scores[name].reshape(-1) for name in names])
    if flat.numel() - count >= len(names):
        start = 0
        for name in names:
            flat[start + int(scores[name].reshape(-1).argmax())] = torch.inf
            start += scores[name].numel()
    keep = _keep_highest(flat, count)
    parts = keep.split([scores[name].numel() for name in names])
    return {  # copies, since a part that is pickled would take the whole along
        name: part.reshape(scores[name].shape).clone()
        for name, part in zip(names, parts, strict=True)
    }


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
