"""The pruning ratio after each step."""

from __future__ import annotations

from abc import abstractmethod

from ..utils import Registered, Registry

SCHEDULES = Registry("schedule")


class Schedule(Registered, registry=SCHEDULES):
    """The pruning ratio after each of several steps.

    A subclass with a ``name`` is available as ``schedule=name``. An instance can be passed in
    place of a name.
    """

    @abstractmethod
    def ratio(self, final: float, progress: float) -> float:
        """The ratio after a fraction of the steps.

        Parameters
        ----------
        final : float
            The ratio after the last step.
        progress : float
            Number of finished steps divided by the number of steps, in (0, 1].
        """

    def at(self, final: float, step: int, n_steps: int) -> float:
        """The ratio after ``step`` of ``n_steps`` steps; exactly ``final`` after the last."""
        return final if step == n_steps else self.ratio(final, step / n_steps)


class Geometric(Schedule):
    """Each step removes the same fraction of the remaining weights."""

    name = "geometric"

    def ratio(self, final: float, progress: float) -> float:
        return 1.0 - (1.0 - final) ** progress


class Linear(Schedule):
    """Each step removes the same number of weights."""

    name = "linear"

    def ratio(self, final: float, progress: float) -> float:
        return final * progress


class Cubic(Schedule):
    """The first steps remove many weights, the last ones few.

    Source: Zhu & Gupta, "To prune, or not to prune", arXiv:1710.01878.
    """

    name = "cubic"

    def ratio(self, final: float, progress: float) -> float:
        return final * (1.0 - (1.0 - progress) ** 3)


def ratio_at(schedule: str | Schedule, ratio: float, step: int, n_steps: int) -> float:
    """The ratio of a schedule after ``step`` of ``n_steps`` steps.

    Examples
    --------
    >>> [round(ratio_at("geometric", 0.75, step, 2), 3) for step in (1, 2)]
    [0.5, 0.75]
    """
    return SCHEDULES.make(schedule).at(ratio, step, n_steps)
