"""To and from the masks of ``torch.nn.utils.prune``."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune
from torch.nn.utils.prune import BasePruningMethod

from ..networks import PRUNABLE, prunable_layers
from ..pruning import PruningResult


def to_torch_prune(
    module: nn.Module | PruningResult, masks: Mapping[str, Tensor] | None = None
) -> nn.Module:
    """Return a copy whose layers are pruned as ``torch.nn.utils.prune`` would have pruned them.

    A layer's weight becomes the product of the parameter ``weight_orig`` and the buffer
    ``weight_mask``, taken anew before each forward pass. So removed weights stay zero in any
    training, and torch's other pruning functions can go on from there.

    Parameters
    ----------
    module : torch.nn.Module or PruningResult
        It is not changed. A result of :func:`skec.prune` brings its masks.
    masks : mapping of layer name to bool tensor in the shape of the layer's weight, default=None
        True marks a kept weight. None takes the result's, and for a module the weights of its
        linear layers and convolutions that are not zero.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    ValueError
        If a mask fits no layer, or the weight of a layer is no parameter of its own.

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
    pruned = _copy(module)
    with torch.no_grad():  # the product is a leaf then, so that the result can be copied
        for name, mask in checked.items():
            torch_prune.custom_from_mask(pruned.get_submodule(name), "weight", mask)
    return pruned


def from_torch_prune(module: nn.Module) -> tuple[nn.Module, dict[str, Tensor]]:
    """Return a copy without the masks of ``torch.nn.utils.prune``, and these masks.

    Each parameter is ``weight_orig`` times ``weight_mask`` as they are now, whatever function of
    torch pruned it and how often. Masked biases and other parameters become plain ones too, with
    their zeros.

    Parameters
    ----------
    module : torch.nn.Module
        Pruned with ``torch.nn.utils.prune`` or not. It is not changed.

    Returns
    -------
    module : torch.nn.Module
        The same function, with parameters and names as before any pruning.
    masks : dict of layer name to bool tensor in the shape of the layer's weight
        Of the linear layers and convolutions whose weight was masked; True marks a kept weight.

    Examples
    --------
    >>> import torch, skec
    >>> layer = torch.nn.utils.prune.l1_unstructured(torch.nn.Linear(4, 2), "weight", amount=6)
    >>> plain, masks = skec.from_torch_prune(torch.nn.Sequential(layer))
    >>> list(plain.state_dict()), int(masks["0"].sum())
    (['0.weight', '0.bias'], 2)
    """
    _check_is_module(module)
    plain, masks = _copy(module), {}
    for name, child in plain.named_modules():
        masked = [hook._tensor_name for hook in _methods(child)]
        if isinstance(child, PRUNABLE) and "weight" in masked:
            masks[name] = child.weight_mask.bool()
        for parameter in masked:
            _make_plain(child, parameter)
        if masked:
            _restore_order(child)
    return plain, masks


def _methods(child: nn.Module) -> list[BasePruningMethod]:
    """What torch's pruning has put before a module's forward pass, one for each parameter."""
    hooks = child._forward_pre_hooks.values()
    return [hook for hook in hooks if isinstance(hook, BasePruningMethod)]


def _make_plain(child: nn.Module, name: str) -> None:
    original = child._parameters[f"{name}_orig"]
    child._parameters[f"{name}_orig"] = nn.Parameter(  # another layer may have the original too
        original.detach().clone(), requires_grad=original.requires_grad
    )
    torch_prune.remove(child, name)


def _restore_order(child: nn.Module) -> None:
    """A weight comes before its bias; a masked one has become the last."""
    if set(child._parameters) == {"weight", "bias"}:
        child._parameters["bias"] = child._parameters.pop("bias")


def _copy(module: nn.Module) -> nn.Module:
    """A copy, also of a module with masked weights, which torch itself refuses to copy."""
    computed = {}
    for child in module.modules():
        for hook in _methods(child):
            value = getattr(child, hook._tensor_name)
            computed[id(value)] = value.detach().clone()
    return copy.deepcopy(module, computed)


def _checked(module: nn.Module, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Masks where their layers are, or raise if one fits none."""
    known = {name: child for name, child in module.named_modules() if isinstance(child, PRUNABLE)}
    checked = {}
    for name, given in masks.items():
        mask, weight = torch.as_tensor(given), getattr(known.get(name), "weight", None)
        if weight is None or mask.shape != weight.shape or mask.dtype != torch.bool:
            shapes = {name: tuple(layer.weight.shape) for name, layer in known.items()}
            raise ValueError(
                f"masks[{name!r}] must be a bool tensor in the shape of its layer's weight; got "
                f"{mask.dtype} of shape {tuple(mask.shape)}, and the layers are {shapes}."
            )
        checked[name] = mask.to(weight.device)
    if checked:
        prunable_layers(module, list(checked))  # their weights are parameters of their own
    return checked


def _check_is_module(module) -> None:
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"module must be a torch.nn.Module; got {type(module).__name__}. Of a skorch net, "
            f"pass its module_."
        )
