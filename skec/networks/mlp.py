"""The multi-layer perceptron behind the estimators."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import cast

import torch
from torch import nn

from .features import FeatureScaling, FeatureWeights, PeriodicEmbedding

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "logistic": nn.Sigmoid,
    "identity": nn.Identity,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "leaky_relu": nn.LeakyReLU,
}


class MLP(nn.Sequential):
    """Linear layers with an activation between them.

    Parameters
    ----------
    n_features : int
    n_outputs : int
    hidden_layer_sizes : sequence of int, default=(128, 128, 128)
    activation : str, default="silu"
        A key of ``skec.networks.ACTIVATIONS``.
    dropout : float, default=0.0
        Probability of setting a hidden unit to zero in training.
    batch_norm : bool, default=False
        Whether to normalise the pre-activations over the batch.
    bias : bool, default=True
        Whether the linear layers have biases.
    zero_output : bool, default=True
        Whether the output layer starts with weights and biases of zero, so that the initial
        outputs are zero.
    generator : torch.Generator, default=None
        Source of the initial weights. None is the global generator of torch.
    dtype : torch.dtype, default=None
        Type of the parameters. None is the default of torch.
    feature_scaling : bool, default=False
        Whether a :class:`skec.networks.FeatureScaling` comes first.
    feature_embedding : bool, default=False
        Whether a :class:`skec.networks.PeriodicEmbedding` follows it.
    feature_weights : bool, default=False
        Whether a :class:`skec.networks.FeatureWeights` comes before the first layer.
    embedding_size, n_frequencies, sigma : int, int, float, default=3, 16, 0.1
        Parameters of the embedding.

    Examples
    --------
    >>> MLP(3, 1, hidden_layer_sizes=(2,), activation="relu")
    MLP(
      (hidden_0): Linear(in_features=3, out_features=2, bias=True)
      (activation_0): ReLU()
      (output): Linear(in_features=2, out_features=1, bias=True)
    )
    """

    def __init__(
        self,
        n_features: int,
        n_outputs: int,
        hidden_layer_sizes: Sequence[int] = (128, 128, 128),
        activation: str = "silu",
        dropout: float = 0.0,
        batch_norm: bool = False,
        bias: bool = True,
        zero_output: bool = True,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        feature_scaling: bool = False,
        feature_embedding: bool = False,
        feature_weights: bool = False,
        embedding_size: int = 3,
        n_frequencies: int = 16,
        sigma: float = 0.1,
    ):
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        width = n_features
        if feature_scaling:
            layers["feature_scaling"] = FeatureScaling(width, dtype=dtype)
        if feature_embedding:
            embedding = PeriodicEmbedding(
                width, n_frequencies, embedding_size, sigma, generator, dtype
            )
            layers["feature_embedding"], width = embedding, width * embedding.width
        if feature_weights:
            layers["feature_weights"] = FeatureWeights(width, dtype=dtype)
        for i, size in enumerate(hidden_layer_sizes):
            layers[f"hidden_{i}"] = _undrawn_linear(width, size, bias, dtype)
            if batch_norm:
                layers[f"norm_{i}"] = nn.BatchNorm1d(size, dtype=dtype)
            layers[f"activation_{i}"] = ACTIVATIONS[activation]()
            if dropout > 0:
                layers[f"dropout_{i}"] = nn.Dropout(dropout)
            width = size
        layers["output"] = _undrawn_linear(width, n_outputs, bias, dtype)
        super().__init__(layers)
        self.reset_parameters(zero_output, generator)

    @torch.no_grad()
    def reset_parameters(
        self, zero_output: bool = True, generator: torch.Generator | None = None
    ) -> None:
        """Draw new weights.

        Weights are normal, with variance 2/n_in for activations that are linear on one side
        (He et al., 2015) and 1/n_in for the others. Biases are uniform in ±1/√n_in.
        """
        one_sided = nn.ReLU | nn.LeakyReLU | nn.ELU | nn.GELU | nn.SiLU
        gain = 2.0 if any(isinstance(layer, one_sided) for layer in self) else 1.0
        for layer in self:
            if isinstance(layer, nn.Linear):
                scale = (gain / layer.in_features) ** 0.5
                layer.weight.normal_(0.0, scale, generator=generator)
                if layer.bias is not None:
                    bound = layer.in_features**-0.5
                    layer.bias.uniform_(-bound, bound, generator=generator)
        if zero_output:
            for parameter in self.get_submodule("output").parameters():
                parameter.zero_()


def _undrawn_linear(n_in: int, n_out: int, bias: bool, dtype: torch.dtype | None) -> nn.Linear:
    """A linear layer whose weights are not drawn yet, and so take no random numbers."""
    return cast(nn.Linear, nn.utils.skip_init(nn.Linear, n_in, n_out, bias=bias, dtype=dtype))
