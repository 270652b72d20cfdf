"""Learning rate schedules."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch.optim import Optimizer


def _constant(progress: float) -> float:
    return 1.0


def _cosine(progress: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def _multicycle(progress: float) -> float:
    return 0.5 * (1.0 - math.cos(2.0 * math.pi * math.log2(1.0 + 15.0 * progress)))


LR_SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": _constant,
    "cosine": _cosine,
    "multicycle": _multicycle,
}


class LearningRate:
    """Sets an optimiser's learning rates as fractions of their initial values.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
    schedule : str
        ``"constant"``; ``"cosine"``, from the full rate down to zero; or ``"multicycle"``, four
        cosine cycles of doubling length that begin and end at zero (Holzmüller, Grinsztajn,
        Steinwart, "Better by default", arXiv:2407.04491).
    n_steps : int
        Number of optimiser steps of the training phase.

    Examples
    --------
    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    >>> rate = LearningRate(optimizer, "cosine", n_steps=2)
    >>> for _ in range(2):
    ...     rate.step()
    ...     print(optimizer.param_groups[0]["lr"])
    0.1
    0.05
    """

    def __init__(self, optimizer: Optimizer, schedule: str, n_steps: int):
        self.optimizer, self.function = optimizer, LR_SCHEDULES[schedule]
        self.constant = schedule == "constant"
        self.n_steps, self.taken = max(n_steps, 1), 0
        self.initial = [group["lr"] for group in optimizer.param_groups]

    def step(self) -> None:
        """Set the learning rates of the next optimiser step."""
        if self.constant:  # a scheduler of the user may change the rate
            return
        offset = 0.5 if self.function(0.0) == 0.0 else 0.0  # no step at a rate of zero
        factor = self.function(min((self.taken + offset) / self.n_steps, 1.0))
        self.taken += 1
        for group, initial in zip(self.optimizer.param_groups, self.initial, strict=True):
            group["lr"] = initial * factor

    def restore(self) -> None:
        """Restore the initial learning rates."""
        if not self.constant:
            for group, initial in zip(self.optimizer.param_groups, self.initial, strict=True):
                group["lr"] = initial
