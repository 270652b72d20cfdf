"""Checks calibration data and converts them to tensors for a network."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from numbers import Integral, Number
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from ..networks import input_dtype
from ..utils import (
    BatchedSamples,
    Inputs,
    LazyRows,
    Samples,
    all_finite,
    check_alone,
    check_reiterable,
    is_mapped,
    is_stream,
    loaded,
)

_BLOCK = 2**14  # rows that are checked at a time


def calibration_samples(
    module: nn.Module, X: Any, y: Any = None, sample_weight: Any = None
) -> Samples | BatchedSamples:
    """Check data and convert them to the dtype and device of a network.

    Parameters
    ----------
    module : torch.nn.Module
    X : array-like, tensor or LazyRows of shape (n_samples, ...), tuple, dict, or batches
        The inputs of the network: an array of any numeric dtype or of Python's numbers, a list, or
        a frame of pandas or polars. Integers are converted to floats unless the network has
        embeddings. Of a large ``numpy.memmap``, only the rows in use are read. A tuple of arrays,
        or a dict, holds several inputs. A torch ``Dataset`` or ``DataLoader``, or an iterable of
        batches, is read batch by batch (see :func:`skec.utils.is_stream`).
    y : array-like or tensor with n_samples rows, default=None
    sample_weight : array-like or tensor of shape (n_samples,), default=None

    Returns
    -------
    Samples or BatchedSamples
        The arguments are not changed. A tensor that needs no conversion is not copied.

    Raises
    ------
    ValueError, TypeError
        If the data are not finite numbers or their shapes do not match.
    """
    if is_stream(X) or isinstance(X, Dataset):
        check_alone(X, y=y, sample_weight=sample_weight)
        check_reiterable(X)
        samples = BatchedSamples(X if is_stream(X) else loaded(X), partial(part_of_samples, module))
        len(samples)  # the first pass checks all batches
        return samples
    return samples_of_arrays(module, X, y, sample_weight)


def samples_of_arrays(
    module: nn.Module, X: Any, y: Any = None, sample_weight: Any = None
) -> Samples:
    """The same for data that do not come in batches."""
    samples = part_of_samples(module, X, y, sample_weight)
    if samples.total_weight == 0:
        raise ValueError("sample_weight must be not all zero. Give some samples a weight.")
    return samples


def part_of_samples(module: nn.Module, X: Any, y: Any, sample_weight: Any) -> Samples:
    """The samples of arrays; their weights may all be zero."""
    parameter = next(module.parameters())
    dtype, device = parameter.dtype, parameter.device
    X = _inputs(module, X, device)
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
        if sample_weight.ndim != 1 or (sample_weight < 0).any():
            raise ValueError(
                f"sample_weight must be one non-negative number per sample; got shape "
                f"{tuple(sample_weight.shape)} and minimum {float(sample_weight.min())}."
            )
    return Samples(X, y, sample_weight)


def _inputs(module: nn.Module, X: Any, device: torch.device) -> Any:
    """The features as tensor or LazyRows, or several of them."""
    named = isinstance(X, Mapping)
    if named and not X:
        raise ValueError("X is an empty dict. Pass the inputs of the network by name.")
    if named or (isinstance(X, tuple) and X and hasattr(X[0], "shape")):
        names = [f"X[{name!r}]" for name in (X if named else range(len(X)))]
        values = list(X.values()) if named else X
        each = [_input(module, v, n, device) for v, n in zip(values, names, strict=True)]
        for value, name in zip(each, names, strict=True):
            if value.ndim < 1:
                raise ValueError(f"{name} must have one row per sample; got a single number.")
            _same_length(each[0], value, name, names[0])
        if len(each) == 1 and not named:
            X = each[0]
        else:
            return Inputs(dict(zip(X, each, strict=True)) if named else tuple(each))
    else:
        X = _input(module, X, "X", device)
    if X.ndim < 2:
        raise ValueError(
            f"X must have shape (n_samples, n_features); got {tuple(X.shape)}. Reshape a "
            f"single feature with X.reshape(-1, 1)."
        )
    return X


def _input(module: nn.Module, X: Any, name: str, device: torch.device) -> Any:
    """One input of a network."""
    if is_mapped(X) and X.ndim == 2 and not _takes_indices(module):
        X = _finite_rows(LazyRows(X, input_dtype(module), device), name)
    given, X = X, _tensor(X, name)
    if isinstance(X, LazyRows):  # converted when they are read
        return X
    if X.is_floating_point() or not _takes_indices(module):
        return _finite(_converted(X, given, device, input_dtype(module)), name)
    return _converted(X, given, device, torch.int64)


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


def _finite_rows(rows: LazyRows, name: str) -> LazyRows:
    for start in range(0, len(rows), _BLOCK):
        _finite(torch.tensor(rows.values[start : start + _BLOCK]), name)
    return rows


def _same_length(X: Any, other: Any, name: str, first: str = "X") -> None:
    if len(X) != len(other):
        raise ValueError(
            f"{first} and {name} must have the same number of rows; got {len(X)} and {len(other)}."
        )
