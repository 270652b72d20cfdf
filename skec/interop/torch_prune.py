# pyright: strict
"""Conversion between masks and the pruned modules of ``torch.nn.utils.prune``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from ..networks import PRUNABLE, copy_network, prunable_layers
from ..pruning import PruningResult

torch_prune: Any = prune  # its functions have no types


def to_torch_prune(
    module: nn.Module | PruningResult, masks: Mapping[str, Tensor] | None = None
) -> nn.Module:
    """Return a copy of a network with masks of ``torch.nn.utils.prune``.

    The weight of a layer is replaced by the product of the parameter ``weight_orig`` and the buffer
    ``weight_mask``, which is computed again before each forward pass. So removed weights stay zero
    in any training, and the network can be pruned further with ``torch.nn.utils.prune``.

    Parameters
    ----------
    module : torch.nn.Module or PruningResult
        It is not changed.
    masks : mapping of layer name to bool tensor in the shape of the layer's weight, default=None
        True marks a kept weight. None takes the masks of the PruningResult. For a module, None
        marks the nonzero weights of all linear layers and convolutions.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    TypeError
        If ``module`` is neither a module nor a PruningResult.
    ValueError
        If a mask does not fit a layer, or the weight of a layer is shared or parametrized.

    Examples
    --------
    >>> import torch, skec
    >>> _ = torch.manual_seed(0)
    >>> net = torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1))
    >>> result = skec.prune(net, pruning_ratio=0.5, method="magnitude")
    >>> module = skec.to_torch_prune(result)
    >>> list(module.state_dict())
    ['0.bias', '0.weight_orig', '0.weight_mask', '2.bias', '2.weight_orig', '2.weight_mask']
    >>> torch.nn.utils.prune.is_pruned(module)
    True
    """
    if isinstance(module, PruningResult):
        masks = module.masks if masks is None else masks
        module = module.module
    _check_is_module(module)
    if masks is None:
        layers = prunable_layers(module)
        masks = {name: layer.weight.detach() != 0 for name, layer in layers.items()}
    checked = _checked(module, masks)
    pruned = copy_network(module)
    with torch.no_grad():  # so that the product is a leaf and the result can be copied
        for name, mask in checked.items():
            torch_prune.custom_from_mask(pruned.get_submodule(name), "weight", mask)
    return pruned


def from_torch_prune(module: nn.Module) -> tuple[nn.Module, dict[str, Tensor]]:
    """Return a copy without the masks of ``torch.nn.utils.prune``, and these masks.

    Each pruned parameter becomes a plain parameter with the value ``weight_orig * weight_mask``.
    This includes pruned biases and other parameters. It does not matter how often and by which
    functions of torch they were pruned.

    Parameters
    ----------
    module : torch.nn.Module
        Pruned with ``torch.nn.utils.prune`` or not. It is not changed.

    Returns
    -------
    module : torch.nn.Module
        The same function, with the parameter names from before the pruning.
    masks : dict of layer name to bool tensor in the shape of the layer's weight
        For each linear layer and convolution with a pruned weight; True marks a kept weight.

    Raises
    ------
    TypeError
        If ``module`` is not a module.

    Examples
    --------
    >>> import torch, skec
    >>> layer = torch.nn.utils.prune.l1_unstructured(torch.nn.Linear(4, 2), "weight", amount=6)
    >>> plain, masks = skec.from_torch_prune(torch.nn.Sequential(layer))
    >>> list(plain.state_dict()), int(masks["0"].sum())
    (['0.weight', '0.bias'], 2)
    """
    _check_is_module(module)
    plain = copy_network(module)
    masks: dict[str, Tensor] = {}
    for name, child in _modules(plain).items():
        pruned = _pruned_parameters(child)
        if isinstance(child, PRUNABLE) and "weight" in pruned:
            masks[name] = child.get_buffer("weight_mask").bool()
        for parameter in pruned:
            _make_plain(child, parameter)
        if pruned:
            _restore_order(child)
    return plain, masks


def _modules(module: nn.Module) -> dict[str, nn.Module]:
    """All modules of a network by name."""
    return dict(cast(Iterable[tuple[str, nn.Module]], module.named_modules()))


def _pruned_parameters(child: nn.Module) -> list[str]:
    """Names of a module's own parameters that ``torch.nn.utils.prune`` has pruned."""
    if not torch_prune.is_pruned(child):
        return []
    originals = {name for name, _ in child.named_parameters(recurse=False, remove_duplicate=False)}
    buffers = child.named_buffers(recurse=False, remove_duplicate=False)
    names = [name.removesuffix("_mask") for name, _ in buffers if name.endswith("_mask")]
    return [name for name in names if f"{name}_orig" in originals]


def _make_plain(child: nn.Module, name: str) -> None:
    """Replace a pruned parameter by a plain one with the same value."""
    original = child.get_parameter(f"{name}_orig")
    own = nn.Parameter(original.detach().clone(), requires_grad=original.requires_grad)
    child.register_parameter(f"{name}_orig", own)  # another layer may share the original
    torch_prune.remove(child, name)


def _restore_order(child: nn.Module) -> None:
    """Move the bias behind the weight, which became the last parameter."""
    names = {name for name, _ in child.named_parameters(recurse=False)}  # without a bias of None
    bias = getattr(child, "bias", ...)
    if names | {"bias"} == {"weight", "bias"} and isinstance(bias, nn.Parameter | None):
        del child.bias
        child.register_parameter("bias", bias)


def _checked(module: nn.Module, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The masks on the devices of their layers; raise if a mask does not fit."""
    known = {name: child for name, child in _modules(module).items() if isinstance(child, PRUNABLE)}
    checked: dict[str, Tensor] = {}
    for name, given in masks.items():
        mask, weight = torch.as_tensor(given), getattr(known.get(name), "weight", None)
        if weight is None or mask.shape != weight.shape or mask.dtype != torch.bool:
            shapes = {name: tuple(layer.weight.shape) for name, layer in known.items()}
            raise ValueError(
                f"masks[{name!r}] must be a bool tensor in the shape of the layer's weight; got "
                f"{mask.dtype} of shape {tuple(mask.shape)}. The names and shapes of the layers "
                f"are {shapes}."
            )
        checked[name] = mask.to(weight.device)
    if checked:
        prunable_layers(module, list(checked))  # raises if a weight is shared or parametrized
    return checked


def _check_is_module(module: object) -> None:
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"module must be a torch.nn.Module; got {type(module).__name__}. For a skorch net, "
            f"pass net.module_."
        )
