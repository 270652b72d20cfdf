"""The same function as a smaller network."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from .chain import POOLING, HiddenLayer, NotAChain, hidden_layers
from .layers import PRUNABLE, prunable_layers
from .mlp import InputColumns
from .patches import padding_of


def compact(
    module: nn.Module, masks: Mapping[str, Tensor] | None = None
) -> tuple[nn.Module, dict[str, Tensor]]:
    """Leave out what does not matter: the same function in evaluation mode as a smaller network.

    A unit without a kept incoming weight is a constant, ``activation(bias)``; the next layer's
    bias takes it in. A unit without a kept outgoing weight goes. Columns of the input that nobody
    reads are left out by a :class:`skec.networks.InputColumns` before the first layer, so the
    network
    still takes all of them. One unit of each layer, and one column, always stay. Of a convolution
    the units are the filters and the columns the channels; a constant stays where zero padding
    makes it vary at the border.

    Parameters
    ----------
    module : torch.nn.Module
        A ``torch.nn.Sequential``, nested or not, of linear layers, convolutions and modules that
        act on each unit by itself, such as activations, pooling, dropout and batch normalisation.
        It is not changed.
    masks : mapping of layer name to bool tensor of shape (n_out, n_in), default=None
        True marks a kept weight; by default, and in layers that it does not name, one that is not
        zero.

    Returns
    -------
    module : torch.nn.Module
        Of the same class, with the same names.
    masks : dict of layer name to bool tensor
        Those of the layers that were named, of the smaller layers.

    Raises
    ------
    ValueError
        If the network is not such a sequence, or a mask does not fit.

    Examples
    --------
    >>> import torch, skec
    >>> _ = torch.manual_seed(0)
    >>> net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    >>> with torch.no_grad():
    ...     net[2].weight[:, 2:] = 0.0
    >>> smaller, _ = skec.compact(net)
    >>> smaller
    Sequential(
      (0): Linear(in_features=3, out_features=2, bias=True)
      (1): ReLU()
      (2): Linear(in_features=2, out_features=1, bias=True)
    )
    """
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"module must be a torch.nn.Module; got {type(module).__name__}. Results of skec.prune "
            f"and estimators have a method compact() of their own."
        )
    try:
        hidden = list(hidden_layers(module).values())
    except NotAChain as error:
        raise NotAChain(f"This network cannot be made compact. {error}") from None
    smaller = copy.deepcopy(module)
    layers = prunable_layers(smaller)
    given = {} if masks is None else masks
    kept = _kept_weights(layers, given)  # as matrices, like the weights of HiddenLayer
    for layer in hidden:
        _fold_constants(smaller, layer, kept)
    units = {name: torch.ones_like(mask[:, 0]) for name, mask in kept.items()}
    for layer in reversed(hidden):
        weights_out = kept[layer.next_name][units[layer.next_name]]
        read = weights_out.unflatten(1, (-1, layer.block)).any(2).any(0)
        units[layer.name] = _at_least_one(read)
        _forget(layers[layer.name], kept[layer.name], units[layer.name] & ~read)  # a placeholder
    first = hidden[0].name if hidden else next(iter(layers))
    n_columns = layers[first].weight.shape[1]
    columns = kept[first][units[first]].unflatten(1, (n_columns, -1)).any(2).any(0)
    columns = _take_columns(smaller, first, _at_least_one(columns))
    for layer in hidden:
        for name in layer.between:
            _cut(smaller.get_submodule(name), units[layer.name])
    read = {first: columns} | {layer.next_name: units[layer.name] for layer in hidden}
    left = {}
    for name, part in layers.items():
        shape = (int(units[name].sum()), -1, *part.weight.shape[2:])
        inputs = read[name].repeat_interleave(kept[name].shape[1] // len(read[name]))
        left[name] = kept[name][units[name]][:, inputs].reshape(shape)
        _cut_layer(part, units[name], inputs, shape)
    return smaller, {name: left[name] for name in given}


def feature_mask(module: nn.Module, n_features: int | None = None) -> Tensor:
    """Which columns of the input a network takes in.

    Parameters
    ----------
    module : torch.nn.Module
    n_features : int, default=None
        Number of columns; by default what the first layer reads.

    Returns
    -------
    bool tensor of shape (n_features,)

    Examples
    --------
    >>> feature_mask(nn.Sequential(InputColumns(torch.tensor([True, False])), nn.Linear(1, 1)))
    tensor([ True, False])
    """
    masks = [part.mask for part in module.modules() if isinstance(part, InputColumns)]
    if not masks:
        if n_features is None:
            first = next(part for part in module.modules() if isinstance(part, PRUNABLE))
            n_features = getattr(first, "in_channels", first.weight.shape[1])
        return torch.ones(n_features, dtype=torch.bool)
    mask, *further = masks
    for inner in further:
        mask = torch.zeros_like(mask).masked_scatter_(mask, inner)
    return mask


@torch.no_grad()
def _kept_weights(
    layers: Mapping[str, nn.Module], masks: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """A mask for each layer; weights that are not kept are set to zero."""
    masks = {name: torch.as_tensor(mask) for name, mask in masks.items()}
    for name, mask in masks.items():
        if name not in layers or mask.shape != layers[name].weight.shape:
            shapes = {name: tuple(layer.weight.shape) for name, layer in layers.items()}
            raise ValueError(
                f"masks[{name!r}] of shape {tuple(mask.shape)} fits no layer. The layers are "
                f"{shapes}."
            )
    kept = {}
    for name, layer in layers.items():
        mask = layer.weight != 0
        if name in masks:
            mask = masks[name].to(mask.device, torch.bool, copy=True)
        layer.weight.masked_fill_(~mask, 0.0)
        kept[name] = mask.flatten(1)
    return kept


@torch.no_grad()
def _fold_constants(module: nn.Module, hidden: HiddenLayer, kept: dict[str, Tensor]) -> None:
    """Let the next layer's bias take in the units that have no incoming weight."""
    layer, reader = (module.get_submodule(name) for name in (hidden.name, hidden.next_name))
    between = [module.get_submodule(name) for name in hidden.between]
    values, everywhere = _constant_values(layer, between)
    constant = ~kept[hidden.name].any(1) & everywhere
    if _pads_with_zeros(reader):
        constant &= values == 0
    columns = constant.repeat_interleave(hidden.block)
    values = values.repeat_interleave(hidden.block)[columns]
    shift = reader.weight.flatten(1)[:, columns].double() @ values
    if reader.bias is not None:
        reader.bias.copy_(reader.bias.double() + shift)
    elif shift.any():
        reader.bias = nn.Parameter(shift.to(reader.weight), reader.weight.requires_grad)
    _forget(reader, kept[hidden.next_name], (slice(None), columns))


