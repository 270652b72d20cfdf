"""A constant takes the place of a unit; the next layer's bias takes it in."""

from __future__ import annotations

from ...calibration.statistics import InputMean, InputMoments
from ._base import UnitCompensation, with_bias


class MeanRestoration(UnitCompensation):
    """Fold the mean activation ``E[h_j]`` of each removed unit into the next layer's bias.

    When to use it: to repair any criterion's choice at the cost of forward passes alone, up to
    about half of the units.

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

    The constant that changes the outputs least, to first order, among all that could take the
    place of one unit.

    When to use it: with ``"ec"``, whose score supposes it.

    Source: Ballini et al., arXiv:2602.20467 (2026), for a unit in place of a weight.
    """

    name = "bias"
    requires = (InputMoments,)

    def restore(self, units, removed, statistics):
        columns = units.columns(removed)
        return _folded(units, columns, statistics[InputMoments].constants)


def _folded(units, columns, constants):
    """Outgoing weights as they are, and a bias that has taken in constants for some columns."""
    if not columns.any():
        return units.next_weight, units.next_bias
    shift = units.next_weight[:, columns] @ constants[columns]
    return units.next_weight, with_bias(units.next_bias, shift)
