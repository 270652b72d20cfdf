"""Whole units are removed."""

from __future__ import annotations

import torch

from ...allocation.scopes import UNIT_SCOPES, allocate_units
from ...calibration.collect import collect
from ...calibration.statistics import InputProbeError, LayerStatistics, relative_probe_error
from ...compensation import UNIT_COMPENSATIONS
from ...criteria import UNIT_CRITERIA
from ...networks.chain import HiddenLayer, NotAChain, hidden_layers
from ...networks.layers import prunable_layers
from ...networks.patches import is_convolution
from ...networks.units import Units, units_of
from ...utils.validation import check_scope
from ._base import Granularity, write


class NeuronGranularity(Granularity):
    """Units of hidden layers: what they read and what reads them goes with them.

    A unit's column of the next layer is set to zero, and the rest of that layer makes up for it;
    then nothing reads the unit, and its own row is set to zero too. The layers have their turn in
    their order, so that each compensation sees what the layers before it have become.
    """

    name = "neuron"
    default_scope = "layer"
    without_data = "method='l2' with compensation='lbyl'"

    criteria = UNIT_CRITERIA
    compensations = UNIT_COMPENSATIONS

    @staticmethod
    def check_scope(scope, names=None):
        check_scope(scope, names, UNIT_SCOPES)

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
                f"which stay. The hidden layers are {list(hidden)}."
            )
        self._check_statistics(module, [hidden[name] for name in chosen_hidden])
        return chosen_hidden

    def _check_statistics(self, module, hidden) -> None:
        """Raise if a statistic is not defined for a layer that reads maps."""
        for layer in hidden:
            reader = module.get_submodule(layer.next_name)
            lacking = [s.__name__ for s in self.statistics if s.for_maps is None]
            if lacking and (is_convolution(reader) or layer.block > 1):
                raise ValueError(
                    f"{lacking[0]} has no form for layer {layer.next_name!r}, which reads units "
                    f"that are maps: give it one as for_maps, or leave {layer.name!r} out with "
                    f"layers=[...]."
                )

    def begin(self, pruning, names):
        self.hidden: dict[str, HiddenLayer] = {
            name: hidden for name, hidden in hidden_layers(pruning.module).items() if name in names
        }
        pruning.kept = {}
        for name in self.hidden:
            n_units = len(pruning.layer(name).weight)
            pruning.kept[name] = torch.ones(
                n_units, dtype=torch.bool, device=pruning.layer(name).weight.device
            )
            self.compensation.check(self._units(pruning, name))

    def score(self, pruning):
        statistics = self.criterion.requires
        probed = pruning.probed and any(kind.needs_backward() for kind in statistics)
        measured = pruning.measured = self._collect(
            pruning, list(self.hidden), (*statistics, InputProbeError) if probed else statistics
        )
        if probed:
            spreads = [statistics[InputProbeError] for statistics in measured.values()]
            pruning.probe_error = relative_probe_error(spreads, pruning.metric.n_probes)
        self.units = {name: self._units(pruning, name) for name in self.hidden}
        return {
            name: self.criterion.score(units, measured[name], pruning.generator)
            for name, units in self.units.items()
        }

    @staticmethod
    def allocate(scores, ratio, scope, weights):
        return allocate_units(scores, ratio, scope)

    def remove(self, pruning, kept):
        changed = False
        for name, hidden in self.hidden.items():
            removed = pruning.kept[name] & ~kept[name]
            changed |= bool(removed.any())
            if not changed:
                continue
            statistics = self._statistics_for_compensation(pruning, name)
            weight, bias = self.compensation.restore(self.units[name], removed, statistics)
            columns = self.units[name].columns(kept[name])
            write(pruning.layer(hidden.next_name), weight.masked_fill(~columns, 0.0), bias)
        for name in self.hidden:
            layer, gone = pruning.layer(name), ~kept[name]
            bias = None if layer.bias is None else layer.bias.masked_fill(gone, 0.0)
            write(layer, pruning.weight(name).masked_fill(gone[:, None], 0.0), bias)
        pruning.kept = kept

    def _statistics_for_compensation(self, pruning, name) -> LayerStatistics:
        """Those of the scores if the first layer needs no others; nothing has changed before it."""
        known, requires = pruning.measured[name], self.compensation.requires
        if name == next(iter(self.hidden)) and set(requires) <= set(known.by_class):
            return known
        return self._collect(pruning, [name], requires)[name]

    def masks(self, pruning):
        masks = {}
        for name, hidden in self.hidden.items():
            for layer in (name, hidden.next_name):
                weight = pruning.layer(layer).weight.flatten(1)
                masks.setdefault(layer, torch.ones_like(weight, dtype=torch.bool))
            masks[name] &= pruning.kept[name][:, None]
            masks[hidden.next_name] &= pruning.kept[name].repeat_interleave(hidden.block)
        return {name: mask.view_as(pruning.layer(name).weight) for name, mask in masks.items()}

    def report(self, pruning):
        masks, rows = self.masks(pruning), []
        for name, kept in pruning.kept.items():
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

    def _units(self, pruning, name) -> Units:
        return units_of(pruning.module, self.hidden[name], pruning.kept[name])

    def _collect(self, pruning, names, statistics) -> dict[str, LayerStatistics]:
        """Statistics of the layers that read the units."""
        if not statistics:
            return {name: LayerStatistics() for name in names}
        readers = {self.hidden[name].next_name: name for name in names}
        measured = collect(
            pruning.module,
            {reader: pruning.layer(reader) for reader in readers},
            pruning.data,
            statistics,
            metric=pruning.metric,
            loss=pruning.loss,
            dense=pruning.dense,
            n_units={reader: len(pruning.kept[name]) for reader, name in readers.items()},
        )
        return {name: measured[reader] for reader, name in readers.items()}
