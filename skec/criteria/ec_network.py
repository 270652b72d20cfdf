"""Elimination–compensation, followed by a fit of all remaining parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from .ec import EliminationCompensation


class NetworkElimination(EliminationCompensation):
    """The scores of ``"ec"``; all remaining parameters of the network compensate in each step.

    In each step the biases compensate for the removed weights, as in ``"ec"``. Then
    ``compensation="network"`` fits all remaining weights and biases to the outputs of the dense
    network. This costs forward and backward passes only: no matrix for each unit is formed, so
    it works for wide layers and for convolutions.

    When to use it: at high ratios, and whenever the pruned network is not trained again. It needs
    no targets. On a network that is nearly as accurate as possible, ``"surgeon"`` may be slightly
    better, at several times the cost.
    """

    name = "ec_network"
    n_steps = 15
    compensation = "network"
    compensation_params: ClassVar[Mapping[str, Any]] = {"iterations": 20}
