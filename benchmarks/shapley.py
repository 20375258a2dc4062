"""Exact Shapley values of three branches at 512 x 512 pixels and 19 classes, beside running the network again.

    python benchmarks/shapley.py [--json] [--quick]

What a coalition of branches is worth to each of an image's objects is needed for all 7 coalitions. ``network once a
coalition`` runs ScaleAttention lite0 with other weights each time; one forward is enough where score maps are kept.
From kept maps sums of branches grow by adding. In the order of a Gray code one map would be added or taken away each
time, with fewer sums to keep; the remark says how far each is from float64. On one thread.
"""

from __future__ import annotations

import argparse
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from measuring import Work, paired
from objects import CLASSES, scene
from reported import Goal, Row, options, peaks, report, rows_of
from torch import Tensor

from analysis import intervene
from analysis.datasets.sample import Objects, connected_objects
from analysis.models import ScaleAttention, predict
from analysis.models.resize import resize
from analysis.studies.object_scale.maps import Maps, see_maps
from analysis.studies.object_scale.shapley import coalition_values, shapley_values

SIZE, SCALES = (512, 512), (1.0, 0.75, 0.5)
GOAL = Goal("cpu_s", 0.5)
AGAIN, OURS, KEPT, GRAY = "network once a coalition", "one forward", "from kept score maps", "the same, in Gray code"


def main() -> None:
    """Measure, compare and print."""
    asked = options(__doc__)
    torch.set_num_threads(1)
    report(measure(asked), asked, "torch", "numpy")


def measure(asked: argparse.Namespace) -> list[Row]:
    """Ratios to running the network for every coalition."""
    objects, network, maps = made()
    check(network, objects)
    truth = coalition_values(Maps(maps.scores.double(), maps.weights, SCALES, SIZE, False), objects)
    found = {KEPT: coalition_values(maps, objects), GRAY: gray_code(maps, objects)}
    remarks = {name: f"at most {(values - truth).abs().max():.0e} off" for name, values in found.items()}
    calls = {name: call(name) for name in (AGAIN, OURS, KEPT, GRAY)}
    table = paired(calls, 2 if asked.quick else 9)
    mib = peaks(call, calls, asked)
    what = f"Shapley values of 3 branches for {len(objects)} objects of {SIZE[0]} x {SIZE[1]} pixels"
    return rows_of(what, table, {}, {KEPT: GOAL}, mib, remarks)


@cache
def made() -> tuple[Objects, ScaleAttention, Maps]:
    """Objects of all classes, a network with random weights, and score maps as large and wide as a trained one's."""
    torch.manual_seed(0)
    objects = connected_objects(scene(SIZE)[0], frozenset(range(CLASSES)))
    network = ScaleAttention(classes=CLASSES, backbone="lite0", output_stride=16, skip=True, head_width=64).eval()
    scores = 4 * torch.randn(len(SCALES), CLASSES, SIZE[0] // 4, SIZE[1] // 4)
    return objects, network, Maps(scores, torch.rand(3, *scores.shape[2:]), SCALES, SIZE, False)


def photograph() -> np.ndarray:
    """Noise, uint8 ``[H, W, 3]``."""
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)


def call(name: str) -> Work:
    """One way to values of all objects."""
    objects, network, maps = made()
    works: dict[str, Work] = {
        AGAIN: lambda: shapley_values(run_again(network, objects)),
        OURS: lambda: shapley_values(coalition_values(see_maps(network, photograph()), objects)),
        KEPT: lambda: shapley_values(coalition_values(maps, objects)),
        GRAY: lambda: shapley_values(gray_code(maps, objects)),
    }
    return works[name]


def run_again(network: ScaleAttention, objects: Objects) -> Tensor:
    """v of every coalition, ``[8, n]``, each from a forward of its own in which only its branches have weights."""
    values = [torch.full((len(objects),), -np.log(CLASSES), dtype=torch.float64)]
    for coalition in range(1, 8):
        players = torch.tensor([coalition >> s & 1 for s in range(3)], dtype=torch.float32)
        share = (players / players.sum()).view(1, 3, 1, 1)
        with intervene(network, {"scale.weights": partial(_instead, share)}):
            values.append(worth(predict(network, photograph()).flatten(1), objects))
    return torch.stack(values)


def _instead(share: Tensor, weights: Tensor) -> Tensor:
    return share.expand_as(weights).clone()


def worth(scores: Tensor, objects: Objects) -> Tensor:
    """Mean log p of its class over each object's pixels, ``[n]``: ``scores [K, P]``."""
    number = torch.from_numpy(objects.map).flatten().long() - 1
    target = torch.from_numpy(objects.classes)[number]
    log_p = scores.log_softmax(dim=0).gather(0, target[None])[0].double()
    return torch.bincount(number, log_p) / torch.bincount(number)


def gray_code(maps: Maps, objects: Objects) -> Tensor:
    """v of every coalition with one running sum: from one coalition to the next a branch joins or leaves."""
    pixels = resize(maps.scores, maps.size, maps.align_corners).flatten(2)
    values = torch.full((8, len(objects)), -np.log(CLASSES), dtype=torch.float64)
    total, before = torch.zeros_like(pixels[0]), 0
    for step in range(1, 8):
        coalition = step ^ step >> 1
        changed = coalition ^ before
        total.add_(pixels[changed.bit_length() - 1], alpha=1 if coalition & changed else -1)
        values[coalition] = worth(total / coalition.bit_count(), objects)
        before = coalition
    return values


def check(network: ScaleAttention, objects: Objects) -> None:
    """Stop where one forward and one a coalition do not give the same."""
    one = coalition_values(see_maps(network, photograph()), objects)
    difference: Any = (one - run_again(network, objects)).abs().max()
    if difference > 1e-4:
        raise SystemExit(f"one forward differs from one a coalition by {difference:.1e}")


if __name__ == "__main__":
    main()
