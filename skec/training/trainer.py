"""Epochs over data in memory, without the work that skorch does for every batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .backprop import Chain
from .batches import TensorBatches
from .losses import LossFunction
from .masks import MaskedWeights
from .optimizer import fast_step
from .schedules import LearningRate


class Trainer:
    """Trains a module for one phase.

    Parameters
    ----------
    module : torch.nn.Module
    loss : callable
        Takes targets and weights of a batch; returns a function from outputs to the loss and its
        gradient.
    optimizer : torch.optim.Optimizer
        One whose ``step`` takes no closure.
    rate : LearningRate
    masked : MaskedWeights or None
        Weights that stay zero.
    generator : torch.Generator
        Source of the dropout masks.
    """

    def __init__(
        self,
        module: nn.Module,
        loss: LossFunction,
        optimizer: torch.optim.Optimizer,
        rate: LearningRate,
        masked: MaskedWeights | None,
        generator: torch.Generator,
    ):
        self.module, self.loss, self.rate, self.masked = module, loss, rate, masked
        self.chain = Chain.of(module, generator)
        self.optimizer, self.step = optimizer, self._keeping_masks(fast_step(optimizer))

    def epoch(self, batches: TensorBatches) -> float:
        """Train on every batch once and return the mean loss."""
        self.module.train()
        self._respect_frozen()
        write_gradients = self._autograd if self.chain is None else self._written_out
        total, n_samples = torch.zeros((), dtype=torch.float64), 0
        for X, y, weights in batches.tensors():
            value = write_gradients(X, self.loss(y, weights))
            self.rate.step()
            self.step()
            total += value * len(X)
            n_samples += len(X)
        return _mean(total, n_samples, batches)

    def _keeping_masks(self, step: Callable[[], Any]) -> Callable[[], Any]:
        return step if self.masked is None else self.masked.stepping(step)

    def _respect_frozen(self) -> None:
        """Leave parameters alone that a callback has frozen since the phase began."""
        frozen = [p for p in self.module.parameters() if not p.requires_grad]
        if frozen and (self.chain is not None or any(p.grad is not None for p in frozen)):
            for parameter in frozen:
                parameter.grad = None
            self.chain, self.step = None, self._keeping_masks(self.optimizer.step)

    @torch.no_grad()
    def _written_out(self, X, loss) -> Tensor:
        return self.chain.step(X, loss)

    def _autograd(self, X, loss) -> Tensor:
        self.optimizer.zero_grad(set_to_none=False)
        outputs = self.module(X)
        value, gradient = loss(outputs.detach())
        outputs.backward(gradient)
        return value

    @torch.no_grad()
    def evaluate(self, batches: TensorBatches) -> float:
        """Return the mean loss without training."""
        return mean_loss(self.module, self.loss, batches)


@torch.no_grad()
def mean_loss(module: nn.Module, loss: LossFunction, batches: TensorBatches) -> float:
    """Mean loss of a module in evaluation mode."""
    module.eval()
    total, n_samples = torch.zeros((), dtype=torch.float64), 0
    for X, y, weights in batches.tensors():
        value, _ = loss(y, weights)(module(X))
        total += value * len(X)
        n_samples += len(X)
    return _mean(total, n_samples, batches)


def _mean(total, n_samples: int, batches: TensorBatches) -> float:
    if n_samples == 0:
        raise ValueError(
            f"There is no batch in an epoch of {len(batches.dataset)} samples: "
            f"batch_size={batches.batch_size} with drop_last=True. Lower batch_size."
        )
    return float(total) / n_samples
