"""Time and memory of EC scores and of pruning."""

from __future__ import annotations

import multiprocessing
import resource
import sys
from multiprocessing.queues import Queue

import torch
from _common import arguments, best_times, kin8nm, print_setting, print_table
from bench_training import HIDDEN, network, train_skec
from torch.func import functional_call, grad, vmap

import skec
from skec.calibration import collect, identity_metric
from skec.calibration.statistics import SensitivityMoments
from skec.networks import prunable_layers
from skec.utils import Samples

BATCH_SIZE = 512


def forward_backward(module: torch.nn.Module, X: torch.Tensor) -> None:
    """A forward and backward pass over the samples."""
    for rows in X.split(BATCH_SIZE):
        module.zero_grad()
        module(rows).sum().backward()


class OwnForward(torch.nn.Module):
    """The same layers in a module whose structure the library does not know."""

    def __init__(self, chain: torch.nn.Sequential):
        super().__init__()
        layers = [layer for layer in chain if isinstance(layer, torch.nn.Linear)]
        self.first, self.second, self.last = layers

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """Run the layers."""
        return self.last(torch.relu(self.second(torch.relu(self.first(X)))))


def ec_scores(module: torch.nn.Module, X: torch.Tensor) -> dict[str, torch.Tensor]:
    """EC scores of all weights."""
    layers = prunable_layers(module)
    moments = collect(
        module,
        layers,
        Samples(X),
        (SensitivityMoments,),
        batch_size=BATCH_SIZE,
        metric=identity_metric,
    )
    return {
        name: layer.weight.detach() ** 2 * moments[name][SensitivityMoments].scatter / len(X)
        for name, layer in layers.items()
    }


def per_sample_scores(module: torch.nn.Module, X: torch.Tensor) -> dict[str, torch.Tensor]:
    """The same scores from per-sample gradients of torch.func, in batches that fit in memory."""
    parameters = {name: p.detach() for name, p in module.named_parameters()}

    def output(parameters: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        return functional_call(module, parameters, (x[None],)).squeeze()

    per_sample = vmap(grad(output), (None, 0))
    names = [name.removesuffix(".weight") for name in parameters if name.endswith(".weight")]
    zero = torch.zeros(())
    sums = dict.fromkeys(names, (zero, zero, zero))
    for rows in X.split(128):
        gradients = per_sample(parameters, rows)
        for name in names:
            w, b = gradients[name + ".weight"], gradients[name + ".bias"][:, :, None]
            s, p, q = sums[name]
            sums[name] = s + (b * b).sum(0), p + (w * b).sum(0), q + (w * w).sum(0)
    return {
        name: parameters[name + ".weight"] ** 2 * (q - p * p / s.clamp_min(1e-30)) / len(X)
        for name, (s, p, q) in sums.items()
    }


def _peak_memory(n_samples: int, queue: Queue[float]) -> None:
    """Peak memory of scoring in MiB, without the memory of the data; runs in its own process."""
    torch.set_num_threads(1)
    module = network(8)
    ec_scores(module, torch.randn(BATCH_SIZE, 8))
    X = torch.randn(n_samples, 8)
    unit = 1024 if sys.platform != "darwin" else 1024**2
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ec_scores(module, X)
    queue.put((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / unit)


def peak_memory(n_samples: int) -> float:
    """Peak memory of scoring in MiB, measured in a new process."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_peak_memory, args=(n_samples, queue))
    process.start()
    result = queue.get(timeout=600)
    process.join()
    return result


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__)
    n_samples, repeat = (1500, 3) if options.quick else (7000, 30)
    X, y, name = kin8nm(n_samples)
    tensor, module = torch.from_numpy(X), network(X.shape[1])
    print_setting(
        data=f"{name}, {X.shape[0]} × {X.shape[1]}",
        network=f"hidden {HIDDEN}, ReLU, one output, batches of {BATCH_SIZE}",
        times=f"shortest of {repeat}",
    )
    own = OwnForward(module)
    times = best_times(
        {
            "forward and backward": lambda: forward_backward(module, tensor),
            "EC scores": lambda: ec_scores(module, tensor),
            "EC scores, module with its own forward method": lambda: ec_scores(own, tensor),
            "skec.prune, EC, one step": lambda: skec.prune(
                module, tensor, pruning_ratio=0.8, n_steps=1
            ),
        },
        repeat,
    )
    slow = best_times({"per-sample gradients": lambda: per_sample_scores(module, tensor)}, 1)
    exact, fast = per_sample_scores(module, tensor[:500]), ec_scores(module, tensor[:500])
    difference = max(float((exact[n] - fast[n]).abs().max() / exact[n].abs().max()) for n in exact)
    plain = times["forward and backward"]
    print_table(
        [
            {"work": work, "seconds": seconds, "× forward and backward": seconds / plain}
            for work, seconds in (times | slow).items()
        ]
    )
    print(f"largest difference of the two scores, relative to the largest score: {difference:.1e}")

    epochs = 2 if options.quick else 10
    estimator = train_skec(X, y, epochs)
    times = best_times(
        {
            "dense fit": lambda: train_skec(X, y, epochs),
            "prune, one step": lambda: estimator.prune(pruning_ratio=0.8, n_steps=1),
            "prune, 5 steps": lambda: estimator.prune(pruning_ratio=0.8, n_steps=5),
        },
        max(repeat // 6, 1),
    )
    print(f"\nprune of the estimator over its dense fit of {epochs} epochs")
    print_table(
        [
            {"work": work, "seconds": seconds, "× dense fit": seconds / times["dense fit"]}
            for work, seconds in times.items()
        ]
    )

    print("\npeak memory of scoring, without the memory of the data")
    sizes = (10_000, 100_000) if options.quick else (10_000, 100_000, 1_000_000)
    print_table([{"samples": size, "MiB": peak_memory(size)} for size in sizes])


if __name__ == "__main__":
    main()
