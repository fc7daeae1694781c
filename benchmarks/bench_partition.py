"""What an all-pairs kernel sum costs, and how exact it is, by every method and in PyTorch and KeOps.

Measured is the mean of L_i = log Σ_j w_j κ(x_i, y_j) over uniform clouds together with its gradients in x
and y, in float32: time and its growth with n, peak memory, and the error against float64.

    python benchmarks/bench_partition.py --preset paper --out benchmarks/results
"""

import ctypes
import dataclasses
import importlib
import importlib.util
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

import ctflow as ct
from ctflow import plotting as pl
from ctflow._base.checks import check_count, check_positive
from ctflow.experiment import Result, main

COLUMNS = (
    *("table", "method", "d", "n", "tau", "dtype", "seconds", "cpu_seconds", "compile_seconds"),
    *(
        "times_faster_than_dense",
        "times_faster_than_separate",
        "peak_mib",
        "exponent",
        "error_value",
        "error_value_relative",
        "error_gradient",
    ),
    "device",
)
TEXT = ("table", "method", "dtype", "device")
METHODS = ("dense", "tiled", "spectral")
EXACT = ("dense", "tiled")
COMPETITORS = ("torch", "pykeops")
LOOKS = {
    "dense": (pl.BLUE, "o"),
    "tiled": (pl.RED, "s"),
    "spectral": (pl.GREEN, "^"),
    "torch": (pl.ORANGE, "D"),
    "pykeops": (pl.PURPLE, "v"),
}
MIB = 2**20

Call = Callable[[], Any]
Row = dict[str, Any]


@dataclass(frozen=True)
class Config:
    """Settings: sizes are numbers of points in each of the two clouds."""

    size: int = 10_000
    temperatures: tuple[float, ...] = (1.0, 0.1, 0.05, 0.01)
    wide_size: int = 16_384
    wide_dimensions: tuple[int, ...] = (3, 512)
    wide_temperature: float = 0.1
    large_size: int | None = 100_000
    """Of a comparison of `tiled` and `spectral`; None leaves it out."""
    smooth_temperature: float = 0.05
    """Of the large clouds, of the growth with n, and of the spectral sum's memory."""
    growth_sizes: tuple[int, ...] = (1_000, 3_162, 10_000, 31_623, 100_000, 316_228, 1_000_000, 10_000_000)
    pairs: tuple[tuple[str, int, int], ...] = (
        ("dense", 512, 3),
        ("tiled", 4_096, 3),
        ("tiled", 4_096, 32),
        ("tiled", 4_096, 512),
        ("spectral", 10_000, 3),
        ("spectral", 100_000, 3),
        ("spectral", 100_000, 2),
    )
    """(method, n, d) of what one pass for both fields, or for a cloud with itself, is measured at."""
    largest_dense: int = 10_000
    """Where the growth of `dense` ends."""
    largest_tiled: int = 31_623
    """Where the growth of `tiled` ends."""
    memory_tiled_size: int = 65_536
    memory_spectral_size: int = 1_000_000
    accuracy_size: int = 4_000
    concentration: float = 100.0
    """κ of the von Mises-Fisher law that the clustered clouds are drawn from."""
    repeats: int = 5
    peak_exponentials_per_second: float | None = None
    """What the device can do at best; if given, the table says how much of it the exact methods reach."""
    seed: int = 0

    def __post_init__(self):
        for name in (f.name for f in dataclasses.fields(self) if f.name.endswith("size")):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name), minimum=8)
        check_count("repeats", self.repeats)
        for name in ("temperatures", "wide_dimensions", "growth_sizes"):
            if not getattr(self, name):
                raise ValueError(f"{name} must not be empty")
            check_positive(name, np.asarray(getattr(self, name)))
        for name in ("wide_temperature", "smooth_temperature", "concentration"):
            check_positive(name, getattr(self, name))
        if self.peak_exponentials_per_second is not None:
            check_positive("peak_exponentials_per_second", self.peak_exponentials_per_second)


PRESETS = {
    "paper": Config(),
    "smoke": Config(
        size=1_000,
        temperatures=(0.1,),
        wide_size=2_000,
        wide_dimensions=(64,),
        large_size=None,
        growth_sizes=(500, 2_000),
        pairs=(("dense", 256, 3), ("tiled", 500, 8)),
        largest_dense=2_000,
        largest_tiled=2_000,
        memory_tiled_size=2_000,
        memory_spectral_size=2_000,
        accuracy_size=500,
        repeats=1,
    ),
}


