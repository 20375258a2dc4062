"""The channels of one photograph: how they go together, what they respond to, and what depends on them.

    seen = channels_of(model, image)
    group = seen.groups(6)                          of every channel, -1 where it is dead
    seen.described(group, label, classes)           which class each group tells best
    seen.without(np.flatnonzero(group == 0))        the prediction with these at their mean

The groups are those of this photograph alone. Which of them come back in others, and whether what a group loses is more
than random channels lose, is what the study :mod:`~analysis.studies.channel_groups` is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from analysis.errors import AnalysisError
from analysis.models import DualAttention
from analysis.models.dual_attention import attentions, gated
from analysis.studies.channel_groups.groups import correlation, cut, leaf_order, responsive, tree
from analysis.studies.channel_groups.selectivity import activations, chosen_cells, class_auc, label_on_grid
from analysis.studies.dual_paths import Paths, dual_model, run_paths

_TAPS = ("channel.features", "channel.attended", "channel.energy", "channel.affinity")


@dataclass(frozen=True, eq=False)
class ChannelsOf:
    """``before`` and ``after`` channel attention, float32 ``[C, h, w]``; ``energy``, ``affinity`` ``[C, C]``.

    ``prediction`` int64 ``[H, W]``. ``alive`` bool ``[C]``; ``correlation`` over positions, before the module.
    """

    paths: Paths
    before: Tensor
    after: Tensor
    energy: np.ndarray
    affinity: np.ndarray
    alive: np.ndarray
    correlation: np.ndarray

    @cached_property
    def linkage(self) -> np.ndarray:
        """The tree of the live channels. AnalysisError: fewer than three."""
        if self.alive.sum() < 3:
            raise AnalysisError(f"only {self.alive.sum()} of {len(self.alive)} channels respond to this photograph")
        return tree(self.correlation[np.ix_(self.alive, self.alive)])

    @cached_property
    def order(self) -> np.ndarray:
        """All channels in the order of the tree's leaves, dead ones last: int ``[C]``."""
        return leaf_order(self.linkage, self.alive)

    def groups(self, k: int) -> np.ndarray:
        """The group of every channel, from 0 in the order of their size, -1 for dead ones: int ``[C]``."""
        found = np.full(len(self.alive), -1)
        labels = cut(self.linkage, k)
        by_size = np.argsort(-np.bincount(labels), kind="stable")
        found[self.alive] = np.argsort(by_size)[labels]
        return found

    def maps(self, group: np.ndarray) -> np.ndarray:
        """Where every group responds: the mean of its channels' standardised maps, float32 ``[groups, h, w]``."""
        flat = self.before.flatten(1)
        scaled = (self.before - flat.mean(1)[:, None, None]) / flat.std(1).clamp(min=1e-12)[:, None, None]
        return np.stack([scaled[torch.from_numpy(group == g)].mean(0).numpy() for g in range(group.max() + 1)])

    def selectivity(self, label: np.ndarray, n_classes: int, after: bool = False) -> np.ndarray:
        """How well each channel tells each class from the rest: an area under the curve ``[C, K]``, NaN if unknown.

        Before the module, or ``after`` it.
        """
        cells = label_on_grid(label, self._grid, self.paths.model.spec.input.align_corners)
        chosen, features = chosen_cells(cells, ""), self.after if after else self.before
        values, known = class_auc(activations(features[None], chosen), cells.ravel()[chosen], n_classes)
        return np.where(known, values, np.nan)

    def described(self, group: np.ndarray, label: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
        """A row a group: ``group``, ``channels``, and ``top_class`` that they tell best on average, ``selectivity``."""
        auc, rows = self.selectivity(label, len(classes)), []
        for g in range(group.max() + 1):
            mean = auc[group == g].mean(axis=0)
            c = -1 if np.isnan(mean).all() else int(np.nanargmax(mean))
            best = ("", np.nan) if c < 0 else (classes[c], float(mean[c]))
            rows.append((g, int((group == g).sum()), *best))
        return pd.DataFrame(rows, columns=["group", "channels", "top_class", "selectivity"])

    @torch.no_grad()
    def without(self, channels: np.ndarray) -> np.ndarray:
        """The prediction with ``channels`` at their mean over the photograph, after the module: int64 ``[H, W]``."""
        changed = self.after.clone()
        changed[channels] = changed[channels].mean(dim=(1, 2), keepdim=True)
        ended = self.paths.model.channel_out(changed[None].to(self.paths.taps["channel.features"]))
        return self.paths.predicted(channel=ended)

    @property
    def _grid(self) -> tuple[int, int]:
        return self.before.shape[1], self.before.shape[2]


@torch.no_grad()
def channels_of(model: DualAttention, image: np.ndarray) -> ChannelsOf:
    """Of one forward of ``image`` uint8 ``[H, W, 3]``. AnalysisError: no channel attention, or no live channel."""
    paths = run_paths(dual_model(model, *_TAPS), image, _TAPS)
    features, attended = (paths.taps[f"channel.{name}"] for name in ("features", "attended"))
    after = gated(attentions(model)["channel"], attended.to(features.dtype), features)
    flat = features[0].flatten(1).double()
    moment, mean = (flat @ flat.T / flat.shape[1]).cpu().numpy(), flat.mean(dim=1).cpu().numpy()
    energy, affinity = (paths.taps[f"channel.{name}"][0].float().cpu().numpy() for name in ("energy", "affinity"))
    before, after = (x[0].float().cpu() for x in (features, after))
    return ChannelsOf(paths, before, after, energy, affinity, responsive(moment, mean), correlation(moment, mean))
