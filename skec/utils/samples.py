"""Data in memory: features, targets and sample weights as tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import Tensor
from torch.utils.data import Dataset

from .lazy_rows import LazyRows

_BLOCK = 2**14  # rows of one call of a function

# The rows are processed in runs of so many batches. Sums of a run are merged with those of others.
BATCHES_PER_RUN = 16

T = TypeVar("T")


class Samples(Dataset):
    """Features, targets and sample weights as tensors, with one row per sample.

    Indexing returns ``(x, y)`` as skorch expects, or ``({"X": x, "sample_weight": w}, y)`` if
    there are sample weights, so any ``DataLoader`` can load it.

    Parameters
    ----------
    X : tensor or LazyRows of shape (n_samples, n_features), or Inputs
    y : tensor with n_samples rows, default=None
    sample_weight : tensor of shape (n_samples,), default=None

    Examples
    --------
    >>> samples = Samples(torch.arange(6.0).reshape(3, 2), torch.arange(3))
    >>> [len(X) for X, y, weights in samples.batches(2)]
    [2, 1]
    """

    def __init__(self, X: Any, y: Tensor | None = None, sample_weight: Tensor | None = None):
        self.X, self.y, self.sample_weight = X, y, sample_weight

    def __len__(self) -> int:
        return len(self.X)

    def __getitem__(self, index: Any) -> Any:
        x, y = self.X[index], torch.zeros(1) if self.y is None else self.y[index]
        if self.sample_weight is None:
            return x, y
        return {"X": x, "sample_weight": self.sample_weight[index]}, y

    @property
    def all_parts(self) -> tuple[Any, Tensor | None, Tensor | None]:
        """Features, targets and weights."""
        return self.X, self.y, self.sample_weight

    @property
    def total_weight(self) -> float:
        """Sum of the sample weights, or number of samples."""
        return float(len(self) if self.sample_weight is None else self.sample_weight.sum())

    def loaded(self, rows: slice) -> Samples:
        """The samples of some rows, as tensors."""
        return Samples(*(None if part is None else part[rows] for part in self.all_parts))

    def head(self, n_rows: int) -> Samples:
        """The first samples, as tensors."""
        return self.loaded(slice(n_rows))

    def in_memory(self) -> Samples:
        """The samples themselves."""
        return self

    def take(self, rows: Tensor | slice) -> Samples:
        """Return the samples of some rows."""
        return type(self)(
            self.X.take(rows) if isinstance(self.X, LazyRows) else self.X[rows],
            None if self.y is None else self.y[rows],
            None if self.sample_weight is None else self.sample_weight[rows],
        )

    def mapped(self, function: Callable[[Tensor], Tensor]) -> Samples:
        """Samples with a function of the features, computed row by row, in their place."""
        if isinstance(self.X, LazyRows):
            X: Any = self.X.mapped(function)
        else:
            X = torch.empty(0)
            for start in range(0, len(self), _BLOCK):
                rows = function(self.X[start : start + _BLOCK])
                if not start:
                    X = rows.new_empty(len(self), *rows.shape[1:])
                X[start : start + _BLOCK] = rows
        return type(self)(X, self.y, self.sample_weight)

    def draw(self, n_samples: int | None, random_state: Any = None) -> Samples:
        """Draw at most ``n_samples`` rows at random without replacement; None returns all."""
        if n_samples is None or n_samples >= len(self):
            return self
        rng = check_random_state(random_state)
        return self.take(torch.from_numpy(np.sort(rng.permutation(len(self))[:n_samples])))

    def reduce(
        self,
        work: Callable[[Any, Samples, int], T],
        networks: Any,
        merge: Callable[[Sequence[T]], T],
        batch_size: int,
    ) -> T:
        """Compute something from all samples.

        Samples that lie in several places compute it for each part, and merge the results. A part
        begins at a multiple of ``BATCHES_PER_RUN * batch_size`` rows. So the batches, and what is
        computed from each run of them, do not depend on the parts.

        Parameters
        ----------
        work : callable
            Called as ``work(networks, samples, first_run)`` with the samples of a part, and the
            number of its first run of batches.
        networks : tuple of torch.nn.Module or None
            What ``work`` runs. Parts that are computed at the same time get copies.
        merge : callable
            Takes the results of consecutive parts, and returns that of all.
        batch_size : int
        """
        return work(networks, self, 0)

    def batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor | None, Tensor | None]]:
        """Yield features, targets and weights of consecutive rows."""
        for start in range(0, len(self), batch_size):
            yield self.loaded(slice(start, start + batch_size)).all_parts
