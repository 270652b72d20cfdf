"""AdamW with other defaults, and optimiser steps without bookkeeping."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..utils import private


class AdamW(torch.optim.AdamW):
    """``torch.optim.AdamW`` with the same, fast decay for both moments.

    The default ``betas=(0.95, 0.95)`` was chosen by measurements on small tabular data. The default
    ``lr`` is 1e-2. The other defaults are those of torch.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        betas: tuple[float, float] = (0.95, 0.95),
        **kwargs: Any,
    ):
        super().__init__(params, lr=lr, betas=betas, **kwargs)

    # torch's own import its compiler in the first call, which takes more than a second

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        private.eager(super().add_param_group)(param_group)

    def state_dict(self) -> dict[str, Any]:
        return private.eager(super().state_dict)()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        private.eager(super().load_state_dict)(state_dict)

    def zero_grad(self, set_to_none: bool = True) -> None:
        private.eager(super().zero_grad)(set_to_none)


_ADAM = (torch.optim.Adam, torch.optim.AdamW, AdamW)


def supports_fused(optimizer: Callable[..., Any]) -> bool:
    """Whether an optimiser class of torch has a fused kernel for the CPU."""
    return optimizer in (*_ADAM, torch.optim.SGD, torch.optim.Adagrad)


def fast_step(optimizer: torch.optim.Optimizer) -> Callable[[], Any]:
    """Return a faster function that is equivalent to ``optimizer.step``.

    On small networks ``torch.optim`` takes several times as long to collect its state as to run
    the kernel. For a fused Adam or AdamW without hooks the returned function collects the state
    once and calls the kernel directly. It updates the optimiser's state as ``step`` does. For
    other optimisers ``optimizer.step`` itself is returned.
    """
    if type(optimizer) not in _ADAM or not all(
        group.get("fused") and not group["amsgrad"] and isinstance(group["lr"], float)
        for group in optimizer.param_groups
    ):
        return optimizer.step
    if private.optimizer_has_hooks(optimizer) or private.fused_adam(decoupled=True) is None:
        return optimizer.step

    prepared: list[tuple[Any, ...]] = []

    def prepare() -> None:
        for group in optimizer.param_groups:
            params, grads, means, squares, steps = private.adam_state(optimizer, group)
            if params:
                prepared.append(
                    (
                        group,
                        private.fused_adam(
                            group.get(
                                "decoupled_weight_decay", isinstance(optimizer, torch.optim.AdamW)
                            )
                        ),
                        [p.detach() for p in params],
                        grads,
                        means,
                        squares,
                        steps,
                        _counter(steps),
                    )
                )

    def step() -> None:
        if not prepared:
            prepare()
        for group, kernel, params, grads, means, squares, steps, count in prepared:
            count()
            kernel(
                params,
                grads,
                means,
                squares,
                [],
                steps,
                lr=group["lr"],
                beta1=group["betas"][0],
                beta2=group["betas"][1],
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                amsgrad=False,
                maximize=group["maximize"],
            )

    return step


def _counter(steps: list[Tensor]) -> Callable[[], None]:
    """Return a function that adds one to each step count; on the CPU, numpy is the fastest."""
    if any(step.device.type != "cpu" for step in steps):
        return lambda: private.add_one(steps)
    counts = [step.numpy() for step in steps]

    def count() -> None:
        for value in counts:
            np.add(value, 1, out=value)

    return count


def needs_closure(optimizer: torch.optim.Optimizer) -> bool:
    """Whether ``optimizer.step`` may need a closure that evaluates the loss."""
    known = type(optimizer).__module__.startswith("torch.optim") or type(optimizer) is AdamW
    return not known or isinstance(optimizer, torch.optim.LBFGS)
