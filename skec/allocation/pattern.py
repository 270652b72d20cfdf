"""Patterns n:m, which keep n of m consecutive weights."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from ._base import Scope, at_once


class PatternScope(Scope):
    """Keep n of each group of m consecutive inputs of a unit.

    The ratio ``1 − n/m`` is used instead of the pruning ratio.

    When to use it: for hardware with fast products of such matrices.

    Source: Mishra et al., "Accelerating sparse deep neural networks", arXiv:2104.08378.

    Parameters
    ----------
    n, m : int
        With 0 < n < m. ``scope="2:4"`` is converted to ``PatternScope(2, 4)``.

    Examples
    --------
    >>> scores = {"a": torch.tensor([[4.0, 3.0, 2.0, 1.0]])}
    >>> PatternScope(2, 4).allocate(scores, 0.0)
    {'a': tensor([[ True,  True, False, False]])}
    """

    replaces_ratio = True

    def __init__(self, n: int, m: int):
        if not 0 < n < m:
            raise ValueError(
                f"scope='{n}:{m}' must keep at least one weight of a group and remove at least "
                f"one. Use n:m with 0 < n < m, such as '2:4'."
            )
        self.n, self.m = n, m

    @classmethod
    def parse(cls, text: str) -> PatternScope | None:
        """Convert a string such as ``"2:4"``; return None for any other string."""
        match = re.fullmatch(r"(\d+):(\d+)", text)
        return None if match is None else cls(int(match[1]), int(match[2]))

    def allocate(self, scores, ratio, *, weights=None, reached=at_once):
        n_removed = round(reached(1.0 - self.n / self.m) * self.m)
        return {name: self._keep(score, n_removed) for name, score in scores.items()}

    def _keep(self, scores: Tensor, n_removed: int) -> Tensor:
        """Mask out the lowest scores of each group. A smaller last group keeps n as well."""
        (n_out, n_in), m = scores.shape, self.m
        padded = torch.nn.functional.pad(scores, (0, -n_in % m), value=torch.inf)
        groups = padded.reshape(n_out, -1, m)
        rank = groups.argsort(dim=2, stable=True).argsort(dim=2)
        size = torch.full_like(rank[:1, :, :1], m)
        size[:, -1] = m - (-n_in % m)
        removed = rank < (size - self.n).clamp(0, n_removed)
        return ~removed.reshape(n_out, -1)[:, :n_in]
