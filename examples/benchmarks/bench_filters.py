"""Filters and weights removed from a VGG-like network of convolutions, without training.

First filters, with compensations that need no data and compensations that need samples without
labels. Then single weights. The data are MNIST, or the digits of scikit-learn if MNIST is not in
the data folder.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from _common import arguments, print_setting, print_table, with_error
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

import skec
from skec.datasets import fetch_mnist

RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5)
WEIGHT_RATIOS = (0.5, 0.7, 0.8)
FILTERS = {
    "l2, none": ("l2", "none", {}),
    "l2, merging": ("l2", "merging", {}),
    "l2, lbyl, ridge 0.3": ("l2", "lbyl", {"ridge": 0.3}),
    "l2, lbyl, ridge 0.01": ("l2", "lbyl", {"ridge": 0.01}),
    "l2, mean": ("l2", "mean", {}),
    "ec, bias": ("ec", "bias", {}),
    "l2, least_squares": ("l2", "least_squares", {}),
    "elimination, least_squares": ("elimination", "least_squares", {}),
}
WEIGHTS = ("magnitude", "taylor", "obd", "ec")
N_SAMPLES = 500


def images(
    quick: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, str]:
    """Training and test images with one channel in [-1, 1], their labels, and their name."""
    try:
        X, y, X_test, y_test = fetch_mnist(download=False)
        X, X_test, side, name = X * 2 - 1, X_test * 2 - 1, 28, "MNIST"
    except FileNotFoundError:
        X, y = load_digits(return_X_y=True)
        X, X_test, y, y_test = train_test_split(X / 8 - 1, y, random_state=0)
        side, name = 8, "digits of scikit-learn"
    n_train, n_test = (2_000, 1_000) if quick else (12_000, 5_000)
    X, X_test = (
        torch.as_tensor(A, dtype=torch.float32).reshape(-1, 1, side, side) for A in (X, X_test)
    )
    y, y_test = (torch.as_tensor(np.asarray(a), dtype=torch.int64) for a in (y, y_test))
    return X[:n_train], y[:n_train], X_test[:n_test], y_test[:n_test], name


def vgg(side: int, width: int) -> nn.Sequential:
    """Pairs of convolutions with batch normalisation, each pair followed by pooling."""
    layers: list[nn.Module] = []
    n_in, n_out = 1, width
    while side >= 4:
        for _ in range(2):
            convolution = nn.Conv2d(n_in, n_out, 3, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(n_out), nn.ReLU()]
            n_in = n_out
        layers.append(nn.MaxPool2d(2))
        side, n_out = side // 2, 2 * n_out
    layers += [nn.Flatten(), nn.Linear(n_in * side**2, 64), nn.ReLU(), nn.Linear(64, 10)]
    return nn.Sequential(*layers)


def train(X: torch.Tensor, y: torch.Tensor, epochs: int, width: int, seed: int) -> nn.Sequential:
    """Train a network with Adam and a learning rate that decreases to zero."""
    torch.manual_seed(seed)
    module = vgg(X.shape[-1], width)
    optimizer = torch.optim.Adam(module.parameters(), lr=2e-3)
    n_steps = epochs * (len(X) // 100)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, n_steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(X)).split(100)[: len(X) // 100]:
            loss = nn.functional.cross_entropy(module(X[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return module.eval()


@torch.no_grad()
def accuracy(module: nn.Module, X: torch.Tensor, y: torch.Tensor) -> float:
    """Accuracy in per cent."""
    outputs = torch.cat([module(part) for part in X.split(500)])
    return 100 * float((outputs.argmax(1) == y).double().mean())


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__)
    X, y, X_test, y_test, name = images(options.quick)
    n_networks, epochs, width = (1, 3, 8) if options.quick else (2, 4, 16)
    start = time.perf_counter()
    modules = [train(X, y, epochs, width, seed) for seed in range(n_networks)]
    seconds = time.perf_counter() - start
    dense = [accuracy(module, X_test, y_test) for module in modules]
    samples, labels = X[:N_SAMPLES], y[:N_SAMPLES]
    print_setting(
        data=f"{name}, {len(X)} training and {len(X_test)} test images",
        network=f"pairs of 3×3 convolutions with batch normalisation, {width} filters and more, "
        f"{sum(p.numel() for p in modules[0].parameters())} parameters",
        training=f"{epochs} epochs, {seconds / n_networks:.0f} s each",
        accuracy=f"dense {with_error(dense, 2)} % over {n_networks} networks",
        calibration=f"{len(samples)} training images; only taylor uses their labels",
        pruning="one step, no training afterwards",
    )

    print("filters and hidden units, the same ratio in each layer; test accuracy in %")
    rows, results = [], []
    for method, (criterion, compensation, parameters) in FILTERS.items():
        row, start = {"method": method}, time.perf_counter()
        for ratio in RATIOS[::2] if options.quick else RATIOS:
            results = [
                skec.prune(
                    module,
                    samples,
                    granularity="neuron",
                    method=criterion,
                    compensation=compensation,
                    compensation_params=parameters,
                    pruning_ratio=ratio,
                    n_steps=1,
                ).compact()
                for module in modules
            ]
            found = [accuracy(result.module, X_test, y_test) for result in results]
            row[str(ratio)] = with_error(found, 2)
        rows.append(row | {"seconds": f"{time.perf_counter() - start:.1f}"})
    print_table(rows)
    n_parameters = sum(p.numel() for p in results[0].module.parameters())
    print(f"parameters after pruning to the last ratio: {n_parameters}")

    print("\nsingle weights, over the whole network; test accuracy in %")
    rows = []
    for method in WEIGHTS:
        row, start = {"method": method}, time.perf_counter()
        for ratio in WEIGHT_RATIOS[1::2] if options.quick else WEIGHT_RATIOS:
            results = [
                skec.prune(module, samples, labels, method=method, pruning_ratio=ratio, n_steps=1)
                for module in modules
            ]
            found = [accuracy(result.module, X_test, y_test) for result in results]
            row[str(ratio)] = with_error(found, 2)
        rows.append(row | {"seconds": f"{time.perf_counter() - start:.1f}"})
    print_table(rows)


if __name__ == "__main__":
    main()
