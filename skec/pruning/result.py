# pyright: strict
"""The result of ``prune``."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from ..allocation import Scope, UnitScope
from ..networks import alive_units, chain_of_layers, compact, feature_mask, layer_of
from ..utils import check_ratio
from .granularity import GRANULARITIES
from .report import PruningReport
from .request import Request
from .steps import PruningStats, Run


class PruningWarning(UserWarning):
    """The pruned network has layers without weights or outputs that are cut off from the inputs."""


@dataclass(frozen=True)
class PruningResult:
    """The result of :func:`prune`.

    Attributes
    ----------
    module : torch.nn.Module
        The pruned, compensated copy of the network, in the same training or evaluation mode.
    masks : dict of layer name to bool tensor of shape (n_out, n_in)
        True marks a kept weight. The mask of a convolution has the shape of its weight.
    scores : dict of layer name to float64 tensor of shape (n_out, n_in) or (n_units,)
        The scores of the weights or units of the dense network.
    report : PruningReport
        One row per layer.
    sparsity : float
        Fraction of removed weights in the layers of ``masks``, for both granularities.
    predicted_error : float or None
        The predicted mean squared change of the outputs: the sum of the scores of the removed
        weights or units. None if the criterion's scores are not output errors.
    probe_error : float or None
        Relative standard error of the sensitivities that the scores use, if random probes
        estimate them: the mean over the units, weighted by their sensitivity. None if the
        sensitivities are exact or not used.
    granularity : str
        ``"weight"`` or ``"neuron"``.
    stats : PruningStats
        Number of steps, conjugate gradient iterations and seconds per stage.
    unit_masks : dict of layer name to bool tensor of shape (n_units,), or None
        True marks a kept unit of the network before pruning. None if single weights were removed.
    """

    module: nn.Module = field(repr=False)
    masks: dict[str, Tensor] = field(repr=False)
    scores: dict[str, Tensor] = field(repr=False)
    report: PruningReport = field(repr=False)
    sparsity: float
    predicted_error: float | None
    probe_error: float | None = None
    granularity: str = "weight"
    stats: PruningStats = field(default_factory=lambda: PruningStats(1), repr=False)
    unit_masks: dict[str, Tensor] | None = field(default=None, repr=False)
    _scope: Scope | UnitScope | None = field(default=None, repr=False)
    _weights: dict[str, Tensor] = field(default_factory=dict[str, Tensor], repr=False)

    @property
    def n_steps(self) -> int:
        """Number of pruning steps."""
        return self.stats.n_steps

    @property
    def feature_mask(self) -> Tensor:
        """Which input columns the network reads, bool of shape (n_features,)."""
        return feature_mask(self.module)

    def compact(self) -> PruningResult:
        """Replace the network by a smaller one with the same outputs; see :func:`skec.compact`.

        Returns
        -------
        PruningResult
            With a smaller ``module``, which still takes all columns of X, and the ``masks`` of its
            layers. Scores, report and sparsity are unchanged.

        Raises
        ------
        ValueError
            If the network is not a chain of layers.

        Examples
        --------
        >>> import torch, skec
        >>> _ = torch.manual_seed(0)
        >>> net = torch.nn.Sequential(
        ...     torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1)
        ... )
        >>> result = skec.prune(net, granularity="neuron", method="l2", pruning_ratio=0.75)
        >>> result.compact().module[0]
        Linear(in_features=4, out_features=4, bias=True)
        """
        module, masks = compact(self.module, self.masks)
        return replace(self, module=module, masks=masks)

    def forecast(
        self, ratios: ArrayLike, scope: str | Mapping[str, float] | Scope | UnitScope = "auto"
    ) -> np.ndarray:
        """Predict the output error of one-shot pruning at other ratios from the scores.

        Parameters
        ----------
        ratios : float or array-like of floats
            Pruning ratios in [0, 1).
        scope : str, mapping, Scope or UnitScope, default="auto"
            As in :func:`prune`; ``"auto"`` is the scope of this result.

        Returns
        -------
        float64 array in the shape of ``ratios``
            Mean squared change of the outputs in the output metric, like ``predicted_error``.

        Raises
        ------
        ValueError
            If a ratio is not in [0, 1), or the scores are not output errors.

        Examples
        --------
        >>> import torch, skec
        >>> _ = torch.manual_seed(0)
        >>> result = skec.prune(torch.nn.Linear(4, 2), torch.randn(100, 4), pruning_ratio=0.5)
        >>> bool(abs(result.forecast(0.5) - result.predicted_error) < 1e-12)
        True
        """
        if self.predicted_error is None:
            raise ValueError(
                "The scores of this method are not output errors, so they predict none. Prune "
                "with method='ec', 'obd' or 'surgeon', or units with 'ec' or 'elimination'."
            )
        parsed = self._scope
        if parsed is None or not (isinstance(scope, str) and scope == "auto"):
            parsed = GRANULARITIES[self.granularity].parse_scope(scope)
        parsed.check(list(self.scores))
        values = np.asarray(ratios, dtype=np.float64)
        flat: list[float] = values.ravel().tolist()
        for ratio in flat:
            check_ratio(ratio, "ratios")
        errors = [self._predicted_error(ratio, parsed) for ratio in flat]
        return np.reshape(np.array(errors, dtype=np.float64), values.shape)

    def _predicted_error(self, ratio: float, scope: Scope | UnitScope) -> float:
        """The sum of the scores of the weights or units that one-shot pruning removes."""
        scores = {n: s.flatten(1) if s.ndim > 2 else s for n, s in self.scores.items()}
        kept = scope.allocate(scores, ratio, weights=self._weights)
        return sum(float(scores[name][~mask].sum()) for name, mask in kept.items())


def make_result(request: Request, run: Run, module: nn.Module) -> PruningResult:
    """Assemble the result of a pruning.

    Parameters
    ----------
    request : Request
    run : Run
    module : torch.nn.Module
        The network given to :func:`prune`; the result gets its training or evaluation modes.
    """
    kind, state = request.granularity, run.state
    for child, original in zip(state.module.modules(), module.modules(), strict=True):
        child.training = original.training
    masks = kind.masks(state)
    n_weights = sum(mask.numel() for mask in masks.values())
    n_left = sum(int(mask.sum()) for mask in masks.values())
    rows = kind.report(state)
    errors = run.errors if kind.criterion.scores_are_errors else None
    if errors is not None:
        rows = [row | {"predicted_error": errors[row["layer"]]} for row in rows]
    scores = run.first.scores
    return PruningResult(
        module=state.module,
        masks=masks,
        scores={n: s.view_as(masks[n]) if s.ndim == 2 else s for n, s in scores.items()},
        report=PruningReport(rows),
        sparsity=(n_weights - n_left) / n_weights,
        predicted_error=None if errors is None else sum(errors.values()),
        probe_error=run.first.probe_error,
        granularity=kind.name,
        stats=run.stats,
        unit_masks=state.kept if kind.name == "neuron" else None,
        _scope=kind.scope,
        _weights=request.weights,
    )


def warn_about_cuts(result: PruningResult) -> None:
    """Warn about layers without weights and about outputs that do not depend on the inputs."""
    masks, module = result.masks, result.module
    advice = "Lower pruning_ratio, use scope='layer' or 'row', or raise n_steps."
    empty = [name for name, mask in masks.items() if not mask.any()]
    if empty:
        message = f"Layers {empty} have no weight left. {advice}"
        warnings.warn(message, PruningWarning, stacklevel=3)
        return
    if not chain_of_layers(module, {name: layer_of(module, name) for name in masks}):
        return
    *_, outputs = alive_units(masks, chain=True).values()
    if not outputs.all():
        cut = [int(output) for output in torch.nonzero(~outputs)]
        message = f"Outputs {cut} no longer depend on the inputs. {advice}"
        warnings.warn(message, PruningWarning, stacklevel=3)
