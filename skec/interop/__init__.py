"""Conversion from and to scikit-learn's networks and ``torch.nn.utils.prune``."""

from .sklearn import from_sklearn, to_sklearn
from .torch_prune import from_torch_prune, to_torch_prune

__all__ = ["from_sklearn", "from_torch_prune", "to_sklearn", "to_torch_prune"]
