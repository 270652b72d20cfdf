"""How a change of the network's outputs is measured."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

N_OUTPUTS_EXACT = 32  # more outputs than these are probed at random unless told otherwise
N_PROBES = 16


class OutputMetric(ABC):
    """A positive semi-definite matrix ``M(x)``, given by a root ``R`` with ``RᵀR = M``.

    Called with the outputs it yields the rows of ``R``, or random combinations of them (see
    :meth:`probed`): seeds of backpropagations whose squares add up to ``gᵀ M g``.
    """

    @abstractmethod
    def combine(self, outputs: Tensor, coefficients: Tensor) -> Tensor:
        """``Rᵀ c`` for each sample.

        Parameters
        ----------
        outputs, coefficients : tensors of shape (n_samples, n_outputs)

        Returns
        -------
        tensor of shape (n_samples, n_outputs)
        """

    @abstractmethod
    def multiply(self, outputs: Tensor, change: Tensor) -> Tensor:
        """``M δ`` for each sample, shapes as in :meth:`combine`."""

    def __call__(self, outputs: Tensor) -> Iterator[Tensor]:
        for k in range(outputs.shape[1]):
            coefficients = torch.zeros_like(outputs)
            coefficients[:, k] = 1.0
            yield self.combine(outputs, coefficients)

    def probed(self, n_probes: int, generator: torch.Generator) -> Probes:
        """Replace the rows by random combinations of them.

        Parameters
        ----------
        n_probes : int
            Backpropagations in place of one per output.
        generator : torch.Generator
        """
        return Probes(self, n_probes, generator)


class Probes(OutputMetric):
    """A metric seen through random probes.

    With ``v`` of independent ±1 entries, ``E_v[(vᵀ R g)²] = gᵀ M g``: a mean over a few probes
    takes the place of a sum over many outputs.
    """

    def __init__(self, metric: OutputMetric, n_probes: int, generator: torch.Generator):
        self.metric, self.n_probes, self.generator = metric, n_probes, generator

    def combine(self, outputs, coefficients):
        return self.metric.combine(outputs, coefficients)

    def multiply(self, outputs, change):
        return self.metric.multiply(outputs, change)

    def __call__(self, outputs):
        for _ in range(self.n_probes):
            signs = torch.randint(0, 2, outputs.shape, generator=self.generator)
            signs = signs.mul_(2).sub_(1).to(outputs)
            yield self.combine(outputs, signs).div_(self.n_probes**0.5)


class IdentityMetric(OutputMetric):
    """``M = I``: the squared change of the outputs, summed over them."""

    def combine(self, outputs, coefficients):
        return coefficients.clone()

    def multiply(self, outputs, change):
        return change


class FisherMetric(OutputMetric):
    """``M = diag(p) − p pᵀ``, the Fisher metric of a softmax with probabilities p.

    Row k of the root is ``√p_k (e_k − p)``: their outer products sum to ``M``.
    """

    def combine(self, outputs, coefficients):
        p = self._probabilities(outputs)
        weighted = p.sqrt() * coefficients
        return weighted - p * weighted.sum(1, keepdim=True)

    def multiply(self, outputs, change):
        p = self._probabilities(outputs)
        weighted = p * change
        return weighted - p * weighted.sum(1, keepdim=True)

    def _probabilities(self, outputs):
        if outputs.shape[1] < 2:
            raise ValueError(
                "output_metric='fisher' is the metric of a softmax over several outputs; this "
                "network has one. Use output_metric='identity'."
            )
        return torch.softmax(outputs.detach(), dim=1)


identity_metric = IdentityMetric()
fisher_metric = FisherMetric()

OUTPUT_METRICS: dict[str, OutputMetric] = {"identity": identity_metric, "fisher": fisher_metric}


def probes_for(n_outputs: int, n_probes: int | str | None) -> int | None:
    """Number of random probes, or None where every output is looked at.

    Parameters
    ----------
    n_outputs : int
    n_probes : int, "auto" or None
        ``"auto"`` probes networks of more than 32 outputs.

    Examples
    --------
    >>> probes_for(10, "auto"), probes_for(1000, "auto"), probes_for(10, 4)
    (None, 16, 4)
    """
    if n_probes == "auto":
        return N_PROBES if n_outputs > N_OUTPUTS_EXACT else None
    return n_probes
