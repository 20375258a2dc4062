"""Shared by the benchmarks: ratios in paired rounds, peak memory in a fresh process, and what they were measured on.

table = paired({"plain": plain, "ours": ours}, rounds=20)   # seconds, and ratios to the first variant
extra = peak_mib(make, "ours", 9216)                        # make("ours", 9216) in a new process returns the call
print(described(machine("torch", "numpy")))

Every round runs every variant once, the order turns from round to round, and a ratio is taken within its round, so that
a change of load or clock meets all variants. On a busy machine variants that move much memory slow down more than
others: look at the CPU ratio and the spread before a wall ratio is believed.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from analysis.errors import AnalysisError

Work = Callable[[], object]


def paired(variants: Mapping[str, Work], rounds: int, warm: bool = True) -> pd.DataFrame:
    """Seconds of every variant, and its ratio to the first one in the same round.

    One row a variant: ``variant``; medians ``wall_s`` and ``cpu_s`` (of this process, all threads); ``ratio``, ``low``,
    ``high``, the median and quartiles of the wall ratios, and ``cpu_ratio``, ``cpu_low``, ``cpu_high``. ``warm``: each
    runs once before, uncounted.
    """
    names = list(variants)
    seconds = np.empty((rounds, len(names), 2))
    for name in names if warm else ():
        variants[name]()
    for turn in tqdm(range(rounds), desc=f"{len(names)} variants", unit="round", leave=False, disable=None):
        for step in range(len(names)):
            at = (turn + step) % len(names)
            seconds[turn, at] = timed(variants[names[at]])
    return ratios(names, seconds)


def ratios(names: Sequence[str], seconds: np.ndarray) -> pd.DataFrame:
    """The table of :func:`paired` from wall and CPU ``seconds [round, variant, 2]`` that were measured otherwise."""
    return pd.DataFrame([_row(name, seconds[:, i], seconds[:, 0]) for i, name in enumerate(names)])


def _row(name: str, seconds: np.ndarray, base: np.ndarray) -> dict[str, Any]:
    wall, cpu = np.median(seconds, axis=0)
    (low, ratio, high), (cpu_low, cpu_ratio, cpu_high) = np.quantile(seconds / base, (0.25, 0.5, 0.75), axis=0).T
    ratios = {"ratio": ratio, "low": low, "high": high}
    cpu_ratios = {"cpu_ratio": cpu_ratio, "cpu_low": cpu_low, "cpu_high": cpu_high}
    return {"variant": name, "wall_s": wall, "cpu_s": cpu, **ratios, **cpu_ratios}


def timed(work: Work) -> tuple[float, float]:
    """Wall and CPU seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def peak_mib(make: Callable[..., Work], *given: Any, threads: int = 1) -> float:
    """MiB that one call takes at its peak beyond what was there before it, its result included, in a new process.

    ``make(*given)``, a function of a module, runs in that process: it makes the inputs, warms up on small ones, and
    returns the call. Arguments are pickled.
    """
    return in_fresh_process(_peak_of, make, given, threads)


def _peak_of(make: Callable[..., Work], given: tuple[Any, ...], threads: int) -> float:
    import torch

    torch.set_num_threads(threads)
    work = make(*given)
    gc.collect()
    before = forget_peak()
    kept = work()
    extra = resident("VmHWM") - before
    del kept
    return extra


def in_fresh_process(work: Callable[..., Any], *given: Any) -> Any:
    """The result of a function in a new interpreter."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, given)


def forget_peak() -> float:
    """Start the peak of this process anew; MiB that it holds now. AnalysisError where Linux does not offer this."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError as error:
        raise AnalysisError(f"peak memory is read from Linux's /proc/self, which fails here: {error}") from None
    return resident("VmRSS")


def resident(field: str) -> float:
    """MiB of a field of /proc/self/status: ``VmRSS`` now, ``VmHWM`` at the most (getrusage counts the parent)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition(f"{field}:")[2].split()[0]) / 1024


def machine(*packages: str) -> dict[str, Any]:
    """The CPU, its cores, torch's threads, the load of the last minute, and versions of packages."""
    import torch

    load = {"cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1)}
    return {"cpu": cpu_name(), **load, "threads": torch.get_num_threads(), **{name: version(name) for name in packages}}


def described(machine: Mapping[str, Any]) -> str:
    """:func:`machine` in a line."""
    return ", ".join(f"{key} {value}" for key, value in machine.items())


def cpu_name() -> str:
    """The processor's name, as Linux gives it, or what Python knows."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if "model name" in line), platform.processor())
