"""The order of the layers of a sequential network, and the units that affect its outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from ..utils import private
from .features import FeatureScaling, FeatureWeights, InputColumns, PeriodicEmbedding
from .layers import PRUNABLE, PrunableLayer, has_own_forward

_UNIT_BY_UNIT = (
    nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout,
    nn.BatchNorm1d, nn.BatchNorm2d,
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU,
    nn.SiLU, nn.Mish, nn.Sigmoid, nn.LogSigmoid, nn.Tanh, nn.Softplus, nn.Softsign, nn.Hardtanh,
    nn.Hardsigmoid, nn.Hardswish, nn.Hardshrink, nn.Softshrink, nn.Tanhshrink, nn.Threshold,
)  # fmt: skip

_BEFORE = (InputColumns, FeatureScaling, PeriodicEmbedding, FeatureWeights, nn.Unflatten)

POOLING = (
    nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d, nn.LPPool1d, nn.LPPool2d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d,
)  # fmt: skip


class NotAChain(ValueError):
    """A network is not a sequence of layers in which each reads only the previous one."""


@dataclass(frozen=True)
class HiddenLayer:
    """A linear layer or convolution whose units are read by exactly one other layer.

    Attributes
    ----------
    name : str
        The layer that computes the units, or filters.
    between : tuple of str
        The modules between the two layers, which act on each unit separately: normalisation,
        activation, pooling, dropout.
    next_name : str
        The layer that reads the units.
    block : int, default=1
        Number of consecutive weights with which a unit of the next layer reads each unit: the
        positions of a convolution's kernel, or those of a flattened map.
    """

    name: str
    between: tuple[str, ...]
    next_name: str
    block: int = 1


def hidden_layers(module: nn.Module) -> dict[str, HiddenLayer]:
    """The hidden layers of a network by name, in the order in which they run.

    What a subclass of these modules, or a hook, computes is not known. A subclass of
    ``Sequential`` is understood if it has no ``forward`` of its own.

    Parameters
    ----------
    module : torch.nn.Module
        A ``torch.nn.Sequential``, nested or not, of linear layers, convolutions and modules that
        act on each unit separately, with a ``Flatten`` between the last convolution and the first
        linear layer.

    Raises
    ------
    NotAChain
        A ``ValueError``, if the network has another structure.

    Examples
    --------
    >>> from torch import nn
    >>> hidden_layers(nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1)))
    {'0': HiddenLayer(name='0', between=('1',), next_name='2', block=1)}
    """
    parts = list(_parts_in_order(module))
    layers = {i: part for i, (_, part) in enumerate(parts) if isinstance(part, PRUNABLE)}
    first, last = min(layers, default=len(parts)), max(layers, default=-1)
    for i, (name, part) in enumerate(parts):
        _check_part(name, part, before=i < first, after=i > last)
    _check_reuse(parts)
    return {
        parts[i][0]: _hidden_layer(layers[i], layers[j], parts[i : j + 1])
        for i, j in pairwise(layers)
    }


def _hidden_layer(
    layer: PrunableLayer, reader: PrunableLayer, parts: list[tuple[str, nn.Module]]
) -> HiddenLayer:
    """Describe a layer and the next one; ``parts`` are all modules from the one to the other."""
    (name, _), *between, (next_name, _) = parts
    of_maps, flattened = not isinstance(layer, nn.Linear), False
    for part_name, part in between:
        flattened |= isinstance(part, nn.Flatten)
        # only maps can be pooled, and a flattened map has several entries per unit
        mixes = isinstance(part, POOLING) and not (of_maps and not flattened)
        if mixes or (of_maps and flattened and _has_entries(part)):
            described = _described(part_name, part)
            raise _no_chain(f"{described} does not act on each unit separately")
    reads_maps = not isinstance(reader, nn.Linear)
    n_units, n_in = len(layer.weight), reader.weight[0].numel()
    fits = n_in % n_units == 0 if of_maps else n_in == n_units
    if reads_maps != (of_maps and not flattened) or not fits:
        raise _no_chain(
            f"{next_name!r} does not read {name!r} unit by unit (a linear layer that follows a "
            f"convolution needs a torch.nn.Flatten before it)"
        )
    return HiddenLayer(name, tuple(name for name, _ in between), next_name, n_in // n_units)


def _has_entries(part: nn.Module) -> bool:
    """Whether a module has parameters or buffers for each entry of its inputs."""
    return any(values.numel() > 1 for values in part.state_dict().values())


def _parts_in_order(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules that nested sequential modules run, with their names."""
    opaque: str | None = None  # name of the last module that is not a Sequential
    for name, part in module.named_modules(remove_duplicate=False):
        if opaque is not None and (not opaque or name.startswith(f"{opaque}.")):
            continue
        if private.has_hooks(part):
            raise _no_chain(
                f"{_described(name, part)} has hooks, which may change its output; remove them"
            )
        if has_own_forward(part, nn.Sequential):
            raise _no_chain(f"{_described(name, part)} has a forward of its own")
        if not isinstance(part, nn.Sequential):
            opaque = name
            yield name, part


