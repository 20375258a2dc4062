"""Damaged checkpoint files, and what opening them comes to.

    cd tests; python -m reading.damage COUNT FOLDER [SEED]

tries ``damaged(COUNT)`` one after the other with ``read_file`` and ``open_checkpoint``, under a limit of memory (what
the process has after opening one sound file, and 1 GiB), and writes one line of JSON before and one after each.
"""

from __future__ import annotations

import json
import random
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from analysis.checkpoints import open_checkpoint
from analysis.errors import AnalysisError
from analysis.reading import read_file

from . import hostile_files as hostile

DEMO = Path(__file__).parents[2] / "data/demo/shapes-dual/step_000064.safetensors"
CONTAINERS = ("safetensors", "torch zip", "torch legacy", "caffemodel")
SECONDS, BYTES = 5, 1 << 30
_MARKER = "exploited"


def sound(folder: Path) -> dict[str, Path]:
    """One sound file of every container: a small trained model, and for Caffe six of its convolutions."""
    stored = read_file(DEMO)
    paths = {container: folder / container.replace(" ", "-") for container in CONTAINERS}
    save_file(stored.tensors, paths["safetensors"], stored.metadata)
    saved = {"state_dict": stored.tensors, "epoch": 64, "meta": {"CLASSES": ("sky", "ground"), "PALETTE": [[1, 2, 3]]}}
    torch.save(saved, paths["torch zip"])
    torch.save(saved, paths["torch legacy"], _use_new_zipfile_serialization=False)
    kernels = {name: tensor for name, tensor in stored.tensors.items() if tensor.dim() == 4}
    paths["caffemodel"].write_bytes(hostile.caffe_net(dict(list(kernels.items())[:6])))
    return paths


def damaged(count: int, folder: Path, seed: int = 0) -> Iterator[tuple[str, Path]]:
    """``count`` damaged files as (what is wrong, path), in ``folder``, each removed when the next is asked for.

    What is wrong begins with the container. Crafted inputs come first: every kind once, or some where that would be
    over 70 % of ``count``. Nothing of them may open. Then sound files "at random": cut off, with flipped bits or with
    bytes overwritten. What no checksum covers may still open there.
    """
    chance = random.Random(seed)
    files = {container: path.read_bytes() for container, path in sound(folder).items()}
    crafted = list(hostile.crafted(folder / _MARKER))
    crafted = chance.sample(crafted, min(len(crafted), count * 7 // 10))
    for i, container in zip(range(count), cycle(CONTAINERS)):
        path = folder / f"input-{i}.pth"
        label, write = crafted[i] if i < len(crafted) else _mutated(container, files[container], chance)
        write(path)
        yield label, path
        path.unlink(missing_ok=True)


def _mutated(container: str, raw: bytes, chance: random.Random) -> tuple[str, hostile.Write]:
    at, changed = chance.randrange(len(raw)), bytearray(raw)
    if chance.random() < 0.6:  # where the structure is rather than the weights
        at = chance.choice(
            [chance.randrange(min(len(raw), 6000)), len(raw) - 1 - chance.randrange(min(len(raw), 6000))]
        )
    kind = chance.choice(("truncated", "one bit", "bits", "bytes", "zeros"))
    if kind == "truncated":
        return f"{container}: at random, truncated at {at}", hostile.of_bytes(raw[:at])
    if kind in ("one bit", "bits"):
        for place in [at, *(chance.randrange(len(raw)) for _ in range(0 if kind == "one bit" else 20))]:
            changed[place] ^= 1 << chance.randrange(8)
    else:
        run = chance.randrange(1, 64)
        changed[at : at + run] = bytes(run) if kind == "zeros" else chance.randbytes(run)
    return f"{container}: at random, {kind} at {at}", hostile.of_bytes(bytes(changed[: len(raw)]))


def main(count: int, folder: Path, seed: int = 0) -> None:
    """Try every input and tell of each before and after."""
    want = {container: read_file(path).tensors for container, path in sound(folder).items()}
    limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for label, path in damaged(count, folder, seed):
        print(json.dumps({"trying": label}), flush=True)
        told = {"label": label}
        for call in (read_file, open_checkpoint):
            signal.setitimer(signal.ITIMER_REAL, 2 * SECONDS)  # ends a process that hangs
            start = time.perf_counter()
            told |= _tried(call, path, want.get(label.partition(":")[0], {}))
            told["seconds"] = max(told.get("seconds", 0), time.perf_counter() - start)
            signal.setitimer(signal.ITIMER_REAL, 0)
        told["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        told["exploited"] = (folder / _MARKER).exists()
        print(json.dumps(told), flush=True)


def _tried(call: Callable[[Path], Any], path: Path, want: dict[str, Tensor]) -> dict[str, Any]:
    try:
        opened = call(path)
    except AnalysisError as error:
        return {call.__name__: "error", f"{call.__name__} said": str(error)}
    except BaseException as error:
        return {call.__name__: "failed", f"{call.__name__} said": repr(error)}
    if call is open_checkpoint:
        return {call.__name__: "opened"}
    same = opened.tensors.keys() == want.keys() and all(torch.equal(opened.tensors[name], want[name]) for name in want)
    return {call.__name__: "same" if same else "different"}


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
