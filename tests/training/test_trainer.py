import copy
import math

import pytest
import torch
from torch import nn

from skec.networks import MLP
from skec.training import (
    LearningRate,
    MaskedWeights,
    TensorBatches,
    Trainer,
    loss_with_gradient,
    mean_loss,
)
from skec.utils import Samples


def network(**kwargs):
    generator = torch.Generator().manual_seed(0)
    return MLP(3, 1, (8, 6), "tanh", zero_output=False, generator=generator, **kwargs).double()


def samples(n=50, weighted=False):
    generator = torch.Generator().manual_seed(1)
    X = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    y = X[:, :1] * X[:, 1:2]
    w = torch.rand(n, generator=generator, dtype=torch.float64) + 0.5 if weighted else None
    return Samples(X, y, w)


class Wrapped(nn.Module):
    """A network whose gradients only autograd can find."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


OPTIMIZERS = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "fused AdamW": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1, fused=True),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.01),
}


def make_trainer(module, optimizer="SGD", masks=(), schedule="constant", n_steps=1, seed=0):
    optimizer = OPTIMIZERS[optimizer](module.parameters())
    return Trainer(
        module,
        loss_with_gradient(nn.MSELoss()),
        optimizer,
        LearningRate(optimizer, schedule, n_steps),
        MaskedWeights(list(masks)) if masks else None,
        torch.Generator().manual_seed(seed),
    )


def train_plainly(module, optimizer, data, batch_size, epochs, mask=None, rates=None):
    """The same training, as one would write it."""
    module.train()
    optimizer = OPTIMIZERS[optimizer](module.parameters())
    losses = []
    for epoch in range(epochs):
        total = 0.0
        for i, start in enumerate(range(0, len(data), batch_size)):
            rows = slice(start, start + batch_size)
            errors = (module(data.X[rows]) - data.y[rows]).square().mean(1)
            if data.sample_weight is not None:
                errors = errors * data.sample_weight[rows]
            optimizer.zero_grad()
            errors.mean().backward()
            if rates is not None:
                optimizer.param_groups[0]["lr"] = rates[epoch * -(-len(data) // batch_size) + i]
            if mask is not None:
                mask[0].grad *= mask[1]
            optimizer.step()
            if mask is not None:
                with torch.no_grad():
                    mask[0].mul_(mask[1])
            total += float(errors.sum().detach())
        losses.append(total / len(data))
    return losses


def assert_same(module, expected):
    for (name, found), right in zip(
        module.state_dict().items(), expected.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(found, right, rtol=1e-8, atol=1e-10, msg=name)


class TestEpoch:
    @pytest.mark.parametrize("weighted", [False, True])
    @pytest.mark.parametrize("wrap", [nn.Sequential, Wrapped])
    @pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
    def test_equals_a_plain_loop(self, optimizer, wrap, weighted):
        module, data = wrap(network()), samples(weighted=weighted)
        expected = copy.deepcopy(module)
        trainer = make_trainer(module, optimizer)
        assert (trainer.chain is None) == (wrap is Wrapped)
        losses = [trainer.epoch(TensorBatches(data, 16)) for _ in range(3)]
        assert losses == pytest.approx(train_plainly(expected, optimizer, data, 16, 3), rel=1e-5)
        assert_same(module, expected)

    def test_equals_a_plain_loop_with_batch_normalisation(self):
        module, data = network(batch_norm=True), samples(48)
        expected = copy.deepcopy(module)
        losses = [make_trainer(module, "SGD").epoch(TensorBatches(data, 16))]
        assert losses == pytest.approx(train_plainly(expected, "SGD", data, 16, 1), rel=1e-5)
        assert_same(module, expected)

    @pytest.mark.parametrize("wrap", [nn.Sequential, Wrapped])
    @pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
    def test_masked_weights_stay_zero_and_the_rest_trains(self, optimizer, wrap):
        module, data = wrap(network()), samples()
        mask = torch.rand(8, 3, generator=torch.Generator().manual_seed(2)) > 0.4
        weights = next(module.parameters())
        with torch.no_grad():
            weights.mul_(mask)
        expected = copy.deepcopy(module)
        trainer = make_trainer(module, optimizer, [(weights, mask)])
        for _ in range(3):
            trainer.epoch(TensorBatches(data, 16))
        train_plainly(expected, optimizer, data, 16, 3, (next(expected.parameters()), mask))
        assert_same(module, expected)
        assert torch.equal(weights != 0, mask)
        assert not weights.grad[~mask].any()

    def test_the_rate_moves_with_every_batch(self):
        module, data = network(), samples()
        expected = copy.deepcopy(module)
        trainer = make_trainer(module, "SGD", schedule="cosine", n_steps=8)
        for _ in range(2):
            trainer.epoch(TensorBatches(data, 16))
        rates = [0.05 * (1 + math.cos(math.pi * i / 8)) / 2 for i in range(8)]
        train_plainly(expected, "SGD", data, 16, 2, rates=rates)
        assert_same(module, expected)

    def test_dropout_is_reproducible_and_on(self):
        def losses(seed, dropout=0.5):
            trainer = make_trainer(network(dropout=dropout), seed=seed)
            return [trainer.epoch(TensorBatches(samples(), 16)) for _ in range(2)]

        assert losses(0) == losses(0)
        assert losses(0) != losses(1)
        assert losses(0, dropout=0.0) == losses(1, dropout=0.0) != losses(0)

    @pytest.mark.parametrize("wrap", [nn.Sequential, Wrapped])
    def test_trains_in_training_mode(self, wrap):
        module = wrap(network()).eval()
        make_trainer(module).epoch(TensorBatches(samples(), 16))
        assert all(m.training for m in module.modules())


class TestEvaluate:
    @pytest.mark.parametrize("batch_size", [7, 50, 64])
    @pytest.mark.parametrize("weighted", [False, True])
    def test_is_the_mean_loss_without_dropout(self, batch_size, weighted):
        module, data = network(dropout=0.5, batch_norm=True), samples(weighted=weighted)
        before = copy.deepcopy(module.state_dict())
        errors = (module.eval()(data.X) - data.y).detach().square().mean(1)
        expected = errors if data.sample_weight is None else errors * data.sample_weight
        batches = TensorBatches(data, batch_size)
        trainer = make_trainer(module.train())
        assert trainer.evaluate(batches) == pytest.approx(float(expected.mean()), rel=1e-5)
        assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())
        loss = loss_with_gradient(nn.MSELoss())
        assert mean_loss(module, loss, batches) == trainer.evaluate(batches)
