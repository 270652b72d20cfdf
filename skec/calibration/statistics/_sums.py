"""Base classes of statistics: averages and moments that can be merged."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from ...networks import PrunableLayer
from ...utils import without_rounding
from ._base import LayerBatch, Statistic


def merge_moments(
    total: Tensor,
    mean: Tensor,
    scatter: Tensor,
    other_total: Tensor,
    other_mean: Tensor,
    other_scatter: Tensor,
) -> Tensor:
    """Merge the weighted moments of two sets of samples (Chan, Golub & LeVeque, 1983).

    With ``n = n_a + n_b`` and ``δ = m_b − m_a``: ``m = m_a + δ n_b / n`` and
    ``V = V_a + V_b + δ² n_a n_b / n``.

    Parameters
    ----------
    total, other_total : float64 tensors of shape (...)
        Sums of the weights.
    mean, other_mean : float64 tensors of shape (...) or (..., n_in)
        Weighted means. ``mean`` is updated in place.
    scatter, other_scatter : float64 tensors in the shape of ``mean``
        Weighted sums of squared deviations. ``scatter`` is updated in place.

    Returns
    -------
    float64 tensor of shape (...)
        The joint sum of the weights.

    Examples
    --------
    >>> two = torch.tensor(2.0)
    >>> mean, scatter = torch.tensor(1.0), torch.tensor(0.0)
    >>> merge_moments(two, mean, scatter, two, torch.tensor(3.0), torch.tensor(0.0))
    tensor(4.)
    >>> mean, scatter
    (tensor(2.), tensor(4.))
    """
    joint, weight, shift = _merge_means(total, mean, other_total, other_mean)
    scatter += other_scatter
    scatter.addcmul_(shift.square(), weight)
    return joint


def _merge_means(
    total: Tensor, mean: Tensor, other_total: Tensor, other_mean: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Update a weighted mean in place; return ``n``, ``n_a n_b / n`` and ``δ``."""
    joint = total + other_total
    share = other_total / torch.where(joint > 0, joint, 1.0)
    weight = share * total
    if mean.ndim > total.ndim:
        share, weight = share[..., None], weight[..., None]
    shift = other_mean - mean
    mean.addcmul_(shift, share)
    return joint, weight, shift


class Average(Statistic):
    """Base class: a mean over samples.

    Attributes
    ----------
    total_weight : float
        Sum of the sample weights.
    total : float64 tensor
        Weighted sum.
    """

    def __init__(self, layer: PrunableLayer, shape: tuple[int, ...]):
        self.total_weight: float = 0.0
        self.total: Tensor = layer.weight.detach().new_zeros(shape, dtype=torch.float64)

    def merge(self, other: Average) -> None:
        self.total += other.total
        self.total_weight += other.total_weight

    @property
    def mean(self) -> Tensor:
        """The weighted mean, float64."""
        return self.total / self.total_weight


class WeightMoments(Statistic):
    """Base class: moments of each weight's input, weighted by the sensitivity of its unit.

    Attributes
    ----------
    total_weight : float
        Sum of the sample weights.
    """

    def __init__(self, layer: PrunableLayer):
        self.total_weight = 0.0
        self._dtype = layer.weight.dtype
        self._merged: tuple[Tensor, Tensor, Tensor] | None = None

    @abstractmethod
    def _close_block(self) -> None:
        """Convert the sums since the last call to moments and pass them to ``_merge``."""

    def _merge(self, total: Tensor, mean: Tensor, scatter: Tensor) -> None:
        if self._merged is None:
            self._merged = total.clone(), mean.clone(), scatter.clone()
            return
        joint = merge_moments(*self._merged, total, mean, scatter)
        self._merged = joint, *self._merged[1:]

    def merge(self, other: WeightMoments) -> None:
        if other.total_weight == 0.0:
            return
        self._close_block()
        self._merge(*other.moments)
        self.total_weight += other.total_weight

    @property
    def moments(self) -> tuple[Tensor, Tensor, Tensor]:
        """Sensitivity, mean and scatter."""
        self._close_block()
        if self._merged is None:
            raise ValueError("The moments are undefined before the first batch. Call update first.")
        return self._merged

    @property
    def sensitivity(self) -> Tensor:
        """``S`` times the total weight, float64 of shape (n_out,)."""
        return self.moments[0]

    @property
    def mean(self) -> Tensor:
        """``m``, float64 of shape (n_out, n_in).

        A value in the range of the inputs for a unit without sensitivity.
        """
        return self.moments[1]

    @property
    def scatter(self) -> Tensor:
        """``V`` times the total weight, float64 of shape (n_out, n_in).

        Zero where an input is constant up to rounding.
        """
        total, mean, scatter = self.moments
        return without_rounding(scatter, total[:, None] * mean.square(), self._dtype)


