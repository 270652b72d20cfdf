"""One phase of training: epochs, callbacks and the choice of the best weights."""

from __future__ import annotations

import math
import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback
from torch import nn

from ..training import (
    LearningRate,
    MaskedWeights,
    TensorBatches,
    Trainer,
    mean_loss,
    needs_closure,
    seeded_global_generator,
)
from ..utils import Samples
from .interruption import PhaseInterrupted, PhaseStopped, check_interrupt

_PER_BATCH = ("on_batch_begin", "on_batch_end", "on_grad_computed")
_PER_STEP = ("train_step", "train_step_single", "validation_step", "get_loss", "infer")


class BestWeights:
    """Stores the weights with the lowest loss, and counts epochs without progress.

    skorch's ``EarlyStopping(load_best=True)`` cannot replace it: it starts after the first epoch,
    while the weights before a refit may be the best; it would have to be added to the user's
    callbacks; and it counts the epochs of all phases.

    Parameters
    ----------
    module : torch.nn.Module
    tol : float
        The least decrease of the loss that counts as progress.
    """

    def __init__(self, module: nn.Module, tol: float):
        self.module, self.tol = module, tol
        self.loss, self.epoch = math.inf, 0
        self.state: dict[str, torch.Tensor] | None = None
        self.epochs_without_progress = 0
        self._progress_loss = math.inf

    def update(self, loss: float, epoch: int) -> None:
        """Record the loss after an epoch."""
        self.epochs_without_progress += 1
        if loss < self._progress_loss - self.tol:
            self._progress_loss, self.epochs_without_progress = loss, 0
        if loss < self.loss:
            self.loss, self.state, self.epoch = loss, _state(self.module), epoch

    def restore(self) -> int:
        """Load the best weights and return their epoch."""
        if self.state is not None:
            self.module.load_state_dict(self.state)
        return self.epoch


def _state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


