"""Which units still lie on a path from the inputs to the outputs."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn


def chain_of_layers(module: nn.Module, layers: Mapping[str, nn.Linear]) -> bool:
    """Whether the layers follow each other, each reading all units of the one before.

    True for nested ``torch.nn.Sequential`` modules in which nothing between two of the layers
    mixes units, and in which all linear layers are among ``layers``.
    """

    def runs_in_order(child: nn.Module) -> bool:
        if isinstance(child, nn.Sequential):
            return type(child).forward is nn.Sequential.forward and all(map(runs_in_order, child))
        if isinstance(child, nn.Linear):
            return any(child is layer for layer in layers.values())
        return isinstance(child, _UNIT_BY_UNIT)

    if not isinstance(module, nn.Sequential):
        return False
    ends_in_softmax = len(module) > 1 and isinstance(module[-1], nn.Softmax | nn.LogSoftmax)
    if ends_in_softmax and type(module).forward is nn.Sequential.forward:
        return all(map(runs_in_order, list(module)[:-1]))
    return runs_in_order(module)


_UNIT_BY_UNIT = (
    nn.Identity, nn.Dropout, nn.AlphaDropout, nn.BatchNorm1d,
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU,
    nn.SiLU, nn.Mish, nn.Sigmoid, nn.LogSigmoid, nn.Tanh, nn.Softplus, nn.Softsign, nn.Hardtanh,
    nn.Hardsigmoid, nn.Hardswish, nn.Hardshrink, nn.Softshrink, nn.Tanhshrink, nn.Threshold,
)  # fmt: skip


def alive_units(masks: Mapping[str, Tensor], chain: bool) -> dict[str, Tensor]:
    """Return for each layer which of its units matter.

    Parameters
    ----------
    masks : mapping of layer name to bool tensor of shape (n_out, n_in)
    chain : bool
        Whether the layers follow each other (see :func:`chain_of_layers`). If so, a unit is alive
        if a path of kept weights leads from an input through it to an output; if not, if it has a
        kept incoming weight.

    Returns
    -------
    dict of layer name to bool tensor of shape (n_out,)

    Examples
    --------
    >>> import torch
    >>> masks = {"a": torch.tensor([[True], [False]]), "b": torch.tensor([[True, True]])}
    >>> alive_units(masks, chain=True)
    {'a': tensor([ True, False]), 'b': tensor([True])}
    """
    if not chain:
        return {name: mask.any(1) for name, mask in masks.items()}
    names = list(masks)
    alive: dict[str, Tensor] = {}
    inputs = torch.ones_like(masks[names[0]][0])
    for name in names:  # reached from an input
        inputs = (masks[name] & inputs).any(1)
        alive[name] = inputs
    for name, next_name in reversed(list(pairwise(names))):  # reaches an output
        alive[name] = alive[name] & (masks[next_name] & alive[next_name][:, None]).any(0)
    return alive
