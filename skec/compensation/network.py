"""All remaining parameters of the network compensate for removed weights."""

from __future__ import annotations

import torch

from ..utils import check_count
from ._base import Effort
from ._output_fit import OutputFit, RowPreconditioner, conjugate_gradients
from .weights import WeightCompensation

_MAX_HALVINGS = 8  # of a step that increases the error


class NetworkCompensation(WeightCompensation):
    """Fit all remaining weights and biases to the outputs of the dense network by least squares.

    First each unit is fitted by itself, as in ``"weights"``. Then a Gauss–Newton step on
    ``E‖y(x; w) − y_dense(x)‖²``, in the output metric, changes all kept weights and biases
    together. It is solved by conjugate gradients with the matrices of the units as preconditioner.
    So units compensate for each other, and each pruning step also lowers the error of earlier
    ones. No targets are used.

    When to use it: at high ratios, with ``n_steps`` of 10 or more. Each step takes several forward
    and backward passes.

    Parameters
    ----------
    damping : float, default=1e-3
        Added to the diagonal of each unit's matrix, as a fraction of its mean.
    max_memory : float, default=2**30
        Bytes for the matrices held in memory at a time. Layers whose matrices do not fit are
        preconditioned by their diagonals.
    iterations : int, default=10
        Number of conjugate gradient iterations.

    References
    ----------
    A quadratic over all weights at once: Singh & Alistarh, "WoodFisher", NeurIPS 2020, and Benbaki
    et al., "CHITA", ICML 2023. They approximate the loss; here it is the output error.
    """

    name = "network"
    n_steps = 15

    def __init__(self, damping: float = 1e-3, max_memory: float = 2**30, iterations: int = 10):
        super().__init__(damping, max_memory)
        check_count("iterations", iterations, least=0)
        self.iterations = iterations

    @torch.no_grad()
    def adjust(self, module, kept, statistics, calibration):
        fit = OutputFit(module, kept, calibration)
        precondition = RowPreconditioner(module, kept, statistics, self.damping, self.max_memory)
        error, gradient = fit.error_and_gradient()
        change, iterations = conjugate_gradients(
            lambda direction: fit.product(direction) + precondition.ridge(direction),
            -gradient,
            precondition,
            self.iterations,
        )
        for halvings in range(_MAX_HALVINGS):
            step = change / 2**halvings
            if fit.error(step) < error:
                fit.move(step)
                return Effort(iterations, accepted=True)
        return Effort(iterations, accepted=False)
