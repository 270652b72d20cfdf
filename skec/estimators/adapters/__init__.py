"""The kinds of estimators whose network :class:`skec.ECPruner` prunes.

Each file has the :class:`Adapter` of one kind. An estimator gets the first adapter that takes it.
"""

from ._base import Adapter
from ._pipeline import PipelineAdapter
from ._pruned_mlp import PrunedMLPAdapter
from ._registry import ADAPTERS, adapter_of, register_adapter
from ._sklearn import ScikitLearnAdapter
from ._skorch import KeepMasks, SkorchAdapter

ADAPTERS.extend([PrunedMLPAdapter, ScikitLearnAdapter, SkorchAdapter, PipelineAdapter])

__all__ = [
    "ADAPTERS",
    "Adapter",
    "KeepMasks",
    "PipelineAdapter",
    "PrunedMLPAdapter",
    "ScikitLearnAdapter",
    "SkorchAdapter",
    "adapter_of",
    "register_adapter",
]
