"""Outputs of a network that do not depend on how rows are batched."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .training_data import PREDICTION_ROWS

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


@torch.no_grad()
def outputs_in_blocks(net: Any, X: Tensor) -> Iterator[Any]:
    """Yield the outputs of a net's network for blocks of rows.

    Each block is padded to a multiple of 64 rows, so that the outputs for a row do not depend on
    the other rows.

    Parameters
    ----------
    net : PrunedMLP
    X : tensor of shape (n_samples, ...)
    """
    net.module_.eval()
    for start in range(0, len(X), PREDICTION_ROWS):
        rows = X[start : start + PREDICTION_ROWS]
        padding = -len(rows) % _ROW_BLOCK
        padded = nn.functional.pad(rows, (0, 0) * (X.ndim - 1) + (0, padding))
        with _AlignedRows():
            outputs = net.infer(padded)
        if not isinstance(outputs, tuple):
            yield outputs[: len(rows)]
        elif all(len(output) == len(padded) for output in outputs):
            yield tuple(output[: len(rows)] for output in outputs)
        else:  # some outputs have other rows than the inputs
            yield net.infer(rows)
