"""The last layer of a network."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ..utils import private


def with_scaled_outputs(module: nn.Module, factor: Tensor, shift: Tensor) -> nn.Module | None:
    """A copy of a network whose outputs are multiplied by a factor and shifted.

    Parameters
    ----------
    module : torch.nn.Module
        It is not changed.
    factor, shift : tensors of shape (n_outputs,)

    Returns
    -------
    torch.nn.Module or None
        None unless the network is a ``torch.nn.Sequential``, nested or not, that ends in a linear
        layer with a bias and ``n_outputs`` outputs, and its layers share no weights.

    Examples
    --------
    >>> network = nn.Sequential(nn.Linear(2, 1))
    >>> X, two, one = torch.ones(1, 2), torch.tensor([2.0]), torch.tensor([1.0])
    >>> scaled = with_scaled_outputs(network, two, one)
    >>> torch.allclose(scaled(X), 2 * network(X) + 1)
    True
    """
    module = copy.deepcopy(module)
    last = module
    while (
        isinstance(last, nn.Sequential)
        and type(last).forward is nn.Sequential.forward
        and not private.has_hooks(last)
        and len(last)
    ):
        last = last[-1]
    if type(last) is not nn.Linear or private.has_hooks(last) or last.bias is None:
        return None
    everything = list(module.named_parameters(remove_duplicate=False))
    if len(last.weight) != len(factor) or len(everything) > len(list(module.parameters())):
        return None  # a shared weight would change other layers too
    with torch.no_grad():
        factor, shift = (t.to(last.weight.device, torch.float64) for t in (factor, shift))
        last.weight.copy_(last.weight * factor[:, None])
        last.bias.copy_(last.bias * factor + shift)
    return module
