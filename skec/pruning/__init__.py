"""Pruning of networks: :func:`prune`, its request, its steps and its result."""

from .prune import prune
from .report import PruningReport
from .request import Request, resolve
from .result import PruningResult, PruningWarning
from .steps import PruningStats

__all__ = [
    "PruningReport",
    "PruningResult",
    "PruningStats",
    "PruningWarning",
    "Request",
    "prune",
    "resolve",
]
