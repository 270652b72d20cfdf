"""Losses with their gradients, against autograd."""

import pytest
import torch
from torch import nn

from skec.networks import weighted_loss
from skec.training import loss_with_gradient

torch_generator = torch.Generator().manual_seed(0)


def batch(n=9, n_classes=4):
    outputs = torch.randn(n, n_classes, generator=torch_generator, dtype=torch.float64)
    targets = torch.randint(n_classes, (n,), generator=torch_generator)
    return outputs, targets, torch.rand(n, generator=torch_generator, dtype=torch.float64)


def assert_as_autograd(criterion, outputs, targets, weights):
    value, gradient = loss_with_gradient(criterion)(targets, weights)(outputs)
    outputs = outputs.clone().requires_grad_()
    expected = weighted_loss(criterion, outputs, targets, weights)
    expected.backward()
    torch.testing.assert_close(value, expected.detach())
    torch.testing.assert_close(gradient, outputs.grad)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"label_smoothing": 0.1},
        {"label_smoothing": 1.0},
        {"weight": torch.tensor([1.0, 2.0, 0.0, 3.0], dtype=torch.float64)},
        {"ignore_index": 2},
        {"reduction": "sum"},
    ],
    ids=str,
)
def test_cross_entropy(settings, weighted):
    outputs, targets, weights = batch()
    if weighted and settings.get("reduction") == "sum":
        pytest.skip("a sum has no weights")
    assert_as_autograd(
        nn.CrossEntropyLoss(**settings), outputs, targets, weights if weighted else None
    )


def test_cross_entropy_of_probabilities_and_of_maps():
    outputs, _targets, _ = batch()
    assert_as_autograd(nn.CrossEntropyLoss(), outputs, torch.softmax(outputs, 1), None)
    maps = torch.randn(5, 4, 3, generator=torch_generator, dtype=torch.float64)
    classes = torch.randint(4, (5, 3), generator=torch_generator)
    assert_as_autograd(nn.CrossEntropyLoss(), maps, classes, None)


@pytest.mark.parametrize("criterion", [nn.MSELoss(), nn.L1Loss(), nn.HuberLoss()], ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_losses_of_numbers(criterion, weighted):
    outputs, _, weights = batch()
    targets = torch.randn(9, 4, generator=torch_generator, dtype=torch.float64)
    assert_as_autograd(criterion, outputs, targets, weights if weighted else None)


def test_extreme_outputs_have_finite_losses():
    outputs = torch.tensor([[1e4, -1e4, 0.0]], dtype=torch.float64)
    for target in range(3):
        assert_as_autograd(nn.CrossEntropyLoss(), outputs, torch.tensor([target]), None)
