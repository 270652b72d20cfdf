"""What a file holds beside the weights: the scale of the targets, or the class labels."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

_KEY = "skec.targets"  # key in a file; no parameter has a name like this


class ModuleWithTargets:
    """The network of an estimator, with a state that includes facts about the targets.

    The facts are in the metadata of the state. ``load_state_dict`` of a module ignores them there,
    so the module can load the file too. A safetensors file holds only tensors; there each fact is
    one more tensor, numbers as they are and other facts as JSON in bytes.

    Parameters
    ----------
    module : torch.nn.Module
    estimator : PrunedMLP
    tensors_alone : bool
        Whether the file can hold only tensors.
    """

    def __init__(self, module: nn.Module, estimator: Any, tensors_alone: bool):
        self.module, self.estimator, self.tensors_alone = module, estimator, tensors_alone

    def state_dict(self) -> OrderedDict[str, Any]:
        """The state of the module with the facts."""
        state = self.module.state_dict()
        metadata = _metadata(state)
        state = OrderedDict(state)
        facts = self.estimator._target_facts()
        if self.tensors_alone:
            state.update((f"{_KEY}.{name}", _as_tensor(fact)) for name, fact in facts.items())
        elif facts:
            metadata = {**metadata, _KEY: facts}
        return _with_metadata(state, metadata)

    def load_state_dict(self, state: OrderedDict[str, Any]) -> None:
        """Load the state of the module, and give the estimator the facts if there are any."""
        metadata = _metadata(state)
        facts = dict(metadata.get(_KEY, {}))
        state = OrderedDict(state)
        for key in [key for key in state if key.startswith(f"{_KEY}.")]:
            facts[key.removeprefix(f"{_KEY}.")] = _from_tensor(state.pop(key))
        self.module.load_state_dict(_with_metadata(state, metadata))
        if facts and self.estimator._phase is None:  # in training, the targets are known
            self.estimator._take_target_facts(facts)


def _as_tensor(fact: list[Any]) -> Tensor:
    if all(isinstance(value, float) for value in fact):
        return torch.tensor(fact, dtype=torch.float64)
    return torch.tensor(list(json.dumps(fact).encode()), dtype=torch.uint8)


def _from_tensor(tensor: Tensor) -> list[Any]:
    if tensor.dtype != torch.uint8:
        return tensor.tolist()
    return json.loads(bytes(tensor.tolist()))


def _metadata(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """The metadata of a state, such as versions of modules; torch has no public name for it."""
    return getattr(state, "_metadata", {})


def _with_metadata(
    state: OrderedDict[str, Any], metadata: Mapping[str, Any]
) -> OrderedDict[str, Any]:
    setattr(state, "_metadata", metadata)  # noqa: B010
    return state
