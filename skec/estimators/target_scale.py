"""The scale of a regressor's targets."""

from __future__ import annotations

import math
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
    weight : float
        Number of targets, or sum of their weights. It is infinite for a scale that stays the same
        when more targets are seen.

    Examples
    --------
    >>> import numpy as np
    >>> scale = TargetScale.of(np.array([[1.0], [3.0]]))
    >>> scale.mean, scale.scale
    (array([2.]), array([1.]))
    >>> scale.restore(np.array([[-1.0], [1.0]])).ravel()
    array([1., 3.])
    >>> scale.merged(TargetScale.of(np.array([[2.0]]), weight=1.0)).weight
    3.0
    """

    mean: np.ndarray
    scale: np.ndarray
    weight: float = math.inf

    @classmethod
    def none(cls, n_outputs: int = 1) -> TargetScale:
        """The scale of targets that are not standardised: mean zero, standard deviation one."""
        return cls(np.zeros(n_outputs), np.ones(n_outputs))

    @classmethod
    def of(
        cls, y: np.ndarray, sample_weight: np.ndarray | None = None, weight: float | None = None
    ) -> TargetScale:
        """The scale of targets of shape (n_samples, n_outputs).

        Parameters
        ----------
        y : float64 array of shape (n_samples, n_outputs)
        sample_weight : array of shape (n_samples,), default=None
            Only the proportions matter.
        weight : float, default=None
            See the attribute; None is the number of rows.
        """
        unit = np.abs(y).max(axis=0)
        unit = np.where(unit > 0, unit, 1.0)  # avoids overflow of squares
        mean = np.average(y / unit, axis=0, weights=sample_weight)
        variance = np.average((y / unit - mean) ** 2, axis=0, weights=sample_weight)
        scale = np.sqrt(variance)
        constant = scale <= _CONSTANT * np.abs(mean)
        mean = np.where(constant, y[0], mean * unit)
        return cls(mean, np.where(constant, 0.0, scale * unit), float(weight or len(y)))

    def merged(self, other: TargetScale) -> TargetScale:
        """The scale of the targets of both (Chan, Golub & LeVeque, 1983)."""
        if math.isinf(self.weight):
            return self
        weight = self.weight + other.weight
        ours, theirs = self.weight / weight, other.weight / weight
        difference = other.mean - self.mean
        mean = self.mean + theirs * difference
        scale = np.hypot(  # does not overflow, unlike squares
            np.hypot(math.sqrt(ours) * self.scale, math.sqrt(theirs) * other.scale),
            math.sqrt(ours * theirs) * difference,
        )
        return TargetScale(mean, np.where(scale <= _CONSTANT * np.abs(mean), 0.0, scale), weight)

    def warn_if_constant(self) -> None:
        """Warn about constant targets."""
        constant = self.scale == 0
        if constant.any():
            warnings.warn(
                f"y is constant in {int(constant.sum())} of {len(constant)} outputs; the model "
                f"will predict that constant there. Check the targets.",
                UserWarning,
                stacklevel=6,
            )

    def conversion(self, to: TargetScale) -> tuple[np.ndarray, np.ndarray]:
        """Factor and shift of outputs with which they predict the same in another scale.

        Outputs of a constant target have no meaning yet. They keep their values.
        """
        constant = self.scale == 0
        scale = np.where(to.scale > 0, to.scale, 1.0)
        factor = np.where(constant, 1.0, self.scale / scale)
        shift = np.where(constant, 0.0, (self.mean - to.mean) / scale)
        return factor, shift

    def where_constant(self, other: TargetScale) -> TargetScale:
        """The same scale, with the values of another one for targets that were constant."""
        constant = self.scale == 0
        mean = np.where(constant, other.mean, self.mean)
        return TargetScale(mean, np.where(constant, other.scale, self.scale), other.weight)

    def standardise(self, y: Tensor, dtype: torch.dtype) -> Tensor:
        """Standardised targets in the network's dtype, shape (n_samples, n_outputs)."""
        y = y.reshape(len(y), -1)
        mean, scale = (torch.as_tensor(v, device=y.device) for v in (self.mean, self.scale))
        scale = torch.where(scale > 0, scale, 1.0)  # zero for a constant target
        return ((y - mean) / scale).to(dtype)

    def restore(self, outputs: np.ndarray) -> np.ndarray:
        """Outputs in the units of the targets, float64 of shape (n_samples, n_outputs)."""
        return outputs.astype(np.float64) * self.scale + self.mean
