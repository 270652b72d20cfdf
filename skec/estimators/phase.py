"""One phase of training: epochs with callbacks, and the weights that are kept at its end."""

from __future__ import annotations

import math
import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback

from ..training import (
    LearningRate,
    TensorBatches,
    TensorDataset,
    Trainer,
    mean_loss,
    needs_closure,
)

_PER_BATCH = ("on_batch_begin", "on_batch_end", "on_grad_computed")
_PER_STEP = ("train_step", "train_step_single", "validation_step", "get_loss", "infer")


class BestWeights:
    """Remembers the weights of the lowest loss.

    Parameters
    ----------
    module : torch.nn.Module
    tol : float
        A loss counts as progress if it is lower than the best by this much.
    """

    def __init__(self, module: torch.nn.Module, tol: float):
        self.module, self.tol = module, tol
        self.loss, self.state, self.epoch = math.inf, None, 0
        self.epochs_without_progress = 0
        self._progress_loss = math.inf

    def update(self, loss: float, epoch: int) -> None:
        """Take note of the loss after an epoch."""
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


def _state(module: torch.nn.Module) -> dict:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


class PhaseMixin:
    """Training of one phase, on the fast path where nothing asks for each batch."""

    def _train(self, phase: str, train, valid, epochs: int, *, lr=None, **fit_params):
        """Train the network in place.

        With validation data the weights of the lowest validation loss are kept, else the last
        ones. Returns the number of epochs after which the weights were those, and their
        validation loss or None.
        """
        fast = self._runs_fast(train, valid, fit_params)
        datasets = {"dataset_train": train, "dataset_valid": valid}
        if fast:
            train, valid = self._in_network_units(train), self._in_network_units(valid)
        batches = self.get_iterator(train, training=True)
        valid_batches = None if valid is None else self.get_iterator(valid, training=False)
        optimizer, scale = self.optimizer_, 1.0 if lr is None else float(lr) / self.lr
        _scale_rates(optimizer, scale)  # rates of layers keep their proportion
        if self.history:  # a scheduler of torch that begins in a later phase looks for it
            for group in self.optimizer_.param_groups:
                group.setdefault("initial_lr", group["lr"])
        rate = LearningRate(self.optimizer_, self.lr_schedule, epochs * _length(batches))
        masked = self._masked_weights()
        state = {"_phase_": phase, "_rate_": rate, "_masked_": masked}
        if fast:
            state["_trainer_"] = Trainer(
                self._network, self._loss_function(), self.optimizer_, rate, masked,
                self._generator("dropout"),
            )  # fmt: skip
        vars(self).update(state)
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self._generator("torch").initial_seed())
                whole = datasets["dataset_train"]
                seen = {"X": getattr(whole, "X", whole), "y": getattr(whole, "y", None)}
                self.notify("on_train_begin", **seen)
                result = self._run_epochs(
                    phase, epochs, batches, valid_batches, datasets, fit_params
                )
                self.notify("on_train_end", **seen)
            if masked is not None:
                masked.apply()
            return result
        finally:
            rate.restore()
            _scale_rates(optimizer, 1 / scale)
            for name in ("_phase_", "_rate_", "_masked_", "_trainer_"):
                vars(self).pop(name, None)

    def _run_epochs(self, phase, epochs, batches, valid_batches, datasets, fit_params):
        best = BestWeights(self._network, self.tol)
        last_good = _state(self._network)
        if phase == "refit" and isinstance(datasets["dataset_valid"], TensorDataset):
            valid = TensorBatches(self._in_network_units(datasets["dataset_valid"]), 1024)
            best.update(mean_loss(self._network, self._loss_function(), valid), epoch=0)
        epoch = 0
        try:
            for epoch in range(1, epochs + 1):
                self.notify("on_epoch_begin", **datasets)
                self.run_single_epoch(batches, True, "train", self.train_step, **fit_params)
                self.run_single_epoch(
                    valid_batches, False, "valid", self.validation_step, **fit_params
                )
                loss = self._epoch_loss("train")
                if not (math.isfinite(loss) and self._is_finite(datasets["dataset_train"])):
                    self._network.load_state_dict(last_good)
                    self.initialize_optimizer()  # its moments are not finite either
                    self._report_divergence(phase, epoch, loss)
                    epoch -= 1
                    break
                self.notify("on_epoch_end", **datasets)
                last_good = _state(self._network)
                if valid_batches is not None:
                    best.update(self._epoch_loss("valid"), epoch)
                    patience = self.n_iter_no_change
                    if patience is not None and best.epochs_without_progress >= patience:
                        break
        except KeyboardInterrupt:  # from the user, or from a callback that stops early
            pass
        return (best.restore(), best.loss) if valid_batches is not None else (epoch, None)

    def _report_divergence(self, phase: str, epoch: int, loss: float) -> None:
        rate = "refit_lr" if phase == "refit" and self.refit_lr is not None else "lr"
        message = (
            f"The loss became {loss} in epoch {epoch} of the {phase} phase. Lower {rate} "
            f"(now {getattr(self, rate)}), or scale the features, for instance with "
            f"StandardScaler."
        )
        if phase == "dense" and epoch == 1:
            raise ValueError(message)
        warnings.warn(
            f"{message} The weights of the last good epoch are used.",
            ConvergenceWarning,
            stacklevel=5,
        )

    @torch.no_grad()
    def _is_finite(self, dataset) -> bool:
        """Whether the weights, and the outputs for a few samples, are numbers that have squares."""

        def tame(tensor):
            return bool((tensor.abs() < torch.finfo(tensor.dtype).max ** 0.5).all())

        if not all(tame(parameter) for parameter in self._network.parameters()):
            return False
        if not isinstance(dataset, TensorDataset):
            return True
        self._network.eval()
        outputs = self.infer(dataset.X[:64])
        return tame(outputs[0] if isinstance(outputs, tuple) else outputs)

    def _epoch_loss(self, prefix: str) -> float:
        if not self.history[-1]["batches"]:
            raise ValueError(
                "There is no batch in an epoch of training. Lower batch_size, or set "
                "iterator_train__drop_last=False."
            )
        rows = self.history[-1, "batches", :, (f"{prefix}_loss", f"{prefix}_batch_size")]
        losses, sizes = zip(*rows, strict=True)
        return float(np.average(losses, weights=sizes))

    def _runs_fast(self, train, valid, fit_params) -> bool:
        """Whether nobody asks for what the fast path leaves out."""
        own = next(cls for cls in type(self).__mro__ if cls.__module__.startswith("skec."))
        overridden = any(
            getattr(type(self), name) is not getattr(own, name) for name in _PER_BATCH + _PER_STEP
        )
        watched = any(
            getattr(type(callback), name, None) is not getattr(Callback, name)
            for _, callback in self.callbacks_
            for name in _PER_BATCH
            if hasattr(type(callback), name)
        )
        in_memory = isinstance(train, TensorDataset) and isinstance(
            valid, TensorDataset | type(None)
        )
        return (
            in_memory
            and not (overridden or watched or fit_params)
            and self.iterator_train == self.iterator_valid == "auto"
            and not needs_closure(self.optimizer_)
        )

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        """Train or validate for one epoch, as skorch's method of this name.

        On the fast path the epoch counts as one batch in the history.
        """
        trainer = vars(self).get("_trainer_")
        if trainer is None or not isinstance(iterator, TensorBatches):
            super().run_single_epoch(iterator, training, prefix, step_fn, **fit_params)
            return
        loss = trainer.epoch(iterator) if training else trainer.evaluate(iterator)
        if not self.history[-1]["batches"]:
            self.history.new_batch()
        self.history.record_batch(f"{prefix}_loss", loss)
        self.history.record_batch(f"{prefix}_batch_size", len(iterator.dataset))
        self.history.record(f"{prefix}_batch_count", len(iterator))

    def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs) -> None:
        """Begin a row of the history and write the phase into it."""
        super().on_epoch_begin(net, dataset_train, dataset_valid, **kwargs)
        self.history.record("phase", vars(self).get("_phase_", "dense"))

    def _step_optimizer(self, step_fn) -> None:
        """Step with the scheduled rate; masked weights stay at zero."""
        state = vars(self)
        if "_rate_" in state:
            state["_rate_"].step()
        masked = state["_masked_"] if "_masked_" in state else self._masked_weights()
        if masked is None:
            super()._step_optimizer(step_fn)
            return

        def masked_step():
            loss = step_fn()
            masked.mask_gradients()
            return loss

        super()._step_optimizer(None if step_fn is None else masked_step)
        masked.apply()


def _scale_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] *= factor


def _length(batches) -> int:
    try:
        return len(batches)
    except TypeError:  # an iterator of unknown length
        return 1
