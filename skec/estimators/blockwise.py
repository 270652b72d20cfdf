"""Predictions for Dask arrays and dataframes, block by block."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

from ..utils import dask_name, is_dask, is_frame, with_whole_rows


def by_blocks(method: Callable[..., Any]) -> Callable[..., Any]:
    """Method decorator: for a Dask collection X, a Dask array of the results of its blocks.

    The method takes X as its first argument, and returns one row for each row of X. The result is
    lazy. Its number of columns and its dtype are those for one row, of zeros if possible.
    """
    owner, _, name = method.__qualname__.rpartition(".")

    @wraps(method)
    def call(self: Any, X: Any, *args: Any) -> Any:
        if not is_dask(X):
            return method(self, X, *args)
        # not of a subclass, which may call this method in its own
        place = (method.__module__, owner)
        kind = next(b for b in type(self).__mro__ if (b.__module__, b.__qualname__) == place)
        return _over_blocks(X, _Call(for_prediction(self), kind, name, args))

    return call


def for_prediction(estimator: Any) -> Any:
    """A shallow copy of an estimator without what only training and pruning need, if it has that.

    Estimators of this library say themselves what it is.
    """
    if isinstance(estimator, Pipeline):
        trimmed = copy.copy(estimator)
        trimmed.steps = [(name, for_prediction(step)) for name, step in estimator.steps]
        return trimmed
    trim = getattr(estimator, "_for_prediction", None)
    return estimator if trim is None else trim()


def check_in_memory(caller: str, *values: Any) -> None:
    """Raise a ``TypeError`` if one of the values is a collection of Dask.

    Parameters
    ----------
    caller : str
        The method that got the values.
    *values : Any
    """
    for one in values:
        if is_dask(one):
            raise TypeError(
                f"{caller} got {dask_name(one)}, and works on data in memory. Pass its compute() "
                f"if that fits into memory. Otherwise train with partial_fit on one block after "
                f"the other, such as X.blocks[0].compute() or X.get_partition(0).compute(), and "
                f"prune its network with skec.prune, which computes with the blocks where they "
                f"are; install of the estimator takes the result."
            )


class _Call:
    """The call of a method of an estimator for a block."""

    def __init__(self, estimator: Any, kind: type, name: str, args: tuple[Any, ...]):
        self.estimator, self.kind, self.name, self.args = estimator, kind, name, args
        self.example: np.ndarray | None = None  # the result for a block without rows

    def __call__(self, block: Any) -> np.ndarray:
        if not len(block) and self.example is not None:
            return self.example
        return np.asarray(getattr(self.kind, self.name)(self.estimator, block, *self.args))


def _over_blocks(X: Any, call: _Call) -> Any:
    import dask.array as da
    from dask.delayed import delayed

    frame = is_frame(X)
    X = X if frame else with_whole_rows(X)
    row = X._meta_nonempty.iloc[:1] if frame else np.zeros((1, *X.shape[1:]), X.dtype)
    example = None
    with suppress(Exception):  # a step of a pipeline may know no zeros
        example = call(row)
    if example is None:  # or the data are wrong: the first row shows it
        example = call(X.head(1, npartitions=-1) if frame else X.blocks[0].compute()[:1])
    call.example = example[:0]
    shared = delayed(call, traverse=False)  # goes to each worker once
    columns = tuple((size,) for size in example.shape[1:])
    if not frame:
        return X.map_blocks(
            _apply,
            call=shared,
            dtype=example.dtype,
            chunks=(X.chunks[0], *columns),
            drop_axis=list(range(len(columns) + 1, X.ndim)),
            meta=call.example,
        )
    apply, shape = delayed(_apply), (np.nan, *example.shape[1:])
    blocks = [
        da.from_delayed(apply(part, shared), shape, example.dtype, meta=call.example)
        for part in X.to_delayed()
    ]
    return da.concatenate(blocks, allow_unknown_chunksizes=True)


def _apply(block: Any, call: _Call) -> np.ndarray:
    return call(block)
