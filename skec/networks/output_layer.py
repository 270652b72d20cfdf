"""The last layer of a network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..utils import private
from .layers import runs_in_order


def output_layer(module: nn.Module, n_outputs: int) -> nn.Linear | None:
    """The linear layer whose outputs are those of a network.

    Parameters
    ----------
    module : torch.nn.Module
    n_outputs : int

    Returns
    -------
    torch.nn.Linear or None
        None unless the network is a ``torch.nn.Sequential``, nested or not, that ends in a linear
        layer with a bias and ``n_outputs`` outputs, and its layers share no weights.

    Examples
    --------
    >>> output_layer(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1)), 1)
    Linear(in_features=4, out_features=1, bias=True)
    """
    last = module
    while runs_in_order(last) and len(last):
        last = last[-1]
    if type(last) is not nn.Linear or private.has_hooks(last) or last.bias is None:
        return None
    everything = list(module.named_parameters(remove_duplicate=False))
    if len(last.weight) != n_outputs or len(everything) > len(list(module.parameters())):
        return None  # a shared weight belongs to other layers too
    return last


@torch.no_grad()
def scale_outputs(layer: nn.Linear, factor: Tensor, shift: Tensor) -> None:
    """Multiply the outputs of a layer by a factor and shift them, in place.

    Parameters
    ----------
    layer : torch.nn.Linear
        With a bias.
    factor, shift : float64 tensors of shape (n_outputs,)

    Examples
    --------
    >>> layer, X = nn.Linear(2, 1), torch.ones(1, 2)
    >>> before = layer(X)
    >>> scale_outputs(layer, torch.tensor([2.0]), torch.tensor([1.0]))
    >>> torch.allclose(layer(X), 2 * before + 1)
    True
    """
    factor, shift = (t.to(layer.weight.device, torch.float64) for t in (factor, shift))
    layer.weight.copy_(layer.weight * factor[:, None])
    layer.bias.copy_(layer.bias * factor + shift)
