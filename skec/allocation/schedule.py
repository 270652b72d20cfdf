"""How the pruning ratio grows over the steps."""

from __future__ import annotations

from collections.abc import Callable


def _geometric(ratio: float, progress: float) -> float:
    return 1.0 - (1.0 - ratio) ** progress


def _linear(ratio: float, progress: float) -> float:
    return ratio * progress


def _cubic(ratio: float, progress: float) -> float:
    return ratio * (1.0 - (1.0 - progress) ** 3)


SCHEDULES: dict[str, Callable[[float, float], float]] = {
    "geometric": _geometric,
    "linear": _linear,
    "cubic": _cubic,
}


def ratio_at(schedule: str, ratio: float, step: int, n_steps: int) -> float:
    """The ratio reached after ``step`` of ``n_steps`` steps; exactly ``ratio`` after the last.

    ``"geometric"`` removes the same fraction of what is left at each step, ``"linear"`` the same
    number of weights, ``"cubic"`` many at first and few at the end (Zhu & Gupta, "To prune, or not
    to prune", arXiv:1710.01878).

    Examples
    --------
    >>> [round(ratio_at("geometric", 0.75, step, 2), 3) for step in (1, 2)]
    [0.5, 0.75]
    """
    return ratio if step == n_steps else SCHEDULES[schedule](ratio, step / n_steps)
