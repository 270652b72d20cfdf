"""Norms for changes of the network's outputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from ..networks import distribution_of
from ..utils import check_choice

N_OUTPUTS_EXACT = 32  # n_probes="auto" uses random probes for more outputs
N_PROBES = 16


class OutputMetric(ABC):
    """A positive semi-definite matrix ``M(x)``, defined by a root ``R`` with ``RᵀR = M``.

    Calling a metric with the outputs yields the rows of ``R``, or random combinations of them
    (see :meth:`probed`). Each is backpropagated, and the squared gradients sum to ``gᵀ M g``.
    """

    @abstractmethod
    def combine(self, outputs: Tensor, coefficients: Tensor) -> Tensor:
        """Compute ``Rᵀ c`` for each sample.

        Parameters
        ----------
        outputs, coefficients : tensors of shape (n_samples, n_outputs)

        Returns
        -------
        tensor of shape (n_samples, n_outputs)
        """

    @abstractmethod
    def multiply(self, outputs: Tensor, change: Tensor) -> Tensor:
        """Compute ``M δ`` for each sample, with shapes as in :meth:`combine`."""

    def new_seed(self) -> int:
        """A seed for the random numbers of one pass over the data; zero if there are none."""
        return 0

    def of_run(self, seed: int, number: int) -> OutputMetric:
        """The metric for one run of batches, so that its random numbers depend on no other run.

        Parameters
        ----------
        seed : int
            The seed of the pass.
        number : int
            The number of the run.
        """
        return self

    def check(self, n_outputs: int) -> None:  # noqa: B027
        """Raise a ``ValueError`` if the metric is not defined for this number of outputs."""

    def __call__(self, outputs: Tensor) -> Iterator[Tensor]:
        for k in range(outputs.shape[1]):
            coefficients = torch.zeros_like(outputs)
            coefficients[:, k] = 1.0
            yield self.combine(outputs, coefficients)

    def probed(self, n_probes: int, generator: torch.Generator) -> Probes:
        """Return this metric with random combinations of the rows in place of all rows.

        Parameters
        ----------
        n_probes : int
            Number of random combinations, and so of backpropagations per batch.
        generator : torch.Generator
        """
        return Probes(self, n_probes, generator)


class Probes(OutputMetric):
    """A metric estimated by random probes.

    For ``v`` with independent ±1 entries, ``E_v[(vᵀ R g)²] = gᵀ M g``. A mean over a few probes
    estimates the sum over many outputs.
    """

    def __init__(self, metric: OutputMetric, n_probes: int, generator: torch.Generator):
        self.metric, self.n_probes, self.generator = metric, n_probes, generator

    def new_seed(self):
        return int(torch.randint(2**63 - 1, (), generator=self.generator))

    def of_run(self, seed, number):
        (state,) = np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(state >> np.uint64(1)))
        return Probes(self.metric, self.n_probes, generator)

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
    """``M = I``: the sum of the squared changes of the outputs."""

    def combine(self, outputs, coefficients):
        return coefficients.clone()

    def multiply(self, outputs, change):
        return change


class FisherMetric(OutputMetric):
    """``M = diag(p) − p pᵀ``, the Fisher metric of a softmax with probabilities p.

    Row k of the root is ``√p_k (e_k − p)``. The outer products of the rows sum to ``M``.
    """

    def combine(self, outputs, coefficients):
        p = self._probabilities(outputs)
        weighted = p.sqrt() * coefficients
        return weighted - p * weighted.sum(1, keepdim=True)

    def multiply(self, outputs, change):
        p = self._probabilities(outputs)
        weighted = p * change
        return weighted - p * weighted.sum(1, keepdim=True)

    def check(self, n_outputs):
        if n_outputs < 2:
            raise ValueError(
                "output_metric='fisher' is the metric of a softmax over several outputs; this "
                "network has one output. Use output_metric='identity', or the loss "
                "torch.nn.BCEWithLogitsLoss() if the output is the logit of a probability."
            )

    def _probabilities(self, outputs: Tensor) -> Tensor:
        self.check(outputs.shape[1])
        return torch.softmax(outputs.detach(), dim=1)


class DiagonalMetric(OutputMetric):
    """Base class of diagonal metrics: ``M = diag(r²)``."""

    @abstractmethod
    def root(self, outputs: Tensor) -> Tensor:
        """Compute ``r`` for each output of each sample, in the shape of the outputs."""

    def combine(self, outputs, coefficients):
        return self.root(outputs.detach()) * coefficients

    def multiply(self, outputs, change):
        return self.root(outputs.detach()).square() * change


class BernoulliMetric(DiagonalMetric):
    """``M = diag(p (1 − p))``, the Fisher metric of independent binary outcomes.

    The outputs are the logits of the probabilities p of the outcomes.
    """

    def root(self, outputs):
        return (torch.sigmoid(outputs) * torch.sigmoid(-outputs)).sqrt()


class PoissonMetric(DiagonalMetric):
    """``M = diag(λ)``, the Fisher metric of independent counts.

    The outputs are the logarithms of the rates λ.
    """

    def root(self, outputs):
        return (outputs / 2).exp()


identity_metric = IdentityMetric()
fisher_metric = FisherMetric()
bernoulli_metric = BernoulliMetric()
poisson_metric = PoissonMetric()

# The names that output_metric accepts. The loss decides which Fisher metric "fisher" is.
OUTPUT_METRICS: dict[str, OutputMetric] = {"identity": identity_metric, "fisher": fisher_metric}

_FISHER_METRICS: dict[str, OutputMetric] = {
    "categorical": fisher_metric,
    "bernoulli": bernoulli_metric,
    "poisson": poisson_metric,
}


def metric_for(
    output_metric: str | OutputMetric,
    loss: nn.Module | None = None,
    outputs: Sequence[Tensor] | None = None,
    recommended: str | None = None,
) -> OutputMetric:
    """Return the output metric of a name for a loss and a network.

    Parameters
    ----------
    output_metric : {"auto", "identity", "fisher"} or OutputMetric
        ``"fisher"`` is the Fisher metric of the distribution that the loss assumes, or of a
        softmax if the loss is None or unknown. ``"auto"`` is ``recommended`` if that is given.
        Otherwise it is ``"fisher"`` if the distribution is known and the network returns one
        tensor with one distribution for each sample, and ``"identity"`` in all other cases.
    loss : torch.nn.Module, default=None
    outputs : sequence of tensors, default=None
        The output tensors of the network for a batch (see :func:`skec.networks.output_tensors`).
        None means one tensor of shape (n_samples, n_outputs).
    recommended : str, default=None
        The name that the pruning method recommends.

    Raises
    ------
    ValueError
        If the name is unknown, or ``"fisher"`` is not defined for the loss or the outputs.

    Examples
    --------
    >>> type(metric_for("auto", nn.BCEWithLogitsLoss())).__name__
    'BernoulliMetric'
    >>> type(metric_for("auto", nn.HuberLoss())).__name__
    'IdentityMetric'
    """
    if isinstance(output_metric, OutputMetric):
        return output_metric
    check_choice("output_metric", output_metric, ("auto", *OUTPUT_METRICS))
    requested = output_metric == "fisher"
    if output_metric == "auto" and recommended is not None:
        output_metric = recommended
    distribution = distribution_of(loss)
    n_tensors = 1 if outputs is None else len(outputs)
    if output_metric == "identity":
        return identity_metric
    if output_metric == "auto" and (distribution not in _FISHER_METRICS or n_tensors > 1):
        return identity_metric
    if n_tensors > 1:
        raise ValueError(
            f"output_metric='fisher' is the metric of one predicted distribution; this network "
            f"returns {n_tensors} tensors. Use output_metric='identity', or prune a module that "
            f"returns only one of them."
        )
    if distribution == "none":
        raise ValueError(
            f"output_metric='fisher' is not known for loss={type(loss).__name__}. Use "
            f"output_metric='identity', or a loss of logits (torch.nn.CrossEntropyLoss or "
            f"BCEWithLogitsLoss) or of log rates (torch.nn.PoissonNLLLoss)."
        )
    metric = _FISHER_METRICS.get(distribution, fisher_metric)
    if metric is fisher_metric and outputs is not None and outputs[0].ndim > 2:
        if not requested:
            return identity_metric
        raise ValueError(
            f"output_metric='fisher' is the metric of one softmax for each sample; this network "
            f"returns outputs of shape {tuple(outputs[0].shape)}. Use output_metric='identity'."
        )
    return metric


def probes_for(n_outputs: int, n_probes: int | Literal["auto"] | None) -> int | None:
    """Number of random probes, or None if every output is differentiated.

    Parameters
    ----------
    n_outputs : int
    n_probes : int, "auto" or None
        ``"auto"`` means 16 probes for networks with more than 32 outputs, and None for others.

    Examples
    --------
    >>> probes_for(10, "auto"), probes_for(1000, "auto"), probes_for(10, 4)
    (None, 16, 4)
    """
    if n_probes == "auto":
        return N_PROBES if n_outputs > N_OUTPUTS_EXACT else None
    return n_probes
