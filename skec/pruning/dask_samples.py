"""Calibration samples in blocks on the workers of Dask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, TypeVar

from torch import nn

from ..calibration import calibration_samples, part_of_samples
from ..networks import copy_network
from ..training import threads_for
from ..utils import (
    BATCHES_PER_RUN,
    BatchedSamples,
    RowBlocks,
    Samples,
    dask_name,
    is_dask,
    joined_blocks,
    plain_tensors,
)

T = TypeVar("T")

_FIRST = 64  # rows that are computed for checks of forms and shapes
_MERGED_AT_ONCE = 8  # results of parts that one task merges


class DaskSamples:
    """Calibration samples that are read, checked and processed where their blocks are.

    It has the methods of :class:`skec.utils.Samples` that need not have all samples in one place.

    Parameters
    ----------
    module : torch.nn.Module
        The network that takes the samples.
    X : Dask Array or DataFrame
    y, sample_weight : Dask collection or array-like, default=None
        They need not have the blocks of X.

    Raises
    ------
    ValueError, TypeError
        If the numbers of rows differ, there are none, or all weights are zero.
    """

    def __init__(self, module: nn.Module, X: Any, y: Any = None, sample_weight: Any = None):
        self.module = module
        self.columns = [None if v is None else RowBlocks(v) for v in (X, y, sample_weight)]
        blocks, *others = self.columns
        assert blocks is not None
        self.blocks = blocks
        for name, other in zip(("y", "sample_weight"), others, strict=True):
            if other is not None and len(other) != len(blocks):
                raise ValueError(
                    f"X and {name} must have the same number of rows; got {len(blocks)} and "
                    f"{len(other)}."
                )
        if not len(blocks):
            raise ValueError("X has no samples (n_samples=0). Pass at least one sample.")
        if self.columns[2] is not None:
            self._check_weights(self.columns[2])

    def __len__(self) -> int:
        return len(self.blocks)

    @staticmethod
    def _check_weights(weights: RowBlocks) -> None:
        from dask.base import compute
        from dask.delayed import delayed

        if not any(compute(*map(delayed(_any_nonzero), weights.blocks))):
            raise ValueError(
                "sample_weight must be one non-negative number per sample, not all zero; got "
                "zeros only."
            )

    def head(self, n_rows: int) -> Samples:
        """The first rows, at most 64."""
        return self._first.head(n_rows)

    @cached_property
    def _first(self) -> Samples:
        from dask.base import compute

        pieces = [None if c is None else c.rows(0, min(len(self), _FIRST)) for c in self.columns]
        (computed,) = compute(pieces)
        return _checked(self.module, computed)

    def reduce(
        self,
        work: Callable[[Any, Samples, int], T],
        networks: Any,
        merge: Callable[[Sequence[T]], T],
        batch_size: int,
    ) -> T:
        """Compute ``work`` on the workers for each part; see :meth:`skec.utils.Samples.reduce`."""
        from dask.base import compute
        from dask.delayed import delayed

        task = delayed(_Task(work, networks), traverse=False)  # goes to each worker once
        run, unite = delayed(_run), delayed(merge)
        results: list[Any] = []
        n_rows = BATCHES_PER_RUN * batch_size
        for start, stop in self.blocks.parts(n_rows):
            pieces = [None if c is None else c.rows(start, stop) for c in self.columns]
            results.append(run(task, pieces, start // n_rows))
        while len(results) > 1:
            groups = range(0, len(results), _MERGED_AT_ONCE)
            results = [unite(results[i : i + _MERGED_AT_ONCE]) for i in groups]
        (result,) = compute(results[0])
        return result


class _Task:
    """What is computed for each part: ``work`` and the networks that it runs."""

    def __init__(self, work: Callable[..., Any], networks: Sequence[nn.Module | None]):
        self.work, self.networks = work, networks

    def copied_networks(self) -> tuple[nn.Module | None, ...]:
        """Copies for one thread; what is one network remains one."""
        copies = {id(n): copy_network(n) for n in self.networks if n is not None}
        return tuple(None if n is None else copies[id(n)] for n in self.networks)


def _run(task: _Task, pieces: Sequence[Any], first_run: int) -> Any:
    """Compute one part, on a worker."""
    networks = task.copied_networks()
    module = networks[0]
    assert module is not None
    with plain_tensors(), threads_for(module):
        return task.work(networks, _checked(module, pieces), first_run)


def _checked(module: nn.Module, pieces: Sequence[Any]) -> Samples:
    """Checked samples from pieces of X, y and the weights."""
    X, y, weights = (None if p is None else joined_blocks(p) for p in pieces)
    return part_of_samples(module, X, y, weights)


def _any_nonzero(block: Any) -> bool:
    return bool((block != 0).any())


def samples_for(
    module: nn.Module,
    X: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    needs_all: str | None = None,
) -> Samples | BatchedSamples | DaskSamples:
    """Check calibration data; those of Dask stay where they are.

    Parameters
    ----------
    module : torch.nn.Module
    X, y, sample_weight
        As in :func:`skec.calibration.calibration_samples`, or Dask collections.
    needs_all : str or None, default=None
        The argument of ``prune`` that needs all samples in one place, if there is one.

    Raises
    ------
    ValueError, TypeError
        If the data are invalid, or would have to be in one place.
    """
    if is_dask(X):
        if needs_all is not None:
            raise ValueError(
                f"{needs_all} needs all samples in one place; got X as {dask_name(X)}, whose "
                f"blocks stay on the workers. Pass a part of the rows that fits into memory, such "
                f"as X.blocks[0].compute() of an array or X.sample(frac=0.01).compute() of a "
                f"dataframe, or use method='ec' with compensation='bias'."
            )
        return DaskSamples(module, X, y, sample_weight)
    for name, values in (("y", y), ("sample_weight", sample_weight)):
        if is_dask(values):
            raise TypeError(
                f"{name} is {dask_name(values)}, and X is in memory ({type(X).__name__}). Pass "
                f"{name}.compute(), or X as a Dask collection too."
            )
    return calibration_samples(module, X, y, sample_weight)
