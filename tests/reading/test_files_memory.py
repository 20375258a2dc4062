"""Opening a file allocates hardly more than the file, and nothing where it is mapped."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from . import hostile_files

MEASURE = """
import re, sys
from pathlib import Path
from analysis.reading import read_file

def now(field):
    return int(re.search(field + r":\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1)) * 1024

folder = Path(sys.argv[1])
for path in sorted(folder.glob("*.large")):
    read_file(path.with_suffix(".small"))  # so that what reading imports is there before the measurement
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
    anonymous, resident = now("RssAnon"), now("VmRSS")
    stored = read_file(path)
    size = path.stat().st_size
    print(path.stem, (now("RssAnon") - anonymous) / size, (now("VmHWM") - resident) / size)
    del stored
"""


def test_memory_stays_below_one_and_a_half_files(tmp_path: Path) -> None:
    """Anonymous memory once a file is open, and the peak with mapped pages, as multiples of the file's size."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the peak of a process is measured through /proc, which is Linux's")
    for suffix, size in (("small", 10), ("large", 5_000_000)):
        tensors = {f"layer{i}.weight": torch.randn(size) for i in range(4)}
        torch.save(tensors, tmp_path / f"zip.{suffix}")
        torch.save(tensors, tmp_path / f"legacy.{suffix}", _use_new_zipfile_serialization=False)
        save_file(tensors, tmp_path / f"safetensors.{suffix}")
        (tmp_path / f"caffe.{suffix}").write_bytes(hostile_files.caffe_net(tensors))
    done = subprocess.run([sys.executable, "-c", MEASURE, tmp_path], capture_output=True, text=True, check=True)
    measured = {kind: (float(kept), float(peak)) for kind, kept, peak in map(str.split, done.stdout.splitlines())}
    assert set(measured) == {"zip", "legacy", "safetensors", "caffe"}
    for kind, (kept, peak) in measured.items():
        assert kept < (0.2 if kind in ("zip", "safetensors") else 1.2) and peak < 1.5, (kind, kept, peak)
    print(measured)
