"""Dask arrays and dataframes as blocks of rows. Dask is imported only where one was passed."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

_PACKAGES = {"dask", "dask_expr"}


def is_dask(values: Any) -> bool:
    """Whether an object is a collection of Dask; Dask is not imported.

    Examples
    --------
    >>> is_dask(np.zeros(3))
    False
    """
    if not hasattr(type(values), "__dask_graph__"):
        return False
    return any(base.__module__.partition(".")[0] in _PACKAGES for base in type(values).__mro__)


def dask_name(values: Any) -> str:
    """What a collection of Dask is, for messages: ``"a Dask Array"``."""
    return f"a Dask {type(values).__name__}"


def is_frame(values: Any) -> bool:
    """Whether a collection of Dask is a dataframe or a series; others must be arrays.

    Raises
    ------
    TypeError
        If it is neither.
    """
    kind = type(values)  # an object of Delayed has any attribute
    if hasattr(kind, "partitions") and hasattr(kind, "divisions"):
        return True
    if not hasattr(kind, "chunks"):
        raise TypeError(
            f"X, y and sample_weight can be a Dask Array, DataFrame or Series; got "
            f"{dask_name(values)}. Convert it, for instance with dask.array.from_delayed or "
            f"to_dataframe()."
        )
    return False


def with_whole_rows(array: Any) -> Any:
    """A Dask array whose blocks have all columns."""
    return array.rechunk(dict.fromkeys(range(1, array.ndim), -1)) if array.ndim > 1 else array


class RowBlocks:
    """The blocks of rows of a Dask collection, not yet computed.

    The number of rows of each block is computed if it is not known.

    Parameters
    ----------
    values : Dask Array, DataFrame or Series, or array-like in memory
        Something in memory is one block.
    """

    def __init__(self, values: Any):
        from dask.base import compute
        from dask.delayed import delayed

        if not is_dask(values):
            self.blocks: list[Any] = [delayed(values, traverse=False)]
            self.lengths: list[int] = [len(values)]
            return
        lengths: Sequence[Any] = ()
        if is_frame(values):
            self.blocks = values.to_delayed()
        else:
            values = with_whole_rows(values)
            self.blocks, lengths = values.to_delayed().ravel().tolist(), values.chunks[0]
        if not lengths or np.isnan(lengths).any():
            lengths = compute(*map(delayed(len), self.blocks))
        self.lengths = list(map(int, lengths))

    def __len__(self) -> int:
        return sum(self.lengths)

    @cached_property
    def ends(self) -> list[int]:
        """The number of rows up to the end of each block."""
        return list(accumulate(self.lengths))

    def rows(self, start: int, stop: int) -> list[Any]:
        """Consecutive rows as pieces of blocks, not yet computed; at least one piece."""
        from dask.delayed import delayed

        pieces: list[Any] = []
        for place in range(bisect_right(self.ends, start), len(self.blocks)):
            block, end = self.blocks[place], self.ends[place]
            begin = end - self.lengths[place]
            if begin >= stop:
                break
            first, last = max(start, begin), min(stop, end)
            if first >= last:
                continue
            whole = (first, last) == (begin, end)
            piece = block if whole else delayed(_slice)(block, first - begin, last - begin)
            pieces.append(piece)
        return pieces or self.blocks[:1]

    def parts(self, multiple: int) -> list[tuple[int, int]]:
        """Parts of the rows, about as large as the blocks, that begin at multiples of a number.

        Returns
        -------
        list of tuple of int
            The first row of each part, and the row after its last one.
        """
        edges = {round(end / multiple) * multiple for end in self.ends}
        edges = {edge for edge in edges if 0 < edge < len(self)}
        return list(pairwise([0, *sorted(edges), len(self)]))


def joined_blocks(pieces: Sequence[Any]) -> Any:
    """Pieces of an array or of a frame as one."""
    if len(pieces) == 1:
        return pieces[0]
    if hasattr(pieces[0], "iloc"):
        import pandas as pd

        return pd.concat(pieces)
    return np.concatenate(pieces)


def _slice(block: Any, start: int, stop: int) -> Any:
    return block.iloc[start:stop] if hasattr(block, "iloc") else block[start:stop]
