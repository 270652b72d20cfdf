"""Single weights are removed."""

from __future__ import annotations

from typing import Any

import torch

from ...allocation import Scope, parse_scope
from ...calibration.statistics import ProbeError, relative_probe_error
from ...compensation import COMPENSATIONS, Compensation
from ...criteria import CRITERIA, Criterion
from ...networks import (
    PRUNABLE,
    alive_units,
    chain_of_layers,
    copy_network,
    has_own_forward,
    is_convolution,
    layer_of,
    prunable_layers,
)
from ...utils import Registry
from ._base import Granularity, Scoring, State, solvable, write


class WeightGranularity(Granularity[Criterion, Compensation]):
    """Single weights: they are set to zero, and every layer keeps its shape."""

    name = "weight"
    criteria = CRITERIA
    compensations = COMPENSATIONS
    default_scope = "global"
    without_data = "method='magnitude' with compensation='none'"

    @classmethod
    def parse_scope(cls, scope: Any) -> Scope:
        return parse_scope(cls.default_scope if _is_auto(scope) else scope)

    def layers(self, module, names):
        layers = prunable_layers(module, names)
        for name, layer in layers.items():
            kind = next(kind for kind in PRUNABLE if isinstance(layer, kind))
            if self.statistics and has_own_forward(layer, kind):
                raise ValueError(
                    f"Layer {name!r} is a {type(layer).__name__} with a forward of its own, so it "
                    f"need not be a product of its weight and input. Leave it out with "
                    f"layers=[...], or use {self.without_data}."
                )
            if is_convolution(layer) and not all(s.for_convolutions for s in self.statistics):
                criterion = self.criterion.name or type(self.criterion).__name__
                raise ValueError(
                    f"{criterion!r} with compensation {self.compensation.name!r} is not defined "
                    f"for convolutions such as layer {name!r}. Use one of "
                    f"{_for_convolutions(CRITERIA)} with compensation one of "
                    f"{_for_convolutions(COMPENSATIONS)}, or leave the layer out with layers=[...]."
                )
        return list(layers)

    def begin(self, module, names):
        weights = {name: layer_of(module, name).weight.flatten(1) for name in names}
        return State(module, {n: torch.ones_like(w, dtype=torch.bool) for n, w in weights.items()})

    def score(self, state, calibration, generator):
        n_probes = calibration.n_probes
        measured = calibration.collect(
            state.module,
            {name: layer_of(state.module, name) for name in state.kept},
            self.statistics if n_probes is None else (*self.statistics, ProbeError),
            kept=state.kept,
        )
        probe_error = None
        if n_probes is not None:
            spreads = [statistics[ProbeError] for statistics in measured.values()]
            probe_error = relative_probe_error(spreads, n_probes)
        scores = {}
        for name in state.kept:
            with solvable(f"layer {name!r}"):
                scores[name] = self.criterion.score(state.weight(name), measured[name], generator)
        return Scoring(scores, measured, probe_error)

    def remove(self, state, scoring, kept, calibration, *, donated=False):
        module = state.module if donated else copy_network(state.module)
        for name in kept:
            layer = layer_of(module, name)
            removed = state.kept[name] & ~kept[name]
            bias = None if layer.bias is None else layer.bias.detach().double()
            with solvable(f"layer {name!r}"):
                weight, bias = self.compensation.apply(
                    state.weight(name), bias, removed, scoring.statistics[name]
                )
            write(module, name, weight.masked_fill(~kept[name], 0.0), bias)
        with solvable("the network"):
            effort = self.compensation.adjust(module, kept, scoring.statistics, calibration)
        return State(module, kept, effort)

    def masks(self, state):
        return {
            name: mask.view_as(layer_of(state.module, name).weight)
            for name, mask in state.kept.items()
        }

    def report(self, state):
        layers = {name: layer_of(state.module, name) for name in state.kept}
        alive = alive_units(state.kept, chain_of_layers(state.module, layers))
        rows = []
        for name, mask in state.kept.items():
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


def _is_auto(scope: Any) -> bool:
    return isinstance(scope, str) and scope == "auto"


def _for_convolutions(registry: Registry) -> list[str]:
    """The names whose statistics are defined for convolutions."""
    return sorted(
        name
        for name, kind in registry.items()
        if all(statistic.for_convolutions for statistic in kind.requires)
    )
