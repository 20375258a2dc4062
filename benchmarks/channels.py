"""Resampling 500 images' channel affinities 100 times, beside one resample after another.

    python benchmarks/channels.py [--json] [--quick]

A matrix [512, 512] an image. ``one by one`` gathers 500 matrices and takes their mean, 100 times (5 are timed, and
multiplied). A mean is a product with how often each image was drawn, so that one product gives all; Poisson weights
need no stack of matrices, as each is added to all sums when it comes. The study adds up to 40 stretches of the data
first and resamples those, since frames of a stretch are not independent. On one thread.
"""

from __future__ import annotations

import argparse
from functools import cache, partial

import numpy as np
import torch
from measuring import Work, paired
from reported import Goal, Row, options, peaks, report, rows_of

from analysis.statistics import block_draws
from analysis.studies.channel_groups.groups import drawn_means
from analysis.studies.channel_groups.sums import MAX_STRETCHES

IMAGES, CHANNELS, DRAWS, FEW, BLOCK = 500, 512, 100, 5, 25
GOAL = Goal("cpu_ratio", 0.02)
ONE, PRODUCT, POISSON = "one by one", "one product over images", "Poisson weights, streaming"
OURS = f"sums of {MAX_STRETCHES} stretches, drawn_means"
REMARKS = {
    OURS: "float64; resamples stretches, as the study does",
    POISSON: "float32; no stack is kept",
    PRODUCT: "float32; needs the stack",
}


def main() -> None:
    """Measure, compare and print."""
    asked = options(__doc__)
    torch.set_num_threads(1)
    report(measure(asked), asked, "numpy", "torch")


def measure(asked: argparse.Namespace) -> list[Row]:
    """Ratios to one by one."""
    check()
    calls = {name: call(name) for name in (ONE, PRODUCT, POISSON, OURS)}
    table = paired(calls, 2 if asked.quick else 7)
    few = table["variant"] == ONE
    table.loc[few, ["wall_s", "cpu_s"]] *= DRAWS / FEW
    table.loc[~few, ["ratio", "low", "high", "cpu_ratio"]] *= FEW / DRAWS
    mib = peaks(call, calls, asked)
    return rows_of(f"{DRAWS} resamples of {IMAGES} affinities", table, {}, {OURS: GOAL}, mib, REMARKS)


@cache
def stack() -> np.ndarray:
    """Affinities of all images, float32 ``[B, C, C]``, 500 MiB."""
    return np.random.default_rng(0).random((IMAGES, CHANNELS, CHANNELS), np.float32)


def call(name: str) -> Work:
    """One way to the means of all draws, or of a few one by one."""
    of_images = stack()
    works = {ONE: one_by_one, PRODUCT: one_product, POISSON: poisson, OURS: by_stretches}
    return partial(works[name], of_images)


def one_by_one(of_images: np.ndarray) -> np.ndarray:
    """What one would write first, for a few draws."""
    random = np.random.default_rng(0)
    return np.stack([of_images[random.integers(0, len(of_images), len(of_images))].mean(axis=0) for _ in range(FEW)])


def one_product(of_images: np.ndarray) -> np.ndarray:
    """``[D, B]`` times ``[B, C * C]``."""
    weights = block_draws(len(of_images), DRAWS, np.random.default_rng(0)) / len(of_images)
    return weights.astype(np.float32) @ of_images.reshape(len(of_images), -1)


def poisson(of_images: np.ndarray) -> np.ndarray:
    """Each image has a Poisson weight in each draw, and is forgotten once its block is added."""
    weights = np.random.default_rng(0).poisson(1, (DRAWS, len(of_images))).astype(np.float32)
    sums = np.zeros((DRAWS, CHANNELS * CHANNELS), np.float32)
    for at in range(0, len(of_images), BLOCK):
        part = slice(at, at + BLOCK)
        sums += weights[:, part] @ of_images[part].reshape(BLOCK, -1)
    return sums / weights.sum(axis=1, keepdims=True)


def by_stretches(of_images: np.ndarray) -> np.ndarray:
    """As the study does: images are added to their stretch one after another, then stretches are drawn."""
    stretch = np.arange(len(of_images)) * MAX_STRETCHES // len(of_images)
    sums = np.zeros((MAX_STRETCHES, CHANNELS * CHANNELS))
    for number, one in zip(stretch, of_images, strict=True):
        sums[number] += one.ravel()
    weights = block_draws(MAX_STRETCHES, DRAWS, np.random.default_rng(0))
    return drawn_means(sums, np.bincount(stretch).astype(float), weights)


def check() -> None:
    """Stop where a product and the means one by one differ, for images and stretches of few channels."""
    few = stack()[:, :2, :2].reshape(IMAGES, -1)
    weights = block_draws(IMAGES, DRAWS, np.random.default_rng(0))
    by_hand = np.stack([few.repeat(one.astype(int), axis=0).mean(axis=0, dtype=float) for one in weights])
    if np.abs(drawn_means(few, np.ones(IMAGES), weights) - by_hand).max() > 1e-12:
        raise SystemExit("drawn_means does not give the means of the draws")


if __name__ == "__main__":
    main()
