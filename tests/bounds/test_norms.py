"""Upper bounds of norms, against singular values of the whole matrix."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from skec.bounds import convolution_norm_bound, operator_norm, spectral_norm_bound


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 2**16),
    st.sampled_from([1e-200, 1, 1e150]),
)
def test_spectral_norms(n_rows, n_columns, seed, unit):
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(n_rows, n_columns, generator=generator, dtype=torch.float64)
    matrix[torch.rand(matrix.shape, generator=generator) < 0.5] = 0.0
    matrix = matrix * unit
    exact = float(torch.linalg.svdvals(matrix / unit)[0]) * unit
    assert exact * (1 - 1e-13) <= spectral_norm_bound(matrix) <= exact * (1 + 1e-8)


@pytest.mark.parametrize(
    "matrix",
    [torch.zeros(3, 2), torch.eye(5), torch.ones(7, 200), torch.diag(torch.tensor([1.0, 1e-12]))],
)
def test_special_matrices(matrix):
    exact = float(torch.linalg.matrix_norm(matrix.double(), 2))
    assert exact <= spectral_norm_bound(matrix) <= exact * (1 + 1e-9)


def test_several_complex_matrices():
    matrices = torch.randn(4, 3, 5, dtype=torch.complex128)
    exact = float(torch.linalg.matrix_norm(matrices, 2).max())
    assert exact <= spectral_norm_bound(matrices) <= exact * (1 + 1e-9)


LAYERS = [
    (nn.Conv1d(2, 3, 3), (2, 9)),
    (nn.Conv1d(2, 3, 4, padding="same"), (2, 9)),
    (nn.Conv1d(1, 2, 5, stride=2, padding=2), (1, 12)),
    (nn.Conv1d(1, 2, 3, stride=3, dilation=2), (1, 13)),
    (nn.Conv1d(2, 2, 3, padding=1, padding_mode="circular"), (2, 8)),
    (nn.Conv1d(2, 2, 5, padding=2, padding_mode="reflect"), (2, 6)),
    (nn.Conv1d(2, 2, 5, padding=2, padding_mode="replicate"), (2, 6)),
    (nn.Conv2d(2, 4, 3, padding=1), (2, 7, 6)),
    (nn.Conv2d(3, 2, (2, 3), stride=(2, 1), padding=(0, 1)), (3, 6, 7)),
    (nn.Conv2d(1, 3, 3, dilation=2, padding=2), (1, 6, 6)),
    (nn.Conv2d(2, 3, 2, stride=2), (2, 6, 6)),
    (nn.Conv2d(2, 3, 4, stride=3), (2, 11, 10)),
    (nn.Conv2d(2, 3, 6), (2, 6, 6)),
]


def exact_norm(layer, shape):
    inputs = torch.eye(int(torch.tensor(shape).prod()), dtype=torch.float64).reshape(-1, *shape)
    layer = layer.double()
    outputs = layer(inputs) - layer(torch.zeros_like(inputs))
    return float(torch.linalg.matrix_norm(outputs.detach().flatten(1), 2))


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=str)
def test_convolutions(layer, shape):
    exact, bound = exact_norm(layer, shape), operator_norm(layer, shape)
    assert exact <= bound * (1 + 1e-12)
    if layer.padding_mode == "zeros":
        assert bound <= 1.5 * exact


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 2), st.integers(1, 2), st.integers(4, 9), st.integers(0, 99)
)
def test_both_methods_are_bounds(kernel, stride, dilation, size, seed):
    if dilation * (kernel - 1) + 1 > size:
        return
    torch.manual_seed(seed)
    layer = nn.Conv2d(2, 3, kernel, stride=stride, dilation=dilation)
    exact = exact_norm(layer, (2, size, size))
    for method in ("kernel", "frequencies"):
        bound = convolution_norm_bound(
            layer.weight, (size,) * 2, (stride,) * 2, (dilation,) * 2, method
        )
        assert exact <= bound * (1 + 1e-12)


def test_a_circular_convolution_is_exact():
    layer = nn.Conv1d(3, 3, 3, padding=1, padding_mode="circular")
    alone = convolution_norm_bound(layer.weight, (16,), (1,), (1,), "frequencies")
    assert alone == pytest.approx(exact_norm(layer, (3, 16)), rel=1e-6)


def test_bad_layers():
    with pytest.raises(ValueError, match=r"layer must be a torch.nn.Linear.*got a ReLU"):
        operator_norm(nn.ReLU())
    with pytest.raises(ValueError, match=r"input_shape must be the shape of a sample.*got None"):
        operator_norm(nn.Conv1d(1, 1, 2))
    with pytest.raises(ValueError, match=r"input_shape=\(2, 5\) and the layer .* do not fit"):
        operator_norm(nn.Conv1d(1, 1, 2), (2, 5))
