"""Losses other than the two defaults, and networks with several heads."""

import copy

import numpy as np
import pytest
import torch
from skorch import NeuralNet, NeuralNetBinaryClassifier, NeuralNetClassifier, NeuralNetRegressor
from torch import nn

from skec import ECPruner, PrunedMLPRegressor, prune

TIGHT = {"rtol": 1e-6, "atol": 1e-14}
functional = nn.functional


class Quantile(nn.Module):
    """The loss of a quantile, written as users do: it knows of no reduction."""

    def __init__(self, level=0.8):
        super().__init__()
        self.level = level

    def forward(self, outputs, y):
        rest = y - outputs
        return torch.maximum(self.level * rest, (self.level - 1) * rest).mean()


class GaussianLikelihood(nn.GaussianNLLLoss):
    """Of a network that returns means and log-variances, as a tuple or side by side."""

    def forward(self, outputs, y):
        mean, log_variance = outputs if isinstance(outputs, tuple) else outputs.split(1, dim=1)
        return super().forward(mean, y.reshape(mean.shape), log_variance.exp())


class Vector(nn.Sequential):
    """One output, without a column for it."""

    def forward(self, x):
        return super().forward(x)[:, 0]


class Heads(nn.Module):
    """A trunk that two heads share, one of them through a layer of its own."""

    def __init__(self, form="side by side", n_outputs=1):
        super().__init__()
        self.form = form
        self.trunk, self.middle = nn.Linear(4, 6), nn.Linear(6, 5)
        self.mean, self.spread = nn.Linear(6, n_outputs), nn.Linear(5, n_outputs)

    def forward(self, x):
        h = torch.tanh(self.trunk(x))
        mean, spread = self.mean(h), self.spread(torch.tanh(self.middle(h)))
        return {
            "side by side": lambda: torch.cat([mean, spread], dim=1),
            "tuple": lambda: (mean, spread),
            "list": lambda: [mean, spread],
            "dict": lambda: {"mean": mean, "spread": spread},
            "nested": lambda: (None, [mean], {"more": (spread, x.argmax(1)), "what": "state"}),
        }[self.form]()


FORMS = ["tuple", "list", "dict", "nested"]


def mlp(n_outputs=1, kind=nn.Sequential, seed=0):
    torch.manual_seed(seed)
    return kind(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, n_outputs)).double()


def heads(form="side by side", **kwargs):
    torch.manual_seed(0)
    return Heads(form, **kwargs).double()


def samples(n=23, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 4, generator=generator, dtype=torch.float64)


def labels(n=23, n_outputs=1):
    return torch.randint(0, 2, (n, n_outputs), generator=torch.Generator().manual_seed(2))


def assert_close(found, expected):
    assert list(found) == list(expected)
    for name in found:
        torch.testing.assert_close(found[name], expected[name], **TIGHT)


def mean_gradient(module, loss_of):
    """Gradient of the mean loss of the weights, by one backpropagation for each sample."""
    module = copy.deepcopy(module).eval()
    X, total = samples(), {}
    for i in range(len(X)):
        module.zero_grad()
        loss_of(module(X[i : i + 1]), i).backward()
        for name, parameter in module.named_parameters():
            if name.endswith("weight"):
                grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                total[name] = total.get(name, 0) + grad / len(X)
    return {name.removesuffix(".weight"): gradient for name, gradient in total.items()}


def taylor_scores(module, gradient):
    return {n: (module.get_submodule(n).weight.detach() * g).abs() for n, g in gradient.items()}


