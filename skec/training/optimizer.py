"""The optimiser's step without its bookkeeping."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..utils import private


class AdamW(torch.optim.AdamW):
    """``torch.optim.AdamW`` with moments that forget at the same, short rate.

    The defaults ``betas=(0.95, 0.95)`` were chosen by measurement on small tabular data; the others
    are torch's.
    """

    def __init__(self, params, lr=1e-2, betas=(0.95, 0.95), **kwargs):
        super().__init__(params, lr=lr, betas=betas, **kwargs)


_ADAM = (torch.optim.Adam, torch.optim.AdamW, AdamW)


def supports_fused(optimizer: Callable) -> bool:
    """Whether an optimiser class of torch has a fused kernel for the CPU."""
    return optimizer in (*_ADAM, torch.optim.SGD, torch.optim.Adagrad)


def fast_step(optimizer: torch.optim.Optimizer) -> Callable[[], None]:
    """Return a function equal to ``optimizer.step``, without the work around the kernel.

    ``torch.optim`` spends several times the kernel's own time on collecting the state of small
    networks. For a fused Adam or AdamW without hooks the state is collected once and the kernel
    called directly; the optimiser's state stays the one that its own ``step`` would have left.
    Any other optimiser keeps its own ``step``.
    """
    if type(optimizer) not in _ADAM or not all(
        group.get("fused") and not group["amsgrad"] and isinstance(group["lr"], float)
        for group in optimizer.param_groups
    ):
        return optimizer.step
    if private.optimizer_has_hooks(optimizer) or private.fused_adam(decoupled=True) is None:
        return optimizer.step

    prepared: list[tuple] = []

    def prepare() -> None:
        for group in optimizer.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            state = [optimizer.state[p] for p in params]
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
                        [p.grad for p in params],
                        [s["exp_avg"] for s in state],
                        [s["exp_avg_sq"] for s in state],
                        [s["step"] for s in state],
                        _counter([s["step"] for s in state]),
                    )
                )

    def step() -> None:
        if not prepared:
            optimizer.step()  # creates the state
            prepare()
            return
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
    """Return a function that adds one to each; on the CPU numpy is several times faster at it."""
    if any(step.device.type != "cpu" for step in steps):
        return lambda: private.add_one(steps)
    counts = [step.numpy() for step in steps]

    def count() -> None:
        for value in counts:
            np.add(value, 1, out=value)

    return count


def needs_closure(optimizer: torch.optim.Optimizer) -> bool:
    """Whether ``step`` may want to evaluate the loss itself."""
    known = type(optimizer).__module__.startswith("torch.optim") or type(optimizer) is AdamW
    return not known or isinstance(optimizer, torch.optim.LBFGS)