def row(table: str, method: str, d: int, n: int, tau: float, **numbers: Any) -> Row:
    """A row of the table; what is not given stays empty."""
    known = {"table": table, "method": method, "d": d, "n": n, "tau": tau, "dtype": "float32"}
    return {**dict.fromkeys(COLUMNS, ""), **known, **numbers}


def device_name() -> str:
    """Platform and kind of the device that the sums run on."""
    device = jax.devices()[0]
    return f"{device.platform}: {device.device_kind}".replace(",", " ")


def clouds(n: int, d: int, seed: int, dtype: Any = None) -> tuple[jax.Array, jax.Array]:
    """Two independent uniform clouds, in memory."""
    keys = jax.random.split(jax.random.key(seed))
    x, y = (ct.sphere.uniform(key, n, d, dtype) for key in keys)
    return jax.block_until_ready((x, y))


def program(method: str, tau: float) -> Any:
    """The jitted sum to measure: ((mean of L, L), gradients in x and y) of two clouds."""

    def mean_log_partition(x, y):
        value = ct.log_partition(x, y, ct.kernels.Exponential(tau), method=method)
        return jnp.mean(value), value

    return jax.jit(jax.value_and_grad(mean_log_partition, argnums=(0, 1), has_aux=True))


def call(method: str, x: jax.Array, y: jax.Array, tau: float) -> Call:
    """The sum of one method, as a call that returns when it is done; each has a program of its own."""
    function = program(method, tau)
    return lambda: jax.block_until_ready(function(x, y))


# --- other libraries ---------------------------------------------------------------------------------------


def competitors(x: jax.Array, y: jax.Array, tau: float) -> dict[str, Call]:
    """The same sum in the libraries that are installed."""
    installed = [name for name in COMPETITORS if importlib.util.find_spec(name) is not None]
    calls: dict[str, Call] = {}
    if "torch" in installed:
        threads, calls_torch = torch_call(x, y, tau)
        calls[f"torch ({threads} threads)"] = calls_torch
    if "pykeops" in installed and "torch" in installed:
        calls["pykeops"] = keops_call(x, y, tau)
    return calls


def on_torch(total: Callable[[Any, Any], Any], x: jax.Array, y: jax.Array, threads: int) -> Call:
    """Value and both gradients of a sum of PyTorch tensors, on the kind of device that JAX uses."""
    torch = importlib.import_module("torch")
    where = "cuda" if jax.default_backend() == "gpu" and torch.cuda.is_available() else "cpu"
    tensors = [torch.tensor(np.array(z), device=where, requires_grad=True) for z in (x, y)]

    def run_torch():
        # Set on every call: the number holds for the whole process, and others may want another.
        torch.set_num_threads(threads)
        value = total(*tensors)
        gradients = torch.autograd.grad(value, tensors)
        if where == "cuda":
            torch.cuda.synchronize()
        return value.detach(), gradients

    return run_torch


def torch_call(x: jax.Array, y: jax.Array, tau: float) -> tuple[int, Call]:
    """An eager PyTorch sum at its best number of threads, which comes first."""
    torch = importlib.import_module("torch")

    def total(x, y):
        return torch.logsumexp(x @ y.T / tau, 1).mean()

    cores = os.cpu_count() or 1
    # 1, 2, 4, … and all of them: enough to find the best within a few per cent.
    counts = sorted({*(2**k for k in range(cores.bit_length()) if 2**k <= cores), cores})
    calls = {threads: on_torch(total, x, y, threads) for threads in counts}
    times = {threads: measure({"torch": one}, 1)["torch"].seconds for threads, one in calls.items()}
    best = min(times, key=times.__getitem__)
    return best, calls[best]


def keops_call(x: jax.Array, y: jax.Array, tau: float) -> Call:
    """The sum as a KeOps reduction, which has no matrix in memory either."""
    lazy = importlib.import_module("pykeops.torch").LazyTensor

    def total(x, y):
        return ((lazy(x[:, None, :]) | lazy(y[None, :, :])) / tau).logsumexp(dim=1).mean()

    return on_torch(total, x, y, os.cpu_count() or 1)


