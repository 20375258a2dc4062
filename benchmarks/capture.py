"""What a capture costs: a forward with four tensors captured, as a ratio to the plain forward of the same run.

    python benchmarks/capture.py [--json] [--rounds 40]

Plain, captured and once more plain forwards alternate, so that a change of load or clock meets all of them. Times are
CPU seconds of this process, on one thread, and include setting up the capture. The ratio of captured to plain, a median
over rounds, should be at most 1.02; that of plain to plain is what the noise of the run alone gives.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
import torchvision
from measuring import cpu_name
from torch import Tensor, nn
from torchvision.models.segmentation import fcn_resnet50

from analysis.models import DualAttention, ScaleAttention
from analysis.taps import capture

TARGET = 1.02


@dataclass(frozen=True)
class Case:
    """A model with random weights, and the four tensors to capture from it."""

    name: str
    make: Callable[[], nn.Module]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """CPU seconds of a plain forward; lower quartile, median and upper quartile of the ratios to it, pair by pair."""

    name: str
    plain_s: float
    ratio: tuple[float, float, float]
    same: tuple[float, float, float]
    captured_mib: float


CASES = (
    Case(
        "fcn_resnet50, by module path (copied)",
        lambda: fcn_resnet50(weights=None, weights_backbone=None),
        tuple(f"backbone.layer{i}" for i in (1, 2, 3, 4)),
    ),
    Case(
        "ScaleAttention lite0, taps",
        lambda: ScaleAttention(classes=11, backbone="lite0", output_stride=16, skip=True, head_width=64),
        ("scale.weights", "scale.logits", "scale.scores.x100", "scale.features.x100"),
    ),
    Case(
        "DualAttention lite0, taps",
        lambda: DualAttention(classes=11, backbone="lite0", output_stride=16),
        ("position.query", "position.key", "channel.affinity", "fused"),
    ),
)


def main() -> None:
    """Measure every case and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--rounds", type=int, default=40, help="rounds of three forwards a model")
    options = parser.parse_args()
    torch.set_num_threads(1)  # CPU time of several threads counts their waiting for each other
    machine = {"cpu": cpu_name(), "torch": torch.__version__, "torchvision": torchvision.__version__}
    results = [measure(case, options.rounds) for case in CASES]
    if options.json:
        print(json.dumps({**machine, "target": TARGET, "results": [asdict(result) for result in results]}, indent=2))
        return
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    print(f"{'forwards in a ratio to plain ones (quartiles)':46s}{'captured':24s}{'plain again':24s}plain s  MiB kept")
    for result in results:
        ratio, same = (f"{median:.3f} ({low:.3f}-{high:.3f})" for low, median, high in (result.ratio, result.same))
        print(f"{result.name:46s}{ratio:24s}{same:24s}{result.plain_s:7.3f}{result.captured_mib:10.1f}")


def measure(case: Case, rounds: int) -> Result:
    """Alternate plain, captured and plain forwards of one 256 x 256 image, in a turning order."""
    model, image = case.make().eval(), torch.randn(1, 3, 256, 256)
    kinds: dict[str, Callable[[], int]] = {
        "plain": lambda: forward(model, image),
        "captured": lambda: captured_forward(model, image, case.names),
        "again": lambda: forward(model, image),
    }
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    captured_bytes = captured_forward(model, image, case.names)  # a warm-up as well
    for turn in range(rounds):
        for step in range(len(kinds)):
            kind = list(kinds)[(turn + step) % len(kinds)]
            start = time.process_time()
            kinds[kind]()
            seconds[kind].append(time.process_time() - start)
    ratio, same = (quartiles(seconds[kind], seconds["plain"]) for kind in ("captured", "again"))
    return Result(case.name, statistics.median(seconds["plain"]), ratio, same, captured_bytes / 2**20)


@torch.inference_mode()
def forward(model: nn.Module, image: Tensor) -> int:
    """One forward, nothing kept."""
    model(image)
    return 0


def captured_forward(model: nn.Module, image: Tensor, names: tuple[str, ...]) -> int:
    """One forward inside a capture, setting it up included; the number of bytes it kept."""
    with capture(model, *names) as taps:
        forward(model, image)
    return sum(tensor.nbytes for tensor in taps.values())


def quartiles(seconds: list[float], plain: list[float]) -> tuple[float, float, float]:
    """Quartiles of the ratios, pair by pair."""
    low, median, high = statistics.quantiles([s / p for s, p in zip(seconds, plain, strict=True)], n=4)
    return low, median, high


if __name__ == "__main__":
    main()
