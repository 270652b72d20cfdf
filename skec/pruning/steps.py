"""The steps of a pruning: score, allocate, remove, and again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from .granularity import Scoring, State
from .request import Request

AfterStep = Callable[[nn.Module, dict[str, Tensor]], None]


@dataclass(frozen=True)
class PruningStats:
    """How a pruning went.

    Attributes
    ----------
    n_steps : int
        Number of pruning steps.
    cg_iterations : tuple of int
        Iterations of the conjugate gradients in each step, for compensations of the whole network.
    accepted : tuple of bool
        Whether the Gauss–Newton step of each pruning step lowered the error and was taken.
    seconds : dict of str to float
        Time spent, by stage: ``"score"``, ``"allocate"``, ``"remove"`` (compensation included) and
        ``"after_step"``.
    """

    n_steps: int
    cg_iterations: tuple[int, ...] = ()
    accepted: tuple[bool, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """All steps of a pruning.

    Attributes
    ----------
    state : State
        After the last step.
    first : Scoring
        The scores of the unpruned network.
    errors : dict of layer name to float
        Sums of the scores that were removed.
    stats : PruningStats
    """

    state: State
    first: Scoring
    errors: dict[str, float]
    stats: PruningStats


def run_steps(request: Request, after_step: AfterStep | None = None) -> Run:
    """Do all steps of a pruning.

    Parameters
    ----------
    request : Request
    after_step : callable, default=None
        As in :func:`skec.prune`.
    """
    kind, calibration = request.granularity, request.calibration
    state = kind.begin(calibration.dense, request.names)
    first: Scoring | None = None
    errors = dict.fromkeys(request.names, 0.0)
    efforts, seconds = [], {}
    for step in range(1, request.n_steps + 1):
        with _timed(seconds, "score"):
            scoring = kind.score(state, calibration, request.generator)
            _check_scores(scoring.scores, state.kept)
        first = scoring if first is None else first
        with _timed(seconds, "allocate"):
            kept = _allocate(request, scoring, state, step)
        for name, score in scoring.scores.items():
            errors[name] += float(score[state.kept[name] & ~kept[name]].sum())
        with _timed(seconds, "remove"):
            state = kind.remove(state, scoring, kept, calibration)
        if state.effort is not None:
            efforts.append(state.effort)
        if after_step is not None and step < request.n_steps:
            with _timed(seconds, "after_step"):
                after_step(state.module, kind.masks(state))
                state.module.eval()
    assert first is not None  # there is one step at least
    stats = PruningStats(
        request.n_steps,
        tuple(effort.cg_iterations for effort in efforts),
        tuple(effort.accepted for effort in efforts),
        seconds,
    )
    return Run(state, first, errors, stats)


def _allocate(request: Request, scoring: Scoring, state: State, step: int) -> dict[str, Tensor]:
    """What is kept after a step."""
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
        if score.shape != kept[name].shape or not torch.isfinite(score).all():
            raise ValueError(
                f"The scores of layer {name!r} are not finite numbers in the shape "
                f"{tuple(kept[name].shape)}. The network's weights or outputs are NaN, infinite or "
                f"far too large. Lower lr, the learning rate, and train it again."
            )


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Add the time of the body to a stage."""
    start = time.perf_counter()
    yield
    seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - start
