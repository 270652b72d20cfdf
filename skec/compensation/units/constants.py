"""Units are replaced by constants, which are folded into the next layer's bias."""

from __future__ import annotations

from torch import Tensor

from ...calibration.statistics import InputMean, InputMoments
from ...networks import Units
from ._base import UnitCompensation, with_bias


class MeanRestoration(UnitCompensation):
    """Fold the mean activation ``E[h_j]`` of each removed unit into the next layer's bias.

    When to use it: with any criterion, to remove up to about half of the units. It needs forward
    passes only.

    Source: Ye, Lu, Lin, Wang, "Rethinking the smaller-norm-less-informative assumption in channel
    pruning of convolution layers", ICLR 2018, for constant units.
    """

    name = "mean"
    requires = (InputMean,)

    def restore(self, units, removed, statistics):
        columns = units.columns(removed)
        return _folded(units, columns, statistics[InputMean].mean)


class BiasRestoration(UnitCompensation):
    """Fold the mean activation weighted by the output sensitivity into the next layer's bias.

    Of all constants that could replace one unit, it changes the outputs least, to first order.

    When to use it: with ``"ec"``, whose scores assume it.

    Source: Ballini et al., arXiv:2602.20467 (2026), applied to units instead of weights.
    """

    name = "bias"
    requires = (InputMoments,)

    def restore(self, units, removed, statistics):
        columns = units.columns(removed)
        return _folded(units, columns, statistics[InputMoments].constants)


def _folded(units: Units, columns: Tensor, constants: Tensor) -> tuple[Tensor, Tensor | None]:
    """The outgoing weights, and the bias with the constants of some columns folded in."""
    if not columns.any():
        return units.next_weight, units.next_bias
    shift = units.next_weight[:, columns] @ constants[columns]
    return units.next_weight, with_bias(units.next_bias, shift)
