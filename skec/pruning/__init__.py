"""Pruning of networks: :func:`prune`, its request, its steps, its result, and its path."""

from .path import RatioPruner, check_path, check_scope, pruning_path
from .prune import prune
from .report import PruningReport
from .request import Request, resolve
from .result import PruningResult, PruningWarning, warn_about_cuts
from .steps import PruningStats

__all__ = [
    "PruningReport",
    "PruningResult",
    "PruningStats",
    "PruningWarning",
    "RatioPruner",
    "Request",
    "check_path",
    "check_scope",
    "prune",
    "pruning_path",
    "resolve",
    "warn_about_cuts",
]
