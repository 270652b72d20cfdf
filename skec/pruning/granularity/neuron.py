"""Whole units are removed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...allocation import UnitScope, parse_unit_scope
from ...calibration import Calibration
from ...calibration.statistics import (
    BACKWARD,
    InputProbeError,
    LayerStatistics,
    Need,
    Statistic,
    relative_probe_error,
)
from ...compensation import UNIT_COMPENSATIONS, UnitCompensation
from ...criteria import UNIT_CRITERIA, UnitCriterion
from ...networks import (
    HiddenLayer,
    NotAChain,
    copy_network,
    hidden_layers,
    is_convolution,
    layer_of,
    prunable_layers,
    units_of,
)
from ._base import Granularity, Scoring, State, solvable, write


class NeuronGranularity(Granularity[UnitCriterion, UnitCompensation]):
    """Hidden units: a unit is removed with its incoming and outgoing weights.

    The unit's column of the next layer is set to zero, and the remaining columns and the bias of
    that layer compensate for it. Then the unit has no effect, and its own row is set to zero too.
    The layers are processed in their order, so each compensation uses the activations of the
    already pruned layers before it.
    """

    name = "neuron"
    criteria = UNIT_CRITERIA
    compensations = UNIT_COMPENSATIONS
    default_scope = "layer"
    without_data = "method='l2' with compensation='lbyl'"

    @classmethod
    def parse_scope(cls, scope: Any) -> UnitScope:
        auto = isinstance(scope, str) and scope == "auto"
        return parse_unit_scope(cls.default_scope if auto else scope)

    def layers(self, module, names):
        chosen = list(prunable_layers(module, names))
        try:
            hidden = hidden_layers(module)
        except NotAChain as error:
            raise NotAChain(
                f"granularity='neuron' cannot prune this network. {error} Use granularity='weight'."
            ) from None
        if not hidden:
            raise ValueError(
                "granularity='neuron' removes units of hidden layers, and this network has none. "
                "Use granularity='weight'."
            )
        if names is None:
            self._check_statistics(module, hidden.values())
            return list(hidden)
        chosen_hidden = [name for name in chosen if name in hidden]
        named = [names] if isinstance(names, str) else list(names)
        outputs = [name for name in chosen if name not in hidden]
        if outputs and (outputs[0] in named or not chosen_hidden):
            raise ValueError(
                f"layers={names!r}: the units of {outputs[0]!r} are the network's outputs, "
                f"which are never removed. The hidden layers are {list(hidden)}."
            )
        self._check_statistics(module, [hidden[name] for name in chosen_hidden])
        return chosen_hidden

    def _check_statistics(self, module: nn.Module, hidden: Iterable[HiddenLayer]) -> None:
        """Raise if a statistic is not defined for the next layer, because its inputs are maps."""
        for layer in hidden:
            reader = layer_of(module, layer.next_name)
            lacking = [s.__name__ for s in self.statistics if s.for_maps is None]
            if lacking and (is_convolution(reader) or layer.block > 1):
                raise ValueError(
                    f"{lacking[0]} is not defined for layer {layer.next_name!r}, whose inputs are "
                    f"feature maps. Declare {lacking[0]}.for_maps, or leave layer {layer.name!r} "
                    f"out with layers=[...]."
                )

    def read_layers(self, module, names):
        return [layer.next_name for n, layer in hidden_layers(module).items() if n in names]

    def begin(self, module, names):
        kept = {
            name: torch.ones_like(layer_of(module, name).weight.flatten(1)[:, 0], dtype=torch.bool)
            for name in names
        }
        state = State(module, kept)
        for name, hidden in _hidden(state).items():
            self.compensation.check(units_of(module, hidden, kept[name]))
        return state

    def score(self, state, calibration, generator):
        requires, hidden = self.criterion.requires, _hidden(state)
        n_probes = calibration.n_probes if Need.of(requires) & BACKWARD else None
        statistics = requires if n_probes is None else (*requires, InputProbeError)
        measured = self._collect(state, state.module, hidden, statistics, calibration)
        probe_error = None
        if n_probes is not None:
            spreads = [statistics[InputProbeError] for statistics in measured.values()]
            probe_error = relative_probe_error(spreads, n_probes)
        scores = {}
        for name, layer in hidden.items():
            units = units_of(state.module, layer, state.kept[name])
            with solvable(f"layer {name!r}"):
                scores[name] = self.criterion.score(units, measured[name], generator)
        return Scoring(scores, measured, probe_error)

    def remove(self, state, scoring, kept, calibration, *, donated=False):
        module, hidden = copy_network(state.module), _hidden(state)
        requires, changed = self.compensation.requires, False
        for i, (name, layer) in enumerate(hidden.items()):
            removed = state.kept[name] & ~kept[name]
            changed |= bool(removed.any())
            if not changed:
                continue
            statistics = scoring.statistics[name]
            if i or not set(requires) <= set(statistics.by_class):  # earlier layers have changed
                one = {name: layer}
                statistics = self._collect(state, module, one, requires, calibration)[name]
            units = units_of(state.module, layer, state.kept[name])
            with solvable(f"layer {name!r}"):
                weight, bias = self.compensation.restore(units, removed, statistics)
            columns = units.columns(kept[name])
            write(module, layer.next_name, weight.masked_fill(~columns, 0.0), bias)
        for name in hidden:
            part, removed = layer_of(module, name), ~kept[name]
            weight = part.weight.detach().flatten(1).double()
            bias = None if part.bias is None else part.bias.detach().masked_fill(removed, 0.0)
            write(module, name, weight.masked_fill(removed[:, None], 0.0), bias)
        return State(module, kept)

    def masks(self, state):
        masks: dict[str, Tensor] = {}
        for name, hidden in _hidden(state).items():
            for layer in (name, hidden.next_name):
                weight = layer_of(state.module, layer).weight.flatten(1)
                masks.setdefault(layer, torch.ones_like(weight, dtype=torch.bool))
            masks[name] &= state.kept[name][:, None]
            masks[hidden.next_name] &= state.kept[name].repeat_interleave(hidden.block)
        return {name: m.view_as(layer_of(state.module, name).weight) for name, m in masks.items()}

    def report(self, state):
        masks, rows = self.masks(state), []
        for name, kept in state.kept.items():
            left = int(kept.sum())
            rows.append(
                {
                    "layer": name,
                    "units": len(kept),
                    "units_left": left,
                    "sparsity": 1 - left / len(kept),
                    "weights": masks[name].numel(),
                    "weights_left": int(masks[name].sum()),
                }
            )
        return rows

    @staticmethod
    def _collect(
        state: State,
        module: nn.Module,
        hidden: Mapping[str, HiddenLayer],
        statistics: Sequence[type[Statistic]],
        calibration: Calibration,
    ) -> dict[str, LayerStatistics]:
        """Statistics of the next layer of each hidden layer, by the name of the hidden layer."""
        readers = {layer.next_name: name for name, layer in hidden.items()}
        measured = calibration.collect(
            module,
            {reader: layer_of(module, reader) for reader in readers},
            statistics,
            n_units={reader: len(state.kept[name]) for reader, name in readers.items()},
        )
        return {name: measured[reader] for reader, name in readers.items()}


def _hidden(state: State) -> dict[str, HiddenLayer]:
    """The hidden layers to prune, in their order."""
    return {n: layer for n, layer in hidden_layers(state.module).items() if n in state.kept}
