"""Checks calibration data and converts them to tensors for a network."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..utils import Samples


def calibration_samples(
    module: nn.Module, X: Any, y: Any = None, sample_weight: Any = None
) -> Samples:
    """Check arrays or tensors and convert them to the dtype and device of a network.

    Parameters
    ----------
    module : torch.nn.Module
    X : array or tensor of shape (n_samples, ...)
        The inputs of the network. Integers are converted to floats unless the network has
        embeddings.
    y : array or tensor with n_samples rows, default=None
    sample_weight : array or tensor of shape (n_samples,), default=None

    Returns
    -------
    Samples
        New tensors; the arguments are not changed.

    Raises
    ------
    ValueError, TypeError
        If the data are not finite numbers or their shapes do not match.
    """
    parameter = next(module.parameters())
    dtype, device = parameter.dtype, parameter.device
    X = _tensor(X, "X")
    if X.is_floating_point() or not _takes_indices(module):
        X = _finite(X.to(device, dtype), "X")
    if X.ndim < 2:
        raise ValueError(
            f"X must have shape (n_samples, n_features); got {tuple(X.shape)}. Reshape a "
            f"single feature with X.reshape(-1, 1)."
        )
    if len(X) == 0:
        raise ValueError("X has no samples (n_samples=0). Pass at least one sample.")
    if y is not None:
        y = _tensor(y, "y")
        y = y.to(device, dtype if y.is_floating_point() else torch.int64)
        _same_length(X, _finite(y, "y"), "y")
    if sample_weight is not None:
        sample_weight = _finite(_tensor(sample_weight, "sample_weight"), "sample_weight")
        sample_weight = sample_weight.to(device, dtype)
        _same_length(X, sample_weight, "sample_weight")
        if sample_weight.ndim != 1 or (sample_weight < 0).any() or not sample_weight.any():
            raise ValueError(
                "sample_weight must be one non-negative number per sample, not all zero; got "
                f"shape {tuple(sample_weight.shape)} and minimum {float(sample_weight.min())}."
            )
    return Samples(X, y, sample_weight)


def _tensor(values: Any, name: str) -> Tensor:
    try:
        if isinstance(values, Tensor):
            if values.layout is not torch.strided or values.is_complex():
                raise TypeError
            return values.detach()
        array = np.asarray(values)
        if array.dtype.kind not in "fiub":
            raise TypeError
        return torch.from_numpy(np.ascontiguousarray(array).copy())
    except TypeError:
        raise TypeError(
            f"{name} must be a dense array or tensor of numbers; got {type(values).__name__}. "
            f"Encode strings and objects, and make sparse matrices dense."
        ) from None


def _takes_indices(module: nn.Module) -> bool:
    return any(isinstance(child, nn.Embedding | nn.EmbeddingBag) for child in module.modules())


def _finite(tensor: Tensor, name: str) -> Tensor:
    if tensor.is_floating_point() and not torch.isfinite(tensor).all():
        raise ValueError(f"{name} contains NaN or infinity. Impute or drop these samples.")
    return tensor


def _same_length(X: Tensor, other: Tensor, name: str) -> None:
    if len(X) != len(other):
        raise ValueError(
            f"X and {name} must have the same number of rows; got {len(X)} and {len(other)}."
        )
