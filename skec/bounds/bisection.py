"""The search for a number by halving."""

from __future__ import annotations

from collections.abc import Callable


def smallest(condition: Callable[[int], bool], above: int, known: int | None = None) -> int:
    """The smallest integer larger than ``above`` that meets a condition, as all larger ones do.

    Parameters
    ----------
    condition : callable
    above : int
        Not negative, unless ``known`` is given.
    known : int, default=None
        One that meets it. None finds one by doubling.

    Examples
    --------
    >>> smallest(lambda n: n * n >= 50, above=0)
    8
    """
    low, high = above, above + 1
    if known is None:
        while not condition(high):
            low, high = high, 2 * high
    else:
        high = known
    while high - low > 1:
        middle = (low + high) // 2
        if condition(middle):
            high = middle
        else:
            low = middle
    return high
