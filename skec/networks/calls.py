"""Calls of a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

from ..utils import Inputs


def call(module: nn.Module, X: Any, parameters: Mapping[str, Tensor] | None = None) -> Any:
    """The return value of a network for a copy of its inputs; a forward may write into them.

    Parameters
    ----------
    module : torch.nn.Module
    X : tensor or Inputs
    parameters : mapping of name to tensor, default=None
        They take the place of the network's own parameters of these names.

    Examples
    --------
    >>> import torch
    >>> call(nn.Bilinear(2, 3, 1), Inputs((torch.ones(5, 2), torch.ones(5, 3)))).shape
    torch.Size([5, 1])
    """
    X = X.clone()
    args, kwargs = X.arguments if isinstance(X, Inputs) else ((X,), {})
    if parameters is None:
        return module(*args, **kwargs)
    return functional_call(module, dict(parameters), args, kwargs)
