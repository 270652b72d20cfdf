"""Compaction: a smaller network that computes the same function."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from ..utils import plain_tensors
from .chain import POOLING, HiddenLayer, NotAChain, hidden_layers
from .copies import Network, copy_network
from .features import FeatureModule, InputColumns
from .layers import PRUNABLE, PrunableLayer, layer_of, prunable_layers
from .patches import padding_of


def compact(
    module: Network, masks: Mapping[str, Tensor] | None = None
) -> tuple[Network, dict[str, Tensor]]:
    """Return a smaller network that computes the same function in evaluation mode.

    A unit without a kept incoming weight has a constant output, ``activation(bias)``. It is removed
    and its constant is added to the bias of the next layer. A unit without a kept outgoing weight
    is removed. Input columns that no unit reads are removed by a
    :class:`skec.networks.InputColumns` before the first layer, so the network still accepts all
    columns. At least one unit of each layer and one column are kept. In a convolution, the units
    are the filters and the columns are the channels. A constant filter is kept if zero padding, of
    pooling or of the next layer, makes its map vary at the border.

    Parameters
    ----------
    module : torch.nn.Module
        A ``torch.nn.Sequential``, nested or not, of linear layers, convolutions and modules that
        act on each unit separately, such as activations, pooling, dropout and batch
        normalisation. Subclasses of these, and modules with hooks, may compute anything and are
        refused. It is not changed.
    masks : mapping of layer name to bool tensor of shape (n_out, n_in), default=None
        True marks a kept weight. In layers without a mask, the non-zero weights are kept.

    Returns
    -------
    module : torch.nn.Module
        Of the same class, with the same names of layers.
    masks : dict of layer name to bool tensor
        The given masks, cut to the shapes of the smaller layers.

    Raises
    ------
    ValueError
        If the network is not such a sequence, or a mask does not fit.
    TypeError
        If ``module`` is not a ``torch.nn.Module``.

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
            f"module must be a torch.nn.Module; got {type(module).__name__}. For a result of "
            f"skec.prune or an estimator, call its method compact()."
        )
    try:
        hidden = list(hidden_layers(module).values())
    except NotAChain as error:
        raise NotAChain(f"This network cannot be made compact. {error}") from None
    with plain_tensors():
        return _compact(module, hidden, {} if masks is None else masks)


