"""How far pruning moves the outputs: bounds, and the largest difference that a search finds."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from _common import arguments, kin8nm, print_setting, print_table
from torch import Tensor, nn

import skec
from skec.bounds import a_posteriori_gap, a_priori_gap, convolution_norm_bound
from skec.networks import MLP

METHODS = ("random", "magnitude", "ec", "surgeon")


def searched_gap(
    pruned: nn.Module, dense: nn.Module, start: Tensor, project: Callable[[Tensor], Tensor]
) -> float:
    """The largest difference that projected gradient ascent finds from some starting points."""
    x, largest = project(start), 0.0
    for step in range(100):
        x = x.detach().requires_grad_()
        gap = (pruned(x) - dense(x)).norm(dim=1)
        largest = max(largest, float(gap.detach().max()))
        (gradient,) = torch.autograd.grad(gap.sum(), x)
        direction = gradient / gradient.norm(dim=1, keepdim=True).clamp(min=1e-12)
        scale = float(start.norm(dim=1).mean())
        x = project(x + 0.2 * scale * (1 - step / 100) * direction)
    return largest


def into_ball(x: Tensor, radius: float) -> Tensor:
    """The nearest points of a ball around zero."""
    return x * (radius / x.norm(dim=1, keepdim=True).clamp(min=radius))


def trained_network(X: np.ndarray, y: np.ndarray, n_epochs: int) -> nn.Module:
    """A SiLU network with two hidden layers of 32 units."""
    network = MLP(X.shape[1], 1, (32, 32), generator=torch.Generator().manual_seed(0))
    inputs, targets = torch.from_numpy(X), torch.from_numpy(y)[:, None]
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.1)
    generator = torch.Generator().manual_seed(0)
    for _ in range(n_epochs):
        for rows in torch.randperm(len(inputs), generator=generator).split(128):
            optimizer.zero_grad()
            nn.functional.mse_loss(network(inputs[rows]), targets[rows]).backward()
            optimizer.step()
    return network


def of_trained_network(quick: bool) -> None:
    """Bounds and true gaps against the ratio."""
    X, y, name = kin8nm(2000 if quick else 8192)
    network = trained_network(X, y, 3 if quick else 60)
    low, high = torch.from_numpy(X.min(0)).double(), torch.from_numpy(X.max(0)).double()
    middle = torch.from_numpy(X[0]).double()
    near = (middle - 0.1, middle + 0.1)
    radius = float(np.linalg.norm(X, axis=1).max())
    print_setting(
        data=f"{name}, {len(X)} samples, standardised",
        network="8-32-32-1, SiLU, trained; pruned in one step, scope 'layer'",
        regions=f"box: the range of each feature; ball: radius {radius:.2f}, the largest norm; "
        "small box: ±0.1 around a sample",
        values="gap: largest difference found by gradient ascent from 200 points",
    )
    rng = torch.Generator().manual_seed(0)
    start = torch.from_numpy(X[:100]).double()
    start = torch.cat([start, low + (high - low) * torch.rand(100, 8, generator=rng).double()])
    rows = []
    dense = network.double()
    for method in METHODS[1:2] if quick else METHODS:
        for ratio in (0.2, 0.5) if quick else (0.05, 0.1, 0.2, 0.5, 0.8):
            data = (
                None if method in ("random", "magnitude") else torch.from_numpy(X[:1024]).double()
            )
            result = skec.prune(
                dense, data, method=method, pruning_ratio=ratio, scope="layer", random_state=0
            )
            pruned = result.module
            row: dict[str, Any] = {"method": method, "ratio": ratio}
            for region, bounds in (("box", (low, high)), ("small box", near)):
                limits = (bounds[0], bounds[1])
                row[f"{region}: gap"] = searched_gap(
                    pruned, dense, start, lambda x, limits=limits: x.clamp(*limits)
                )
                gap = a_posteriori_gap(result, dense, bounds=tuple(b.numpy() for b in bounds))
                row[f"{region}: bound"] = gap.bound
            row["ball: gap"] = searched_gap(pruned, dense, start, lambda x: into_ball(x, radius))
            row["ball: bound"] = a_posteriori_gap(result, dense, radius=radius).bound
            rows.append(row)
    print_table(rows)


def drawn(widths: tuple[int, ...], distribution: str, seed: int) -> nn.Module:
    """A ReLU network without biases; weights as :func:`a_priori_gap` assumes."""
    generator = torch.Generator().manual_seed(seed)
    parts: list[nn.Module] = []
    for n_in, n_out in pairwise(widths):
        layer = nn.Linear(n_in, n_out, bias=False, dtype=torch.float64)
        size = 1 / math.sqrt(max(n_in, n_out))
        with torch.no_grad():
            if distribution == "gaussian":
                layer.weight.normal_(0, size, generator=generator)
            else:
                layer.weight.uniform_(-size, size, generator=generator)
        parts += [layer, nn.ReLU()]
    return nn.Sequential(*parts[:-1])


def drawn_gaps(
    widths: tuple[int, ...],
    method: str,
    n_removed: list[int],
    seed: int,
    distribution: str = "gaussian",
) -> tuple[float, float]:
    """Searched gap and a-posteriori bound of a drawn network on the unit ball."""
    dense = drawn(widths, distribution, seed)
    sizes = [m * n for m, n in pairwise(widths)]
    scope = {str(2 * i): k / size for i, (k, size) in enumerate(zip(n_removed, sizes, strict=True))}
    result = skec.prune(
        dense,
        method=method,
        pruning_ratio=sum(n_removed) / sum(sizes),
        scope=scope,
        random_state=seed,
    )
    start = torch.randn(20, widths[0], generator=torch.Generator().manual_seed(seed)).double()
    found = searched_gap(result.module, dense, start, lambda x: into_ball(x, 1.0))
    return found, a_posteriori_gap(result, dense, radius=1.0).bound


def against_width(quick: bool) -> None:
    """A-priori bound and true gap against the width."""
    sizes = (32, 64) if quick else (32, 128, 512, 2048)
    print_setting(
        network="n-n-1, ReLU, no biases, drawn normal with standard deviation 1/√n; unit ball",
        removed="D^(1/2) of the D weights of each layer, or a half",
        values="delta = 0.05; gap (gradient ascent) and a-posteriori bound of one drawn network",
    )
    rows = []
    for method in ("random", "magnitude"):
        for n in sizes:
            widths = (n, n, 1)
            few = a_priori_gap(widths, alpha=0.5, method=method)
            half = a_priori_gap(widths, 0.5, method=method)
            row: dict[str, Any] = {"method": method, "n": n}
            for name, prior in (("√D", few), ("half", half)):
                removed = [layer.n_removed for layer in prior.layers]
                gap, posterior = drawn_gaps(widths, method, removed, seed=0)
                row |= {f"{name}: gap": gap, f"{name}: a posteriori": posterior}
                row[f"{name}: a priori"] = prior.bound
            rows.append(row)
    print_table(rows)


def repeated(quick: bool) -> None:
    """How often the bound fails, and how far it is from the gap."""
    n_networks = 50 if quick else 2000
    widths = (8, 32, 32, 2)
    print_setting(
        network=f"{'-'.join(map(str, widths))}, ReLU, no biases; unit ball; {n_networks} networks",
        values="delta = 0.05; gap: gradient ascent from 20 points",
    )
    rows = []
    for distribution in ("gaussian", "uniform"):
        for method in ("random", "magnitude"):
            for ratio in (0.02, 0.3):
                whole = a_priori_gap(widths, ratio, method=method, distribution=distribution)
                removed = [layer.n_removed for layer in whole.layers]
                part, prior = n_networks // 8, whole.bound
                found = [drawn_gaps(widths, method, removed, i, distribution) for i in range(part)]
                gaps, posterior = np.array(found).T
                rows.append(
                    {
                        "weights": distribution,
                        "method": method,
                        "ratio": ratio,
                        "networks": part,
                        "largest gap": gaps.max(),
                        "median a posteriori": float(np.median(posterior)),
                        "a priori": prior,
                        "gap > a posteriori": int((gaps > posterior).sum()),
                        "a posteriori > a priori": int((posterior > prior).sum()),
                        "gap > a priori": int((gaps > prior).sum()),
                    }
                )
    print_table(rows)


def of_convolutions(quick: bool) -> None:
    """Norms of convolutions over their exact norm."""
    print_setting(
        layers="random kernels, zero padding of half a kernel",
        values="bound over the norm that 2,000 steps of power iteration find",
    )
    rows = []
    cases = [(1, 8, 3, 1, 14), (8, 16, 3, 1, 14), (8, 16, 3, 2, 14), (16, 16, 5, 1, 14)]
    cases += [(8, 8, 3, 3, 15), (3, 16, 7, 2, 32)]
    for n_in, n_out, kernel, stride, size in cases[:2] if quick else cases:
        torch.manual_seed(0)
        padding = kernel // 2
        layer = nn.Conv2d(n_in, n_out, kernel, stride, padding, bias=False).double()
        x = torch.randn(1, n_in, size, size, dtype=torch.float64)
        norm = 0.0
        for _ in range(50 if quick else 2000):
            x = (x / x.norm()).requires_grad_()
            y = layer(x)
            norm = float(y.detach().norm())
            (x,) = torch.autograd.grad(y, x, y.detach())
        row: dict[str, Any] = {
            "channels": f"{n_in} to {n_out}",
            "kernel": kernel,
            "stride": stride,
            "map": size,
            "norm": norm,
        }
        padded = (size + 2 * padding,) * 2
        for method in ("kernel", "frequencies"):
            bound = convolution_norm_bound(layer.weight, padded, (stride,) * 2, (1, 1), method)
            row[f"{method} / norm"] = bound / norm
        rows.append(row)
    print_table(rows)


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__)
    of_trained_network(options.quick)
    against_width(options.quick)
    repeated(options.quick)
    of_convolutions(options.quick)


if __name__ == "__main__":
    main()
