"""The paper's three synthetic procedures as eager PyTorch loops: their cost, and runs at more seeds.

Written from the procedures' description, drawing random numbers in the public code's order, so that equal
seeds give the public code's numbers (PyTorch's CPU generator has not changed between versions). What it
writes, `experiments/published/gap_runs_more_seeds.csv`, is more of the public code's sample of gaps.

    python benchmarks/published_in_torch.py --preset paper --out runs

Needs PyTorch; nothing else in the project does.
"""

import importlib
import math
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from tqdm import tqdm

from ctflow import plotting as pl
from ctflow._base.checks import check_count
from ctflow.experiment import Result, columns, main

try:
    torch: Any = importlib.import_module("torch")
except ImportError as error:
    raise SystemExit("error: this script needs PyTorch: pip install torch") from error
functional = torch.nn.functional


@dataclass(frozen=True)
class Config:
    """Which runs of the toy; σ in radians."""

    sigmas: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
    first_seed: int = 20
    num_seeds: int = 60
    num_steps: int = 2000
    num_processes: int = 2

    def __post_init__(self):
        for name in ("num_seeds", "num_steps", "num_processes"):
            check_count(name, getattr(self, name))


PRESETS = {"paper": Config(), "smoke": Config(sigmas=(0.3,), num_seeds=2, num_steps=20)}


def angles(n: int, sigma: float) -> tuple[Any, Any]:
    """Pairs of n latent angles: of the mixture 0.7·vM(0, 6) + 0.3·vM(π, 6), and displaced by σ."""
    first = torch.bernoulli(torch.full((n,), 0.7)).bool()
    near, far = (
        torch.distributions.VonMises(torch.tensor(center), torch.tensor(6.0)).sample((n,))
        for center in (0.0, math.pi)
    )
    theta = wrap(torch.where(first, near, far))
    return theta, wrap(theta + sigma * torch.randn(n))


def wrap(angle: Any) -> Any:
    """The angle in [-π, π)."""
    return (angle + math.pi) % (2 * math.pi) - math.pi


def images(encoders: Any, pair: Any) -> list:
    """Normalised images of a pair of latents' noisy features."""
    features = [torch.stack([torch.cos(a), torch.sin(a)], dim=1) for a in pair]
    seen = [f + 0.02 * torch.randn_like(f) for f in features]
    return [functional.normalize(e(f), dim=1) for e, f in zip(encoders, seen, strict=True)]


def toy(sigma: float, seed: int, num_steps: int) -> dict[str, float]:
    """One run of the toy: its gap and the larger condition number of its encoders."""
    torch.manual_seed(seed)
    encoders = [torch.nn.Linear(2, 2, bias=False) for _ in range(2)]
    optimizer = torch.optim.Adam([e.weight for e in encoders], lr=5e-3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 10_000_019)
        evaluation = angles(8000, sigma)
    own = torch.arange(256)
    for _ in range(num_steps):
        z, w = images(encoders, angles(256, sigma))
        scores = z @ w.t() / 0.07
        loss = (functional.cross_entropy(scores, own) + functional.cross_entropy(scores.t(), own)) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        ends = [torch.atan2(*z.t().flip(0)).numpy() for z in images(encoders, evaluation)]
    counts = [np.histogram(a, np.linspace(-np.pi, np.pi, 61))[0] + 1e-8 for a in ends]
    p, q = (c / c.sum() for c in counts)
    matrices = [e.weight.detach().double().numpy() for e in encoders]
    return {
        "sigma": sigma,
        "seed": seed,
        "gap": float(np.sum((p - q) * np.log(p / q))),
        "condition": max(float(np.linalg.cond(matrix)) for matrix in matrices),
    }


def unimodal(tau: float, seed: int, num_steps: int) -> np.ndarray:
    """The particles [768, 3] after so many steps in the two-well potential."""
    torch.manual_seed(seed)
    second = torch.tensor([0.85, 0.15, -0.5])
    wells = torch.stack([torch.tensor([0.0, 0.0, 1.0]), second / second.norm()])
    vectors = torch.nn.Parameter(torch.randn(768, 3))
    optimizer = torch.optim.Adam([vectors], lr=5e-2)
    for _ in range(num_steps):
        z = functional.normalize(vectors, dim=1)
        distance = torch.acos((z @ z.t()).clamp(-1 + 1e-6, 1 - 1e-6))
        density = torch.exp(-(distance**2) / (2 * 0.35**2)).mean(dim=1)
        potential = (math.log(2) - torch.logsumexp(12 * z @ wells.t(), dim=1)) / 12
        loss = potential.mean() / tau + torch.log(density + 1e-12).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            vectors += 0.06 * torch.randn_like(vectors)
    return functional.normalize(vectors.detach(), dim=1).numpy()


