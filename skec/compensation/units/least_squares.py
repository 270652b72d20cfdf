"""The next layer is refitted to its pre-activations in the dense network."""

from __future__ import annotations

from ...calibration.statistics import DenseFit
from ...utils import check_number, least_squares
from ._base import UnitCompensation


class LeastSquaresRestoration(UnitCompensation):
    """Fit the outgoing weights and the bias to the dense network by least squares.

    ``min_θ E‖z − [h_K, 1] θ‖² + λ‖θ − θ_0‖²`` with ``z`` the next layer's pre-activations in the
    dense network, ``h_K`` the activations of the kept units in the pruned network, and ``θ_0`` the
    present outgoing weights. No targets are used. Layers are fitted in their order, so each also
    corrects errors of the layers before it.

    When to use it: with any criterion and a few hundred calibration samples or more.

    Parameters
    ----------
    damping : float, default=1e-2
        ``λ`` as a fraction of the mean variance of the activations.

    References
    ----------
    He, Zhang, Sun, "Channel pruning for accelerating very deep neural networks", ICCV 2017; Luo,
    Wu, Lin, "ThiNet", ICCV 2017.
    """

    name = "least_squares"
    requires = (DenseFit,)

    def __init__(self, damping: float = 1e-2):
        check_number("damping", damping)
        self.damping = damping

    def restore(self, units, removed, statistics):
        fit = statistics[DenseFit]
        kept = units.columns(units.kept & ~removed)
        next_weight = units.next_weight.clone()
        next_weight[:, kept] = least_squares.solve(
            *fit.equations(kept), units.next_weight[:, kept], self.damping
        )
        return next_weight, fit.target_mean - next_weight[:, kept] @ fit.input_mean[kept]
