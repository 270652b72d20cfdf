"""The initial network of an estimator."""

from __future__ import annotations

import copy
import inspect
from contextlib import nullcontext
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import nn

from ..networks import MLP
from ..training import seeded_global_generator
from .feature_modules import feature_arguments, give_scaling
from .fit_data import accepted


def _is_positive_integer(size: Any) -> bool:
    return isinstance(size, Integral) and not isinstance(size, bool) and int(size) > 0


def check_hidden_layer_sizes(sizes: Any) -> tuple[int, ...]:
    """Return the numbers of hidden units as a tuple."""
    if isinstance(sizes, Integral):
        sizes = (sizes,)
    sizes = tuple(sizes if isinstance(sizes, list | tuple) else np.ravel(sizes).tolist())
    if not all(_is_positive_integer(size) for size in sizes):
        raise ValueError(
            f"hidden_layer_sizes must be positive integers, one for each hidden layer; got "
            f"{sizes}. Example: hidden_layer_sizes=(256, 256)."
        )
    return tuple(int(size) for size in sizes)


def make_module(net: Any) -> nn.Module:
    """Create the network that the parameters describe.

    Parameters
    ----------
    net : PrunedMLP
    """
    arguments, module = net.get_params_for("module"), net.module
    if isinstance(module, nn.Module) and not arguments:
        module = copy.deepcopy(module)
    else:
        kind = type(module) if isinstance(module, nn.Module) else module
        arguments = _defaults(net, kind) | arguments
        own = kind is MLP  # draws from its own generator
        if own:  # drawn in this precision, whatever the default of torch is
            arguments.setdefault("dtype", torch.float32)
        with nullcontext() if own else seeded_global_generator(net._seed_):
            module = _created(kind, arguments)
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"module={net.module!r} returned {type(module).__name__}; it must return a "
            f"torch.nn.Module."
        )
    module = module.to(getattr(torch, net.dtype))
    give_scaling(net, module)
    return module


def _created(kind: Any, arguments: dict[str, Any]) -> Any:
    """A module of a class; an error about its arguments says how to set them."""
    try:
        return kind(**arguments)
    except TypeError as error:
        name = getattr(kind, "__name__", kind)
        raise TypeError(
            f"module={name} could not be created with the arguments {sorted(arguments)}: {error}. "
            f"Set arguments as module__<name>. n_features and n_outputs are passed to a module "
            f"that takes them."
        ) from error


def _defaults(net: Any, kind: Any) -> dict[str, Any]:
    """Default arguments of a module class."""
    defaults = {
        "n_features": getattr(net, "n_features_in_", None),
        "n_outputs": getattr(net, "n_outputs_", None),
        "hidden_layer_sizes": check_hidden_layer_sizes(net.hidden_layer_sizes),
        "activation": net.activation,
        "dropout": net.dropout,
        "batch_norm": net.batch_norm,
    }
    if not (inspect.isclass(kind) and issubclass(kind, MLP)):
        known = {"n_features", "n_outputs"} & set(inspect.signature(kind).parameters)
        return {name: defaults[name] for name in known if defaults[name] is not None}
    given = vars(net)
    missing = [
        name
        for name in ("n_features", "n_outputs")
        if defaults[name] is None and f"module__{name}" not in given
    ]
    if missing:
        raise ValueError(
            f"The network's {' and '.join(missing)} are not known before fit. Call fit, or "
            f"set {' and '.join('module__' + name for name in missing)} before initialize."
        )
    net.n_features_in_ = given.get("module__n_features", defaults["n_features"])
    net.n_outputs_ = given.get("module__n_outputs", defaults["n_outputs"])
    defaults |= {"generator": torch.Generator().manual_seed(net._seed_)}
    return defaults | accepted(kind, feature_arguments(net))
