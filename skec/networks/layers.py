"""The prunable layers of a torch module."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias, TypeGuard

from torch import nn

from ..utils import all_finite, private

PRUNABLE = (nn.Linear, nn.Conv1d, nn.Conv2d)
PrunableLayer: TypeAlias = nn.Linear | nn.Conv1d | nn.Conv2d


def prunable_layers(
    module: nn.Module, layers: Sequence[str] | None = None
) -> dict[str, PrunableLayer]:
    """Return the linear layers and convolutions of a module by name, in their registered order.

    Parameters
    ----------
    module : torch.nn.Module
    layers : sequence of str, default=None
        Names, or patterns of names such as ``"features.*"``, of the layers to return; None
        returns every ``torch.nn.Linear``, ``Conv1d`` and ``Conv2d``.

    Raises
    ------
    ValueError
        If there is no such layer, if two layers share a weight, or if a weight or bias is
        computed by a parametrization, or has no values.

    Examples
    --------
    >>> from torch import nn
    >>> list(prunable_layers(nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1))))
    ['0', '2']
    """
    found = {n: layer for n, layer in module.named_modules() if isinstance(layer, PRUNABLE)}
    if not found:
        quantized = any("quantized" in type(child).__module__ for child in module.modules())
        hint = " Prune the network before you quantize it." if quantized else ""
        raise ValueError(
            f"{type(module).__name__} has no prunable layer. Pruning needs at least one "
            f"torch.nn.Linear, Conv1d or Conv2d, and found only {_kinds(module)}.{hint}"
        )
    if layers is not None:
        if isinstance(layers, str):
            layers = [layers]
        if not isinstance(layers, Iterable):
            raise TypeError(f"layers must be a list of names or None; got {layers!r}.")
        unknown = [pattern for pattern in layers if not filter_names(found, pattern)]
        if unknown or not len(layers):
            raise ValueError(
                f"layers={list(layers)!r} names no prunable layer for {unknown}. The prunable "
                f"layers of this network are {list(found)}."
            )
        names = {name for pattern in layers for name in filter_names(found, pattern)}
        found = {name: layer for name, layer in found.items() if name in names}
    _check_weights(module, found)
    return found


def layer_names(module: nn.Module) -> list[str]:
    """The names of all linear layers and convolutions of a module, in their registered order.

    Examples
    --------
    >>> layer_names(nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1)))
    ['0', '2']
    """
    return [name for name, layer in module.named_modules() if isinstance(layer, PRUNABLE)]


def layer_of(module: nn.Module, name: str) -> PrunableLayer:
    """The linear layer or convolution with a name.

    Raises
    ------
    ValueError
        If the module with this name is neither.

    Examples
    --------
    >>> layer_of(nn.Sequential(nn.Linear(3, 2)), "0")
    Linear(in_features=3, out_features=2, bias=True)
    """
    layer = module.get_submodule(name)
    if not isinstance(layer, PRUNABLE):
        raise ValueError(
            f"{name!r} is a {type(layer).__name__}, not a linear layer or convolution."
        )
    return layer


def has_own_forward(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether an object of a class, or of a subclass, computes something else than the class.

    Examples
    --------
    >>> class Doubled(nn.Linear):
    ...     def forward(self, inputs):
    ...         return 2 * super().forward(inputs)
    >>> has_own_forward(Doubled(3, 2), nn.Linear), has_own_forward(nn.Linear(3, 2), nn.Linear)
    (True, False)
    """
    order = type(module).__mro__
    below = order[: order.index(kind)] if kind in order else ()
    names = {name for subclass in below for name in vars(subclass)}
    own = any(name in ("__call__", "__iter__") or name.endswith("forward") for name in names)
    return own or "forward" in vars(module)  # set on the object


def runs_in_order(module: nn.Module) -> TypeGuard[nn.Sequential]:
    """Whether a module is a ``Sequential`` that runs its parts in order, and nothing else.

    Examples
    --------
    >>> runs_in_order(nn.Sequential(nn.ReLU())), runs_in_order(nn.ReLU())
    (True, False)
    """
    return (
        isinstance(module, nn.Sequential)
        and type(module).forward is nn.Sequential.forward
        and not private.has_hooks(module)
    )


def filter_names(names: Iterable[str], pattern: str) -> list[str]:
    """The names that match a name or pattern."""
    names = list(names)
    if pattern in names or not isinstance(pattern, str):
        return [name for name in names if name == pattern]
    return fnmatch.filter(names, pattern)


def check_finite(module: nn.Module) -> None:
    """Raise a ``ValueError`` if a parameter of a network is NaN or infinite."""
    for name, parameter in module.named_parameters():
        if not all_finite(parameter.detach()):
            raise ValueError(
                f"The parameter {name!r} of the network is NaN or infinite. Lower lr, the learning "
                f"rate, and train it again."
            )


def _check_weights(module: nn.Module, layers: Mapping[str, PrunableLayer]) -> None:
    """Raise unless each layer's weight and bias are parameters with values, of this layer alone."""
    owners: dict[int, list[str]] = {}
    for name, child in module.named_modules():
        for _, parameter in child.named_parameters(recurse=False):
            owners.setdefault(id(parameter), []).append(name)
    for name, layer in layers.items():
        _check_parameters(name, layer)
        sharing = owners[id(layer.weight)]
        if len(sharing) > 1:
            raise ValueError(
                f"Layers {sharing[0]!r} and {sharing[1]!r} share one weight, so it has no single "
                f"score. Exclude both with layers=[...], or give each layer its own weight."
            )


def _check_parameters(name: str, layer: PrunableLayer) -> None:
    """Raise unless the weight and the bias of a layer are plain parameters with values."""
    plain = dict(layer.named_parameters(recurse=False))
    for which in ("weight", "bias"):
        parameter = plain.get(which)
        if parameter is None:
            if getattr(layer, which) is None:
                continue
            raise ValueError(
                f"The {which} of layer {name!r} is computed by a parametrization. Make it a plain "
                f"parameter first. If it comes from torch.nn.utils.prune, use "
                f"skec.from_torch_prune or torch.nn.utils.prune.remove; from parametrizations, "
                f"torch.nn.utils.parametrize.remove_parametrizations; from the older weight_norm "
                f"and spectral_norm, remove_weight_norm and remove_spectral_norm."
            )
        if nn.parameter.is_lazy(parameter):
            raise ValueError(
                f"Layer {name!r} has no {which} yet, because it is lazy. Train the network first, "
                f"or run it once on a few samples."
            )
        if parameter.is_meta:
            raise ValueError(
                f"The {which} of layer {name!r} is on the device 'meta', so it has no values. Use "
                f"module.to_empty(device='cpu') and module.load_state_dict(...)."
            )


def _kinds(module: nn.Module) -> list[str]:
    kinds = {type(child).__name__ for child in module.modules() if child is not module}
    return sorted(kinds) or [type(module).__name__]
