"""The resolution that channel attention was trained at: its energy is a sum over positions, so rows sharpen with them.

A training of this project sees crops of photographs; here a photograph is studied as crops of the same size, which
cover it. Where nothing says what the crop was, it is studied whole, as it enters the model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
from torch import Tensor

from analysis.checkpoints import Checkpoint
from analysis.errors import AnalysisError


def training_crop(checkpoint: Checkpoint) -> tuple[int, int] | None:
    """Height and width of the crops of its training, from the run's config.json beside it; None where there is none."""
    file = checkpoint.home / "config.json"
    if checkpoint.origin.get("source") != "this project" or not file.is_file():
        return None
    try:
        height, width = map(int, json.loads(file.read_text(encoding="utf-8"))["fields"]["crop"])
    except (ValueError, KeyError, TypeError) as error:
        raise AnalysisError(
            f"{file} does not say what crop the run was trained on ({type(error).__name__}: {error}); "
            "restore it, or move it away to study whole images"
        ) from error
    return height, width


def crops(x: Tensor, crop: tuple[int, int] | None) -> Iterator[Tensor]:
    """As few crops of ``x [..., H, W]`` as cover it, evenly spaced; ``x`` itself where the crop is None or larger."""
    high, wide = x.shape[-2:]
    height, width = (high, wide) if crop is None else (min(crop[0], high), min(crop[1], wide))
    for top in _starts(high, height):
        for left in _starts(wide, width):
            yield x[..., top : top + height, left : left + width]


def _starts(n: int, length: int) -> list[int]:
    return np.linspace(0, n - length, -(-n // length)).round().astype(int).tolist()
