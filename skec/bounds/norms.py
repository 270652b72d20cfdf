"""Upper bounds of operator norms that no rounding error can invalidate."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..networks import PRUNABLE, padding_of
from .outward import EPS, error_of_sum, norm_above, up

_MOST_ENTRIES = 2**23  # of the transfer matrices of a convolution at all frequencies


def spectral_norm_bound(matrices: Tensor) -> float:
    """An upper bound of the spectral norms of some matrices.

    With the computed eigenvectors ``V`` of ``AᵀA``, the matrix ``VᵀAᵀAV`` is nearly diagonal, and
    ``‖A‖² ≤ ‖VᵀAᵀAV‖_∞ / (1 − ‖VᵀV − I‖)`` holds for any ``V``. The rounding errors of the products
    are bounded and added, so the bound does not rely on the accuracy of the eigenvectors.

    Parameters
    ----------
    matrices : tensor of shape (..., n_rows, n_columns)
        Real or complex.

    Returns
    -------
    float
        At least the largest norm. For well-scaled matrices it is larger by a relative ``1e-6`` at
        most.

    Examples
    --------
    >>> bound = spectral_norm_bound(torch.tensor([[3.0, 0.0], [0.0, 2.0]]))
    >>> 3.0 <= bound < 3.0 + 1e-9
    True
    """
    A = matrices.to(torch.complex128 if matrices.is_complex() else torch.float64)
    largest = float(A.abs().max()) if A.numel() else 0.0
    if largest == 0.0:
        return 0.0
    exponent = math.frexp(largest)[1]
    A = A * 2.0**-exponent if exponent > -1000 else A * 2.0**1000 * 2.0 ** (-exponent - 1000)
    if A.shape[-2] < A.shape[-1]:
        A = A.mH
    squared = torch.minimum(_gram_bound(A), _square_norms(A) * (1 + error_of_sum(A[0].numel())))
    return up(float(squared.max().sqrt()) * 2.0**exponent)


def _square_norms(matrices: Tensor) -> Tensor:
    """Squared Frobenius norms."""
    return matrices.abs().square().sum((-2, -1))


def _gram_bound(A: Tensor) -> Tensor:
    """Upper bounds of the squared norms of tall matrices; infinite where the check fails."""
    n_rows, n = A.shape[-2:]
    error = 2.0 * error_of_sum(n)
    gram = A.mH @ A
    _, V = torch.linalg.eigh(gram)
    power, power_V = _square_norms(A), _square_norms(V) * (1 + error)
    products = V.mH @ (gram @ V)
    rounding = 2.0 * error * power_V * power * (1 + 2.0 * error)
    rows = products.abs().sum(-1).amax(-1) * (1 + error)
    identity = torch.eye(n, dtype=A.dtype)
    defect = (V.mH @ V - identity).abs().square().sum((-2, -1)).sqrt() * (1 + error)
    defect = defect + error * power_V + 8 * EPS
    bound = (rows + rounding) / (1 - defect) + 2.0 * error_of_sum(n_rows) * power
    return torch.where(defect < 0.5, bound * (1 + 16 * EPS), torch.inf)


def convolution_norm_bound(
    weight: Tensor,
    size: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    method: str = "best",
) -> float:
    """An upper bound of the operator norm of a convolution without padding.

    Padding with zeros does not change a norm: give the size of the padded map.

    - ``"kernel"``: the norm of the kernel matrix of shape (n_out, n_in · positions of the kernel),
      times the square root of the number of patches that share an input.
    - ``"frequencies"``: the convolution is a part of the circular convolution on the same map. The
      norm of that one is the largest norm of its transfer matrices, one for each frequency [1]_.
      With a stride, each block of ``stride`` positions becomes channels first.
    - ``"best"``: the smaller one. Maps with very many frequencies and channels use the first only.

    Parameters
    ----------
    weight : tensor of shape (n_out, n_in, ...)
    size : sequence of int
        Of the padded map.
    stride, dilation : sequences of int
    method : {"best", "kernel", "frequencies"}, default="best"

    Returns
    -------
    float

    References
    ----------
    .. [1] Sedghi, Gupta, Long, "The singular values of convolutional layers", ICLR 2019.

    Examples
    --------
    >>> average = torch.full((1, 1, 2), 0.5)
    >>> bound = convolution_norm_bound(average, (10,), (1,), (1,), "frequencies")
    >>> 0.99 < bound < 1.0000001
    True
    """
    weight = weight.detach().double()
    kernel = weight.shape[2:]
    shared = 1
    for k, s, d, length in zip(kernel, stride, dilation, size, strict=True):
        n_positions = (length - d * (k - 1) - 1) // s + 1
        shared *= min(k if d > 1 else -(-k // s), n_positions)
    by_kernel = up(spectral_norm_bound(weight.flatten(1)) * math.sqrt(shared))
    if method == "kernel" or (method == "best" and shared == 1):
        return by_kernel
    blocks = _in_blocks(weight, stride, dilation)
    n_blocks = [-(-length // s) for length, s in zip(size, stride, strict=True)]
    n_entries = blocks.shape[0] * blocks.shape[1] * math.prod(n_blocks) // 2
    if method == "best" and n_entries > _MOST_ENTRIES:
        return by_kernel
    by_frequencies = _largest_transfer(blocks, n_blocks)
    return by_frequencies if method == "frequencies" else min(by_kernel, by_frequencies)


def _in_blocks(weight: Tensor, stride: Sequence[int], dilation: Sequence[int]) -> Tensor:
    """The kernel of the same convolution with stride one on blocks of positions as channels."""
    n_out, n_in, *kernel = weight.shape
    lengths = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    lengths = [-(-length // s) * s for length, s in zip(lengths, stride, strict=True)]
    whole = weight.new_zeros(n_out, n_in, *lengths)
    where = [slice(0, d * (k - 1) + 1, d) for k, d in zip(kernel, dilation, strict=True)]
    whole[(slice(None), slice(None), *where)] = weight
    split = [part for length, s in zip(lengths, stride, strict=True) for part in (length // s, s)]
    whole = whole.reshape(n_out, n_in, *split)
    n_dims = len(kernel)
    order = [0, 1, *(3 + 2 * i for i in range(n_dims)), *(2 + 2 * i for i in range(n_dims))]
    whole = whole.permute(order)
    return whole.reshape(n_out, n_in * math.prod(stride), *whole.shape[2 + n_dims :])


def _largest_transfer(blocks: Tensor, size: Sequence[int]) -> float:
    """An upper bound of the norms of the transfer matrices of a circular convolution."""
    transfer = blocks.to(torch.complex128)
    n_dims = len(size)
    for dim, length in enumerate(size):
        n_frequencies = length // 2 + 1 if dim == n_dims - 1 else length  # the others are conjugate
        positions, frequencies = torch.arange(blocks.shape[2 + dim]), torch.arange(n_frequencies)
        angles = (positions[:, None] * frequencies) % length * (2 * math.pi / length)
        waves = torch.polar(torch.ones_like(angles, dtype=torch.float64), -angles.double())
        transfer = torch.movedim(torch.movedim(transfer, 2 + dim, -1) @ waves, -1, 2 + dim)
    rounding = n_dims * (32 * EPS + 2 * error_of_sum(max(blocks.shape[2:])))
    rounding *= norm_above(blocks.abs().flatten(2).sum(2))
    return up(spectral_norm_bound(transfer.flatten(2).movedim(2, 0)) + rounding)


def operator_norm(layer: nn.Module, input_shape: Sequence[int] | None = None) -> float:
    """An upper bound of the operator norm of a linear layer or convolution.

    The operator maps the inputs of one sample to its pre-activations, without the bias; both have
    the Euclidean norm. No rounding error makes the bound too small.

    Parameters
    ----------
    layer : torch.nn.Linear, Conv1d or Conv2d
    input_shape : sequence of int, default=None
        ``(n_channels, ...)``, the shape of a sample; needed for a convolution.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If the layer is of another kind, or the shape is missing for a convolution or does not fit.

    Examples
    --------
    >>> layer = nn.Conv2d(1, 1, 3, padding=1, bias=False)
    >>> _ = nn.init.constant_(layer.weight, 1 / 9)
    >>> round(operator_norm(layer, (1, 8, 8)), 3)
    1.0
    """
    if not isinstance(layer, PRUNABLE) or type(layer) not in PRUNABLE:
        raise ValueError(
            f"layer must be a torch.nn.Linear, Conv1d or Conv2d; got a {type(layer).__name__}."
        )
    if isinstance(layer, nn.Linear):
        return spectral_norm_bound(layer.weight.detach().cpu())
    n_in = layer.in_channels
    if input_shape is None or len(input_shape) != len(layer.kernel_size) + 1:
        got = "None" if input_shape is None else f"{tuple(input_shape)}"
        raise ValueError(
            f"input_shape must be the shape of a sample, ({n_in}, ...) with "
            f"{len(layer.kernel_size)} further numbers, for this convolution; got {got}."
        )
    if layer.groups != 1 or input_shape[0] != n_in:
        raise ValueError(
            f"input_shape={tuple(input_shape)} and the layer {layer} do not fit: a convolution in "
            f"one group with as many channels is needed."
        )
    return padded_norm_bound(layer, layer.weight.detach().cpu(), input_shape[1:])


def padded_norm_bound(
    layer: nn.Conv1d | nn.Conv2d, weight: Tensor, size: Sequence[int], method: str = "best"
) -> float:
    """The bound for a convolution with its padding and another weight, for maps of a size."""
    ends = padding_of(layer)
    padded = [
        length + ends[2 * i] + ends[2 * i + 1]
        for i, length in zip(reversed(range(len(size))), size, strict=True)
    ]
    norm = convolution_norm_bound(weight, padded, layer.stride, layer.dilation, method)
    return up(norm * math.sqrt(most_copies(layer, size)))


def most_copies(layer: nn.Conv1d | nn.Conv2d, size: Sequence[int]) -> int:
    """How often the padding of a convolution repeats an input, at most; 1 for zeros."""
    if layer.padding_mode == "zeros":
        return 1
    positions = torch.arange(math.prod(size), dtype=torch.float64).reshape(1, 1, *size)
    repeated = nn.functional.pad(positions, padding_of(layer), mode=layer.padding_mode)
    return int(repeated.flatten().long().bincount().max())
