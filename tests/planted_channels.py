"""Channels whose classes are known, and the sums that the study of channel attention makes of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from analysis.models.dual_attention import ChannelAttention
from analysis.models.spec import ChannelForm
from analysis.studies.channel_groups.ablation import WHOLE
from analysis.studies.channel_groups.sums import PATHS, Cells, sums_of
from analysis.studies.miou import INTERSECTION, UNION

K, EACH, GRID = 4, 6, 16  # classes, channels of each, cells along a side
CLASSES = tuple("abcd")
TRUTH = np.repeat(np.arange(K), EACH)


def scene(rng: np.random.Generator) -> np.ndarray:
    """A label map of four quarters, one of each class, ``[16, 16]``."""
    return rng.permutation(K).reshape(2, 2).repeat(GRID // 2, 0).repeat(GRID // 2, 1)


def planted(label: np.ndarray, rng: np.random.Generator, signal: float) -> Tensor:
    """Features ``[1, 24, 16, 16]``: a channel is ``signal`` higher where its class is, and noise elsewhere."""
    noise = np.abs(rng.normal(0, 0.1, (len(TRUTH), GRID, GRID)))
    own = signal * (label[None] == TRUTH[:, None, None])
    return torch.from_numpy(noise + own).float()[None]


def module(form: ChannelForm, gate: float) -> ChannelAttention:
    cam = ChannelAttention(len(TRUTH), form).eval()
    torch.nn.init.constant_(cam.gate, gate)
    return cam


def ablation_table(lost: float, checkpoint: str = "made", blocks: int = 8) -> pd.DataFrame:
    """``channel_ablation``, one image a block: without a group its class loses ``lost`` of an IoU of 0.8."""
    rows = []
    for block in range(blocks):
        for group, draw in [(WHOLE, 0), *((g, draw) for g in range(K) for draw in (0, 1))]:
            left = {name: 0.8 - lost * (draw == 0 and group == c) for c, name in enumerate(CLASSES)}
            counts = {INTERSECTION + name: 1000 * one for name, one in left.items()}
            counts |= dict.fromkeys((UNION + name for name in CLASSES), 1000)
            of_class = "" if group == WHOLE else CLASSES[group]
            rows.append(
                {"image": block, "block": f"{block:02d}", "group": group, "draw": draw, "class": of_class} | counts
            )
    return pd.DataFrame(rows).assign(checkpoint=checkpoint, recipe=checkpoint, seed=0)


def sums_table(
    signal: float,
    form: ChannelForm = "paper",
    gate: float = 0.5,
    blocks: int = 8,
    seed: int = 0,
    control: float = 0.0,
    scale: float = 1.0,
) -> pd.DataFrame:
    """A table of ``channel_sums``: ``signal`` in the channel path, ``control`` in the two others, one image a block."""
    rng, cam, rows = np.random.default_rng(seed), module(form, gate), []
    for block in range(blocks):
        label = scene(rng)
        cells = Cells(np.arange(label.size), label.ravel(), K)
        for path in PATHS:
            features = scale * planted(label, rng, signal if path == "channel" else control)
            rows.append({"path": path, "block": f"{block:02d}", **sums_of(cam, features, cells).row()})
    named = {"checkpoint": "made", "recipe": "made", "seed": 0, "dataset": "made", "split": "val"}
    shared = {**named, "form": form, "projections": False, "crop": "193 x 257"}
    return pd.DataFrame(rows).assign(**shared, classes=[list(CLASSES)] * len(rows))
