"""Several inputs of a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


class Inputs:
    """Several inputs of a network, each with one row per sample.

    Parameters
    ----------
    values : tuple or dict of tensors or LazyRows
        A tuple holds positional arguments of the network's forward, a dict holds its arguments by
        name.

    Examples
    --------
    >>> inputs = Inputs({"a": torch.zeros(4, 2), "b": torch.ones(4)})
    >>> len(inputs), inputs[1:].shape
    (4, {'a': (3, 2), 'b': (3,)})
    """

    def __init__(self, values: tuple[Any, ...] | Mapping[str, Any]):
        self.values = dict(values) if isinstance(values, Mapping) else tuple(values)

    @property
    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The positional arguments and those by name."""
        return ((), self.values) if isinstance(self.values, dict) else (self.values, {})

    @property
    def shape(self) -> Any:
        """The shape of each input, as a tuple or a dict."""
        return self.mapped(lambda value: tuple(value.shape)).values

    @property
    def each(self) -> list[Any]:
        """The inputs in their order."""
        return [*self.values.values()] if isinstance(self.values, dict) else [*self.values]

    def __len__(self) -> int:
        return len(self.each[0])

    def __getitem__(self, rows: Any) -> Inputs:
        """Some rows of each input as tensors."""
        return self.mapped(lambda value: value[rows])

    def mapped(self, function: Callable[[Any], Any]) -> Inputs:
        """A function of each input in its place."""
        if isinstance(self.values, dict):
            return Inputs({name: function(value) for name, value in self.values.items()})
        return Inputs(tuple(map(function, self.values)))

    def clone(self) -> Inputs:
        """A copy of each input."""
        return self.mapped(torch.clone)


def joined(parts: Sequence[Any]) -> Any:
    """The rows of tensors, or of inputs of the same form, one after the other."""
    first = parts[0]
    if first is None or len(parts) == 1:
        return first
    if isinstance(first, Tensor):
        return torch.cat(list(parts))
    if isinstance(first.values, dict):
        return Inputs({name: joined([p.values[name] for p in parts]) for name in first.values})
    return Inputs(tuple(map(joined, zip(*(part.values for part in parts), strict=True))))


def repeated(X: Any, times: int) -> Any:
    """All rows of a tensor or of inputs, several times."""
    if isinstance(X, Inputs):
        return X.mapped(lambda value: repeated(value, times))
    return X.repeat(times, *[1] * (X.ndim - 1))
