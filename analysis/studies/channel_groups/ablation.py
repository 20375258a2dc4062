"""Pass 2, the intervention: a group's channels are replaced by their means, after the module; what is lost, and where?

Photographs enter whole, as they do where IoU is reported. Random sets of as many live channels outside of the group are
replaced likewise, drawn anew for each photograph: a few sets for all would be a few accidents. What they lose is one
IoU, of the counts of all draws together. A group of more than a third of the live channels has no such set.
The convolution after the module is linear, so that each replacement costs a convolution of the replaced channels alone,
and not a forward.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from analysis.datasets.sample import Sample
from analysis.models import DualAttention, to_input
from analysis.models.resize import resize
from analysis.studies.channel_groups.selectivity import labels_of
from analysis.studies.miou import INTERSECTION, UNION, class_names, confusion_rows
from analysis.studies.study import Rows

#: Group, draw (0: the group itself) and channels.
Replaced = tuple[int, int, np.ndarray]
WHOLE = -1  # the "group" of the rows where nothing is replaced
_RANDOM = 3  # random sets for each group and photograph


@dataclass(eq=False)
class Ablation:
    """The study of pass 2. ``group``, ``alive`` and ``means`` are of channels, ``group_class`` of groups."""

    model: DualAttention
    classes: tuple[str, ...]
    group: list[int]
    alive: list[bool]
    group_class: list[str]
    means: np.ndarray
    name: str = "channel_ablation"

    @torch.no_grad()
    def rows(self, sample: Sample) -> Rows:
        """``channel_ablation``: a row for each replacement; draw 0 is the group, others are random sets of its size."""
        label = labels_of(sample.label, sample.name)
        rows = []
        replaced = self.replaced(sample)
        for (group, draw, _), logits in zip(replaced, self.logits(sample, replaced), strict=True):
            logits = resize(logits.float(), label.shape, self.model.spec.input.align_corners)
            prediction = logits[0].cpu().numpy().argmax(axis=0)  # four times as fast as torch's along this axis
            counts = confusion_rows(prediction, label, self.classes)
            of_class = "" if group == WHOLE else self.group_class[group]
            rows.append({"image": sample.name, "group": group, "draw": draw, "class": of_class, **counts})
        return {"channel_ablation": pd.DataFrame(rows)}

    @torch.no_grad()
    def logits(self, sample: Sample, replaced: Sequence[Replaced]) -> Iterator[Tensor]:
        """The model's logits ``[1, K, h, w]`` for every replacement."""
        model = self.model
        image = to_input(sample.image, model.spec.input).to(next(model.parameters()).device)
        shared = model.backbone(image)
        position = model.position_out(model.pam(model.position_in(shared)))
        features = model.cam(model.channel_in(shared))
        convolution, rest = model.channel_out[0], model.channel_out[1:]
        change = features.new_tensor(self.means).view(1, -1, 1, 1) - features
        whole = convolution(features)
        for _, _, channels in replaced:
            changed = whole + _partly(convolution, change, channels)
            yield model.classifier(position + rest(changed))

    def replaced(self, sample: Sample) -> list[Replaced]:
        """Every replacement in one photograph, whose name seeds the draws; first nothing."""
        rng = np.random.default_rng(zlib.crc32(sample.name.encode()))
        group, alive = np.asarray(self.group), np.asarray(self.alive)
        found: list[Replaced] = [(WHOLE, 0, np.zeros(0, int))]
        for g in range(len(self.group_class)):
            own, others = np.flatnonzero(group == g), np.flatnonzero(alive & (group != g))
            draws = _RANDOM if len(others) >= 2 * len(own) else 0
            drawn = [np.sort(rng.choice(others, len(own), replace=False)) for _ in range(draws)]
            found += [(g, draw, channels) for draw, channels in enumerate([own, *drawn])]
        return found


def _partly(convolution: nn.Module, x: Tensor, channels: np.ndarray) -> Tensor | float:
    """What the given channels of ``x`` add to the convolution's output."""
    assert isinstance(convolution, nn.Conv2d)
    if not len(channels):
        return 0.0
    weight = convolution.weight[:, channels]
    return functional.conv2d(
        x[:, channels], weight, None, convolution.stride, convolution.padding, convolution.dilation
    )


def counted(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of intersection and union of every class, ``[rows, K]`` each."""
    names = class_names(table)
    both, either = (table[[kind + name for name in names]].to_numpy(float) for kind in (INTERSECTION, UNION))
    return both, either


def drops(table: pd.DataFrame) -> pd.DataFrame:
    """IoU lost over all images, group × class: ``iou_drop`` and, of random sets, ``iou_drop_random``; points."""
    sums = table.assign(draw=table["draw"] > 0).groupby(["group", "draw"], as_index=False).sum(numeric_only=True)
    both, either = counted(sums)
    iou = np.divide(both, either, out=np.full(both.shape, np.nan), where=either > 0)
    lost = pd.DataFrame(100 * (iou[sums["group"] == WHOLE] - iou), columns=class_names(table))
    long = lost.assign(group=sums["group"], random=sums["draw"]).melt(["group", "random"], var_name="class")
    wide = long[long["group"] != WHOLE].pivot_table("value", ["group", "class"], "random", dropna=False)
    wide = wide.rename(columns={False: "iou_drop", True: "iou_drop_random"}).rename_axis(columns=None)
    return wide.reindex(columns=["iou_drop", "iou_drop_random"]).reset_index()
