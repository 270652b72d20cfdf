"""Outputs of a network that do not depend on how rows are batched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..training import small_network_mode
from ..utils import LazyRows, is_stream
from .training_data import PREDICTION_ROWS

_BLOCK_NUMBERS = 2**22  # most features in a block of more than 64 rows
_ROW_BLOCK = 64  # in whole blocks of rows, a row's prediction does not depend on the other rows

_ROW_BYTES = 16  # rows that start at multiples of this are summed in the same order (MKL on AMD)


class _AlignedRows(TorchFunctionMode):
    """Pads the inputs of linear layers so that every row is aligned in memory.

    Otherwise the order of summation for a row may depend on its position in the block.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is nn.functional.linear and not kwargs:
            inputs, weight, *bias = args
            padding = -inputs.shape[-1] % (_ROW_BYTES // inputs.element_size())
            if padding:
                inputs, weight = (nn.functional.pad(t, (0, padding)) for t in (inputs, weight))
                args = (inputs, weight, *bias)
        return func(*args, **(kwargs or {}))


def outputs_in_blocks(net: Any, X: Tensor | LazyRows) -> Iterator[Any]:
    """Yield the outputs of a net's network for blocks of rows.

    Each block is padded to a multiple of 64 rows, so that the outputs for a row do not depend on
    the other rows.

    Parameters
    ----------
    net : PrunedMLP
    X : tensor or LazyRows of shape (n_samples, ...)
    """
    net.module_.eval()
    few = max(1, _BLOCK_NUMBERS // _ROW_BLOCK // max(1, X.shape[1:].numel())) * _ROW_BLOCK
    n_rows = min(few, PREDICTION_ROWS)
    for start in range(0, len(X), n_rows):
        rows = X[start : start + n_rows]
        padding = -len(rows) % _ROW_BLOCK
        padded = nn.functional.pad(rows, (0, 0) * (rows.ndim - 1) + (0, padding))
        with small_network_mode(), torch.no_grad(), _AlignedRows():
            outputs = net.infer(padded)
        if not isinstance(outputs, tuple):
            yield outputs[: len(rows)]
        elif all(len(output) == len(padded) for output in outputs):
            yield tuple(output[: len(rows)] for output in outputs)
        else:  # some outputs have other rows than the inputs
            with torch.no_grad():  # it must not last until the next block is wanted
                outputs = net.infer(rows)
            yield outputs


def predictions(net: Any, X: Any, function: Callable[[Tensor], Any]) -> np.ndarray:
    """Apply a function to the outputs of a net's network, block by block.

    The results are written into one array, so the memory is that of the array and of one block.

    Parameters
    ----------
    net : PrunedMLP
    X : array-like of shape (n_samples, n_features) or Dataset
    function : callable
        Takes the outputs for a block of rows, the first ones if there are several; returns an
        array with as many rows.
    """
    outputs = net.forward_iter(X)
    blocks = (function(one[0] if isinstance(one, tuple) else one) for one in outputs)
    n_rows, block = _n_rows(X) if net.dataset == "auto" else None, next(blocks)
    if n_rows is None or len(block) == n_rows:
        return np.concatenate([block, *blocks])
    whole, start = np.empty((n_rows, *block.shape[1:]), block.dtype), 0
    with small_network_mode():
        for part in chain([block], blocks):
            whole[start : start + len(part)] = part
            start += len(part)
    return whole[:start]


def _n_rows(X: Any) -> int | None:
    """The number of samples, if it is known."""
    if is_stream(X):
        return None
    if getattr(X, "shape", ()):
        return int(X.shape[0])
    return None if isinstance(X, Mapping) or not hasattr(X, "__len__") else len(X)
