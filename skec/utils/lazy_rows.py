"""Rows that become tensors when they are read."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np
import torch
from scipy.sparse import issparse
from torch import Tensor

_SMALL = 2**24  # bytes of a matrix that is always made dense


class LazyRows:
    """Rows of an array or a CSR matrix that become dense tensors when they are read.

    A large matrix need not be converted as a whole, so the memory is that of the rows in use. The
    matrix itself is not changed. An array in a file (``numpy.memmap``) stays there.

    Parameters
    ----------
    values : array or CSR matrix of shape (n_samples, n_features)
        Numbers; they are not copied.
    dtype : torch.dtype, default=torch.float32
        Of the tensors.
    device : str or torch.device, default="cpu"
    function : callable, default=None
        Applied to the tensors.
    rows : int array, default=None
        The rows of ``values`` that count, in this order; None stands for all.

    Examples
    --------
    >>> import numpy as np
    >>> rows = LazyRows(np.arange(6.0).reshape(3, 2))
    >>> rows[1:]
    tensor([[2., 3.],
            [4., 5.]])
    >>> rows.take([2]).shape
    torch.Size([1, 2])
    """

    ndim = 2

    def __init__(
        self,
        values: Any,
        dtype: torch.dtype = torch.float32,
        device: Any = "cpu",
        function: Callable[[Tensor], Tensor] | None = None,
        rows: np.ndarray | None = None,
    ):
        self.values, self.dtype, self.device, self.function = values, dtype, device, function
        self.rows = rows

    @property
    def shape(self) -> torch.Size:
        """The number of rows and columns."""
        return torch.Size([len(self), *self.values.shape[1:]])

    def __len__(self) -> int:
        return self.values.shape[0] if self.rows is None else len(self.rows)

    def __getitem__(self, rows: Any) -> Tensor:
        """Some rows as a new dense tensor; one row if ``rows`` is an integer."""
        if isinstance(rows, Integral):
            return self[[rows]][0]
        index = _as_index(rows)
        part = self.values[index if self.rows is None else self.rows[index]]
        sparse = issparse(part)
        part = in_dtype(part, self.dtype, copy=None if sparse else True)
        part = part.toarray() if sparse else part
        tensor = torch.from_numpy(part).to(self.device)
        return tensor if self.function is None else self.function(tensor)

    def take(self, rows: Any) -> LazyRows:
        """Some rows, not yet as a tensor."""
        values, index = self.values, _as_index(rows)
        if is_mapped(values):
            every = np.arange(len(self), dtype=np.int32) if self.rows is None else self.rows
            return type(self)(values, self.dtype, self.device, self.function, every[index])
        return type(self)(values[index], self.dtype, self.device, self.function)

    def mapped(self, function: Callable[[Tensor], Tensor]) -> LazyRows:
        """The same rows with a function that is applied to the tensors."""
        return type(self)(self.values, self.dtype, self.device, function, self.rows)

    def in_memory(self) -> Tensor | LazyRows:
        """One tensor; the rows as they are if that tensor is much larger than a sparse matrix."""
        return self[:] if not issparse(self.values) or small_when_dense(self.values) else self


def is_mapped(values: Any) -> bool:
    """Whether an array is a large one in a file, of which only the rows in use are read."""
    if not isinstance(values, np.ndarray) or values.nbytes <= _SMALL:
        return False
    base: Any = values
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap):
            return True
        base = base.base
    return isinstance(base, mmap.mmap)


def small_when_dense(matrix: Any) -> bool:
    """Whether a CSR matrix needs little memory as an array, or not more."""
    n_rows, n_columns = matrix.shape
    sparse = matrix.data.nbytes + matrix.indices.nbytes
    return n_rows * n_columns * matrix.dtype.itemsize <= max(_SMALL, sparse)


def in_dtype(values: Any, dtype: torch.dtype, copy: bool | None = True) -> Any:
    """An array or CSR matrix in a dtype; with ``copy=None`` a copy only if the dtype differs.

    Raises
    ------
    ValueError
        For numbers that are too large for the dtype.
    """
    kind, sparse = np.dtype(str(dtype).removeprefix("torch.")), issparse(values)
    with np.errstate(over="ignore"):
        if sparse:
            converted: Any = values.astype(kind, copy=bool(copy))
        elif copy:
            converted = np.array(values, dtype=kind, order="C")
        else:
            converted = np.asarray(values, dtype=kind, order="C")
    numbers = converted.data if sparse else converted
    narrower = kind.itemsize < values.dtype.itemsize
    if narrower and numbers.size and not np.isfinite([numbers.min(), numbers.max()]).all():
        raise ValueError(
            f"X has values too large for dtype={kind.name!r}, up to {np.abs(values).max():.3g}. "
            f"Scale the features (StandardScaler), or use dtype='float64'."
        )
    return converted


def _as_index(rows: Any) -> Any:
    return rows.cpu().numpy() if isinstance(rows, Tensor) else rows
