"""The phases of an estimator: dense training, pruning, fine-tuning."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from ..training import MaskedWeights
from ..utils import Samples
from .adapters import PrunedMLPAdapter
from .auto_change import check_change, prune_by_change
from .auto_ratio import check_held_out, check_search, keep_held_out, prune_by_loss
from .components import is_of_library
from .fit_data import FitData
from .interruption import PhaseInterrupted
from .memory import train_or_recall
from .phase import Phase
from .prune_estimator import PruningSettings, prune_estimator


def train(
    net: Any,
    name: str,
    data: FitData,
    epochs: int,
    *,
    holds_out: bool = True,
    lr: float | None = None,
    begin: Callable[[], None] | None = None,
    on_split: Callable[[Any, Any], None] | None = None,
) -> tuple[int, float | None]:
    """Train the network of an estimator in place; see :class:`Phase`."""
    net._phase = Phase(
        net, name, data, epochs, holds_out=holds_out, lr=lr, begin=begin, on_split=on_split
    )
    try:
        return net._phase.run()
    finally:
        del net._phase


def train_more(
    net: Any,
    data: FitData,
    epochs: int | None,
    begin: Callable[[], None] | None = None,
    on_split: Callable[[Any, Any], None] | None = None,
) -> None:
    """Train the present network for some epochs; None takes ``max_epochs``.

    ``begin`` and ``on_split`` are called before the first epoch, see :class:`Phase`. For a dense
    network, the number of epochs until its best weights is recorded.
    """
    n_epochs: int = net.max_epochs if epochs is None else epochs
    if hasattr(net, "masks_"):
        train(net, "refit", data, n_epochs, holds_out=refit_holds_out(net), begin=begin)
    else:
        net.dense_epochs_, net._valid_loss = train(
            net, "dense", data, n_epochs, begin=begin, on_split=on_split
        )


@torch.no_grad()
def check_outputs(net: Any, few: Samples, data: FitData) -> None:
    """Raise unless the network takes the features, and the loss takes outputs and targets.

    ``few`` are samples of the data, in the user's units.
    """
    n_samples, module = len(few), type(net.network_).__name__
    try:
        for part in (net.network_, getattr(net, "criterion_", None)):
            if isinstance(part, torch.nn.Module):
                part.eval()
        outputs = net.infer(few.X.clone(), **data.forward_params)
    except (RuntimeError, ValueError, IndexError) as error:
        raise ValueError(
            f"The network, a {module}, does not take X of shape ({n_samples}, "
            f"{', '.join(map(str, few.X.shape[1:]))}): {error}. Make a module whose first layer "
            f"takes {net.n_features_in_} features."
        ) from error
    if few.y is None or not is_of_library(type(net).get_loss):
        return
    first = outputs[0] if isinstance(outputs, tuple) else outputs
    shape = tuple(getattr(first, "shape", ()))
    problem = net._mismatch(shape)
    X = few.X if few.sample_weight is None else {"X": few.X, "sample_weight": few.sample_weight}
    try:
        net.get_loss(outputs, few.y, X=X)
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        if "reduction" in str(error):  # sample weights need another loss
            raise
        problem = problem or str(error)
    if problem:
        raise ValueError(
            f"The network, a {module}, returns outputs of shape {shape} for {n_samples} samples, "
            f"which do not fit the targets and {type(net.criterion_).__name__}: {problem}. Make a "
            f"module with {net.n_outputs_} outputs, or choose another criterion."
        )


def check_pruning(net: Any, settings: PruningSettings, data: FitData) -> None:
    """Raise before any training if the network cannot be pruned with these settings."""
    few = net._data.first_rows(data.dataset)
    check_outputs(net, few, data)
    if net._stays_dense:
        return
    few = net._data.calibration(few, None, None)
    try:
        settings.check(PrunedMLPAdapter(net), net.network_, few)
    except TypeError as error:
        if not data.forward_params:
            raise
        raise TypeError(
            f"{error}. The network is pruned, and predicts, without the arguments "
            f"{sorted(data.forward_params)} of fit: give them default values in its forward."
        ) from error
    if settings.finds_ratio:
        check_search(net, settings, few)
        check_change(net, settings)


def prune_dense(
    net: Any, settings: PruningSettings, X: Any, y: Any, after_step: Callable | None = None
) -> None:
    """Replace the network by the pruned dense network."""
    if settings.finds_ratio:
        check_held_out(net)
        check_change(net, settings)
    net.notify("on_prune_begin", X=X, y=y)
    if settings.finds_ratio:
        by_loss = settings.max_change is None
        result = prune_by_loss(net, settings) if by_loss else prune_by_change(net, settings)
    else:
        result = prune_estimator(
            PrunedMLPAdapter(net),
            net.dense_module_,
            settings,
            getattr(net, "_calibration_", None),
            batch_size=net.calibration_batch_size,
            random_state=net._seed_,
            after_step=after_step,
            progress=net.progress,
        )
    net.notify("on_prune_end", X=X, y=y, result=result)


def train_and_prune(net: Any, settings: PruningSettings, data: FitData) -> None:
    """Train the dense network and prune it; ``step_epochs`` trains it between the steps."""

    def begin() -> None:
        check_pruning(net, settings, data)
        if net.refit_strategy == "rewind" or net.memory is not None:
            net.initial_module_ = copy.deepcopy(net.network_)

    calibration = [data.dataset]

    def keep_parts(train: Any, valid: Any) -> None:
        keep_held_out(net, settings.max_change, train, valid)
        if settings.max_change is not None:  # its test needs rows that the pruning has not seen
            calibration[0] = train

    on_split = keep_parts if settings.finds_ratio and not net._stays_dense else None
    try:
        train = partial(train_more, net, data, None, begin, on_split)
        if not train_or_recall(net, data, train):
            check_pruning(net, settings, data)
            if on_split is not None:
                on_split(*net._data.split_for(data))
    except PhaseInterrupted:
        net._forget("pruning_report_", "predicted_error_", "n_steps_")  # of an earlier fit
        _keep_dense(net, calibration[0])
        raise
    _keep_dense(net, calibration[0])
    if net._stays_dense:
        return
    if not net.step_epochs:
        prune_dense(net, settings, data.X, data.y)
        return

    def train_between_steps(module: Any, masks: Any) -> None:
        net._set_network(module)
        net.masks_ = masks
        refit(net, data, net.step_epochs)

    settings = settings.with_training_between_steps()
    prune_dense(net, settings, data.X, data.y, train_between_steps)


def _keep_dense(net: Any, dataset: Any) -> None:
    """Keep the dense network and calibration samples, so that it can be pruned."""
    net.dense_module_ = copy.deepcopy(net.network_)
    net._keep_calibration_samples(dataset)


def refit(net: Any, data: FitData, epochs: int) -> None:
    """Fine-tune on all samples, unless the parameters need validation data."""
    if net.refit_strategy == "rewind":
        net.network_.load_state_dict(net.initial_module_.state_dict(), strict=False)
        MaskedWeights.of(net.network_, net.masks_).apply()
    with _refit_weight_decay(net, data.dataset):
        train(net, "refit", data, epochs, holds_out=refit_holds_out(net), lr=_refit_lr(net))


def n_refit_epochs(net: Any, epochs: int | None) -> int:
    """The number of epochs of fine-tuning, given a value of ``refit_epochs``."""
    if epochs is not None:
        return epochs
    return max(getattr(net, "dense_epochs_", 0), (net.max_epochs + 1) // 2)


def _refit_lr(net: Any) -> float:
    """The learning rate of the fine-tuning."""
    if net.refit_lr is not None:
        return net.refit_lr
    return net.lr / 2 if net.refit_strategy == "finetune" else net.lr


def refit_holds_out(net: Any) -> bool:
    """Whether the fine-tuning needs validation data."""
    watched = [getattr(callback, "monitor", None) for _, callback in net.callbacks_]
    return (
        net.early_stopping is True
        or net._data.has_own_split
        or any(isinstance(name, str) and name.startswith("valid") for name in watched)
    )


@contextmanager
def _refit_weight_decay(net: Any, dataset: Any) -> Iterator[None]:
    """Set the weight decay of the fine-tuning, and restore the optimiser's afterwards."""
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