def gradients(critic: str, seed: int) -> list[float]:
    """Relative error of the gradient with N = 4 ... 1024 negatives to that with 4096."""
    torch.manual_seed(seed)
    noise, tau = (0.05, 0.1) if critic == "cosine" else (0.2, 1.0)
    matrix = (torch.randn(128, 64) / 8).requires_grad_()

    def draw(n):
        means = 4 * functional.normalize(torch.randn(4, 64), dim=1)
        return means[torch.randint(0, 4, (n,))] + torch.randn(n, 64)

    def encode(x):
        z = x @ matrix.t()
        return functional.normalize(z, dim=1) if critic == "cosine" else torch.tanh(z)

    def scores(z, w):
        return z @ w.t() if critic == "cosine" else -(torch.cdist(z, w) ** 2) / 128

    anchors = draw(64)
    z, v, negatives = encode(anchors), encode(anchors + noise * torch.randn(64, 64)), encode(draw(4096))
    own = scores(z, v).diagonal()[:, None]

    def gradient(n):
        loss = torch.logsumexp(torch.cat([own, scores(z, negatives[:n])], 1) / tau, 1) - own[:, 0] / tau
        return torch.autograd.grad(loss.mean(), matrix, retain_graph=True)[0]

    reference = gradient(4096)
    return [float((gradient(2**k) - reference).norm() / reference.norm()) for k in range(2, 11)]


def cpu_seconds(work: Callable[[int], Any], few: int, many: int) -> float:
    """CPU seconds of one of `many - few` more repetitions, in one thread: the cost of starting cancels."""
    torch.set_num_threads(1)
    times = []
    for count in (few, few, many):
        started = time.process_time()
        work(count)
        times.append(time.process_time() - started)
    return (times[2] - times[1]) / (many - few)


def seconds_of_section(steps: int) -> dict[str, float]:
    """CPU seconds of the paper's runs of every procedure, extrapolated from `steps` steps of one run."""
    return {
        "large_batch_consistency": 40 * cpu_seconds(lambda n: [gradients("rbf", s) for s in range(n)], 1, 4),
        "unimodal_gibbs": 140 * 5000 * cpu_seconds(partial(unimodal, 0.5, 0), 2, 2 + steps),
        "multimodal_toy": 168 * 2000 * cpu_seconds(partial(toy, 0.5, 0), 2, 2 + steps),
    }


def _toy_in_process(num_steps: int, cell: tuple[float, int]) -> dict[str, float]:
    torch.set_num_threads(1)
    return toy(*cell, num_steps)


def run(config: Config) -> Result:
    """The toy at every σ and seed, a run a process at a time."""
    seeds = range(config.first_seed, config.first_seed + config.num_seeds)
    cells = list(product(config.sigmas, seeds))
    with ProcessPoolExecutor(config.num_processes) as pool:
        rows = pool.map(partial(_toy_in_process, config.num_steps), cells)
        rows = list(tqdm(rows, total=len(cells), desc="toy in PyTorch", unit="run"))
    return Result({"gap_runs_more_seeds": columns(rows)}, {}, {"torch": torch.__version__})


@pl.styled
def plot(result: Result) -> dict[str, pl.Picture]:
    """Every run's gap against σ."""
    table = result.tables["gap_runs_more_seeds"]
    figure, axes = pl.panels(1, 1, size=(3.4, 2.6))
    ax = axes[0, 0]
    ax.semilogy(table["sigma"], table["gap"], ".", color=pl.BLUE, alpha=0.4)
    ax.set_xlabel("misalignment σ (rad)")
    ax.set_ylabel("gap (nats)")
    ax.set_title("published procedure in PyTorch")
    return {"gap_runs_more_seeds.png": pl.Picture(figure)}


if __name__ == "__main__":
    main(name="published_in_torch", presets=PRESETS, run=run, plot=plot, description=__doc__ or "")
