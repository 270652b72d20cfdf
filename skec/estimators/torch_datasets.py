"""Items and rows of the user's torch datasets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch.utils.data import Subset

from ..utils import BatchedSamples, Samples, loaded


def first_item(dataset: Any) -> tuple[Any, Any]:
    """Features and target of the first sample of the user's dataset."""
    item = dataset[0]
    if not isinstance(item, tuple | list) or len(item) != 2:
        what = f"{len(item)} values" if isinstance(item, tuple | list) else type(item).__name__
        raise ValueError(
            f"The Dataset must return pairs (x, y); {type(dataset).__name__}[0] returns {what}. "
            f"Return ({{'X': x, 'sample_weight': w}}, y) for more than x and y."
        )
    x, y = item
    return (x["X"] if isinstance(x, Mapping) else x), y


def as_tensors(dataset: Any) -> Any:
    """A dataset; a subset of samples in memory becomes samples."""
    if isinstance(dataset, Subset) and isinstance(dataset.dataset, Samples):
        return dataset.dataset.take(torch.as_tensor(np.asarray(dataset.indices)))
    return dataset


def gathered(dataset: Any) -> Samples:
    """All samples of any dataset as tensors."""
    return BatchedSamples(loaded(dataset), Samples).in_memory()


def drawn_rows(dataset: Any, n_samples: int | None, random_state: Any) -> Any:
    """At most ``n_samples`` rows of any dataset, the same as of data in memory."""
    if n_samples is None or n_samples >= len(dataset):
        return dataset
    order = check_random_state(random_state).permutation(len(dataset))
    return Subset(dataset, np.sort(order[:n_samples]).tolist())
