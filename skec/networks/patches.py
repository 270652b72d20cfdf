"""Convolutions as linear layers whose weight is applied at many positions."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

_BYTES = 2**26  # memory for the patches of one block


def is_convolution(layer: nn.Module) -> bool:
    """Whether a prunable layer is a convolution."""
    return isinstance(layer, nn.Conv1d | nn.Conv2d)


def extract_patches(layer: nn.Conv1d | nn.Conv2d, inputs: Tensor) -> Tensor:
    """The input of each weight of a convolution at each position.

    Parameters
    ----------
    layer : torch.nn.Conv1d or torch.nn.Conv2d
    inputs : tensor of shape (n_samples, n_channels, ...)

    Returns
    -------
    tensor of shape (n_samples, groups, n_in, n_positions)
        ``n_in`` is the number of weights of a filter, in the order of ``layer.weight.flatten(1)``;
        the positions are those of the flattened output.

    Examples
    --------
    >>> import torch
    >>> layer = nn.Conv1d(1, 1, kernel_size=2)
    >>> extract_patches(layer, torch.tensor([[[1.0, 2.0, 3.0]]]))
    tensor([[[[1., 2.],
              [2., 3.]]]])
    """
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    inputs = nn.functional.pad(inputs, padding_of(layer), mode=mode)
    geometry = (layer.kernel_size, layer.dilation, layer.stride)
    if inputs.ndim == 3:  # one dimension becomes two, the first of length 1
        inputs = inputs.unsqueeze(2)
        geometry = tuple((1, *values) for values in geometry)
    kernel_size, dilation, stride = geometry
    columns = nn.functional.unfold(inputs, kernel_size, dilation, 0, stride)
    return columns.unflatten(1, (layer.groups, -1))


def padding_of(layer: nn.Conv1d | nn.Conv2d) -> list[int]:
    """The padding of a convolution at both ends of each dimension, last dimension first.

    This is the order of ``torch.nn.functional.pad``.

    Examples
    --------
    >>> padding_of(nn.Conv1d(1, 1, kernel_size=4, padding="same"))
    [1, 2]
    >>> padding_of(nn.Conv2d(1, 1, kernel_size=3, padding=(0, 1)))
    [1, 1, 0, 0]
    """
    ends: list[int] = []
    for dimension in reversed(range(len(layer.kernel_size))):
        if layer.padding == "same":
            total = layer.dilation[dimension] * (layer.kernel_size[dimension] - 1)
            ends += [total // 2, total - total // 2]
        elif layer.padding == "valid":
            ends += [0, 0]
        else:
            ends += [int(layer.padding[dimension])] * 2
    return ends


def blocks_of_patches(
    layer: nn.Conv1d | nn.Conv2d, inputs: Tensor
) -> Iterator[tuple[slice, Tensor]]:
    """Yield slices of the samples of a batch with their patches, in blocks of limited memory."""
    size = max(1, _BYTES // (patches_bytes(layer, inputs) // len(inputs)))
    for start in range(0, len(inputs), size):
        rows = slice(start, start + size)
        yield rows, extract_patches(layer, inputs[rows])


def patches_bytes(layer: nn.Conv1d | nn.Conv2d, inputs: Tensor) -> int:
    """Approximate bytes of the patches of a batch, or of its weight gradients if larger."""
    n_in, n_positions = layer.weight[0].numel(), inputs[0, 0].numel()
    per_sample = n_in * max(layer.groups * n_positions, layer.out_channels)
    return len(inputs) * per_sample * inputs.element_size()


def weight_gradients(patches: Tensor, gradients: Tensor) -> Tensor:
    """Gradients of each sample with respect to each weight, ``Σ_p g_ip a_jp``.

    Parameters
    ----------
    patches : tensor of shape (n_samples, groups, n_in, n_positions)
    gradients : tensor of shape (n_samples, n_out, n_positions)
        With respect to the pre-activations.

    Returns
    -------
    tensor of shape (n_samples, n_out, n_in)
    """
    gradients = gradients.unflatten(1, (patches.shape[1], -1))
    return (gradients @ patches.mT).flatten(1, 2)
