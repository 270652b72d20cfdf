"""Objects that users give by name, with parameters, or as they are."""

from __future__ import annotations

import inspect
from abc import ABC
from collections.abc import Mapping
from typing import ClassVar


class Registered(ABC):
    """Base class of those whose subclasses are known by their ``name``.

    A class made with ``registry={...}`` says where its subclasses are entered.
    """

    name: ClassVar[str | None] = None
    _registry: ClassVar[dict]

    def __init_subclass__(cls, registry: dict | None = None, **kwargs) -> None:
        super().__init_subclass__(**kwargs)
        if registry is not None:
            cls._registry = registry
        if vars(cls).get("name") is not None:  # not that of a parent
            cls._registry[cls.name] = cls


FOR_UNITS = " for single weights; it goes with granularity='neuron'"
FOR_WEIGHTS = " for whole units; it goes with granularity='weight'"


def look_up(
    what: str,
    value,
    parameters: Mapping | None,
    registry: Mapping,
    kind: type,
    parameters_name: str,
    hints: Mapping[str, str] | None = None,
):
    """Return the object that a name and its parameters stand for, or the given object.

    Parameters
    ----------
    what : str
        What the value is called in messages, such as ``"method"``.
    value : str or object
    parameters : mapping or None
        Parameters for the class that the name stands for.
    registry : mapping of str to class
    kind : type
        What an object must be an instance of.
    parameters_name : str
        What the parameters are called in messages, such as ``"method_params"``.
    hints : mapping of str to str, default=None
        What to say about names that are known elsewhere.

    Raises
    ------
    ValueError
        If the name, or the name of a parameter, is unknown, or parameters come with an object.
    """
    if isinstance(value, kind):
        if parameters:
            raise ValueError(
                f"{parameters_name}={dict(parameters)!r} goes with the name of a {what}, but "
                f"{what} is an object already. Give it its parameters when you make it."
            )
        return value
    if not isinstance(value, str) or value not in registry:
        hint = (hints or {}).get(value, "") if isinstance(value, str) else ""
        auto = "'auto' or " if what == "compensation" else ""
        package = kind.__module__.rpartition(".")[0]
        raise ValueError(
            f"{what}={value!r} is unknown{hint}. Choose {auto}one of {sorted(registry)}, or pass "
            f"an instance of {package}.{kind.__name__}."
        )
    parameters = {} if parameters is None else parameters
    known = list(inspect.signature(registry[value]).parameters)
    if not isinstance(parameters, Mapping) or not set(parameters) <= set(known):
        has = f"Its parameters are {known}." if known else "It has no parameters."
        raise ValueError(f"{parameters_name}={parameters!r} does not fit {what}={value!r}. {has}")
    return registry[value](**parameters)
