"""Neuron merging: each removed unit is replaced by the most similar kept one."""

from __future__ import annotations

import torch
from torch import Tensor

from ...networks import Normalization
from ...utils import check_number
from ._base import UnitCompensation, merged

_TINY = torch.finfo(torch.float64).tiny


class NeuronMerging(UnitCompensation):
    """Replace each removed unit by the most similar kept one, scaled by the ratio of their norms.

    Similarity is the cosine between the incoming weights, including the bias. After a batch
    normalisation it is that of the weights without the bias, combined with the difference of the
    normalised shifts. No data are needed.

    When to use it: without calibration samples, on networks trained without weight decay.

    Parameters
    ----------
    threshold : float, default=0.0
        Units whose best cosine is not above this are not replaced; in [0, 1].
    cosine_weight : float, default=0.85
        Weight of the cosine, in [0, 1]; one minus it is the weight of the difference of the
        shifts. Used after a batch normalisation only.

    References
    ----------
    Kim, Kim, Kim, Yoo, "Neuron merging: compensating for pruned neurons", NeurIPS 2020.
    """

    name = "merging"

    def __init__(self, threshold: float = 0.0, cosine_weight: float = 0.85):
        check_number("threshold", threshold, zero=True)
        check_number("cosine_weight", cosine_weight, zero=True)
        if max(threshold, cosine_weight) > 1:
            raise ValueError(
                f"threshold and cosine_weight must be in [0, 1]; got {threshold!r} and "
                f"{cosine_weight!r}."
            )
        self.threshold, self.cosine_weight = threshold, cosine_weight

    def restore(self, units, removed, statistics):
        kept = units.kept & ~removed
        norm = units.normalization
        rows = units.rows if norm is None else units.weight
        length = rows.norm(dim=1)
        cosine = rows[removed] @ rows[kept].t()
        cosine /= torch.outer(length[removed], length[kept]).clamp_min(_TINY)
        scale = length[removed][:, None] / length[kept].clamp_min(_TINY)
        distance = 1 - cosine
        if norm is not None:
            scale, distance = self._normalized(
                norm.of_pre_activations(units.bias), kept, removed, scale, distance
            )
        best = distance.argmin(1, keepdim=True)
        enough = torch.gather(cosine, 1, best) > self.threshold
        chosen = torch.gather(scale, 1, best).masked_fill(~enough, 0.0)
        coefficients = torch.zeros_like(cosine).scatter_(1, best, chosen)
        return merged(units, kept, removed, coefficients.t()), units.next_bias

    def _normalized(
        self, norm: Normalization, kept: Tensor, removed: Tensor, scale: Tensor, distance: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Scales and distances of units with a batch normalisation."""
        able = norm.gamma[kept] != 0
        gain = norm.gamma / norm.sigma
        kept_gain = torch.where(able, gain[kept], 1.0)
        total = scale * gain[removed][:, None] / kept_gain
        origin = norm.mu[kept] - norm.beta[kept] / kept_gain
        change = gain[removed][:, None] * (scale * origin - norm.mu[removed][:, None])
        shift = (change + norm.beta[removed][:, None]).abs()
        shift /= total.abs().clamp_min(_TINY)
        low, high = shift.amin(1, keepdim=True), shift.amax(1, keepdim=True)
        shift = (shift - low) / (high - low).clamp_min(_TINY)
        distance = self.cosine_weight * distance + (1 - self.cosine_weight) * shift
        return total * able, distance.masked_fill(~able, torch.inf)