# --- time --------------------------------------------------------------------------------------------------


class Timing(NamedTuple):
    """Medians of one method, in seconds.

    Attributes:
        seconds: by the clock on the wall.
        cpu_seconds: of all threads together.
        compile_seconds: what the first call took longer than the median.
    """

    seconds: float
    cpu_seconds: float
    compile_seconds: float


def clocked(one: Call) -> tuple[float, float]:
    """Wall and CPU seconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    one()
    return time.perf_counter() - wall, time.process_time() - cpu


def measure(calls: dict[str, Call], repeats: int) -> dict[str, Timing]:
    """Time calls in turn, so that what else the machine does falls on all of them alike."""
    first = {name: clocked(one)[0] for name, one in calls.items()}
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, one in calls.items():
            seen[name].append(clocked(one))
    medians = {name: np.median(times, axis=0).tolist() for name, times in seen.items()}
    return {name: Timing(wall, cpu, max(first[name] - wall, 0.0)) for name, (wall, cpu) in medians.items()}


def time_rows(
    table: str, config: Config, methods: tuple[str, ...], d: int, n: int, tau: float, **options: Any
) -> list[Row]:
    """Time methods against each other on the same clouds.

    Args:
        table: for the rows.
        config: settings.
        methods: of ctflow.
        d: dimension.
        n: points in each cloud.
        tau: temperature.
        options: `repeats` in place of the config's; `others`, whether other libraries take part.
    """
    x, y = clouds(n, d, config.seed)
    calls = {method: call(method, x, y, tau) for method in methods}
    if options.get("others"):
        calls |= competitors(x, y, tau)
    timings = measure(calls, options.get("repeats", config.repeats))
    dense = timings.get("dense")
    rows = []
    for method, timing in timings.items():
        ratio = "" if dense is None or table == "growth" else dense.seconds / timing.seconds
        numbers = {**timing._asdict(), "times_faster_than_dense": ratio, "device": device_name()}
        rows.append(row(table, method, d, n, tau, **numbers))
    return rows


def growth_methods(config: Config, n: int) -> tuple[str, ...]:
    """The methods that the growth with the number of points goes up to n for."""
    largest = {"dense": config.largest_dense, "tiled": config.largest_tiled}
    return tuple(method for method in METHODS if n <= largest.get(method, n))


def pair_rows(config: Config, method: str, n: int, d: int) -> list[Row]:
    """Both fields of two clouds, and the field of a cloud with itself, against two sums and two clouds.

    Measured are the mean of each field and its gradients, of which the energies are made.
    """
    x, y = clouds(n, d, config.seed)
    tau, device = config.wide_temperature, device_name()
    kernel = ct.kernels.Exponential(tau)
    mean = partial(ct.partition.mean_log_partition, kernel=kernel, method=method)

    def two_sums(x, y):
        fields = (ct.log_partition(a, b, kernel, method=method) for a, b in ((x, y), (y, x)))
        return sum(map(jnp.mean, fields))

    def both(x, y):
        return sum(ct.partition.mean_log_partitions(x, y, kernel, method=method))

    compared = {
        "both fields": {"two sums": two_sums, "one pass": both},
        "a cloud with itself": {"its copy": mean, "one pass": lambda x, _: mean(x, x)},
    }
    rows = []
    for table, functions in compared.items():
        slopes = {name: jax.jit(jax.value_and_grad(f, (0, 1))) for name, f in functions.items()}
        calls = {name: lambda f=f: jax.block_until_ready(f(x, y)) for name, f in slopes.items()}
        timings = measure(calls, 3 * config.repeats)
        first = next(iter(timings.values())).cpu_seconds
        for name, timing in timings.items():
            numbers = {"times_faster_than_separate": first / timing.cpu_seconds, "device": device}
            rows.append(row(table, f"{method} {name}", d, n, tau, **timing._asdict(), **numbers))
    return rows


def add_exponents(rows: list[Row]) -> None:
    """Put b of the least-squares fit log t = a + b log n into a method's growth rows."""
    for method in METHODS:
        own = [r for r in rows if r["table"] == "growth" and r["method"] == method]
        if len(own) < 2:
            continue
        exponent = np.polyfit(np.log([r["n"] for r in own]), np.log([r["seconds"] for r in own]), 1)[0]
        for r in own:
            r["exponent"] = float(exponent)