def _check_part(name: str, part: nn.Module, before: bool, after: bool) -> None:
    """Raise unless a module is allowed: ``before`` the first layer, ``after`` the last one."""
    kind = type(part)
    flattens = isinstance(part, nn.Flatten) and part.start_dim == 1 and part.end_dim == -1
    if not (
        kind in (*PRUNABLE, *_UNIT_BY_UNIT, *POOLING)
        or (flattens and kind is nn.Flatten)
        or (before and kind in _BEFORE)
        or (after and kind in (nn.Softmax, nn.LogSoftmax, nn.Flatten))
    ):
        raise _no_chain(
            f"{_described(name, part)} is neither a Sequential nor a module supported in this place"
        )
    if getattr(part, "groups", 1) > 1:
        raise _no_chain(f"{name!r} is a convolution in groups, whose filters read only some units")


def _described(name: str, part: nn.Module) -> str:
    kind = type(part).__name__
    return f"module {name!r}, a {kind}," if name else f"this {kind}"


def _check_reuse(parts: list[tuple[str, nn.Module]]) -> None:
    """Raise if a module with parameters or buffers runs twice."""
    names: dict[int, str] = {}
    for name, part in parts:
        if part.state_dict() and names.setdefault(id(part), name) != name:
            raise _no_chain(f"{names[id(part)]!r} and {name!r} are one module, which runs twice")


def _no_chain(reason: str) -> NotAChain:
    return NotAChain(
        f"The layers must follow each other in torch.nn.Sequential, and the modules between them "
        f"must act on each unit separately (activations, dropout, batch normalisation, pooling of "
        f"maps); {reason}."
    )


def chain_of_layers(module: nn.Module, layers: Mapping[str, nn.Module]) -> bool:
    """Whether the layers form a sequence, each reading all units of the previous one.

    True for nested ``torch.nn.Sequential`` modules in which no module between two layers mixes
    units, if ``layers`` holds all linear layers and convolutions.
    """
    try:
        hidden_layers(module)
    except NotAChain:
        return False
    known = {id(layer) for layer in layers.values()}
    return all(id(c) in known for c in module.modules() if isinstance(c, PRUNABLE))


def alive_units(masks: Mapping[str, Tensor], chain: bool) -> dict[str, Tensor]:
    """Return for each layer which of its units can affect the outputs.

    Parameters
    ----------
    masks : mapping of layer name to bool tensor of shape (n_out, n_in)
        Or of the shape of a convolution's weight. In the order of the layers.
    chain : bool
        Whether the layers form a sequence (see :func:`chain_of_layers`). If True, a unit is alive
        if a path of kept weights leads from an input through it to an output. If False, a unit is
        alive if it has a kept incoming weight.

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
        return {name: mask.flatten(1).any(1) for name, mask in masks.items()}
    names = list(masks)
    alive: dict[str, Tensor] = {}
    inputs = torch.ones_like(masks[names[0]][0].flatten())
    masks = dict(masks)
    for name in names:  # reached from an input
        masks[name] = masks[name].flatten(1)
        if masks[name].shape[1] > len(inputs):  # several columns for a unit of the previous layer
            masks[name] = masks[name].unflatten(1, (len(inputs), -1)).any(2)
        inputs = (masks[name] & inputs).any(1)
        alive[name] = inputs
    for name, next_name in reversed(list(pairwise(names))):  # reaches an output
        alive[name] = alive[name] & (masks[next_name] & alive[next_name][:, None]).any(0)
    return alive