# -- metrics ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("choice", ["auto", "fisher"])
def test_yes_or_no_answers_are_measured_by_their_own_fisher_metric(n_outputs, choice, jacobians):
    """EC from its definition, with M the curvature of the binary cross-entropy."""
    module, X = mlp(n_outputs), samples()
    result = prune(
        module, X, pruning_ratio=0, loss=nn.BCEWithLogitsLoss(), output_metric=choice, batch_size=7
    )
    p = torch.sigmoid(module(X).detach())
    M = torch.diag_embed(p * (1 - p))
    jacobian = jacobians(module, X)
    for name, scores in result.scores.items():
        weight, g = module.get_submodule(name).weight.detach(), jacobian[f"{name}.bias"]
        d = jacobian[f"{name}.weight"] * weight
        cross = torch.einsum("nkoi,nkl,nlo->oi", d, M, g)
        own = torch.einsum("nko,nkl,nlo->o", g, M, g)[:, None]
        total = torch.einsum("nkoi,nkl,nloi->oi", d, M, d)
        torch.testing.assert_close(scores, (total - cross**2 / own) / len(X), **TIGHT)


def test_the_metric_of_one_logit_is_that_of_two_logits_of_a_softmax():
    """A softmax over (0, z) is the sigmoid of z, and their scores are the same."""
    module, X = mlp(), samples()
    pair = mlp(2)
    pair.load_state_dict(module.state_dict() | {"2.weight": torch.zeros(2, 6).double(),
                                                "2.bias": torch.zeros(2).double()})  # fmt: skip
    with torch.no_grad():
        pair[2].weight[1], pair[2].bias[1] = module[2].weight[0], module[2].bias[0]
    one = prune(module, X, pruning_ratio=0, loss=nn.BCEWithLogitsLoss()).scores
    two = prune(pair, X, pruning_ratio=0, loss=nn.CrossEntropyLoss()).scores
    torch.testing.assert_close(one["0"], two["0"], **TIGHT)
    torch.testing.assert_close(one["2"][0], two["2"][1], **TIGHT)


@pytest.mark.parametrize(
    "loss",
    [nn.HuberLoss(), nn.SmoothL1Loss(), nn.L1Loss(), nn.MSELoss(), Quantile(), nn.BCELoss()],
    ids=lambda loss: type(loss).__name__,
)
def test_other_losses_measure_the_outputs_themselves(loss, elimination_compensation):
    module, X = mlp(2), samples()
    expected, _ = elimination_compensation(module, X)
    assert_close(prune(module, X, pruning_ratio=0, loss=loss).scores, expected)


def test_the_surgeon_keeps_its_own_metric():
    module, X = mlp(), samples()
    kwargs = {"method": "surgeon", "pruning_ratio": 0.3, "loss": nn.BCEWithLogitsLoss()}
    auto, identity = (prune(module, X, output_metric=m, **kwargs) for m in ("auto", "identity"))
    assert_close(auto.scores, identity.scores)


@pytest.mark.parametrize("granularity", ["weight", "neuron"])
def test_one_output_of_regression_has_no_fisher_metric(granularity):
    for loss in (None, nn.MSELoss()):
        with pytest.raises(ValueError, match=r"='fisher'.*Use output_metric='identity"):
            prune(
                mlp(), samples(), pruning_ratio=0.5, loss=loss, output_metric="fisher",
                granularity=granularity,
            )  # fmt: skip


# -- losses with targets ---------------------------------------------------------------------------

CASES = {
    "huber": (nn.HuberLoss(), functional.huber_loss, 1),
    "quantile": (Quantile(), Quantile(), 1),
    "poisson": (nn.PoissonNLLLoss(), functional.poisson_nll_loss, 1),
    "binary": (nn.BCEWithLogitsLoss(), functional.binary_cross_entropy_with_logits, 1),
    "multi-label": (nn.BCEWithLogitsLoss(), functional.binary_cross_entropy_with_logits, 3),
    "sum": (nn.BCEWithLogitsLoss(reduction="sum"),
            lambda o, y: functional.binary_cross_entropy_with_logits(o, y, reduction="sum"), 3),
    "none": (nn.HuberLoss(reduction="none"), functional.huber_loss, 3),
}  # fmt: skip


