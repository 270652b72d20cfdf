"""Moments of a layer's inputs, which are the units of the layer before."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ._base import LayerBatch, Statistic
from ._probes import ProbeError


class InputMoments(Statistic):
    """Moments of each input, weighted by the outputs' sensitivity to it.

    With ``s_j`` the squared output sensitivity to the input ``h_j``, these are ``S_j = E[s_j]``,
    ``m_j = E[s_j h_j] / S_j`` and ``V_j = E[s_j (h_j − m_j)²]``. Batches are centred and merged
    with the update of Chan, Golub & LeVeque (1983).

    Attributes
    ----------
    total_weight : float
        Sum of the sample weights.
    sensitivity : float64 tensor of shape (n_in,)
        ``S`` times the total weight.
    mean : float64 tensor of shape (n_in,)
        ``m``; zero where there is no sensitivity.
    scatter : float64 tensor of shape (n_in,)
        ``V`` times the total weight.
    """

    needs_input_sensitivities = True

    def __init__(self, layer: nn.Linear):
        self.total_weight = 0.0
        zeros = torch.zeros_like(layer.weight[0], dtype=torch.float64, requires_grad=False)
        self.sensitivity, self.mean, self.scatter = zeros, zeros.clone(), zeros.clone()

    @property
    def constants(self) -> Tensor:
        """What takes the place of each input, float64 of shape (n_in,)."""
        return self.mean

    def update(self, batch: LayerBatch) -> None:
        inputs, s = batch.inputs.double(), batch.input_sensitivities.double()
        if batch.weights is not None:
            s = s * batch.weights[:, None]
        total = s.sum(0)
        mean = (s * inputs).sum(0) / torch.where(total > 0, total, 1.0)
        self._add(total, mean, (s * (inputs - mean).square()).sum(0))
        self.total_weight += batch.total_weight

    def merge(self, other: InputMoments) -> None:
        self._add(other.sensitivity, other.mean, other.scatter)
        self.total_weight += other.total_weight

    def _add(self, total: Tensor, mean: Tensor, scatter: Tensor) -> None:
        joint = self.sensitivity + total
        share = total / torch.where(joint > 0, joint, 1.0)
        shift = mean - self.mean
        self.scatter = self.scatter + scatter + shift.square() * self.sensitivity * share
        self.mean = self.mean + shift * share
        self.sensitivity = joint


class SensitivityMatrix(Statistic):
    """How the outputs react to a layer's units together: ``G_ij = E[g_iᵀ M g_j]``.

    Its diagonal is the units' mean sensitivity.

    Attributes
    ----------
    total_weight : float
        Sum of the sample weights.
    total : float64 tensor of shape (n_out, n_out)
        ``G`` times the total weight.
    """

    needs_gradients = True

    def __init__(self, layer: nn.Linear):
        self.total_weight = 0.0
        n_out = len(layer.weight)
        self.total = layer.weight.detach().new_zeros((n_out, n_out), dtype=torch.float64)

    def add_gradient(self, batch, gradient, input_gradient) -> None:
        weighted = gradient if batch.weights is None else gradient * batch.weights[:, None]
        self.total += weighted.t() @ gradient

    def update(self, batch: LayerBatch) -> None:
        self.total_weight += batch.total_weight

    def merge(self, other: SensitivityMatrix) -> None:
        self.total += other.total
        self.total_weight += other.total_weight

    @property
    def mean(self) -> Tensor:
        """``G``, float64 of shape (n_out, n_out)."""
        return self.total / self.total_weight


class InputProbeError(ProbeError):
    """How well random probes know the sensitivities to a layer's inputs."""

    needs_sensitivities = False
    needs_input_sensitivities = True

    def __init__(self, layer: nn.Linear):
        super().__init__(layer)
        self.total = torch.zeros_like(layer.weight[0], dtype=torch.float64, requires_grad=False)
        self.squares = self.total.clone()

    def update(self, batch: LayerBatch) -> None:
        super().update(LayerBatch(batch.inputs, batch.input_sensitivities, batch.weights))


class DenseFit(Statistic):
    """The least-squares problem of the dense network's pre-activations on a layer's inputs.

    With ``h`` the layer's inputs in the network as it is now, and ``z`` its pre-activations in the
    dense network for the same samples: means and centred second moments of both, in float64, so
    that an intercept is eliminated exactly.

    Attributes
    ----------
    total_weight : float
        Sum of the sample weights.
    input_mean : float64 tensor of shape (n_in,)
    target_mean : float64 tensor of shape (n_out,)
    input_scatter : float64 tensor of shape (n_in, n_in)
        ``E[(h − E h)(h − E h)ᵀ]`` times the total weight.
    target_scatter : float64 tensor of shape (n_in, n_out)
        ``E[(h − E h)(z − E z)ᵀ]`` times the total weight.
    """

    needs_dense = True

    def __init__(self, layer: nn.Linear):
        n_out, n_in = layer.weight.shape
        like = layer.weight.detach().double()
        self.total_weight = 0.0
        self.input_mean, self.target_mean = like.new_zeros(n_in), like.new_zeros(n_out)
        self.input_scatter = like.new_zeros((n_in, n_in))
        self.target_scatter = like.new_zeros((n_in, n_out))

    def update(self, batch: LayerBatch) -> None:
        if batch.total_weight == 0:
            return
        inputs, targets = batch.inputs.double(), batch.dense_pre_activations.double()
        weights = torch.ones_like(inputs[:, 0]) if batch.weights is None else batch.weights.double()
        means = [weights @ values / weights.sum() for values in (inputs, targets)]
        inputs, targets = inputs - means[0], targets - means[1]
        weighted = inputs * weights[:, None]
        self._add(batch.total_weight, *means, weighted.t() @ inputs, weighted.t() @ targets)

    def merge(self, other: DenseFit) -> None:
        if other.total_weight > 0:
            self._add(
                other.total_weight,
                other.input_mean,
                other.target_mean,
                other.input_scatter,
                other.target_scatter,
            )

    def _add(self, total, input_mean, target_mean, input_scatter, target_scatter) -> None:
        joint = self.total_weight + total
        shift, target_shift = input_mean - self.input_mean, target_mean - self.target_mean
        share = self.total_weight * total / joint
        self.input_scatter += input_scatter
        self.input_scatter.addr_(shift, shift, alpha=share)
        self.target_scatter += target_scatter
        self.target_scatter.addr_(shift, target_shift, alpha=share)
        self.input_mean = self.input_mean + shift * (total / joint)
        self.target_mean = self.target_mean + target_shift * (total / joint)
        self.total_weight = joint