def _constant_values(layer: nn.Module, between: list[nn.Module]) -> tuple[Tensor, Tensor]:
    """What each unit sends on if it reads nothing, and whether it does at all positions.

    Returns
    -------
    values : float64 tensor of shape (n_units,)
    everywhere : bool tensor of shape (n_units,)
    """
    values = torch.zeros(len(layer.weight), dtype=torch.float64, device=layer.weight.device)
    if layer.bias is not None:
        values += layer.bias
    everywhere = torch.ones_like(values, dtype=torch.bool)
    n_dimensions = 1 if isinstance(layer, nn.Linear) else layer.weight.ndim - 1
    # two equal samples, for a normalisation over the batch
    values = values.reshape(1, -1, *[1] * (n_dimensions - 1)).repeat(2, *[1] * n_dimensions)
    for part in between:
        if isinstance(part, POOLING):
            everywhere &= (values[0].flatten() == 0) | _keeps_constants(part)
        elif not isinstance(part, nn.Flatten):
            values = copy.deepcopy(part).double().eval()(values)
    return values[0].flatten(), everywhere


def _keeps_constants(pooling: nn.Module) -> bool:
    """Whether pooling makes of a constant map the same constant."""
    if isinstance(pooling, nn.AvgPool1d | nn.AvgPool2d):
        counts_padding = np.any(pooling.padding) and pooling.count_include_pad
        return not counts_padding and getattr(pooling, "divisor_override", None) is None
    return not isinstance(pooling, nn.LPPool1d | nn.LPPool2d)