class UnitMoments(Statistic):
    """Base class: moments of each input unit, weighted by the outputs' sensitivity to it.

    Attributes
    ----------
    total_weight : float
        Sum of the sample weights.
    sensitivity : float64 tensor of shape (n_units,)
        ``S`` times the total weight.
    mean : float64 tensor of shape (n_units,)
        ``m``; zero for a unit without sensitivity.
    """

    def __init__(self, layer: PrunableLayer, n_units: int):
        self.total_weight = 0.0
        self._dtype = layer.weight.dtype
        zeros = layer.weight.detach().new_zeros(n_units, dtype=torch.float64)
        self.sensitivity, self.mean, self._scatter = zeros, zeros.clone(), zeros.clone()

    @property
    def scatter(self) -> Tensor:
        """``V`` times the total weight, float64 of shape (n_units,).

        Zero where a unit is constant up to rounding.
        """
        return without_rounding(self._scatter, self.sensitivity * self.mean.square(), self._dtype)

    @property
    @abstractmethod
    def constants(self) -> Tensor:
        """The constant that replaces each column, float64 of shape (n_in,)."""

    def _add(self, total: Tensor, mean: Tensor, scatter: Tensor) -> None:
        moments = self.sensitivity, self.mean, self._scatter
        self.sensitivity = merge_moments(*moments, total, mean, scatter)

    def merge(self, other: UnitMoments) -> None:
        self._add(other.sensitivity, other.mean, other._scatter)
        self.total_weight += other.total_weight


class LeastSquares(Statistic):
    """Base class: least squares of pre-activations ``z`` on a layer's inputs ``h``.

    Attributes
    ----------
    total_weight : float
        Sum of the sample weights.
    dtype : torch.dtype
        Of the activations.
    input_mean : float64 tensor of shape (n_in,)
    target_mean : float64 tensor of shape (n_out,)
    input_scatter : float64 tensor of shape (n_in, n_in)
        ``E[(h − E h)(h − E h)ᵀ]`` times the total weight.
    target_scatter : float64 tensor of shape (n_in, n_out)
        ``E[(h − E h)(z − E z)ᵀ]`` times the total weight.
    """

    def __init__(self, layer: PrunableLayer):
        weight = layer.weight.detach().flatten(1)
        n_out, n_in = weight.shape
        self.total_weight = 0.0
        self.dtype = weight.dtype
        self.input_mean, self.target_mean, self.input_scatter, self.target_scatter = (
            weight.new_zeros(shape, dtype=torch.float64)
            for shape in ((n_in,), (n_out,), (n_in, n_in), (n_in, n_out))
        )

    def update(self, batch: LayerBatch) -> None:
        if batch.total_weight == 0:
            return
        inputs, targets = batch.inputs.double(), batch.get("dense_pre_activations").double()
        weights = torch.ones_like(inputs[:, 0]) if batch.weights is None else batch.weights.double()
        mean, target_mean = (weights @ values / weights.sum() for values in (inputs, targets))
        inputs, targets = inputs - mean, targets - target_mean
        weighted = (inputs * weights[:, None]).t()
        self._add(batch.total_weight, mean, target_mean, weighted @ inputs, weighted @ targets)

    def merge(self, other: LeastSquares) -> None:
        if other.total_weight > 0:
            self._add(
                other.total_weight,
                other.input_mean,
                other.target_mean,
                other.input_scatter,
                other.target_scatter,
            )

    def _add(
        self,
        total: float,
        input_mean: Tensor,
        target_mean: Tensor,
        input_scatter: Tensor,
        target_scatter: Tensor,
    ) -> None:
        """Merge as :func:`merge_moments` does, with the products of all pairs of columns."""
        totals = self.input_mean.new_tensor([self.total_weight, total])
        joint, weight, shift = _merge_means(totals[0], self.input_mean, totals[1], input_mean)
        _, _, target_shift = _merge_means(totals[0], self.target_mean, totals[1], target_mean)
        self.input_scatter += input_scatter
        self.input_scatter.addr_(shift, shift, alpha=weight.item())
        self.target_scatter += target_scatter
        self.target_scatter.addr_(shift, target_shift, alpha=weight.item())
        self.total_weight = joint.item()

    def equations(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        """Compute ``Cov[h]`` and ``Cov[h, z]`` for a subset of the inputs.

        Parameters
        ----------
        kept : bool tensor of shape (n_in,)

        Returns
        -------
        covariance : float64 tensor of shape (n_kept, n_kept)
        cross : float64 tensor of shape (n_kept, n_out)
        """
        covariance = self.input_scatter[kept][:, kept] / self.total_weight
        return covariance, self.target_scatter[kept] / self.total_weight
