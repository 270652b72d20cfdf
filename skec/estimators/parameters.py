"""Checks of the estimators' parameters."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real
from os import PathLike
from typing import Any

import numpy as np
import torch

from ..allocation import Schedule, Scope, UnitScope
from ..bounds import MaxChange
from ..calibration import OutputMetric
from ..compensation import Compensation, UnitCompensation
from ..criteria import Criterion, UnitCriterion
from ..networks import ACTIVATIONS
from ..pruning.granularity import GRANULARITIES
from ..training import LR_SCHEDULES
from ..utils import private
from ..utils.private import HasMethods, Interval, Options, StrOptions
from .components import check_components
from .make_module import check_hidden_layer_sizes
from .prune_estimator import PruningSettings


class Number(Interval):
    """An interval of numbers. Booleans are not numbers here, as ``max_epochs=True`` is a slip."""

    def is_satisfied_by(self, val: Any) -> bool:
        return not isinstance(val, bool | np.bool_) and super().is_satisfied_by(val)


_POSITIVE = Number(Integral, 1, None, closed="left")

CONSTRAINTS: dict[str, list] = {
    "hidden_layer_sizes": ["array-like", _POSITIVE],
    "activation": [StrOptions(set(ACTIVATIONS))],
    "feature_scaling": [StrOptions({"auto", "robust"}), None],
    "feature_embedding": [StrOptions({"auto", "periodic"}), None],
    "feature_weights": [StrOptions({"auto", "learned"}), None],
    "dropout": [Number(Real, 0, 1, closed="left")],
    "batch_norm": ["boolean"],
    "pruning_ratio": [Number(Real, 0, 1, closed="left"), StrOptions({"auto"})],
    "max_loss_increase": [Number(Real, 0, None, closed="left")],
    "max_change": [MaxChange, None],
    "granularity": [StrOptions(set(GRANULARITIES))],
    "method": [str, Criterion, UnitCriterion],  # names are looked up when used
    "compensation": [str, Compensation, UnitCompensation],
    "method_params": [Mapping, None],
    "compensation_params": [Mapping, None],
    "scope": [str, Mapping, Scope, UnitScope],
    "n_steps": [_POSITIVE, StrOptions({"auto"})],
    "schedule": [str, Schedule],
    "output_metric": [str, OutputMetric],
    "n_probes": [_POSITIVE, StrOptions({"auto"}), None],
    "layers": ["array-like", None],
    "step_epochs": [Number(Integral, 0, None, closed="left")],
    "prune_output_layer": ["boolean"],
    "calibration_samples": [_POSITIVE, None],
    "calibration_batch_size": [_POSITIVE],
    "refit_epochs": [Number(Integral, 0, None, closed="left"), None],
    "refit_lr": [Number(Real, 0, None, closed="neither"), None],
    "refit_weight_decay": [Number(Real, 0, None, closed="left"), StrOptions({"auto"}), None],
    "refit_strategy": [StrOptions({"finetune", "rewind", "none"})],
    "lr": [Number(Real, 0, None, closed="neither")],
    "lr_schedule": [StrOptions(set(LR_SCHEDULES))],
    "max_epochs": [Number(Integral, 0, None, closed="left")],
    "batch_size": [_POSITIVE, StrOptions({"auto"}), Options(Integral, {-1})],
    "early_stopping": ["boolean", StrOptions({"auto"})],
    "validation_fraction": [Number(Real, 0, 1, closed="neither")],
    "n_iter_no_change": [_POSITIVE, None],
    "tol": [Number(Real, 0, None, closed="left")],
    "normalize_y": ["boolean"],
    "class_weight": [dict, StrOptions({"balanced"}), None],
    "label_smoothing": [Number(Real, 0, 1, closed="both")],
    "dtype": [StrOptions({"float32", "float64"})],
    "random_state": ["random_state"],
    "warm_start": ["boolean"],
    "memory": [str, PathLike, HasMethods(["cache"]), None],
    "train_split": [StrOptions({"auto"}), callable, None, Options(bool, {False})],
    "predict_nonlinearity": [StrOptions({"auto"}), callable, None],
    "iterator_train": [StrOptions({"auto"}), callable],
    "iterator_valid": [StrOptions({"auto"}), callable],
    "dataset": [StrOptions({"auto"}), callable],
    "verbose": ["verbose"],
    "progress": ["boolean"],
    "n_threads": [Number(Integral, 1, None, closed="left")],
    "compile": ["boolean"],
    "use_caching": [StrOptions({"auto"}), "boolean"],
    "torch_load_kwargs": [Mapping, None],
}


def check_device(device: Any) -> None:
    """Raise if torch cannot compute on the device."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device={device!r} is not available to torch on this machine. Use device='cpu'."
        ) from error


def check_given_ratio(pruner: Any) -> None:
    """Raise if the ratio of a pruner is automatic."""
    if isinstance(pruner.pruning_ratio, str):
        raise ValueError(
            f"The 'pruning_ratio' parameter of {type(pruner).__name__} must be a number in [0, 1); "
            f"got {pruner.pruning_ratio!r}. Pass a number, or search for it with GridSearchCV. "
            f"Only PrunedMLPRegressor and PrunedMLPClassifier take 'auto'."
        )


def check_parameters(net: Any, values: Mapping[str, Any]) -> PruningSettings:
    """Check all parameters of an estimator; returns the pruning settings.

    Parameters
    ----------
    net : PrunedMLP
    values : mapping of str to object
        Values that replace those of parameters.
    """
    probe = net
    if values:  # copy.copy would pickle the network
        probe = object.__new__(type(net))
        vars(probe).update(vars(net) | values)
    check_components(probe)
    private.validate_parameters(probe)
    settings = PruningSettings.of(probe, values)
    if not (settings.max_change is None or settings.finds_ratio or "pruning_ratio" in values):
        raise ValueError(
            f"max_change sets how far an automatic ratio goes; got max_change="
            f"{settings.max_change!r} with pruning_ratio={probe.pruning_ratio!r}. Set "
            f"pruning_ratio='auto', or max_change=None."
        )
    check_device(net.device)
    check_hidden_layer_sizes(probe.hidden_layer_sizes)
    return settings