def _pads_with_zeros(reader: nn.Module) -> bool:
    """Whether a layer sees something else than a constant at the border of a constant map."""
    if isinstance(reader, nn.Linear) or reader.padding_mode != "zeros":
        return False
    return any(padding_of(reader))


@torch.no_grad()
def _forget(layer: nn.Module, kept: Tensor, where) -> None:
    """Remove weights."""
    kept[where] = False
    removed = torch.zeros_like(kept)
    removed[where] = True
    layer.weight.masked_fill_(removed.view(layer.weight.shape), 0.0)


def _at_least_one(chosen: Tensor) -> Tensor:
    """The chosen ones, or the first if there are none."""
    chosen = chosen.clone()
    chosen[0] |= ~chosen.any()
    return chosen


def _cut(part: nn.Module, units: Tensor) -> None:
    """Leave units out of a module that acts on each by itself."""
    for name in ("weight", "bias", "running_mean", "running_var"):
        values = getattr(part, name, None)
        if values is not None and len(values) == len(units):
            _replace(part, name, values[units])
    for name in ("num_features", "num_parameters"):
        if getattr(part, name, None) == len(units):
            setattr(part, name, int(units.sum()))


def _cut_layer(layer: nn.Module, units: Tensor, inputs: Tensor, shape: tuple[int, ...]) -> None:
    """Leave units, and columns of the flattened weight, out of a layer."""
    _replace(layer, "weight", layer.weight.flatten(1)[units][:, inputs].reshape(shape))
    if layer.bias is not None:
        _replace(layer, "bias", layer.bias[units])
    n_out, n_in = layer.weight.shape[:2]
    if isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = n_out, n_in
    else:
        layer.out_channels, layer.in_channels = n_out, n_in


def _replace(part: nn.Module, name: str, values: Tensor) -> None:
    """Give a parameter or buffer values of another shape."""
    old = getattr(part, name)
    values = values.detach().clone()
    if isinstance(old, nn.Parameter):
        values = nn.Parameter(values, requires_grad=old.requires_grad)
    setattr(part, name, values)


def _take_columns(module: nn.Module, first: str, columns: Tensor) -> Tensor:
    """Pass on to the first layer only some of the input columns; returns those it still gets."""
    parent_name, _, name = first.rpartition(".")
    parent = module.get_submodule(parent_name)
    if columns.all() or not name:  # a layer by itself has no place for a selection
        return torch.ones_like(columns)
    children = _children(parent)
    place = [key for key, _ in children].index(name)
    if place and isinstance(children[place - 1][1], InputColumns):
        before = children[place - 1][1]
        before.index = before.index[columns]
        return columns
    dim = -1 if isinstance(children[place][1], nn.Linear) else 1
    selection = InputColumns(columns, dim=dim).train(module.training)
    children.insert(place, (_free_name(parent), selection))
    for key, _ in _children(parent):
        delattr(parent, key)
    for key, child in children:
        parent.add_module(key, child)
    return columns


def _children(parent: nn.Module) -> list[tuple[str, nn.Module]]:
    """The children of a module with their names, also of one that it has twice."""
    every = parent.named_modules(remove_duplicate=False)
    return [(key, child) for key, child in every if key and "." not in key]


def _free_name(parent: nn.Module) -> str:
    name = "columns"
    while hasattr(parent, name):
        name += "_"
    return name
