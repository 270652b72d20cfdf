"""When whole epochs run without skorch's work for each batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skorch.callbacks import Callback

from ..training import needs_closure
from ..utils import BatchedSamples, Samples
from .components import is_of_library

_PER_BATCH = ("on_batch_begin", "on_batch_end", "on_grad_computed")
_PER_STEP = (
    "train_step",
    "train_step_single",
    "validation_step",
    "get_loss",
    "infer",
    "run_single_epoch",
    "get_iterator",
    "get_train_step_accumulator",
    "_set_training",
    "_step_optimizer",
    "_zero_grad_optimizer",
)


def runs_fast(net: Any, train: Any, valid: Any, forward_params: Mapping[str, Any]) -> bool:
    """Whether data, callbacks and optimiser allow the fast path."""
    watched = any(
        getattr(type(callback), name, None) is not getattr(Callback, name)
        for _, callback in net.callbacks_
        for name in _PER_BATCH
        if hasattr(type(callback), name)
    )
    return (
        isinstance(train, Samples | BatchedSamples)
        and isinstance(valid, Samples | BatchedSamples | None)
        and not (overridden(net) or watched or forward_params)
        and net._data.are_sliced("iterator_train", "iterator_valid")
        and len(net._all_optimizers()) == 1
        and not needs_closure(net.optimizer_)
    )


def overridden(net: Any) -> bool:
    """Whether a subclass of the user does something else with batches, outputs or losses."""
    return not all(is_of_library(getattr(net, name)) for name in _PER_BATCH + _PER_STEP)
