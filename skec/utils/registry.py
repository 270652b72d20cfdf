"""Registries of classes that users select by name or pass as instances."""

from __future__ import annotations

import inspect
from abc import ABC
from collections.abc import Mapping
from typing import Any, ClassVar

# Hints in error messages for names that are registered for the other granularity.
FOR_UNITS = "for single weights; it requires granularity='neuron'"
FOR_WEIGHTS = "for whole units; it requires granularity='weight'"


class Registry(dict[str, Any]):
    """Classes registered by name.

    Parameters
    ----------
    what : str
        The argument that takes the names, such as ``"method"``; used in error messages.
    parameters_name : str, default=None
        The argument that takes the parameters of a named class; by default ``what`` with
        ``_params``.
    also : str, default=""
        Other values that the argument accepts, as text for error messages.

    Attributes
    ----------
    kind : type
        The base class of the registered classes.
    elsewhere : list of (Registry, str) pairs
        Registries of other settings, with the hint to show if a name is registered there.

    Examples
    --------
    >>> class Shape(Registered, registry=Registry("shape")):
    ...     pass
    >>> class Circle(Shape):
    ...     name = "circle"
    ...
    ...     def __init__(self, radius=1.0):
    ...         self.radius = radius
    >>> Shape.registry.make("circle", {"radius": 2.0}).radius
    2.0
    """

    kind: type

    def __init__(self, what: str, parameters_name: str | None = None, also: str = ""):
        super().__init__()
        self.what, self.also = what, also
        self.parameters_name = parameters_name or f"{what}_params"
        self.elsewhere: list[tuple[Registry, str]] = []

    def make(self, value: Any, parameters: Mapping[str, Any] | None = None) -> Any:
        """Return an instance of the named class, or the given instance itself.

        Parameters
        ----------
        value : str or instance of ``kind``
        parameters : mapping, default=None
            Arguments of the named class.

        Raises
        ------
        ValueError
            If the name or the name of a parameter is unknown, or if parameters are given
            together with an instance.
        """
        if isinstance(value, self.kind):
            if parameters:
                raise ValueError(
                    f"{self.parameters_name}={dict(parameters)!r} needs the name of a {self.what}, "
                    f"but {self.what} is an object already. Set its parameters when you create it."
                )
            return value
        if not isinstance(value, str) or value not in self:
            raise self.unknown(value)
        if parameters is None or parameters == {}:
            return self[value]()
        known = list(inspect.signature(self[value]).parameters)
        if not isinstance(parameters, Mapping) or not set(parameters) <= set(known):
            has = f"Its parameters are {known}." if known else "It has no parameters."
            raise ValueError(
                f"{self.parameters_name}={parameters!r} does not fit {self.what}={value!r}. {has}"
            )
        return self[value](**parameters)

    def unknown(self, value: Any, hint: str = "") -> ValueError:
        """The error for an unknown value; ``hint`` names the setting in which it is known."""
        for registry, text in self.elsewhere:
            if isinstance(value, str) and value in registry:
                hint = text
        package = self.kind.__module__.rpartition(".")[0]
        return ValueError(
            f"{self.what}={value!r} is unknown{' ' if hint else ''}{hint}. Choose {self.also}one "
            f"of {sorted(self)}, or pass an instance of {package}.{self.kind.__name__}."
        )


class Registered(ABC):
    """Base class of classes that are registered by their ``name``.

    The class statement of the common base class sets the registry: ``registry=Registry(...)``.
    """

    name: ClassVar[str | None] = None
    registry: ClassVar[Registry]

    def __init_subclass__(cls, registry: Registry | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if registry is not None:
            cls.registry = registry
            registry.kind = cls
        name = vars(cls).get("name")  # an inherited name is not registered again
        if name is not None:
            cls.registry[name] = cls
