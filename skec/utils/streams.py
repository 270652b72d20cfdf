"""Samples that come in batches and are never all in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from .inputs import joined
from .samples import Samples

T = TypeVar("T")

_FIRST = 64  # rows that are kept for checks of forms and shapes
_LOADED = 256  # rows of a Dataset that are loaded at a time

# The conversion of one batch, given its X, y and sample_weight; the latter two may be None.
Conversion = Callable[[Any, Any, Any], Samples]


def is_stream(X: Any) -> bool:
    """Whether data come in batches.

    These are a torch ``DataLoader`` and ``IterableDataset``, a list of batches, and any other
    iterable without a shape. A list is a list of batches if its first entry is a tuple or a list
    that begins with a table, or with several inputs: a tuple or a dict of arrays.

    Examples
    --------
    >>> import numpy as np
    >>> X, y = np.zeros((4, 2)), np.zeros(4)
    >>> is_stream([(X, y), (X, y)]), is_stream([[0.0, 1.0], [2.0, 3.0]]), is_stream(X)
    (True, False, False)
    """
    if isinstance(X, DataLoader | IterableDataset):
        return True
    if isinstance(X, str | bytes | tuple | Mapping | Dataset) or not isinstance(X, Iterable):
        return False
    if any(hasattr(X, name) for name in ("shape", "dtypes", "__array__")):
        return False
    if not isinstance(X, Sequence):
        return True
    first = X[0] if len(X) else None
    return isinstance(first, tuple | list) and len(first) > 0 and _has_rows(first[0])


def _has_rows(X: Any) -> bool:
    if isinstance(X, Mapping | tuple):
        inputs = list(X.values()) if isinstance(X, Mapping) else X
        return any(len(getattr(one, "shape", ())) >= 1 for one in inputs)
    return len(getattr(X, "shape", ())) >= 2


def check_reiterable(X: Any) -> None:
    """Raise if batches can be read only once."""
    if isinstance(X, Iterator):
        raise TypeError(
            f"X is a {type(X).__name__}, which can be read only once, and the batches are read "
            f"several times. Pass a list of batches, a torch DataLoader, or an object whose "
            f"__iter__ starts anew."
        )


def check_alone(X: Any, **others: Any) -> None:
    """Raise if targets or weights are given beside data that contain them."""
    for name, value in others.items():
        if value is not None:
            raise ValueError(
                f"{name} cannot be combined with X of type {type(X).__name__}, whose batches "
                f"contain it. Pass {name}=None, and batches (X, y) or (X, y, sample_weight)."
            )


def loaded(dataset: Any) -> DataLoader:
    """The batches of a torch ``Dataset``, in their order."""
    # a generator of its own: the loader draws a seed, also without shuffling
    return DataLoader(dataset, batch_size=_LOADED, generator=torch.Generator())


def parts_of(batch: Any) -> tuple[Any, Any, Any]:
    """X, y and sample_weight of a batch; the latter two may be None.

    A batch is ``X``, ``(X,)``, ``(X, y)``, ``(X, y, sample_weight)``, or
    ``({"X": X, "sample_weight": sample_weight}, y)`` as in skorch.
    """
    parts = tuple(batch) if isinstance(batch, tuple | list) else (batch,)
    if not 1 <= len(parts) <= 3:
        raise ValueError(
            f"it has {len(parts)} parts. A batch must be (X, y) or (X, y, sample_weight)."
        )
    X, y, weights = (*parts, None, None)[:3]
    if isinstance(X, Mapping) and "X" in X and set(X) <= {"X", "sample_weight"}:
        X, weights = X["X"], X.get("sample_weight", weights)
    if isinstance(X, list) and X and isinstance(X[0], Tensor):
        X = tuple(X)  # a DataLoader makes lists of tuples
    return X, y, weights


@contextmanager
def naming_batch(number: int) -> Iterator[None]:
    """Add the number of a batch to the errors about its data."""
    try:
        yield
    except (ValueError, TypeError) as error:
        kind = ValueError if isinstance(error, ValueError) else TypeError
        raise kind(f"Batch {number}, counted from 0: {error}") from error


@dataclass(frozen=True)
class StreamFacts:
    """What one pass over all batches finds.

    Attributes
    ----------
    n_samples, n_batches : int
    weight : float
        Sum of the sample weights, or number of samples.
    first : Samples
        The first rows.
    """

    n_samples: int
    n_batches: int
    weight: float
    first: Samples

    @classmethod
    def of(cls, parts: Iterable[Samples]) -> StreamFacts:
        """The facts of batches; raises if they do not fit together, or are empty."""
        n_samples, n_batches, weight, first = 0, 0, 0.0, []
        for part in parts:
            if first:
                with naming_batch(n_batches):
                    _check_form(first[0], part)
            if n_samples < _FIRST and len(part):
                first.append(part.head(_FIRST - n_samples))
            n_samples, n_batches = n_samples + len(part), n_batches + 1
            weight += part.total_weight
        if not n_samples:
            raise ValueError("X has no samples: its iteration ended at once. Pass batches.")
        if not weight:
            raise ValueError("sample_weight must be not all zero. Give some samples a weight.")
        return cls(n_samples, n_batches, weight, _joined(first))


class BatchedSamples(Dataset):
    """Samples that are read batch by batch, as often as they are needed.

    Parameters
    ----------
    source : iterable
        Its batches are what :func:`parts_of` takes.
    convert : callable
        Takes X, y and sample_weight of a batch, and returns :class:`Samples`.
    facts : StreamFacts, default=None
        If they are known; otherwise one pass finds them when they are needed.
    """

    def __init__(self, source: Any, convert: Conversion, facts: StreamFacts | None = None):
        self.source, self.convert = source, convert
        if facts is not None:
            self.facts = facts

    @cached_property
    def facts(self) -> StreamFacts:
        return StreamFacts.of(self.parts())

    def __len__(self) -> int:
        return self.facts.n_samples

    @property
    def total_weight(self) -> float:
        """Sum of the sample weights, or number of samples."""
        return self.facts.weight

    def parts(self) -> Iterator[Samples]:
        """Yield the batches of the source."""
        for number, batch in enumerate(self.source):
            with naming_batch(number):
                part = self.convert(*parts_of(batch))
            yield part

    def batches(self, batch_size: int) -> Iterator[tuple[Any, Tensor | None, Tensor | None]]:
        """Yield features, targets and weights of consecutive rows, as :class:`Samples` does.

        The rows are grouped anew, so that what is computed does not depend on the batches of the
        source.
        """
        held: list[Samples] = []
        n_held = 0
        for part in self.parts():
            start = 0
            while start < len(part):
                stop = min(len(part), start + batch_size - n_held)
                held.append(part.loaded(slice(start, stop)))
                n_held, start = n_held + stop - start, stop
                if n_held == batch_size:
                    yield _joined(held).all_parts
                    held, n_held = [], 0
        if held:
            yield _joined(held).all_parts

    def reduce(
        self,
        work: Callable[[Any, Any, int], T],
        networks: Any,
        merge: Callable[[Sequence[T]], T],
        batch_size: int,
    ) -> T:
        """Compute something from all samples; see :meth:`Samples.reduce`."""
        return work(networks, self, 0)

    def head(self, n_rows: int) -> Samples:
        """The first rows, at most 64."""
        return self.facts.first.head(n_rows)

    def in_memory(self) -> Samples:
        """All samples."""
        return _joined([part.loaded(slice(None)) for part in self.parts()])

    def converted(self, function: Callable[[Samples], Samples]) -> BatchedSamples:
        """The batches with a further conversion."""
        facts = replace(self.facts, first=function(self.facts.first))
        return BatchedSamples(self.source, lambda *parts: function(self.convert(*parts)), facts)

    def mapped(self, function: Callable[[Tensor], Tensor]) -> BatchedSamples:
        """Samples with a function of the features, computed row by row, in their place."""
        return self.converted(lambda samples: samples.mapped(function))


def _joined(parts: Sequence[Samples]) -> Samples:
    return Samples(*map(joined, zip(*(part.all_parts for part in parts), strict=True)))


def _check_form(first: Samples, part: Samples) -> None:
    """Raise if a batch has another form than the first one."""
    for name, known, new in zip(
        ("X", "y", "sample_weight"), first.all_parts, part.all_parts, strict=True
    ):
        if (known is None) != (new is None):
            raise ValueError(
                f"it has {'no ' if new is None else ''}{name}, unlike batch 0. Give all batches "
                f"the same parts."
            )
        if _form(known) != _form(new):
            raise ValueError(
                f"its {name} has rows of shape {_form(new)}, and that of batch 0 {_form(known)}. "
                f"Give all batches the same columns, in the same type."
            )


def _form(value: Any) -> Any:
    """The shape of a row and the type; of each input, if there are several."""
    if value is None:
        return None
    if hasattr(value, "each"):
        return type(value.values), [_form(one) for one in value.each]
    return tuple(value.shape[1:]), str(value.dtype).removeprefix("torch.")
