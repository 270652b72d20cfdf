"""``prune``: a network and calibration data in, a smaller network out."""

from .prune import PruningResult, PruningWarning, prune
from .report import PruningReport

__all__ = ["PruningReport", "PruningResult", "PruningWarning", "prune"]