# --- memory ------------------------------------------------------------------------------------------------


def memory_rows(method: str, d: int, n: int, tau: float, seed: int) -> list[Row]:
    """Peak memory of one sum, in a process of its own: a peak once reached does not go away."""
    words = [sys.executable, __file__, "--measure-peak", *map(str, (method, n, d, tau, seed))]
    output = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout
    return [row("memory", method, d, n, tau, **json.loads(output.splitlines()[-1]))]


def measure_peak(method: str, n: int, d: int, tau: float, seed: int) -> dict[str, Any]:
    """Peak memory of one sum in MiB, over what was there when it began."""
    function = program(method, tau)
    # Threads and libraries are set up by a small cloud, and the large one's program is compiled, before.
    jax.block_until_ready(function(*clouds(min(2048, n // 4), d, seed)))
    x, y = clouds(n, d, seed)
    ready = function.lower(x, y).compile()
    before = start_of_peak()
    jax.block_until_ready(ready(x, y))
    return {"peak_mib": (peak_bytes() - before) / MIB, "device": device_name()}


def start_of_peak() -> int:
    """Bytes in use now; where the system can, its memory of an earlier peak is wiped out."""
    device = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in device:
        return device["bytes_in_use"]
    try:
        # Freed memory that the allocator has kept would hide as much of what the sum takes.
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except (AttributeError, OSError, TypeError):
        pass  # no Linux: then the earlier peak is the baseline
    return peak_bytes()


def peak_bytes() -> int:
    """The most that was in use: of the accelerator's memory, or else resident in the host's."""
    device = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in device:
        return device["peak_bytes_in_use"]
    status = Path("/proc/self/status")
    if status.exists():
        # Not getrusage: a process inherits its ru_maxrss from the one that started it.
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        if "VmHWM" in lines:
            return 1024 * int(lines["VmHWM"].split()[0])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


# --- accuracy ----------------------------------------------------------------------------------------------


# Time is of no interest here: one program serves clouds of both kinds.
kept_program = cache(program)


def sums(method: str, x: jax.Array, y: jax.Array, tau: float) -> tuple[np.ndarray, np.ndarray]:
    """L [n] and the tangential gradient of each L_i in its own point [n, d], float64 on the host."""
    (_, value), (slope, _) = kept_program(method, tau)(x, y)
    return np.asarray(value, np.float64), len(x) * np.asarray(slope, np.float64)


def errors(method: str, x: jax.Array, y: jax.Array, tau: float, exact: tuple[np.ndarray, ...]) -> Row:
    """The largest errors of a method's sums."""
    value, slope = sums(method, x, y, tau)
    off = np.abs(value - exact[0]).max()
    return {
        "error_value": off,
        "error_value_relative": off / np.abs(exact[0]).max(),
        "error_gradient": np.linalg.norm(slope - exact[1], axis=1).max(),
        "dtype": x.dtype.name,
        "device": device_name(),
    }


def float32_accuracy(config: Config, tau: float) -> list[Row]:
    """Errors in float32 on uniform clouds, against float64 on the same points made exactly unit."""
    n = config.accuracy_size
    x, y = clouds(n, 3, config.seed)
    with jax.enable_x64(True):
        unit_x, unit_y = (ct.sphere.normalize(z.astype(jnp.float64)) for z in (x, y))
        exact = sums("dense", unit_x, unit_y, tau)
    return [
        row("accuracy uniform", method, 3, n, tau, **errors(method, x, y, tau, exact)) for method in METHODS
    ]


def clustered(config: Config) -> tuple[jax.Array, jax.Array]:
    """Two clouds about the same pole; inside `enable_x64`."""
    pole = jnp.array([0.0, 0.0, 1.0], jnp.float64)
    keys = jax.random.split(jax.random.key(config.seed))
    n = config.accuracy_size
    x, y = (ct.sphere.von_mises_fisher(key, pole, config.concentration, n) for key in keys)
    return x, y


def float64_accuracy(config: Config, kind: str, tau: float) -> list[Row]:
    """Errors in float64 against `dense`, which sums the whole matrix at once."""
    n = config.accuracy_size
    with jax.enable_x64(True):
        uniform = kind == "uniform"
        x, y = clouds(n, 3, config.seed, jnp.float64) if uniform else clustered(config)
        exact = sums("dense", x, y, tau)
        return [
            row(f"accuracy {kind}", method, 3, n, tau, **errors(method, x, y, tau, exact))
            for method in METHODS[1:]
        ]


# --- the run -----------------------------------------------------------------------------------------------


def memory_jobs(config: Config) -> list[Callable[[], list[Row]]]:
    """The sums whose memory is measured."""
    wide = [(m, d, config.wide_size) for d, m in product(config.wide_dimensions, EXACT)]
    settings = [
        *((*setting, config.wide_temperature) for setting in wide),
        ("tiled", 3, config.memory_tiled_size, config.wide_temperature),
        ("spectral", 3, config.memory_spectral_size, config.smooth_temperature),
    ]
    return [partial(memory_rows, *setting, config.seed) for setting in settings]


def method_jobs(config: Config) -> list[Callable[[], list[Row]]]:
    """The comparisons of methods on the same clouds."""
    timed = partial(time_rows, "methods", config)
    jobs = [
        *(partial(timed, METHODS, 3, config.size, tau, others=True) for tau in config.temperatures),
        *(
            partial(timed, EXACT, d, config.wide_size, config.wide_temperature)
            for d in config.wide_dimensions
        ),
    ]
    if config.large_size is None:
        return jobs
    large = partial(timed, d=3, n=config.large_size, tau=config.smooth_temperature)
    # The exact sum takes long enough to need no second look.
    return [*jobs, partial(large, ("tiled",), repeats=1), partial(large, ("spectral",))]


def growth_jobs(config: Config) -> list[Callable[[], list[Row]]]:
    """The same sum at growing sizes."""
    tau = config.smooth_temperature
    return [
        partial(time_rows, "growth", config, growth_methods(config, n), 3, n, tau)
        for n in config.growth_sizes
    ]


def accuracy_jobs(config: Config) -> list[Callable[[], list[Row]]]:
    """The comparisons with float64."""
    narrow = [partial(float32_accuracy, config, tau) for tau in config.temperatures]
    kinds = product(("uniform", "clustered"), config.temperatures)
    return narrow + [partial(float64_accuracy, config, kind, tau) for kind, tau in kinds]


def run(config: Config, checkpoint: Path | None = None) -> Result:
    """All tables, as one."""
    for name in COMPETITORS:
        if importlib.util.find_spec(name) is None:
            print(f"{name} is not installed: left out")
    # Memory first: once this process computes, it holds most of an accelerator's memory for itself.
    pairs = [partial(pair_rows, config, *setting) for setting in config.pairs]
    jobs = [*memory_jobs(config), *method_jobs(config), *pairs, *growth_jobs(config), *accuracy_jobs(config)]
    rows = [r for job in tqdm(jobs, desc="log partition", unit="setting") for r in job()]
    add_exponents(rows)
    table = {name: np.array([r[name] for r in rows], dtype=object) for name in COLUMNS}
    facts = {
        "device": device_name(),
        "size_of_ratios": config.size,
        "peak_exponentials_per_second": config.peak_exponentials_per_second,
    }
    return Result({"bench_partition": table}, {}, facts)


# --- what is shown -----------------------------------------------------------------------------------------


def records(result: Result) -> list[Row]:
    """The table's rows, from a run or from a file: text, numbers, and None where a cell is empty."""
    table = result.tables["bench_partition"]

    def read(name, value):
        return str(value) if name in TEXT else None if str(value) == "" else float(value)

    return [
        {name: read(name, value) for name, value in zip(table, values, strict=True)}
        for values in zip(*table.values(), strict=True)
    ]


@pl.styled
def plot(result: Result) -> dict[str, pl.Picture]:
    """Time against n with its fits, and time relative to `dense` against the temperature."""
    rows = records(result)
    figure, axes = pl.panels(1, 2, size=(6.8, 2.9))
    plot_growth(axes[0, 0], [r for r in rows if r["table"] == "growth"])
    size = result.facts["size_of_ratios"]
    ratios = [r for r in rows if r["table"] == "methods" and r["n"] == size and r["times_faster_than_dense"]]
    plot_ratios(axes[0, 1], [r for r in ratios if r["d"] == 3])
    axes[0, 1].set_title(f"n = {size:,} on S²")
    return {"bench_partition.png": pl.Picture(figure)}


def plot_growth(ax: Any, rows: list[Row]) -> None:
    """Measured times as points, the fitted powers of n as lines."""
    for method in METHODS:
        own = [r for r in rows if r["method"] == method]
        if not own:
            continue
        color, marker = LOOKS[method]
        n, seconds = np.array([r["n"] for r in own]), np.array([r["seconds"] for r in own])
        exponent, label = own[0]["exponent"], method
        if exponent is not None:
            level = np.mean(np.log(seconds) - exponent * np.log(n))
            ax.plot(n, np.exp(level) * n**exponent, color=color, linewidth=1)
            label = f"{method}, $n^{{{exponent:.2f}}}$"
        ax.plot(n, seconds, color=color, marker=marker, linestyle="none", label=label)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("points n in each cloud")
    ax.set_ylabel("value and gradients (s)")
    ax.set_title("time on S²" + (f", τ = {rows[0]['tau']:g}" if rows else ""))
    ax.legend(loc="best")
    ax.margins(y=0.15)


def plot_ratios(ax: Any, rows: list[Row]) -> None:
    """How many times faster than `dense`, a line a method."""
    for method, (color, marker) in LOOKS.items():
        own = sorted(
            (r["tau"], r["times_faster_than_dense"]) for r in rows if r["method"].split()[0] == method
        )
        if own:
            ax.plot(*zip(*own, strict=True), color=color, marker=marker, label=method)
    taus = sorted({r["tau"] for r in rows})
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xticks(taus, [f"{tau:g}" for tau in taus])
    ax.minorticks_off()
    ax.set_xlabel("temperature τ")
    ax.set_ylabel("times faster than dense")
    ax.legend(loc="center left", bbox_to_anchor=(0.0, 0.58), ncols=2)


def report(result: Result) -> str:
    """The tables in plain text, without their empty columns."""
    rows = records(result)
    for r in rows:
        r |= extras(r, result.facts["peak_exponentials_per_second"])
    names = list(dict.fromkeys(r["table"] for r in rows))
    parts = [text_table(name, [r for r in rows if r["table"] == name]) for name in names]
    return "\n\n".join([f"device: {result.facts['device']}", *parts])


def extras(r: Row, peak: float | None) -> Row:
    """What a row says beyond its numbers: the memory that was predicted, and the share of the peak rate."""
    known: Row = {"predicted_mib": None, "of_peak": None}
    if r["peak_mib"] is not None:
        n, kernel = int(r["n"]), ct.kernels.Exponential(r["tau"])
        expected = ct.partition.explain(n, n, int(r["d"]), kernel, r["dtype"], method=r["method"])
        known["predicted_mib"] = expected.bytes / MIB
    if peak is not None and r["seconds"] is not None and r["method"] in EXACT:
        # An exact sum takes every exponential twice: for the value, and again for the gradient.
        known["of_peak"] = 2 * r["n"] ** 2 / peak / r["seconds"]
    return known


def text_table(title: str, rows: list[Row]) -> str:
    """One table, aligned."""
    names = [name for name in rows[0] if any(r[name] is not None for r in rows)]
    names = [name for name in names if name not in ("table", "device")]
    cells = [names, *([text_cell(name, r[name]) for name in names] for r in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ("  ".join(c.rjust(w) for c, w in zip(line, widths, strict=True)) for line in cells)
    return "\n".join([title, *lines])


def text_cell(name: str, value: Any) -> str:
    """A value for a reader."""
    if value is None or isinstance(value, str):
        return value or ""
    return f"{value:.0f}" if name in ("d", "n") else f"{value:.3g}"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure-peak"]:
        _method, _n, _d, _tau, _seed = sys.argv[2:]
        print(json.dumps(measure_peak(_method, int(_n), int(_d), float(_tau), int(_seed))))
    else:
        found = main(name="bench_partition", presets=PRESETS, run=run, plot=plot, description=__doc__ or "")
        print(report(found))
