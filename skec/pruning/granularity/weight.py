"""Single weights are removed."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ...allocation.scopes import allocate, allocate_ratios
from ...calibration.collect import collect
from ...calibration.statistics import ProbeError, relative_probe_error
from ...compensation import COMPENSATIONS, Stage
from ...criteria import CRITERIA
from ...networks.chain import alive_units, chain_of_layers
from ...networks.layers import prunable_layers
from ...networks.patches import is_convolution
from ...utils.validation import check_scope
from ._base import Granularity, write


class WeightGranularity(Granularity):
    """Single weights: every layer keeps its shape and gets zeros."""

    name = "weight"
    default_scope = "global"
    without_data = "method='magnitude' with compensation='none'"

    criteria = CRITERIA
    compensations = COMPENSATIONS

    @staticmethod
    def check_scope(scope, names=None):
        check_scope(scope, names)

    def layers(self, module, names):
        layers = prunable_layers(module, names)
        for name, layer in layers.items():
            if is_convolution(layer) and not all(s.for_convolutions for s in self.statistics):
                criterion = self.criterion.name or type(self.criterion).__name__
                raise ValueError(
                    f"{criterion!r} with compensation {self.compensation.name!r} is not defined "
                    f"for convolutions such as layer {name!r}. Use one of "
                    f"{_for_convolutions(CRITERIA)} with compensation one of "
                    f"{_for_convolutions(COMPENSATIONS)}, or leave the layer out with layers=[...]."
                )
        return list(layers)

    def begin(self, pruning, names):
        pruning.kept = {n: torch.ones_like(pruning.weight(n), dtype=torch.bool) for n in names}

    def score(self, pruning):
        layers = {name: pruning.layer(name) for name in pruning.kept}
        statistics = (*self.statistics, ProbeError) if pruning.probed else self.statistics
        pruning.measured = collect(
            pruning.module,
            layers,
            pruning.data,
            statistics,
            metric=pruning.metric,
            loss=pruning.loss,
        )
        for name, mask in pruning.kept.items():
            pruning.measured[name].kept = mask
        if pruning.probed:
            spreads = [statistics[ProbeError] for statistics in pruning.measured.values()]
            pruning.probe_error = relative_probe_error(spreads, pruning.metric.n_probes)
        return {
            name: self.criterion.score(
                pruning.weight(name), pruning.measured[name], pruning.generator
            )
            for name in layers
        }

    @staticmethod
    def allocate(scores, ratio, scope, weights):
        if isinstance(ratio, Mapping):
            return allocate_ratios(scores, ratio)
        return allocate(scores, ratio, scope, weights)

    def remove(self, pruning, kept):
        layers = {name: pruning.layer(name) for name in kept}
        for name, layer in layers.items():
            removed = pruning.kept[name] & ~kept[name]
            with torch.no_grad():
                bias = None if layer.bias is None else layer.bias.double()
                weight, bias = self.compensation.apply(
                    pruning.weight(name), bias, removed, pruning.measured[name]
                )
                write(layer, weight.masked_fill(~kept[name], 0.0), bias)
        self.compensation.adjust(
            Stage(
                pruning.module,
                pruning.dense,
                layers,
                kept,
                pruning.measured,
                pruning.data,
                pruning.metric,
            )
        )
        pruning.kept = kept

    def masks(self, pruning):
        return {name: m.view_as(pruning.layer(name).weight) for name, m in pruning.kept.items()}

    def report(self, pruning):
        layers = {name: pruning.layer(name) for name in pruning.kept}
        alive = alive_units(pruning.kept, chain_of_layers(pruning.module, layers))
        rows = []
        for name, mask in pruning.kept.items():
            left = int(mask.sum())
            rows.append(
                {
                    "layer": name,
                    "shape": "×".join(map(str, layers[name].weight.shape)),
                    "weights": mask.numel(),
                    "weights_left": left,
                    "sparsity": 1 - left / mask.numel(),
                    "dead_units": int((~alive[name]).sum()),
                }
            )
        return rows


def _for_convolutions(registry) -> list[str]:
    """The names whose statistics are defined for convolutions."""
    return sorted(
        name
        for name, kind in registry.items()
        if all(statistic.for_convolutions for statistic in kind.requires)
    )
