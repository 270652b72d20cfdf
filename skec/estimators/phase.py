"""One phase of training: epochs, callbacks and the choice of the best weights."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from torch import nn

from ..networks import MLP, fixed_part
from ..training import (
    LearningRate,
    MaskedWeights,
    TensorBatches,
    Trainer,
    mean_loss,
    seeded_global_generator,
    threads_for_steps,
)
from ..utils import BatchedSamples, Samples, progress_bar
from .fast_path import overridden, runs_fast
from .fit_data import FitData
from .interruption import PhaseInterrupted, PhaseStopped, check_interrupt


class Progress:
    """Counts epochs without progress.

    Parameters
    ----------
    tol : float
        The least decrease of the loss that counts as progress.
    """

    def __init__(self, tol: float):
        self.tol, self.loss, self.epochs_without = tol, math.inf, 0

    def update(self, loss: float) -> None:
        """Record the loss after an epoch."""
        self.epochs_without += 1
        if loss < self.loss - self.tol:
            self.loss, self.epochs_without = loss, 0


class BestWeights:
    """Stores the weights with the lowest loss.

    skorch's ``EarlyStopping(load_best=True)`` cannot replace it: it starts after the first epoch,
    while the weights before a refit may be the best; and it would have to be added to the user's
    callbacks.

    Parameters
    ----------
    module : torch.nn.Module
    """

    def __init__(self, module: nn.Module):
        self.module, self.loss, self.epoch = module, math.inf, 0
        self.state: dict[str, torch.Tensor] | None = None

    def update(self, loss: float, epoch: int) -> None:
        """Record the loss after an epoch."""
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
    data : FitData
    epochs : int
    holds_out : bool
        Whether ``train_split`` may take validation data from the data.
    lr : float or None
        None takes the estimator's ``lr``.
    begin : callable, default=None
        Called before the first epoch, after ``on_train_begin`` of the callbacks, which may change
        the network.
    on_split : callable, default=None
        Called after that, with the training and validation datasets; the latter may be None.

    Attributes
    ----------
    rates : list of LearningRate
        One for each optimiser.
    masked : MaskedWeights or None
    trainer : Trainer or None
        None if skorch's loop runs.
    """

    def __init__(
        self,
        net: Any,
        name: str,
        data: FitData,
        epochs: int,
        *,
        holds_out: bool,
        lr: float | None,
        begin: Callable[[], None] | None,
        on_split: Callable[[Any, Any], None] | None = None,
    ):
        self.net, self.name, self.epochs, self.data = net, name, epochs, data
        self.holds_out, self.begin, self.on_split = holds_out, begin, on_split
        self.scale = 1.0 if lr is None else float(lr) / net.lr
        self.optimizers: list[torch.optim.Optimizer] = []
        self.rates: list[LearningRate] = []
        self.begun = False
        self.batches: Any = None
        self.valid_batches: Any = None
        self.interruption: PhaseInterrupted | None = None
        self._take_optimizers()

    def batch_sizes(self) -> dict[str, int]:
        """The batch sizes, as parameters of the iterators; those that are known."""
        sizes = {
            "iterator_train__batch_size": getattr(self.batches, "batch_size", None),
            "iterator_valid__batch_size": getattr(self.valid_batches, "batch_size", None),
        }
        return {name: size for name, size in sizes.items() if size is not None}

    def after(self, event: str) -> None:
        """Act after the callbacks of skorch's loop.

        An overridden ``train_step`` may take its steps itself, or not for every batch.
        """
        if event == "on_batch_begin":
            for rate in self.rates:
                rate.step()
        elif event == "on_batch_end" and self.masked is not None:
            self.masked.apply()

    def _take_optimizers(self) -> None:
        """Set the rates of the estimator's optimisers for this phase."""
        present = self.net._all_optimizers()
        for optimizer in present:
            if not any(optimizer is known for known in self.optimizers):
                _scale_rates(optimizer, self.scale)  # parameter groups may have different rates
                if self.net.history:  # a scheduler of torch that starts in a later phase needs it
                    for group in optimizer.param_groups:
                        group.setdefault("initial_lr", group["lr"])
        self.optimizers = present

    def _prepare(self) -> None:
        """Make the batches and the objects of the training, given the network."""
        net = self.net
        self._take_optimizers()
        self.begun = True
        if self.begin is not None:
            self.begin()
        train, valid = (
            net._data.split_for(self.data) if self.holds_out else (self.data.dataset, None)
        )
        if self.on_split is not None:
            self.on_split(train, valid)
        self.datasets = {"dataset_train": train, "dataset_valid": valid}
        fast = runs_fast(net, train, valid, self.data.forward_params)
        network = net.network_
        if fast:
            train = net._data.in_network_units(train)
            valid = None if valid is None else net._data.in_network_units(valid)
            parts = fixed_part(network)
            if parts is not None:  # applied once, not in each epoch
                fixed, network = parts
                train = train.mapped(fixed)
                valid = None if valid is None else valid.mapped(fixed)
        self.batches = net.get_iterator(train, training=True)
        self.valid_batches = None if valid is None else net.get_iterator(valid, training=False)
        n_steps = self.epochs * _length(self.batches)
        self.rates = [LearningRate(each, net.lr_schedule, n_steps) for each in self.optimizers]
        self.masked: MaskedWeights | None = net._masked_weights()
        self.trainer = self._trainer(network) if fast else None

    def _trainer(self, network: nn.Module) -> Trainer:
        net = self.net
        return Trainer(
            network,
            net._loss_function(),
            self.optimizers[0],
            self.rates[0],
            self.masked,
            net._generator("dropout"),
        )

    def run(self) -> tuple[int, float | None]:
        """Train, and return the epoch of the final weights and their validation loss.

        With validation data, the final weights are those with the lowest validation loss.
        Otherwise they are the last ones, and the loss is None.
        """
        given = {"X": self.data.X, "y": self.data.y}
        try:
            with self._seeded(needed=not isinstance(self.net.network_, MLP)):
                self.net.notify("on_train_begin", **given)
            self._prepare()
            # dropout in a chain of layers has its own generator; others may draw from torch's
            needed = self.trainer is None or self.trainer.chain is None
            bar = progress_bar(self.epochs, self.name, "epoch", shown=self.net.progress)
            n_rows = getattr(self.batches, "batch_size", None) or 0
            threads = threads_for_steps(self.net.network_, n_rows, self.net.n_threads)
            with self._seeded(needed), threads, bar as advance:
                result = self._run_epochs(advance)
                self.net.notify("on_train_end", **given)
            if self.masked is not None:
                self.masked.apply()
            if self.interruption is not None:
                raise self.interruption
            return result
        finally:
            for rate in self.rates:
                rate.restore()
            for optimizer in self.optimizers:
                _scale_rates(optimizer, 1 / self.scale)

    def _seeded(self, needed: bool) -> AbstractContextManager[None]:
        seed = self.net._generator("torch").initial_seed()
        return seeded_global_generator(seed) if needed else nullcontext()

    def _run_epochs(self, advance: Callable[..., None]) -> tuple[int, float | None]:
        net, trained = self.net, self.net._trained()
        best, last_good, epoch = self._best_weights(trained), _state(trained), 0
        progress = Progress(net.tol)
        if best.state is not None:  # the weights before a refit count as an epoch
            progress.update(best.loss)
        try:
            for epoch in range(1, self.epochs + 1):
                net.notify("on_epoch_begin", **self.datasets)
                self._run_epoch("train", self.batches, net.train_step)
                self._run_epoch("valid", self.valid_batches, net.validation_step)
                loss = self._epoch_loss("train")
                if not (math.isfinite(loss) and self._is_finite()):
                    trained.load_state_dict(last_good)
                    net.initialize_optimizer()  # its moments may not be finite
                    self._report_divergence(epoch, loss)
                    epoch -= 1
                    break
                losses = {"train_loss": loss}
                if self.valid_batches is not None:
                    losses["valid_loss"] = loss = self._epoch_loss("valid")
                advance(**losses)  # a callback may end the phase
                net.notify("on_epoch_end", **self.datasets)
                last_good = _state(trained)
                if self.valid_batches is not None:
                    best.update(loss, epoch)
                progress.update(loss)
                if progress.epochs_without >= (net.n_iter_no_change or math.inf):
                    break
        except PhaseStopped:
            pass
        except KeyboardInterrupt:
            self.interruption = check_interrupt(net, self.name, epoch)
        return (best.restore(), best.loss) if self.valid_batches is not None else (epoch, None)

    def _run_epoch(self, prefix: str, batches: Any, step: Any) -> None:
        training = prefix == "train"
        self.net.run_single_epoch(batches, training, prefix, step, **self.data.forward_params)

    def _best_weights(self, trained: nn.Module) -> BestWeights:
        """A new record of the best weights; that of a refit includes the weights before it."""
        net, valid = self.net, self.datasets["dataset_valid"]
        best = BestWeights(trained)
        known = isinstance(valid, Samples | BatchedSamples)
        if self.name == "refit" and known and not overridden(net):
            batches = TensorBatches(net._data.in_network_units(valid), 1024)
            best.update(mean_loss(net.network_, net._loss_function(), batches), epoch=0)
        return best

    def record_epoch(self, iterator: Any, training: bool, prefix: str) -> bool:
        """Run an epoch on the fast path; False if skorch's loop has to run it.

        The history records the epoch as one batch.
        """
        if self.trainer is None or not isinstance(iterator, TensorBatches):
            return False
        if isinstance(self.net.criterion_, nn.Module):
            self.net.criterion_.train(training)
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
        if not isinstance(dataset, Samples | BatchedSamples):
            return True
        net.network_.eval()
        outputs = net.infer(dataset.head(64).X.clone(), **self.data.forward_params)
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


def _scale_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] *= factor


def _length(batches: Any) -> int:
    try:
        return len(batches)
    except TypeError:  # an iterator of unknown length
        return 1
