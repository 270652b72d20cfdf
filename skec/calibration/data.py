"""Checks calibration data and converts them to tensors for a network."""

from __future__ import annotations

from numbers import Integral, Number
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from ..networks import input_dtype
from ..utils import LazyRows, Samples, all_finite, is_mapped

_BLOCK = 2**14  # rows that are checked at a time


def calibration_samples(
    module: nn.Module, X: Any, y: Any = None, sample_weight: Any = None
) -> Samples:
    """Check arrays or tensors and convert them to the dtype and device of a network.

    Parameters
    ----------
    module : torch.nn.Module
    X : array-like, tensor or LazyRows of shape (n_samples, ...)
        The inputs of the network: an array of any numeric dtype or of Python's numbers, a list, or
        a frame of pandas or polars. Integers are converted to floats unless the network has
        embeddings. Of a large ``numpy.memmap``, only the rows in use are read.
    y : array-like or tensor with n_samples rows, default=None
    sample_weight : array-like or tensor of shape (n_samples,), default=None

    Returns
    -------
    Samples
        The arguments are not changed. A tensor that needs no conversion is not copied.

    Raises
    ------
    ValueError, TypeError
        If the data are not finite numbers or their shapes do not match.
    """
    parameter = next(module.parameters())
    dtype, device = parameter.dtype, parameter.device
    if is_mapped(X) and X.ndim == 2 and not _takes_indices(module):
        X = _finite_rows(LazyRows(X, input_dtype(module), device))
    given, X = X, _tensor(X, "X")
    if isinstance(X, LazyRows):
        pass  # converted when they are read
    elif X.is_floating_point() or not _takes_indices(module):
        X = _finite(_converted(X, given, device, input_dtype(module)), "X")
    else:
        X = _converted(X, given, device, torch.int64)
    if X.ndim < 2:
        raise ValueError(
            f"X must have shape (n_samples, n_features); got {tuple(X.shape)}. Reshape a "
            f"single feature with X.reshape(-1, 1)."
        )
    if len(X) == 0:
        raise ValueError("X has no samples (n_samples=0). Pass at least one sample.")
    if y is not None:
        given, y = y, _tensor(y, "y")
        y = _converted(y, given, device, dtype if y.is_floating_point() else torch.int64)
        _same_length(X, _finite(y, "y"), "y")
    if sample_weight is not None:
        given, sample_weight = sample_weight, _tensor(sample_weight, "sample_weight")
        sample_weight = _finite(_converted(sample_weight, given, device, dtype), "sample_weight")
        _same_length(X, sample_weight, "sample_weight")
        if sample_weight.ndim != 1 or (sample_weight < 0).any() or not sample_weight.any():
            raise ValueError(
                "sample_weight must be one non-negative number per sample, not all zero; got "
                f"shape {tuple(sample_weight.shape)} and minimum {float(sample_weight.min())}."
            )
    return Samples(X, y, sample_weight)


def _tensor(values: Any, name: str) -> Any:
    """Numbers as a tensor, which may share memory with the argument."""
    if isinstance(values, LazyRows):  # checked already
        return values
    if isinstance(values, Tensor):
        if values.layout is not torch.strided or values.is_complex():
            raise _no_numbers(name, f"a tensor of {values.dtype} with layout {values.layout}")
        # an inference tensor cannot take part in what autograd differentiates
        return values.clone() if values.is_inference() else values.detach()
    array = _array(values, name)
    if array.dtype.kind not in "fiub":
        raise _no_numbers(name, f"{type(values).__name__} of dtype {array.dtype}")
    dtype = array.dtype.newbyteorder("=") if array.dtype.itemsize <= 8 else np.float64
    return torch.from_numpy(np.require(array, dtype, requirements=["C", "W"]))


def _array(values: Any, name: str) -> np.ndarray:
    """An array, a list or a frame as an array."""
    if np.ma.is_masked(values):
        raise _missing(name)
    dtypes = getattr(values, "dtypes", None)
    if isinstance(values, np.ndarray) or not hasattr(dtypes, "__iter__"):
        try:
            array = np.asarray(values)
        except ValueError as error:  # rows of different lengths
            raise ValueError(f"{name} must be an array of numbers. numpy says: {error}") from error
        return _of_objects(array, name) if array.dtype.kind == "O" else array
    kinds = {"" if isinstance(d, np.dtype) else getattr(d, "kind", "O") for d in cast(Any, dtypes)}
    if kinds == {""} or not kinds <= set("fiub") | {""}:
        array = np.asarray(values)
        return _of_objects(array, name) if array.dtype.kind == "O" else array
    if values.isna().any(axis=None):  # pandas with dtypes that allow for missing values
        raise _missing(name)
    return values.to_numpy(np.float64 if "f" in kinds else np.int64)


def _of_objects(array: np.ndarray, name: str) -> np.ndarray:
    """An array of Python's numbers as integers, if all are, or floats."""
    entries = array.ravel().tolist()
    if any(type(entry).__name__ in ("NoneType", "NAType", "NaTType") for entry in entries):
        raise _missing(name)
    for entry in entries:
        if not isinstance(entry, Number) or isinstance(entry, complex):
            raise _no_numbers(name, f"an entry of type {type(entry).__name__}")
    integers = all(isinstance(entry, Integral) and abs(int(entry)) < 2**63 for entry in entries)
    dtype = np.int64 if integers else np.float64
    return np.array([dtype(entry) for entry in entries], dtype).reshape(array.shape)


def _no_numbers(name: str, got: str) -> TypeError:
    return TypeError(
        f"{name} must be a dense array or tensor of numbers; got {got}. Encode strings and dates, "
        f"and make sparse matrices dense."
    )


def _missing(name: str) -> ValueError:
    return ValueError(f"{name} contains missing values. Impute or drop these samples.")


def _converted(values: Tensor, given: Any, device: torch.device, dtype: torch.dtype) -> Tensor:
    """A tensor of another dtype and device; a copy of an array that needs no conversion."""
    converted = values.to(device, dtype)
    copies = isinstance(given, Tensor) or converted is not values
    return converted if copies else converted.clone()


def _takes_indices(module: nn.Module) -> bool:
    return any(isinstance(child, nn.Embedding | nn.EmbeddingBag) for child in module.modules())


def _finite(tensor: Tensor, name: str) -> Tensor:
    if tensor.is_floating_point() and not all_finite(tensor):
        raise ValueError(f"{name} contains NaN or infinity. Impute or drop these samples.")
    return tensor


def _finite_rows(rows: LazyRows) -> LazyRows:
    for start in range(0, len(rows), _BLOCK):
        _finite(torch.tensor(rows.values[start : start + _BLOCK]), "X")
    return rows


def _same_length(X: Any, other: Tensor, name: str) -> None:
    if len(X) != len(other):
        raise ValueError(
            f"X and {name} must have the same number of rows; got {len(X)} and {len(other)}."
        )
