"""The network of an estimator: how it is made, its loss and its outputs."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping

import torch
from skorch.utils import is_dataset, to_device, to_tensor
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..networks.mlp import MLP
from ..training import (
    TensorDataset,
    loss_with_gradient,
    small_network_mode,
    supports_fused,
    weighted_loss,
)
from .data import PREDICTION_ROWS

_ROW_BLOCK = 64  # with whole blocks of rows a row's prediction does not depend on the others

_ROW_BYTES = 16  # a row's sum begins elsewhere if the row starts off such a boundary (MKL on AMD)


class _AlignedRows(TorchFunctionMode):
    """Pads the inputs of linear layers, so that every row starts at an even address.

    Otherwise the order of a row's sum may depend on the place of the row in its block.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is nn.functional.linear and not kwargs:
            inputs, weight, *bias = args
            padding = -inputs.shape[-1] % (_ROW_BYTES // inputs.element_size())
            if padding:
                inputs, weight = (nn.functional.pad(t, (0, padding)) for t in (inputs, weight))
                args = (inputs, weight, *bias)
        return func(*args, **(kwargs or {}))


class NetworkMixin:
    """Makes the network, its optimiser and its loss, and runs it."""

    @property
    def _network(self) -> nn.Module:
        """The module without the wrapper of ``torch.compile``."""
        return getattr(self.module_, "_orig_mod", self.module_)

    def _set_network(self, module: nn.Module) -> None:
        """Put a module in place of the network, with a new optimiser."""
        self.module_ = self.torch_compile(to_device(module, self.device), name="module")
        self.initialize_optimizer()

    def initialize(self):
        """Create the network, the criterion, the optimiser and the callbacks."""
        self._check_parameters()
        self._reset_seed(reset=False)
        self.history_ = None
        return super().initialize()

    def initialize_module(self):
        """Create the network: an :class:`skec.networks.MLP`, or the given module."""
        arguments = self.get_params_for("module")
        module = self.module
        if isinstance(module, nn.Module) and not arguments:
            module = copy.deepcopy(module)
        else:
            kind = type(module) if isinstance(module, nn.Module) else module
            arguments = self._module_defaults(kind) | arguments
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self._seed_)
                module = kind(**arguments)
        self.module_ = module.to(getattr(torch, self.dtype))
        return self

    def _module_defaults(self, kind) -> dict:
        """What this estimator knows of a module's parameters."""
        defaults = {
            "n_features": getattr(self, "n_features_in_", None),
            "n_outputs": getattr(self, "n_outputs_", None),
            "hidden_layer_sizes": self._layer_sizes(),
            "activation": self.activation,
            "dropout": self.dropout,
            "batch_norm": self.batch_norm,
        }
        if inspect.isclass(kind) and issubclass(kind, MLP):
            missing = [
                name
                for name in ("n_features", "n_outputs")
                if defaults[name] is None and f"module__{name}" not in vars(self)
            ]
            if missing:
                raise ValueError(
                    f"The network's {' and '.join(missing)} are not known before fit. Call fit, or "
                    f"set {' and '.join('module__' + name for name in missing)} before initialize."
                )
            self.n_features_in_ = vars(self).get("module__n_features", defaults["n_features"])
            self.n_outputs_ = vars(self).get("module__n_outputs", defaults["n_outputs"])
            return defaults | {"generator": torch.Generator().manual_seed(self._seed_)}
        accepted = inspect.signature(kind).parameters
        known = {"n_features", "n_outputs"} & set(accepted)
        return {name: defaults[name] for name in known if defaults[name] is not None}

    def get_params_for_optimizer(self, prefix, named_parameters):
        """As in skorch; an optimiser with a fused kernel uses it unless told otherwise."""
        args, kwargs = super().get_params_for_optimizer(prefix, named_parameters)
        if supports_fused(self.optimizer) and not {"fused", "foreach"} & set(kwargs):
            kwargs["fused"] = True
        return args, kwargs

    def infer(self, x, **fit_params):
        """Outputs of the network for a batch."""
        if isinstance(x, Mapping) and "sample_weight" in x:
            x = {name: value for name, value in x.items() if name != "sample_weight"}
            x = x["X"] if list(x) == ["X"] else x
        x = to_tensor(x, device=self.device)
        if isinstance(x, Tensor) and x.is_floating_point():
            x = x.to(getattr(torch, self.dtype))
        return super().infer(x, **fit_params)

    def get_loss(self, y_pred, y_true, X=None, training=False):
        """Loss of a batch; targets are in the user's units."""
        weights = X.get("sample_weight") if isinstance(X, Mapping) else None
        y_true = self._network_targets(to_tensor(y_true, device=self.device))
        return self._loss(y_pred, y_true, weights)

    def _loss(self, outputs, targets, weights):
        """Loss of a batch; targets are in the network's units."""
        return weighted_loss(self.criterion_, outputs, targets, weights)

    def _pruning_loss(self) -> nn.Module:
        """The loss of the raw outputs, for :func:`skec.prune`."""
        return self.criterion_

    def _loss_function(self):
        """The loss with its gradient, for the fast path."""
        criterion = self.criterion_
        if type(criterion) is nn.MSELoss:
            return loss_with_gradient(criterion)
        return loss_with_gradient(criterion, self._loss)

    def forward_iter(self, X, training=False, device="cpu"):
        """Yield the network's outputs batch by batch, as skorch's method of this name."""
        self.check_is_fitted()
        if not is_dataset(X) and not isinstance(X, Mapping) and self.dataset == "auto":
            X = self._checked_features(X)
        dataset = self.get_dataset(X)
        if training or not isinstance(dataset, TensorDataset) or self.iterator_valid != "auto":
            for batch in self.get_iterator(dataset, training=training):
                yield to_device(self.evaluation_step(batch, training=training), device=device)
            return
        with small_network_mode():
            outputs = list(self._forward_blocks(dataset.X))
        for output in outputs:
            yield to_device(output, device=device)

    @torch.no_grad()
    def _forward_blocks(self, X: Tensor) -> Iterator:
        """Outputs for whole blocks of rows, so that no row's sums depend on the others."""
        self._set_training(False)
        for start in range(0, len(X), PREDICTION_ROWS):
            rows = X[start : start + PREDICTION_ROWS]
            padding = -len(rows) % _ROW_BLOCK
            padded = nn.functional.pad(rows, (0, 0) * (X.ndim - 1) + (0, padding))
            with _AlignedRows():
                outputs = self.infer(padded)
            if isinstance(outputs, tuple):
                yield tuple(output[: len(rows)] for output in outputs)
            else:
                yield outputs[: len(rows)]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        tags.target_tags.required = True
        return tags

    def _sk_visual_block_(self):
        """The box of the HTML representation; says what was pruned."""
        try:
            from sklearn.utils._repr_html.estimator import _VisualBlock
        except ImportError:  # scikit-learn 1.6
            from sklearn.utils._estimator_html_repr import _VisualBlock

        name = type(self).__name__
        if hasattr(self, "sparsity_"):
            name += (
                f" ({self.sparsity_:.1%} pruned, {self.n_nonzero_parameters_:,} of "
                f"{self.n_parameters_:,} parameters left)"
            )
        return _VisualBlock("single", self, names=name, name_details=str(self), name_caption=None)
