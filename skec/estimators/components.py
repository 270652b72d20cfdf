"""Checks of the components of a net: network, loss, optimiser, callbacks and split."""

from __future__ import annotations

from difflib import get_close_matches
from numbers import Real
from typing import Any

import torch
from skorch.callbacks import Callback
from torch import nn

# Parameters of scikit-learn's perceptrons, and what has their role here.
_NAMES_IN_SCIKIT_LEARN = {
    "max_iter": "max_epochs",
    "alpha": "optimizer__weight_decay",
    "learning_rate_init": "lr",
    "learning_rate": "lr_schedule",
    "solver": "optimizer",
    "momentum": "optimizer__momentum",
    "nesterovs_momentum": "optimizer__nesterov",
    "beta_1": "optimizer__betas",
    "beta_2": "optimizer__betas",
    "epsilon": "optimizer__eps",
    "shuffle": "iterator_train__shuffle",
    "loss": "criterion",
}
_LOSSES = {
    "mse": "MSELoss",
    "squared_error": "MSELoss",
    "mae": "L1Loss",
    "absolute_error": "L1Loss",
    "huber": "HuberLoss",
    "poisson": "PoissonNLLLoss",
    "cross_entropy": "CrossEntropyLoss",
    "log_loss": "CrossEntropyLoss",
    "nll": "NLLLoss",
}


_MADE_BY_INITIALIZE = ("module", "criterion", "optimizer")


def components_of(net: Any) -> list[str]:
    """The components of a net; their parameters have names such as ``optimizer__lr``."""
    return sorted({*net.prefixes_, *_MADE_BY_INITIALIZE})


def hint(name: str, names: list[str], components: list[str]) -> str:
    """What a user may have meant by the unknown name of a parameter."""
    if name in _NAMES_IN_SCIKIT_LEARN:
        return f" What scikit-learn calls {name} is {_NAMES_IN_SCIKIT_LEARN[name]} here."
    for component in sorted(components, key=len, reverse=True):
        rest = name.removeprefix(component).lstrip("_")
        if name.startswith(component) and len(rest) > 1:
            return f" Did you mean {component}__{rest}?"
    close = get_close_matches(name, names, 1)
    return f" Did you mean {close[0]}?" if close else ""


def check_components(net: Any) -> None:
    """Raise for a component that is not of the right kind, or a parameter of an unknown one.

    Parameters
    ----------
    net : PrunedMLP
    """
    _check_prefixes(net)
    _check_class("module", net.module, nn.Module, "skec.networks.MLP")
    _check_class("criterion", net.criterion, nn.Module, _example_of_loss(net.criterion))
    _check_class("optimizer", net.optimizer, None, _example_of_optimizer(net.optimizer))
    _check_callbacks(net)
    split = net.train_split
    if isinstance(split, Real) and split is not False:
        raise TypeError(
            f"train_split={split!r} is a number; it must be 'auto', None or a callable such as "
            f"skorch.dataset.ValidSplit(5). To hold out a fraction, set validation_fraction=0.2."
        )


def _check_prefixes(net: Any) -> None:
    """Raise for a parameter ``component__name`` of an unknown component.

    Those that a subclass makes are known when they exist; skorch checks the names then.
    """
    makers = (getattr(type(net), f"initialize_{name}") for name in _MADE_BY_INITIALIZE)
    if not net.initialized_ and not all(is_of_library(maker) for maker in makers):
        return
    components = components_of(net)
    for name in vars(net):
        prefix, _, rest = name.partition("__")
        if rest and prefix and prefix not in components:
            raise ValueError(
                f"{type(net).__name__} has no component {prefix!r} for its parameter {name!r}."
                f"{hint(name, _with_parameter(rest, components), components)} The components are "
                f"{components}."
            )


def _with_parameter(name: str, components: list[str]) -> list[str]:
    return [f"{component}__{name}" for component in components]


def is_of_library(method: Any) -> bool:
    """Whether a method is ours or skorch's, and not that of a subclass of the user."""
    return str(method.__module__).startswith(("skec.", "skorch.net", "skorch.classifier"))


def _check_class(name: str, value: Any, instances: type | None, example: str) -> None:
    """Raise unless a value is a class or another callable, or one of the accepted instances."""
    fits = callable(value) if instances is None else callable(value) or isinstance(value, instances)
    if fits and not isinstance(value, torch.optim.Optimizer):
        return
    allowed = "a class" if instances is None else "a class or an instance of torch.nn.Module"
    raise TypeError(
        f"{name}={value!r} must be {allowed}. Pass {name}={example}, and its parameters as "
        f"{name}__<name>."
    )


def _example_of_optimizer(value: Any) -> str:
    if isinstance(value, torch.optim.Optimizer):
        return f"torch.optim.{type(value).__name__}"
    known = {key.lower(): key for key in vars(torch.optim) if key[0].isupper()}
    return f"torch.optim.{known.get(str(value).lower(), 'Adam')}"


def _example_of_loss(value: Any) -> str:
    known = {key.lower(): key for key in vars(nn) if key.endswith("Loss")} | _LOSSES
    return f"torch.nn.{known.get(str(value).lower(), 'MSELoss')}"


def _check_callbacks(net: Any) -> None:
    callbacks = net.callbacks
    if callbacks is None or isinstance(callbacks, str):
        given: list[Any] = []
        valid = callbacks in (None, "disable")
    elif isinstance(callbacks, list | tuple):
        given = [item[-1] if isinstance(item, list | tuple) else item for item in callbacks]
        valid = all(map(_is_callback, given))
    else:
        valid = False
    if not valid:
        raise TypeError(
            f"callbacks={callbacks!r} must be a list of skorch callbacks, or of pairs of a name "
            f"and a callback. Example: callbacks=[EarlyStopping()]."
        )
    set_here = {n.split("__")[1] for n in vars(net) if n.startswith("callbacks__")}
    if set_here:
        names = net._callback_names()
        unknown = set_here - set(names)
        if unknown:
            raise ValueError(
                f"callbacks__{min(unknown)} names no callback. The callbacks are {names}."
            )


def _is_callback(value: Any) -> bool:
    if isinstance(value, type):
        return issubclass(value, Callback)
    return value is None or isinstance(value, Callback) or hasattr(value, "on_train_begin")
