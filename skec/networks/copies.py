"""Copies of networks."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


def copy_network(module: Network) -> Network:
    """A deep copy of a network.

    ``copy.deepcopy`` alone fails where a forward pass has left a tensor on a module that was
    computed from parameters, as ``torch.nn.utils.prune`` and ``weight_norm`` do. In the copy such a
    tensor has the same values, until the next forward pass computes it again.

    Examples
    --------
    >>> import torch
    >>> layer = nn.utils.prune.l1_unstructured(nn.Linear(3, 2), "weight", amount=1)
    >>> outputs = layer(torch.ones(1, 3))
    >>> torch.equal(copy_network(layer)(torch.ones(1, 3)), outputs)
    True
    """
    computed: dict[int, Tensor] = {}  # their copies, by id
    for child in module.modules():
        for value in vars(child).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                computed[id(value)] = value.detach().clone()
    return copy.deepcopy(module, computed)