def shapes_of(y, name):
    """Targets as people have them; an own loss gets integers as they are."""
    shapes = [y.double()] if name == "quantile" else [y, y.double()]
    return shapes + [given[:, 0] for given in shapes if y.shape[1] == 1]


@pytest.mark.parametrize("name", sorted(CASES))
def test_taylor_takes_targets_in_the_shapes_that_people_have(name):
    loss, truth, n_outputs = CASES[name]
    y = labels(n_outputs=n_outputs)
    column = mlp(n_outputs)
    gradient = mean_gradient(column, lambda o, i: truth(o, y[i : i + 1].double()))
    for module in (column, mlp(n_outputs, Vector)) if n_outputs == 1 else (column,):
        for given in shapes_of(y, name):
            before = given.clone()
            result = prune(
                module, samples(), given, pruning_ratio=0, method="taylor", loss=loss, batch_size=7
            )
            assert_close(result.scores, taylor_scores(module, gradient))
            assert torch.equal(given, before)


def test_a_loss_of_torch_with_a_forward_that_knows_no_reduction():
    class Half(nn.MSELoss):
        def forward(self, outputs, y):
            return 0.5 * (outputs - y).square().mean()

    module, y = mlp(), labels().double()
    kwargs = {"pruning_ratio": 0, "method": "gradient", "batch_size": 7}
    found = prune(module, samples(), y, loss=Half(), **kwargs).scores
    full = prune(module, samples(), y, loss=nn.MSELoss(), **kwargs).scores
    assert_close(found, {name: score / 2 for name, score in full.items()})


# -- several heads ---------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_all_heads_count(form, weighted, elimination_compensation):
    X = samples()
    w = torch.rand(len(X), generator=torch.Generator().manual_seed(3)).double()
    w = w if weighted else None
    expected, _ = elimination_compensation(heads(n_outputs=2), X, w)
    module = heads(form, n_outputs=2)
    found = prune(module, X, pruning_ratio=0, sample_weight=w, batch_size=7)
    assert_close(found.scores, expected)
    assert (found.scores["middle"] > 0).all()
    assert (found.scores["spread"] > 0).all()


@pytest.mark.parametrize(
    ("method", "form"),
    [("surgeon", "tuple"), ("ec_exact", "nested"), ("wanda", "dict"), ("obd", "list")],
)
def test_methods_see_heads_as_if_they_stood_side_by_side(method, form):
    kwargs = {"pruning_ratio": 0.4, "method": method, "n_steps": 2}
    expected = prune(heads(), samples(), **kwargs)
    found = prune(heads(form), samples(), **kwargs)
    assert_close(found.scores, expected.scores)
    assert_close(found.module.state_dict(), expected.module.state_dict())


def test_a_pruned_network_with_heads_returns_what_it_returned():
    found = prune(heads("dict"), samples(), pruning_ratio=0.3).module(samples())
    assert list(found) == ["mean", "spread"]


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(), nn.BCEWithLogitsLoss()])
def test_heads_are_measured_by_themselves_whatever_the_loss(loss):
    expected = prune(heads(), samples(), pruning_ratio=0).scores
    assert_close(prune(heads("tuple"), samples(), pruning_ratio=0, loss=loss).scores, expected)


@pytest.mark.parametrize("method", ["ec", "ec_exact", "surgeon"])
def test_heads_have_no_fisher_metric(method):
    with pytest.raises(ValueError, match=r"output_metric='fisher' .* returns 2 tensors"):
        prune(heads("list"), samples(), pruning_ratio=0.5, output_metric="fisher", method=method)


class BothHeads(nn.Module):
    """A loss that takes what the network returns."""

    reduction = "mean"

    def forward(self, outputs, y):
        assert isinstance(outputs, dict)
        mean, spread = outputs["mean"], outputs["spread"]
        losses = (mean - y) ** 2 * torch.exp(spread) - spread
        return losses.mean() if self.reduction == "mean" else losses


