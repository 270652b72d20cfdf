"""The settings of the refit that follow from the data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def refit_lr(net: Any) -> float:
    """The learning rate of the refit."""
    if net.refit_lr is not None:
        return net.refit_lr
    return net.lr / 2 if net.refit_strategy == "finetune" else net.lr


def refit_holds_out(net: Any) -> bool:
    """Whether the refit needs validation data too."""
    watched = [getattr(callback, "monitor", None) for _, callback in net.callbacks_]
    return (
        net.early_stopping is True
        or net.train_split not in ("auto", None)
        or any(isinstance(name, str) and name.startswith("valid") for name in watched)
    )


@contextmanager
def refit_weight_decay(net: Any, dataset: Any) -> Iterator[None]:
    """Give the optimiser the weight decay of the refit, and restore its own afterwards."""
    groups = [group for group in net.optimizer_.param_groups if "weight_decay" in group]
    before = [group["weight_decay"] for group in groups]
    decay = net.refit_weight_decay
    if decay == "auto":
        decay = net._noise_decay(dataset)
        after = [max(value, decay) for value in before]
    else:
        after = before if decay is None else [decay] * len(groups)
    try:
        for group, value in zip(groups, after, strict=True):
            group["weight_decay"] = value
        yield
    finally:
        for group, value in zip(groups, before, strict=True):
            group["weight_decay"] = value