def _compact(
    module: Network, hidden: list[HiddenLayer], given: Mapping[str, Tensor]
) -> tuple[Network, dict[str, Tensor]]:
    """A compact copy of a network with these hidden layers, and its masks."""
    smaller = copy_network(module)
    layers = prunable_layers(smaller)
    kept = _kept_weights(layers, given)  # of shape (n_out, n_in), also for convolutions
    for layer in hidden:
        _fold_constants(smaller, layer, kept)
    units = {name: torch.ones_like(mask[:, 0]) for name, mask in kept.items()}
    for layer in reversed(hidden):
        weights_out = kept[layer.next_name][units[layer.next_name]]
        read = weights_out.unflatten(1, (-1, layer.block)).any(2).any(0)
        units[layer.name] = _at_least_one(read)
        # a unit that is kept only because a layer needs one gets no incoming weights
        _remove_weights(layers[layer.name], kept[layer.name], units[layer.name] & ~read)
    first = hidden[0].name if hidden else next(iter(layers))
    n_columns = layers[first].weight.shape[1]
    columns = kept[first][units[first]].unflatten(1, (n_columns, -1)).any(2).any(0)
    columns = _select_columns(smaller, first, _at_least_one(columns))
    for layer in hidden:
        for name in layer.between:
            _select_units(smaller.get_submodule(name), units[layer.name])
    read = {first: columns} | {layer.next_name: units[layer.name] for layer in hidden}
    smaller_masks = {}
    for name, part in layers.items():
        shape = (int(units[name].sum()), -1, *part.weight.shape[2:])
        inputs = read[name].repeat_interleave(kept[name].shape[1] // len(read[name]))
        smaller_masks[name] = kept[name][units[name]][:, inputs].reshape(shape)
        _select_weights(part, units[name], inputs, shape)
    return smaller, {name: smaller_masks[name] for name in given}


def feature_mask(module: nn.Module, n_features: int | None = None) -> Tensor:
    """Which input columns a network reads.

    Parameters
    ----------
    module : torch.nn.Module
    n_features : int, default=None
        Number of columns of a network without :class:`skec.networks.InputColumns`; by default
        the number of inputs of its first layer.

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
        known = (part for part in module.modules() if isinstance(part, (*PRUNABLE, FeatureModule)))
        first = next(known)
        if isinstance(first, FeatureModule):
            n_features = first.n_features
        elif n_features is None:
            linear = isinstance(first, nn.Linear)
            n_features = first.weight.shape[1] if linear else first.in_channels
        return torch.ones(n_features, dtype=torch.bool)
    mask, *further = masks
    for inner in further:
        mask = torch.zeros_like(mask).masked_scatter_(mask, inner)
    return mask


def read_features(module: nn.Module, read: Tensor) -> Tensor:
    """Which input columns of a network its first layer reads.

    Parameters
    ----------
    module : torch.nn.Module
    read : bool tensor of shape (n_in,)
        The inputs of the first layer that count. With an embedding, it has several for each
        column.

    Returns
    -------
    bool tensor of shape (n_features,)
    """
    mask = feature_mask(module, len(read)).to(read.device)
    return torch.zeros_like(mask).masked_scatter_(
        mask, read.unflatten(0, (int(mask.sum()), -1)).any(1)
    )


@torch.no_grad()
def _kept_weights(
    layers: Mapping[str, PrunableLayer], masks: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """A flattened mask for each layer; removed weights are set to zero."""
    masks = {name: torch.as_tensor(mask) for name, mask in masks.items()}
    for name, mask in masks.items():
        if name not in layers or mask.shape != layers[name].weight.shape:
            shapes = {key: tuple(layer.weight.shape) for key, layer in layers.items()}
            raise ValueError(
                f"masks[{name!r}] of shape {tuple(mask.shape)} fits no layer. The shapes "
                f"of the layers' weights are {shapes}."
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
    """Add the constants of units without incoming weights to the bias of the next layer."""
    layer, reader = (layer_of(module, name) for name in (hidden.name, hidden.next_name))
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
    _remove_weights(reader, kept[hidden.next_name], (slice(None), columns))


def _constant_values(layer: PrunableLayer, between: list[nn.Module]) -> tuple[Tensor, Tensor]:
    """The outputs of units without incoming weights, and whether they are equal everywhere.

    Returns
    -------
    values : float64 tensor of shape (n_units,)
    everywhere : bool tensor of shape (n_units,)
        Whether pooling leaves the value the same at all positions of a map.
    """
    values = torch.zeros(len(layer.weight), dtype=torch.float64, device=layer.weight.device)
    if layer.bias is not None:
        values += layer.bias
    everywhere = torch.ones_like(values, dtype=torch.bool)
    n_dimensions = 1 if isinstance(layer, nn.Linear) else layer.weight.ndim - 1
    # two equal samples, for batch normalisation without running statistics
    values = values.reshape(1, -1, *[1] * (n_dimensions - 1)).repeat(2, *[1] * n_dimensions)
    for part in between:
        if isinstance(part, POOLING):
            everywhere &= (values[0].flatten() == 0) | _keeps_constants(part)
        elif not isinstance(part, nn.Flatten):
            values = copy.deepcopy(part).double().eval()(values)
    return values[0].flatten(), everywhere


def _keeps_constants(pooling: nn.Module) -> bool:
    """Whether pooling a constant map gives the same constant."""
    if isinstance(pooling, nn.AvgPool1d | nn.AvgPool2d):
        counts_padding = np.any(pooling.padding) and pooling.count_include_pad
        return not counts_padding and getattr(pooling, "divisor_override", None) is None
    return not isinstance(pooling, nn.LPPool1d | nn.LPPool2d)


def _pads_with_zeros(reader: PrunableLayer) -> bool:
    """Whether a layer pads its input maps with zeros."""
    if isinstance(reader, nn.Linear) or reader.padding_mode != "zeros":
        return False
    return any(padding_of(reader))


@torch.no_grad()
def _remove_weights(
    layer: PrunableLayer, kept: Tensor, where: Tensor | tuple[slice, Tensor]
) -> None:
    """Set weights to zero and mark them as removed."""
    kept[where] = False
    removed = torch.zeros_like(kept)
    removed[where] = True
    layer.weight.masked_fill_(removed.view(layer.weight.shape), 0.0)


def _at_least_one(chosen: Tensor) -> Tensor:
    """The chosen entries, or the first one if none is chosen."""
    chosen = chosen.clone()
    chosen[0] |= ~chosen.any()
    return chosen


def _select_units(part: nn.Module, units: Tensor) -> None:
    """Keep only some units in a module that acts on each unit separately."""
    for name in ("weight", "bias", "running_mean", "running_var"):
        values = getattr(part, name, None)
        if values is not None and len(values) == len(units):
            _replace(part, name, values[units])
    for name in ("num_features", "num_parameters"):
        if getattr(part, name, None) == len(units):
            setattr(part, name, int(units.sum()))


def _select_weights(
    layer: PrunableLayer, units: Tensor, inputs: Tensor, shape: tuple[int, ...]
) -> None:
    """Keep only some units, and some columns of the flattened weight, in a layer."""
    _replace(layer, "weight", layer.weight.flatten(1)[units][:, inputs].reshape(shape))
    if layer.bias is not None:
        _replace(layer, "bias", layer.bias[units])
    n_out, n_in = layer.weight.shape[:2]
    if isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = n_out, n_in
    else:
        layer.out_channels, layer.in_channels = n_out, n_in


def _replace(part: nn.Module, name: str, values: Tensor) -> None:
    """Replace a parameter or buffer by values of another shape."""
    old = getattr(part, name)
    values = values.detach().clone()
    if isinstance(old, nn.Parameter):
        values = nn.Parameter(values, requires_grad=old.requires_grad)
    setattr(part, name, values)


def _select_columns(module: nn.Module, first: str, columns: Tensor) -> Tensor:
    """Pass only some features to the first layer; returns which of its columns remain.

    With an embedding, a feature remains with all its columns.
    """
    parent_name, _, name = first.rpartition(".")
    parent = module.get_submodule(parent_name)
    everything = torch.ones_like(columns)
    if columns.all() or not name:  # nothing can be inserted before a bare layer
        return everything
    children = _children(parent)
    end = place = [key for key, _ in children].index(name)
    while place and isinstance(children[place - 1][1], FeatureModule):
        place -= 1
    acting = [part for _, part in children[place:end] if isinstance(part, FeatureModule)]
    if len(acting) < sum(isinstance(part, FeatureModule) for part in module.modules()):
        return everything  # modules elsewhere act on the features too
    block = math.prod(part.width for part in acting)
    features = columns.unflatten(0, (-1, block)).any(1)
    if features.all():
        return everything
    before = children[place - 1][1] if place else None
    if isinstance(before, InputColumns):
        before.index = before.index[features]
    else:
        dim = -1 if isinstance(children[end][1], nn.Linear) else 1
        selection = InputColumns(features, dim=dim).train(module.training)
        children.insert(place, (_free_name(parent), selection))
        for key, _ in _children(parent):
            delattr(parent, key)
        for key, child in children:
            parent.add_module(key, child)
    kept = features
    for part in acting:
        part.select(kept)
        kept = kept.repeat_interleave(part.width)
    return kept


def _children(parent: nn.Module) -> list[tuple[str, nn.Module]]:
    """The children of a module with their names, including children that it holds twice."""
    every = parent.named_modules(remove_duplicate=False)
    return [(key, child) for key, child in every if key and "." not in key]


def _free_name(parent: nn.Module) -> str:
    name = "columns"
    while hasattr(parent, name):
        name += "_"
    return name
