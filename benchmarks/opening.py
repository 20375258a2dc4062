"""Opening a checkpoint of DANet-101 (266 MB): time and peak memory as ratios to torch.load(mmap=True).

    python benchmarks/opening.py [--rounds 15] [--json]

torch.load gives a dict of tensors; opening checks every byte, tells the layout and builds the model besides. Times are
of one process, in turn, the file in the page cache. Memory is that of a fresh process: the growth of its peak resident
set beyond the imports, and that peak as a ratio.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from analysis.checkpoints import open_checkpoint, save_checkpoint
from analysis.models import DualAttention

MIB = 2**20
_MEMORY = """
import re, sys
from pathlib import Path
import torch
from analysis.checkpoints import open_checkpoint
def kib(what):
    return int(re.search(what + r":\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the imports
before = kib("VmRSS")
kept = {call}
print((kib("VmHWM") - before) / 1024, kib("VmHWM") / 1024)
"""
CALLS = {
    "torch.load(mmap=True)": "torch.load(sys.argv[1], mmap=True, weights_only=True)",
    "torch.load": "torch.load(sys.argv[1], weights_only=True)",
    "open_checkpoint": "open_checkpoint(sys.argv[1])",
    "open_checkpoint, safetensors": "open_checkpoint(sys.argv[2])",
}


def files(folder: Path) -> tuple[str, str]:
    """The same weights as the authors' code would save them (our names; the layout costs the same), and as ours."""
    model = DualAttention(19, backbone="resnet101", multi_grid=(4, 8, 16))
    torch.save({"state_dict": model.state_dict()}, folder / "danet.pth.tar")
    save_checkpoint(model, folder / "danet.safetensors", [str(k) for k in range(19)], {})
    return str(folder / "danet.pth.tar"), str(folder / "danet.safetensors")


def seconds(paths: tuple[str, str], rounds: int) -> dict[str, list[float]]:
    """Seconds of every call, round by round."""
    calls: dict[str, Callable[[], object]] = {
        "torch.load(mmap=True)": lambda: torch.load(paths[0], mmap=True, weights_only=True),
        "torch.load": lambda: torch.load(paths[0], weights_only=True),
        "open_checkpoint": lambda: open_checkpoint(paths[0]),
        "open_checkpoint, safetensors": lambda: open_checkpoint(paths[1]),
    }
    found: dict[str, list[float]] = {name: [] for name in calls}
    for round_ in range(rounds + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if round_:  # the first warms up
                found[name].append(time.perf_counter() - start)
    return found


def mebibytes(paths: tuple[str, str], name: str) -> tuple[float, float]:
    """Growth of the peak resident set of a fresh process that makes one call, and that peak."""
    code = _MEMORY.format(call=CALLS[name])
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True)
    growth, peak = map(float, done.stdout.split())
    return growth, peak


def main() -> None:
    """Print a row a call."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = files(Path(folder))
        size = Path(paths[0]).stat().st_size / MIB
        times = seconds(paths, options.rounds)
        memory = {name: mebibytes(paths, name) for name in CALLS}
    plain = statistics.median(times["torch.load(mmap=True)"])
    rows = [
        {
            "call": name,
            "seconds": round(statistics.median(times[name]), 4),
            "ratio": round(statistics.median(times[name]) / plain, 2),
            "growth_mib": round(memory[name][0], 1),
            "growth_of_file": round(memory[name][0] / size, 3),
            "peak_ratio": round(memory[name][1] / memory["torch.load(mmap=True)"][1], 3),
        }
        for name in CALLS
    ]
    if options.json:
        print(json.dumps({"file_mib": round(size, 1), "torch": torch.__version__, "rows": rows}))
        return
    print(f"file {size:.1f} MiB, torch {torch.__version__}, {options.rounds} rounds")
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
