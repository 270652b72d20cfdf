"""The width, or the pruning ratio, at which the a-priori bound reaches a wished size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..utils import check_count, check_number
from .bisection import smallest
from .prior import a_priori_gap

_WIDEST = 2**24
_FINEST = 1e-6  # step of the ratio


def width_for_gap(
    epsilon: float,
    alpha: float,
    *,
    n_inputs: int,
    n_outputs: int = 1,
    n_hidden: int = 1,
    **setting: Any,
) -> int:
    """The width at which removing ``D^(1 − alpha)`` weights of each layer keeps the gap small.

    All hidden layers have the same width.

    Parameters
    ----------
    epsilon : float
        The gap that is allowed, as a bound of :func:`a_priori_gap`.
    alpha : float
        In (0, 1).
    n_inputs, n_outputs : int
    n_hidden : int, default=1
        Number of hidden layers.
    **setting
        Further parameters of :func:`a_priori_gap`.

    Returns
    -------
    int
        A width for which the bound is at most ``epsilon``, and for one less it is not. The bound is
        not quite monotone, because numbers of weights are rounded.

    Raises
    ------
    ValueError
        If the bound is still larger at a width of 2²⁴, or a parameter is not in its range.

    Examples
    --------
    >>> width = width_for_gap(0.5, 0.5, n_inputs=16, method="magnitude")
    >>> bool(a_priori_gap((16, width, 1), alpha=0.5, method="magnitude").bound <= 0.5)
    True
    """
    check_number("epsilon", epsilon)
    for name, value in (("n_inputs", n_inputs), ("n_outputs", n_outputs), ("n_hidden", n_hidden)):
        check_count(name, value)

    def bound(width: int) -> float:
        widths = (n_inputs, *[width] * n_hidden, n_outputs)
        return a_priori_gap(widths, alpha=alpha, **setting).bound

    def is_wide_enough(width: int) -> bool:
        if width > _WIDEST:
            raise ValueError(_no_width(epsilon, alpha, bound(_WIDEST), bound(_WIDEST // 2)))
        return bound(width) <= epsilon

    return smallest(is_wide_enough, above=0)


def _no_width(epsilon: float, alpha: float, widest: float, before: float) -> str:
    reason = (
        "it still falls, but slowly: raise alpha or epsilon"
        if widest < before
        else "and it does not fall with the width in this setting: with width='inputs' the norm of "
        "the first layer grows with the width; use width='larger', or raise alpha or epsilon"
    )
    return (
        f"No width up to {_WIDEST} keeps the bound below epsilon={epsilon:g} with alpha={alpha:g}. "
        f"There it is {widest:.3g}, {reason}."
    )


def ratio_for_gap(epsilon: float, widths: Sequence[int], **setting: Any) -> float:
    """The largest pruning ratio of all layers for which the a-priori bound is small enough.

    Parameters
    ----------
    epsilon : float
        The gap that is allowed, as a bound of :func:`a_priori_gap`.
    widths : sequence of int
        As there.
    **setting
        Further parameters of :func:`a_priori_gap`.

    Returns
    -------
    float
        In (0, 1), to within ``1e-6``. The bound at this ratio is at most ``epsilon``.

    Raises
    ------
    ValueError
        If removing one weight of a layer already allows a larger gap, or a parameter is not in its
        range.

    Examples
    --------
    >>> ratio = ratio_for_gap(0.5, (64, 1024, 1), method="magnitude")
    >>> bool(a_priori_gap((64, 1024, 1), ratio, method="magnitude").bound <= 0.5)
    True
    """
    check_number("epsilon", epsilon)

    def gap(ratio: float) -> tuple[float, int]:
        result = a_priori_gap(widths, ratio, **setting)
        return result.bound, sum(layer.n_removed for layer in result.layers)

    low, high = 0.0, 1.0
    while high - low > _FINEST:
        middle = (low + high) / 2
        if gap(middle)[0] <= epsilon:
            low = middle
        else:
            high = middle
    if not gap(low)[1]:
        at_first, n_removed = gap(high)
        raise ValueError(
            f"No ratio keeps the bound below epsilon={epsilon:g} for widths={tuple(widths)}: with "
            f"{n_removed} removed weight{'s' * (n_removed != 1)} it is already {at_first:.3g}. "
            f"Raise epsilon, use wider layers, or bound a given network with a_posteriori_gap."
        )
    return low
