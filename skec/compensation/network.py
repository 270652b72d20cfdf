"""All remaining parameters of the network compensate for removed weights."""

from __future__ import annotations

from typing import Literal

import torch

from ..calibration.statistics import RowMoments, SensitivityMoments
from ..utils import check_choice, check_count, check_number
from ._base import Compensation, Effort
from ._output_fit import OutputFit, conjugate_gradients
from ._preconditioners import DiagonalPreconditioner, RowPreconditioner
from .bias import BiasCompensation
from .weights import WeightCompensation

_MAX_HALVINGS = 8  # of a step that increases the error


class NetworkCompensation(Compensation):
    """Fit all remaining weights and biases to the outputs of the dense network by least squares.

    First the parameters of each unit compensate for its removed weights: its bias, as in
    ``"bias"``, or all of them, as in ``"weights"``. Then a Gauss–Newton step on
    ``E‖y(x; w) − y_dense(x)‖²``, in the output metric, changes all kept weights and biases
    together. It is solved by conjugate gradients. So units compensate for each other, and each
    pruning step also lowers the error of earlier ones. No targets are used.

    When to use it: whenever the network is not trained after the pruning, and at high ratios, with
    ``n_steps`` of 10 or more. Each step costs ``iterations`` times about two forward and backward
    passes.

    Parameters
    ----------
    damping : float, default=1e-3
        The ridge of each unit, as a fraction of the mean diagonal of its matrix.
    iterations : int, default=10
        Number of conjugate gradient iterations.
    preconditioner : {"diagonal", "rows"}, default="diagonal"
        ``"diagonal"`` needs no matrices, and works for convolutions too. ``"rows"`` uses one matrix
        for each unit, with as many rows as the unit has kept weights.
    max_memory : float, default=2**30
        Bytes for the matrices of ``"rows"``. Layers whose matrices do not fit are preconditioned by
        their diagonals.

    References
    ----------
    A quadratic over all weights at once: Singh & Alistarh, "WoodFisher", NeurIPS 2020, and Benbaki
    et al., "CHITA", ICML 2023. They approximate the loss; here it is the output error. Products
    with the Gauss–Newton matrix: Schraudolph, "Fast curvature matrix-vector products", Neural
    Computation 2002.
    """

    name = "network"
    n_steps = 15
    needs_samples = True
    requires = (SensitivityMoments,)

    def __init__(
        self,
        damping: float = 1e-3,
        max_memory: float = 2**30,
        iterations: int = 10,
        preconditioner: Literal["diagonal", "rows"] = "diagonal",
    ):
        check_number("damping", damping)
        check_number("max_memory", max_memory, zero=True)
        check_count("iterations", iterations, least=0)
        check_choice("preconditioner", preconditioner, ("diagonal", "rows"))
        self.damping, self.max_memory = damping, max_memory
        self.iterations, self.preconditioner = iterations, preconditioner
        self.unit: Compensation = BiasCompensation()
        if preconditioner == "rows":
            self.unit, self.requires = WeightCompensation(damping, max_memory), (RowMoments,)

    def apply(self, weight, bias, removed, statistics):
        return self.unit.apply(weight, bias, removed, statistics)

    @torch.no_grad()
    def adjust(self, module, kept, statistics, calibration):
        fit = OutputFit(module, kept, calibration)
        if self.preconditioner == "rows":
            precondition = RowPreconditioner(
                module, kept, statistics, self.damping, self.max_memory
            )
        else:
            precondition = DiagonalPreconditioner(module, kept, statistics, self.damping)
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
