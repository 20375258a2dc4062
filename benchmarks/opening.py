"""Opening a checkpoint of DANet-101 (266 MB), beside torch.load(mmap=True): time, and memory of a fresh process.

    python benchmarks/opening.py [--json] [--quick]

torch.load gives a dict of tensors; opening checks every byte, tells the layout and builds the model besides. The file
is in the page cache.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path

import torch
from measuring import Work, paired, peak_mib
from reported import Row, options, report, rows_of

from analysis.checkpoints import open_checkpoint, save_checkpoint
from analysis.models import DualAttention

MAPPED, LOADED, OURS, SAFE = "torch.load(mmap=True)", "torch.load", "open_checkpoint", "open_checkpoint, safetensors"


def main() -> None:
    """Measure and print."""
    asked = options(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        report(measure(files(Path(folder)), asked), asked, "torch", "safetensors")


def measure(paths: tuple[Path, Path], asked: argparse.Namespace) -> list[Row]:
    """Ratios to torch.load(mmap=True)."""
    calls = {name: call(name, paths) for name in (MAPPED, LOADED, OURS, SAFE)}
    table = paired(calls, 3 if asked.quick else 15)
    mib = {} if asked.quick else {name: peak_mib(call, name, paths) for name in calls}
    what = f"opening a file of {paths[0].stat().st_size / 2**20:.0f} MiB"
    return rows_of(what, table, dict.fromkeys((MAPPED, LOADED), torch.__version__), mib=mib)


def files(folder: Path) -> tuple[Path, Path]:
    """The same weights as the authors' code would save them (our names; the layout costs the same), and as ours."""
    model = DualAttention(19, backbone="resnet101", multi_grid=(4, 8, 16))
    theirs, ours = folder / "danet.pth.tar", folder / "danet.safetensors"
    torch.save({"state_dict": model.state_dict()}, theirs)
    save_checkpoint(model, ours, [str(k) for k in range(19)], {})
    return theirs, ours


def call(name: str, paths: tuple[Path, Path]) -> Work:
    """One way to open one of the files."""
    works: dict[str, Work] = {
        MAPPED: partial(torch.load, paths[0], mmap=True, weights_only=True),
        LOADED: partial(torch.load, paths[0], weights_only=True),
        OURS: partial(open_checkpoint, paths[0]),
        SAFE: partial(open_checkpoint, paths[1]),
    }
    return works[name]


if __name__ == "__main__":
    main()