@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_gets_what_the_network_returns(weighted):
    module, y = heads("dict"), labels().double()
    w = torch.rand(23, generator=torch.Generator().manual_seed(3)).double() if weighted else None
    share = torch.ones(23).double() if w is None else w
    gradient = mean_gradient(module, lambda o, i: share[i] * BothHeads()(o, y[i]))
    found = prune(
        module, samples(), y, pruning_ratio=0, method="taylor", loss=BothHeads(),
        sample_weight=w, batch_size=7,
    )  # fmt: skip
    scale = 1.0 if w is None else 1.0 / w.mean()
    assert_close(
        found.scores,
        taylor_scores(module, {name: g * scale for name, g in gradient.items()}),
    )


def test_layers_that_the_loss_does_not_see_have_no_gradient():
    class FirstHead(nn.Module):
        def forward(self, outputs, y):
            return (outputs[0] - y).square().mean()

    module, y = heads("tuple"), labels().double()
    found = prune(module, samples(), y, pruning_ratio=0, method="taylor", loss=FirstHead())
    gradient = mean_gradient(module, lambda o, i: FirstHead()(o, y[i]))
    assert_close(found.scores, taylor_scores(module, gradient))
    assert not found.scores["spread"].any()


@pytest.mark.parametrize("loss", [None, nn.MSELoss(), nn.CrossEntropyLoss()])
def test_a_loss_of_one_tensor_is_refused_for_several(loss):
    name = "None" if loss is None else type(loss).__name__
    with pytest.raises(ValueError, match=f"loss={name}.*returns 2.*forward"):
        prune(
            heads("tuple"), samples(), labels().double(), pruning_ratio=0.5, method="taylor",
            loss=loss,
        )  # fmt: skip


# -- kinds of networks -----------------------------------------------------------------------------


class Mixed(nn.Module):
    """An embedding, a residual block with normalisation and dropout, pooling, two heads."""

    def __init__(self, form="side by side"):
        super().__init__()
        self.form = form
        self.embedding, self.norm = nn.Embedding(5, 6), nn.LayerNorm(6)
        self.enter, self.inner = nn.Linear(6, 6), nn.Linear(6, 6)
        self.first, self.second = nn.Linear(3, 2), nn.Linear(6, 1)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        h = self.enter(self.embedding(x).mean(1))
        h = h + self.dropout(torch.tanh(self.inner(self.norm(h))))
        pooled = functional.avg_pool1d(h[:, None], 2)[:, 0]
        parts = self.first(pooled), self.second(h)
        return parts if self.form == "tuple" else torch.cat(parts, dim=1)


def test_embedding_residual_norm_dropout_pooling_and_heads(elimination_compensation):
    torch.manual_seed(0)
    plain = Mixed().double()
    module = Mixed("tuple").double().train()
    module.load_state_dict(plain.state_dict())
    X = torch.randint(0, 5, (23, 3), generator=torch.Generator().manual_seed(1))
    w = torch.ones(23).double()
    expected, _ = elimination_compensation(plain, X, w)
    result = prune(module, X, pruning_ratio=0, batch_size=7)
    assert_close(result.scores, expected)
    half = prune(module, X, pruning_ratio=0.5, n_steps=3)
    assert half.sparsity == pytest.approx(0.5, abs=0.01)
    assert half.module.training
    assert len(half.module(X)) == 2


# -- estimators ------------------------------------------------------------------------------------

rng = np.random.RandomState(0)
X_32 = rng.randn(80, 4).astype(np.float32)
y_32 = (X_32[:, :1] - X_32[:, 1:2] * X_32[:, 2:3]).astype(np.float32)


def net_of(kind, module, criterion, **kwargs):
    torch.manual_seed(0)
    return kind(
        module, criterion=criterion, max_epochs=2, lr=0.05, train_split=None, verbose=0,
        optimizer=torch.optim.Adam, **kwargs,
    )  # fmt: skip


def single(n_outputs, kind=nn.Sequential):
    return mlp(n_outputs, kind).float()


