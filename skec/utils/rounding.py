"""Numbers that are not finite, and numbers that differ by rounding only."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

_INPUTS = 4.0  # relative rounding error of an activation, in units of the machine precision
_SUMS = 16.0  # relative rounding error of a sum over samples, in these units
_INVERSES = 2.0**-36  # least relative rounding error of a score: inverses of matrices amplify it
_WIDEST = 4.0  # spread of numbers that count as equal, in rounding errors of sums


def all_finite(values: Tensor) -> bool:
    """Whether no number is NaN or infinite.

    The sum is one of these if a number is, so it is looked at first: that is much faster, and needs
    no memory. It is infinite for some large numbers too.

    Examples
    --------
    >>> all_finite(torch.tensor([1.0, 3e38, 3e38])), all_finite(torch.tensor([1.0, torch.nan]))
    (True, False)
    """
    return math.isfinite(float(values.sum())) or bool(torch.isfinite(values).all())


def precision(dtype: torch.dtype) -> float:
    """The machine precision of a dtype; that of float32 for shorter ones, whose sums are longer.

    Examples
    --------
    >>> precision(torch.float64) == 2.0**-52, precision(torch.bfloat16) == 2.0**-23
    (True, True)
    """
    return min(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps)


def exact_where_constant(mean: Tensor, values: Tensor) -> Tensor:
    """A mean of each column, replaced by the value itself where a column is constant.

    The mean of equal numbers differs from them by rounding. With it as the centre, a constant
    column has a variance that is not zero.

    Parameters
    ----------
    mean : tensor of shape (...)
    values : tensor of shape (n_samples, ...)

    Examples
    --------
    >>> exact_where_constant(torch.tensor([0.1, 0.5]), torch.tensor([[0.2, 0.0], [0.2, 1.0]]))
    tensor([0.2000, 0.5000])
    """
    constant = (values[0] == values[len(values) // 2]) & (values[0] == values[-1])
    if not constant.any():  # nearly always, so a look at three samples is enough
        return mean
    constant[constant.clone()] = (values[:, constant] == values[0, constant]).all(0)
    return torch.where(constant, values[0].to(mean.dtype), mean)


def without_rounding(scatter: Tensor, power: Tensor, dtype: torch.dtype) -> Tensor:
    """A sum of squared deviations, set to zero where rounding of the numbers explains it.

    Parameters
    ----------
    scatter : float64 tensor
        ``Σ s (a − m)²``.
    power : float64 tensor in the shape of ``scatter``
        ``Σ s m²``.
    dtype : torch.dtype
        Of the numbers ``a``. If they differ from ``m`` by their rounding errors only, the scatter
        is at most the squared relative error times the power.

    Examples
    --------
    >>> scatter, power = torch.tensor([1e-15, 1e-9]), torch.tensor([1.0, 1.0])
    >>> without_rounding(scatter, power, torch.float32)
    tensor([0.0000e+00, 1.0000e-09])
    """
    bound = (_INPUTS * precision(dtype)) ** 2
    return scatter.masked_fill(scatter <= bound * power, 0.0)


def rounding_of_sums(dtype: torch.dtype) -> float:
    """The relative rounding error of a sum over samples.

    Examples
    --------
    >>> rounding_of_sums(torch.float64) == 2.0**-48
    True
    """
    return _SUMS * precision(dtype)


def equal_up_to_rounding(scores: Tensor, dtype: torch.dtype) -> Tensor:
    """Make scores equal that differ by the rounding errors of sums only.

    Neighbours in the sorted order belong together if they differ by less than the rounding error.
    A chain of them gets its lowest score, unless it is so long that its ends differ by more. Of
    many scores, more than the inverse of the rounding error, nearly all are neighbours by chance;
    they are returned unchanged.

    Parameters
    ----------
    scores : float64 tensor
        Not negative.
    dtype : torch.dtype
        In which the sums were computed.

    Returns
    -------
    float64 tensor in the shape of ``scores``

    Examples
    --------
    >>> scores = torch.tensor([2.0, 1.0 + 1e-7, 1.0, 3.0], dtype=torch.float64)
    >>> equal_up_to_rounding(scores, torch.float32)
    tensor([2., 1., 1., 3.], dtype=torch.float64)
    """
    tolerance = max(rounding_of_sums(dtype), _INVERSES)
    if scores.numel() * tolerance > 1.0:
        return scores
    values = scores.detach().cpu().numpy().ravel()  # numpy sorts much faster than torch
    order = values.argsort()
    ordered = values[order]
    (linked,) = np.nonzero(np.diff(ordered) <= tolerance * ordered[1:])  # to the next one
    if not len(linked):
        return scores
    begins = np.diff(linked, prepend=-2) > 1
    chain = np.cumsum(begins) - 1
    first = linked[begins]
    last = linked[np.append(begins[1:], True)] + 1
    narrow = ordered[last] - ordered[first] <= _WIDEST * tolerance * ordered[last]
    changed = linked[narrow[chain]] + 1
    settled = values.copy()
    settled[order[changed]] = ordered[first[chain]][narrow[chain]]
    return torch.from_numpy(settled).reshape(scores.shape).to(scores.device)
