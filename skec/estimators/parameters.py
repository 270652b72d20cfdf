"""Checks of the estimators' parameters."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any

import torch

from ..allocation import Schedule, Scope, UnitScope
from ..calibration import OutputMetric
from ..compensation import Compensation, UnitCompensation
from ..criteria import Criterion, UnitCriterion
from ..networks import ACTIVATIONS
from ..pruning.granularity import GRANULARITIES
from ..training import LR_SCHEDULES
from ..utils import private
from ..utils.private import Interval, Options, StrOptions
from .make_module import check_hidden_layer_sizes
from .prune_estimator import PruningSettings

_POSITIVE = Interval(Integral, 1, None, closed="left")

CONSTRAINTS: dict[str, list] = {
    "hidden_layer_sizes": ["array-like", _POSITIVE],
    "activation": [StrOptions(set(ACTIVATIONS))],
    "dropout": [Interval(Real, 0, 1, closed="left")],
    "batch_norm": ["boolean"],
    "pruning_ratio": [Interval(Real, 0, 1, closed="left")],
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
    "step_epochs": [Interval(Integral, 0, None, closed="left")],
    "prune_output_layer": ["boolean"],
    "calibration_samples": [_POSITIVE, None],
    "calibration_batch_size": [_POSITIVE],
    "refit_epochs": [Interval(Integral, 0, None, closed="left"), None],
    "refit_lr": [Interval(Real, 0, None, closed="neither"), None],
    "refit_weight_decay": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"}), None],
    "refit_strategy": [StrOptions({"finetune", "rewind", "none"})],
    "lr": [Interval(Real, 0, None, closed="neither")],
    "lr_schedule": [StrOptions(set(LR_SCHEDULES))],
    "max_epochs": [Interval(Integral, 0, None, closed="left")],
    "batch_size": [_POSITIVE, StrOptions({"auto"}), Options(Integral, {-1})],
    "early_stopping": ["boolean", StrOptions({"auto"})],
    "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
    "n_iter_no_change": [_POSITIVE, None],
    "tol": [Interval(Real, 0, None, closed="left")],
    "normalize_y": ["boolean"],
    "class_weight": [dict, StrOptions({"balanced"}), None],
    "dtype": [StrOptions({"float32", "float64"})],
    "random_state": ["random_state"],
    "warm_start": ["boolean"],
}


def check_components(estimator: Any) -> None:
    """Raise for a parameter ``component__name`` of an unknown component."""
    prefixes = set(estimator.prefixes_)
    for name in vars(estimator):
        prefix = name.split("__", 1)[0]
        if "__" in name and not name.startswith("_") and prefix not in prefixes:
            close = get_close_matches(prefix, prefixes, 1)
            hint = f" Did you mean {close[0]}__{name.split('__', 1)[1]}?" if close else ""
            raise ValueError(
                f"{type(estimator).__name__} has no component {prefix!r} for its parameter "
                f"{name!r}.{hint} The components are {sorted(prefixes)}."
            )


def check_device(device: Any) -> None:
    """Raise if torch cannot compute on the device."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device={device!r} is not available to torch on this machine. Use device='cpu'."
        ) from error


def check_parameters(net: Any, values: Mapping[str, Any]) -> PruningSettings:
    """Check all parameters of an estimator; returns the pruning settings.

    Parameters
    ----------
    net : PrunedMLP
    values : mapping of str to object
        Values that replace those of parameters.
    """
    probe = copy.copy(net) if values else net
    for name, value in values.items():
        setattr(probe, name, value)
    private.validate_parameters(probe)
    settings = PruningSettings.of(probe)
    check_components(net)
    check_device(net.device)
    check_hidden_layer_sizes(net.hidden_layer_sizes)
    return settings