NETS = {
    "huber": lambda: (NeuralNetRegressor, single(1), nn.HuberLoss, y_32),
    "quantile": lambda: (NeuralNetRegressor, single(1), Quantile, y_32),
    "gaussian, columns": lambda: (NeuralNetRegressor, single(2), GaussianLikelihood, y_32),
    "gaussian, tuple": lambda: (NeuralNetRegressor, heads("tuple").float(), GaussianLikelihood,
                                y_32),
    "binary": lambda: (NeuralNetBinaryClassifier, single(1), nn.BCEWithLogitsLoss,
                       (y_32[:, 0] > 0).astype(np.float32)),
    "binary, vector": lambda: (NeuralNetBinaryClassifier, single(1, Vector), nn.BCEWithLogitsLoss,
                               (y_32[:, 0] > 0).astype(np.float32)),
    "multi-label": lambda: (NeuralNet, single(3), nn.BCEWithLogitsLoss,
                            (X_32[:, :3] > 0).astype(np.float32)),
    "multi-label classifier": lambda: (NeuralNetClassifier, single(3), nn.BCEWithLogitsLoss,
                                       (X_32[:, :3] > 0).astype(np.float32)),
}  # fmt: skip


@pytest.mark.parametrize("method", ["ec", "taylor"])
@pytest.mark.parametrize("name", sorted(NETS))
def test_the_pruner_takes_nets_with_other_losses(name, method):
    kind, module, criterion, y = NETS[name]()
    net = net_of(kind, module, criterion)
    pruner = ECPruner(net, pruning_ratio=0.5, method=method, n_steps=2, refit_epochs=1)
    pruner.fit(X_32, y)
    assert pruner.sparsity_ == pytest.approx(0.5, abs=0.02)
    assert np.isfinite(pruner.predict(X_32)).all()
    for layer, mask in pruner.masks_.items():
        weight = pruner.estimator_.module_.get_submodule(layer).weight
        assert not weight[~mask].any()


def test_the_pruner_measures_a_binary_net_by_its_own_metric():
    kind, module, criterion, y = NETS["binary"]()
    net = net_of(kind, module, criterion).fit(X_32, y)
    found = ECPruner(net, pruning_ratio=0.5, prefit=True, n_steps=1).fit(X_32)
    expected = prune(net.module_, X_32, pruning_ratio=0.5, loss=nn.BCEWithLogitsLoss())
    assert_close(found.scores_, expected.scores)


@pytest.mark.parametrize("method", ["ec", "taylor"])
@pytest.mark.parametrize("criterion", [nn.HuberLoss, Quantile])
def test_the_regressor_takes_other_losses(criterion, method):
    net = PrunedMLPRegressor(
        (8,), criterion=criterion, max_epochs=2, pruning_ratio=0.5, method=method, random_state=0
    ).fit(X_32, y_32[:, 0])
    assert net.sparsity_ == pytest.approx(0.5, abs=0.02)
    assert net.predict(X_32).shape == (80,)
    assert np.isfinite(net.pruning_report_.loss_after)


def test_the_regressor_counts_by_the_metric_of_counts():
    counts = np.random.RandomState(0).poisson(np.exp(X_32[:, 0]))
    kwargs = {"criterion": nn.PoissonNLLLoss, "normalize_y": False, "max_epochs": 2}
    nets = [
        PrunedMLPRegressor((8,), output_metric=metric, random_state=0, **kwargs).fit(X_32, counts)
        for metric in ("auto", "fisher")
    ]
    assert nets[0].predicted_error_ == nets[1].predicted_error_


def test_the_regressor_refuses_the_fisher_metric_of_a_loss_without_one():
    net = PrunedMLPRegressor((8,), criterion=nn.HuberLoss, output_metric="fisher")
    with pytest.raises(ValueError, match="not known for loss=HuberLoss"):
        net.fit(X_32, y_32)
