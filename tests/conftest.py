"""Independent truth that several test files compare with."""

import copy

import pytest
import torch
from hypothesis import settings
from torch import nn
from torch.func import functional_call, jacrev, vmap

from skec.compensation import COMPENSATIONS
from skec.criteria import CRITERIA

settings.register_profile("skec", deadline=None, max_examples=20, derandomize=True)
settings.load_profile("skec")


def _jacobians(module, X):
    parameters = {name: p.detach() for name, p in module.named_parameters()}

    def outputs(parameters, x):
        y = functional_call(module, parameters, (x[None],))
        return (y[0] if isinstance(y, tuple) else y).reshape(-1)

    return vmap(jacrev(outputs), (None, 0))(parameters, X)


def _elimination_compensation(module, X, sample_weight=None, metric="identity"):
    module = copy.deepcopy(module).eval()
    layers = {name: m for name, m in module.named_modules() if isinstance(m, nn.Linear)}
    for layer in layers.values():
        if layer.bias is None:
            layer.bias = nn.Parameter(layer.weight.new_zeros(len(layer.weight)))
    jacobian = _jacobians(module, X)
    w = torch.ones(len(X), dtype=X.dtype) if sample_weight is None else sample_weight
    w = w / w.sum()
    y = module(X)
    y = (y[0] if isinstance(y, tuple) else y).detach().reshape(len(X), -1)
    M = torch.eye(y.shape[1], dtype=X.dtype).expand(len(X), -1, -1)
    if metric == "fisher":
        p = torch.softmax(y, 1)
        M = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    scores, shifts = {}, {}
    for name, layer in layers.items():
        d_weight = jacobian[f"{name}.weight"] * layer.weight.detach()
        d_bias = jacobian[f"{name}.bias"]
        both = torch.einsum("n,nkoi,nkl,nlo->oi", w, d_weight, M, d_bias)
        squared = torch.einsum("n,nko,nkl,nlo->o", w, d_bias, M, d_bias)[:, None]
        shifts[name] = torch.where(squared > 0, both / squared, 0.0)
        rest = d_weight - d_bias[..., None] * shifts[name]
        scores[name] = torch.einsum("n,nkoi,nkl,nloi->oi", w, rest, M, rest)
    return scores, shifts


@pytest.fixture(scope="session")
def jacobians():
    """Jacobian of each sample's outputs for every parameter, of shape (n, n_outputs, *shape)."""
    return _jacobians


@pytest.fixture(scope="session")
def elimination_compensation():
    """Scores and bias shifts of every weight, from the definition, by per-sample Jacobians."""
    return _elimination_compensation


@pytest.fixture
def registries():
    """Forget the criteria and compensations that a test defines."""
    known = [(registry, dict(registry)) for registry in (CRITERIA, COMPENSATIONS)]
    yield
    for registry, entries in known:
        registry.clear()
        registry.update(entries)