class Phase:
    """Training of one phase. It holds all objects that exist only while the phase runs.

    If no callback or overridden method uses single batches, whole epochs run on the fast path,
    without skorch's work for each batch.

    Parameters
    ----------
    net : PrunedMLP
        The estimator whose network is trained in place.
    name : {"dense", "refit"}
    train, valid : Dataset
        ``valid`` may be None.
    epochs : int
    lr : float or None
        None takes the estimator's ``lr``.
    fit_params : dict
        Passed to the network's ``forward``.

    Attributes
    ----------
    rate : LearningRate
    masked : MaskedWeights or None
    trainer : Trainer or None
        None if skorch's loop runs.
    """

    def __init__(
        self,
        net: Any,
        name: str,
        train: Any,
        valid: Any,
        epochs: int,
        lr: float | None,
        fit_params: dict[str, Any],
    ):
        self.net, self.name, self.epochs, self.fit_params = net, name, epochs, fit_params
        self.datasets = {"dataset_train": train, "dataset_valid": valid}
        fast = _runs_fast(net, train, valid, fit_params)
        if fast:
            train = net._data.in_network_units(train)
            valid = None if valid is None else net._data.in_network_units(valid)
        self.batches = net.get_iterator(train, training=True)
        self.valid_batches = None if valid is None else net.get_iterator(valid, training=False)
        self.optimizer, self.scale = net.optimizer_, 1.0 if lr is None else float(lr) / net.lr
        _scale_rates(self.optimizer, self.scale)  # parameter groups may have different rates
        if net.history:  # a scheduler of torch that starts in a later phase needs it
            for group in self.optimizer.param_groups:
                group.setdefault("initial_lr", group["lr"])
        n_steps = epochs * _length(self.batches)
        self.rate = LearningRate(self.optimizer, net.lr_schedule, n_steps)
        self.masked: MaskedWeights | None = net._masked_weights()
        self.trainer = self._trainer() if fast else None
        self.interruption: PhaseInterrupted | None = None

    def _trainer(self) -> Trainer:
        net = self.net
        return Trainer(
            net.network_,
            net._loss_function(),
            self.optimizer,
            self.rate,
            self.masked,
            net._generator("dropout"),
        )

    def run(self) -> tuple[int, float | None]:
        """Train, and return the epoch of the final weights and their validation loss.

        With validation data, the final weights are those with the lowest validation loss.
        Otherwise they are the last ones, and the loss is None.
        """
        whole = self.datasets["dataset_train"]
        seen = {"X": getattr(whole, "X", whole), "y": getattr(whole, "y", None)}
        try:
            with self._random_numbers():
                self.net.notify("on_train_begin", **seen)
                result = self._run_epochs()
                self.net.notify("on_train_end", **seen)
            if self.masked is not None:
                self.masked.apply()
            if self.interruption is not None:
                raise self.interruption
            return result
        finally:
            self.rate.restore()
            _scale_rates(self.optimizer, 1 / self.scale)

    def _random_numbers(self) -> AbstractContextManager[None]:
        """The global generator is seeded for networks whose modules may draw from it."""
        if self.trainer is not None and self.trainer.chain is not None:
            return nullcontext()  # dropout has its own generator there
        return seeded_global_generator(self.net._generator("torch").initial_seed())

    def _run_epochs(self) -> tuple[int, float | None]:
        net, network = self.net, self.net.network_
        best, last_good, epoch = self._best_weights(), _state(network), 0
        try:
            for epoch in range(1, self.epochs + 1):
                net.notify("on_epoch_begin", **self.datasets)
                self._run_epoch("train", self.batches, net.train_step)
                self._run_epoch("valid", self.valid_batches, net.validation_step)
                loss = self._epoch_loss("train")
                if not (math.isfinite(loss) and self._is_finite()):
                    network.load_state_dict(last_good)
                    net.initialize_optimizer()  # its moments may not be finite
                    self._report_divergence(epoch, loss)
                    epoch -= 1
                    break
                net.notify("on_epoch_end", **self.datasets)
                last_good = _state(network)
                if self.valid_batches is not None:
                    best.update(self._epoch_loss("valid"), epoch)
                    patience = net.n_iter_no_change
                    if patience is not None and best.epochs_without_progress >= patience:
                        break
        except PhaseStopped:
            pass
        except KeyboardInterrupt:
            self.interruption = check_interrupt(self.name, epoch)
        return (best.restore(), best.loss) if self.valid_batches is not None else (epoch, None)

    def _run_epoch(self, prefix: str, batches: Any, step: Any) -> None:
        training = prefix == "train"
        self.net.run_single_epoch(batches, training, prefix, step, **self.fit_params)

    def _best_weights(self) -> BestWeights:
        """A new record of the best weights; that of a refit includes the weights before it."""
        net, valid = self.net, self.datasets["dataset_valid"]
        best = BestWeights(net.network_, net.tol)
        if self.name == "refit" and isinstance(valid, Samples):
            batches = TensorBatches(net._data.in_network_units(valid), 1024)
            best.update(mean_loss(net.network_, net._loss_function(), batches), epoch=0)
        return best

    def record_epoch(self, iterator: Any, training: bool, prefix: str) -> bool:
        """Run an epoch on the fast path; False if skorch's loop has to run it.

        The history records the epoch as one batch.
        """
        if self.trainer is None or not isinstance(iterator, TensorBatches):
            return False
        loss = self.trainer.epoch(iterator) if training else self.trainer.evaluate(iterator)
        history = self.net.history
        if not history[-1]["batches"]:
            history.new_batch()
        history.record_batch(f"{prefix}_loss", loss)
        history.record_batch(f"{prefix}_batch_size", len(iterator.dataset))
        history.record(f"{prefix}_batch_count", len(iterator))
        return True

    def _report_divergence(self, epoch: int, loss: float) -> None:
        net = self.net
        rate = "refit_lr" if self.name == "refit" and net.refit_lr is not None else "lr"
        message = (
            f"The loss became {loss} in epoch {epoch} of the {self.name} phase. Lower {rate} "
            f"(now {getattr(net, rate)}), or scale the features, for instance with "
            f"StandardScaler."
        )
        if self.name == "dense" and epoch == 1:
            raise ValueError(message)
        warnings.warn(
            f"{message} The weights of the last good epoch are used.",
            ConvergenceWarning,
            stacklevel=7,
        )

    @torch.no_grad()
    def _is_finite(self) -> bool:
        """Whether the squares of the weights, and of outputs for a few samples, are finite."""
        net, dataset = self.net, self.datasets["dataset_train"]

        def has_finite_squares(tensor: torch.Tensor) -> bool:
            return bool((tensor.abs() < torch.finfo(tensor.dtype).max ** 0.5).all())

        if not all(has_finite_squares(parameter) for parameter in net.network_.parameters()):
            return False
        if not isinstance(dataset, Samples):
            return True
        net.network_.eval()
        outputs = net.infer(dataset.X[:64].clone())
        return has_finite_squares(outputs[0] if isinstance(outputs, tuple) else outputs)

    def _epoch_loss(self, prefix: str) -> float:
        history = self.net.history
        if not history[-1]["batches"]:
            raise ValueError(
                "An epoch of training has no batch. Lower batch_size, or set "
                "iterator_train__drop_last=False."
            )
        rows = history[-1, "batches", :, (f"{prefix}_loss", f"{prefix}_batch_size")]
        losses, sizes = zip(*rows, strict=True)
        return float(np.average(losses, weights=sizes))


def _runs_fast(net: Any, train: Any, valid: Any, fit_params: dict[str, Any]) -> bool:
    """Whether data, callbacks and optimiser allow the fast path."""
    own = next(cls for cls in type(net).__mro__ if cls.__module__.startswith("skec."))
    overridden = any(
        getattr(type(net), name) is not getattr(own, name) for name in _PER_BATCH + _PER_STEP
    )
    watched = any(
        getattr(type(callback), name, None) is not getattr(Callback, name)
        for _, callback in net.callbacks_
        for name in _PER_BATCH
        if hasattr(type(callback), name)
    )
    in_memory = isinstance(train, Samples) and isinstance(valid, Samples | type(None))
    return (
        in_memory
        and not (overridden or watched or fit_params)
        and net.iterator_train == net.iterator_valid == "auto"
        and not needs_closure(net.optimizer_)
    )


def _scale_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] *= factor


def _length(batches: Any) -> int:
    try:
        return len(batches)
    except TypeError:  # an iterator of unknown length
        return 1
