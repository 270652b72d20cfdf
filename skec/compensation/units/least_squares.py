"""The layer that reads the units is fitted anew, to what it computed in the dense network."""

from __future__ import annotations

from ...calibration.statistics import DenseFit
from ...utils import check_number, least_squares
from ._base import UnitCompensation


class LeastSquaresRestoration(UnitCompensation):
    """Outgoing weights and bias by least squares on the dense network's pre-activations.

    ``min_θ E‖z − [h_K, 1] θ‖² + λ‖θ − θ_0‖²`` with ``z`` what the next layer computed in the dense
    network, ``h_K`` the activations of the kept units in the network as it is now, and ``θ_0`` the
    outgoing weights as they are. No targets are used. Layers are fitted in their order, so each
    also repairs what the layers before it got wrong.

    When to use it: whenever a few hundred samples or more are at hand, with any criterion.

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
