# pyright: strict
"""The pruning steps: score, allocate, remove, repeat."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn

from ..compensation import Effort
from ..networks import layer_of
from ..utils import all_finite, equal_up_to_rounding, progress_bar
from .granularity import Scoring, State
from .request import Request

AfterStep = Callable[[nn.Module, dict[str, Tensor]], None]


@dataclass(frozen=True)
class PruningStats:
    """Effort of a pruning.

    Attributes
    ----------
    n_steps : int
        Number of pruning steps.
    cg_iterations : tuple of int
        Number of conjugate gradient iterations in each step. Empty unless the compensation adjusts
        the whole network.
    accepted : tuple of bool
        Whether this adjustment lowered the error in each step; if not, it was discarded. Empty
        unless the compensation adjusts the whole network.
    seconds : dict of str to float
        Time per stage: ``"score"``, ``"allocate"``, ``"remove"`` (with compensation) and, if given,
        ``"after_step"``.
    """

    n_steps: int
    cg_iterations: tuple[int, ...] = ()
    accepted: tuple[bool, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True)
class Run:
    """The outcome of all pruning steps.

    Attributes
    ----------
    state : State
        After the last step.
    first : Scoring
        The scores of the dense network.
    errors : dict of layer name to float
        Sum of the scores of the removed weights or units.
    stats : PruningStats
    """

    state: State
    first: Scoring
    errors: dict[str, float]
    stats: PruningStats


def score_dense(request: Request) -> Scoring:
    """The scores of the dense network, which are those of the first step."""
    state = request.granularity.begin(request.calibration.dense, request.names)
    return _score(request, state)


def run_steps(
    request: Request,
    after_step: AfterStep | None = None,
    progress: bool = False,
    first: Scoring | None = None,
) -> Run:
    """Run all pruning steps.

    Parameters
    ----------
    request : Request
    after_step : callable, default=None
    progress : bool, default=False
        As in :func:`skec.prune`.
    first : Scoring, default=None
        The result of ``score_dense``, if it is known.
    """
    kind, calibration = request.granularity, request.calibration
    state = kind.begin(calibration.dense, request.names)
    errors = dict.fromkeys(request.names, 0.0)
    efforts: list[Effort] = []
    seconds: dict[str, float] = {}
    with progress_bar(request.n_steps, "prune", "step", shown=progress) as advance:
        for step in range(1, request.n_steps + 1):
            with _timed(seconds, "score"):
                scoring = first if step == 1 and first is not None else _score(request, state)
            first = scoring if first is None else first
            with _timed(seconds, "allocate"):
                kept = _allocate(request, scoring, state, step)
            for name, score in scoring.scores.items():
                errors[name] += float(score[state.kept[name] & ~kept[name]].sum())
            with _timed(seconds, "remove"):
                donated = step > 1 and after_step is None  # the first network is the dense one
                state = kind.remove(state, scoring, kept, calibration, donated=donated)
            if state.effort is not None:
                efforts.append(state.effort)
            if after_step is not None and step < request.n_steps:
                with _timed(seconds, "after_step"):
                    after_step(state.module, kind.masks(state))
                    state.module.eval()
            advance()
    assert first is not None  # there is one step at least
    stats = PruningStats(
        request.n_steps,
        tuple(effort.cg_iterations for effort in efforts),
        tuple(effort.accepted for effort in efforts),
        seconds,
    )
    return Run(state, first, errors, stats)


def _score(request: Request, state: State) -> Scoring:
    kind = request.granularity
    scoring = kind.score(state, request.calibration, request.generator)
    _check_scores(scoring.scores, state.kept)
    if kind.criterion.sums:
        scoring = replace(scoring, scores=_settled(scoring.scores, state))
    return scoring


def _settled(scores: Mapping[str, Tensor], state: State) -> dict[str, Tensor]:
    """Scores without differences that come from rounding; those of removed weights are not used."""
    settled: dict[str, Tensor] = {}
    for name, score in scores.items():
        kept = state.kept[name]
        dtype = layer_of(state.module, name).weight.dtype
        if kept.all():
            settled[name] = equal_up_to_rounding(score, dtype)
        else:
            settled[name] = score.masked_scatter(kept, equal_up_to_rounding(score[kept], dtype))
    return settled


def _allocate(request: Request, scoring: Scoring, state: State, step: int) -> dict[str, Tensor]:
    """The masks after a step."""
    ranked = {
        name: score.masked_fill(~state.kept[name], -torch.inf)
        for name, score in scoring.scores.items()
    }
    return request.granularity.scope.allocate(
        ranked,
        request.pruning_ratio,
        weights=request.weights,
        reached=partial(request.ratio_after, step),
    )


def _check_scores(scores: Mapping[str, Tensor], kept: Mapping[str, Tensor]) -> None:
    for name, score in scores.items():
        if score.shape != kept[name].shape:
            raise ValueError(
                f"The scores of layer {name!r} must have shape {tuple(kept[name].shape)}; got "
                f"{tuple(score.shape)}. Correct the method's score."
            )
        if not all_finite(score):
            raise ValueError(
                f"The scores of layer {name!r} are not finite. The network's weights or outputs "
                f"are NaN, infinite or far too large. Lower lr, the learning rate, and train it "
                f"again."
            )


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Generator[None, None, None]:
    """Add the time of the body to a stage."""
    start = time.perf_counter()
    yield
    seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - start
