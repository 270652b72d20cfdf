"""The data and the further arguments of one call of ``fit``, ``refit`` or ``partial_fit``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sklearn import get_config
from sklearn.utils.metadata_routing import process_routing


@dataclass(frozen=True)
class FitData:
    """What the phases of a call train on.

    Attributes
    ----------
    dataset : Dataset
        The checked data.
    X, y : object
        As the user passed them, for callbacks and ``train_split``.
    split_params : dict
        Passed to ``train_split``.
    forward_params : dict
        Passed to the network's ``forward``.
    """

    dataset: Any
    X: Any = None
    y: Any = None
    split_params: Mapping[str, Any] = field(default_factory=dict)
    forward_params: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        net: Any,
        dataset: Any,
        X: Any,
        y: Any,
        fit_params: Mapping[str, Any],
        method: str = "fit",
    ) -> FitData:
        """Distribute the arguments of a call; raises for those that nothing takes.

        With metadata routing, ``train_split`` gets what its splitter requests. Otherwise it gets
        the arguments that it takes. The same holds for the network's ``forward``.
        """
        if not fit_params:
            return cls(dataset, X, y)
        split = net.train_split if callable(net.train_split) else None
        if get_config()["enable_metadata_routing"]:
            routed = process_routing(net, method, **fit_params)
            split_params = routed.get("splitter", {"split": {}})["split"]
        else:
            split_params = {} if split is None else accepted(split, fit_params)
        forward_params = accepted(net.network_.forward, fit_params)
        unused = sorted(set(fit_params) - set(split_params) - set(forward_params))
        if unused:
            raise TypeError(
                f"{type(net).__name__} got an unexpected argument {unused[0]!r}. Further arguments "
                f"are passed to the network's forward and to train_split, and neither "
                f"{type(net.network_).__name__} nor train_split={net.train_split!r} takes it."
            )
        return cls(dataset, X, y, split_params, forward_params)


def accepted(function: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that a function takes by name, besides its first one."""
    try:
        _, *parameters = inspect.signature(function).parameters.values()
    except ValueError:  # a compiled function without a signature
        return dict(arguments)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return dict(arguments)
    names = {parameter.name for parameter in parameters}
    return {name: value for name, value in arguments.items() if name in names}
