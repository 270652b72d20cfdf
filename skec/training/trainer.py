"""Training epochs over data in memory, without skorch's work per batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .backprop import Chain
from .batches import TensorBatches
from .losses import LossFunction, OutputLoss
from .masks import MaskedWeights
from .optimizer import fast_step
from .schedules import LearningRate


class Trainer:
    """Trains a module for one phase.

    Parameters
    ----------
    module : torch.nn.Module
    loss : callable
        Takes the targets and weights of a batch. Returns a function of the outputs, which returns
        the loss and its gradient.
    optimizer : torch.optim.Optimizer
        Its ``step`` must not need a closure.
    rate : LearningRate
    masked : MaskedWeights or None
        The masks of removed weights.
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
        chain = self.chain
        write_gradients = self._autograd if chain is None else torch.no_grad()(chain.step)
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
        """Stop the training of parameters that a callback has frozen during the phase."""
        frozen = [p for p in self.module.parameters() if not p.requires_grad]
        if frozen and (self.chain is not None or any(p.grad is not None for p in frozen)):
            for parameter in frozen:
                parameter.grad = None
            self.chain, self.step = None, self._keeping_masks(self.optimizer.step)

    def _autograd(self, X: Tensor, loss: OutputLoss) -> Tensor:
        """Write the gradients of one batch and return its loss."""
        self.optimizer.zero_grad(set_to_none=False)
        outputs = self.module(X.clone())  # a forward may write into its input
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
        value, _ = loss(y, weights)(module(X.clone()))
        total += value * len(X)
        n_samples += len(X)
        del X  # before the next batch is made
    return _mean(total, n_samples, batches)


def _mean(total: Tensor, n_samples: int, batches: TensorBatches) -> float:
    if n_samples == 0:
        raise ValueError(
            f"An epoch of {len(batches.dataset)} samples has no batch with "
            f"batch_size={batches.batch_size} and drop_last=True. Lower batch_size."
        )
    return float(total) / n_samples
