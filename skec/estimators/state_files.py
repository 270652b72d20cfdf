"""The scale of the targets in files of weights."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from .target_scale import TargetScale

_KEY = "skec.targets"  # key of the scale in a file; no parameter has a name like this
_MEAN, _SCALE = "y_mean_", "y_scale_"


class ModuleWithScale:
    """The network of a regressor with a state that includes the scale of y.

    The scale is in the metadata of the state. ``load_state_dict`` of a module ignores it there, so
    the module can load the file too. A safetensors file holds only tensors; there the scale is
    stored in two additional tensors.

    Parameters
    ----------
    module : torch.nn.Module
    estimator : PrunedMLPRegressor
    tensors_alone : bool
        Whether the file can hold only tensors.
    """

    def __init__(self, module: nn.Module, estimator: Any, tensors_alone: bool):
        self.module, self.estimator, self.tensors_alone = module, estimator, tensors_alone

    def state_dict(self) -> OrderedDict[str, Any]:
        """The state of the module with the scale."""
        state = self.module.state_dict()
        metadata = _metadata(state)
        state = OrderedDict(state)
        scale: TargetScale | None = vars(self.estimator).get("target_scale_")
        if scale is not None:
            values = {_MEAN: scale.mean.tolist(), _SCALE: scale.scale.tolist()}
            if self.tensors_alone:
                for name, value in values.items():
                    state[f"{_KEY}.{name}"] = torch.tensor(value, dtype=torch.float64)
            else:
                metadata = {**metadata, _KEY: values}
        return _with_metadata(state, metadata)

    def load_state_dict(self, state: OrderedDict[str, Any]) -> None:
        """Load the state of the module, and set the scale if there is one."""
        metadata = _metadata(state)
        values = dict(metadata.get(_KEY, {}))
        state = OrderedDict(state)
        for name in (_MEAN, _SCALE):
            tensor = state.pop(f"{_KEY}.{name}", None)
            if tensor is not None:
                values[name] = tensor.tolist()
        self.module.load_state_dict(_with_metadata(state, metadata))
        if values and self.estimator._phase is None:  # in training, the targets set the scale
            mean, scale = (np.asarray(values[name], dtype=np.float64) for name in (_MEAN, _SCALE))
            self.estimator.target_scale_ = TargetScale(mean, scale)


def _metadata(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """The metadata of a state, such as versions of modules; torch has no public name for it."""
    return getattr(state, "_metadata", {})


def _with_metadata(
    state: OrderedDict[str, Any], metadata: Mapping[str, Any]
) -> OrderedDict[str, Any]:
    setattr(state, "_metadata", metadata)  # noqa: B010
    return state
