"""The scale of a regressor's targets."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_CONSTANT = 10 * np.finfo(np.float64).eps  # standard deviation over mean


@dataclass(frozen=True)
class TargetScale:
    """Mean and standard deviation of the targets.

    ``StandardScaler`` cannot replace it: it gives a constant target the scale one, so that the
    network would have to learn the constant, and its sums overflow for very large targets.

    Attributes
    ----------
    mean : float64 array of shape (n_outputs,)
    scale : float64 array of shape (n_outputs,)
        Zero for a constant target.

    Examples
    --------
    >>> import numpy as np
    >>> scale = TargetScale.of(np.array([[1.0], [3.0]]))
    >>> scale.mean, scale.scale
    (array([2.]), array([1.]))
    >>> scale.restore(np.array([[-1.0], [1.0]])).ravel()
    array([1., 3.])
    """

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def none(cls, n_outputs: int = 1) -> TargetScale:
        """The scale of targets that are not standardised: mean zero, standard deviation one."""
        return cls(np.zeros(n_outputs), np.ones(n_outputs))

    @classmethod
    def of(cls, y: np.ndarray, sample_weight: np.ndarray | None = None) -> TargetScale:
        """The scale of targets of shape (n_samples, n_outputs).

        Warns about constant targets.
        """
        unit = np.abs(y).max(axis=0)
        unit = np.where(unit > 0, unit, 1.0)  # avoids overflow of squares
        mean = np.average(y / unit, axis=0, weights=sample_weight)
        variance = np.average((y / unit - mean) ** 2, axis=0, weights=sample_weight)
        scale = np.sqrt(variance)
        constant = scale <= _CONSTANT * np.abs(mean)
        if constant.any():
            warnings.warn(
                f"y is constant in {int(constant.sum())} of {len(scale)} outputs; the model will "
                f"predict that constant there. Check the targets.",
                UserWarning,
                stacklevel=5,
            )
        return cls(np.where(constant, y[0], mean * unit), np.where(constant, 0.0, scale * unit))

    def standardise(self, y: Tensor, dtype: torch.dtype) -> Tensor:
        """Standardised targets in the network's dtype, shape (n_samples, n_outputs)."""
        y = y.reshape(len(y), -1)
        mean, scale = (torch.as_tensor(v, device=y.device) for v in (self.mean, self.scale))
        scale = torch.where(scale > 0, scale, 1.0)  # zero for a constant target
        return ((y - mean) / scale).to(dtype)

    def restore(self, outputs: np.ndarray) -> np.ndarray:
        """Outputs in the units of the targets, float64 of shape (n_samples, n_outputs)."""
        return outputs.astype(np.float64) * self.scale + self.mean
