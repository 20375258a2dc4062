"""Whose weights an object gets when weights are shuffled: those of objects of its class in other blocks.

They are measured before the study's own pass, on every eighth image, as a small study of its own: it is resumed and
shared by processes like any other, so that all of them exchange the same weights, and adds at most an eighth to the
forwards. To let images exchange weights in passing would need no forward, but then rows would depend on the order in
which images are measured; and in a photograph few objects have another of their class beside them.
"""

from __future__ import annotations

import dataclasses
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.checkpoints import Checkpoint
from analysis.datasets.sample import Dataset, Sample
from analysis.models import ScaleAttention
from analysis.studies.object_scale.maps import footprints, see_maps, weights_inside
from analysis.studies.study import Rows, run

#: Every how manieth image, or fewer where that would be more than ``MOST`` images.
EVERY, MOST = 8, 64
#: How often each object is given weights.
SHUFFLES = 3


@dataclass(frozen=True, eq=False)
class Donors:
    """Mean weights of objects: ``weights [m, S]``, their classes ``[m]`` and blocks ``[m]``."""

    weights: np.ndarray
    classes: np.ndarray
    blocks: np.ndarray

    def given_to(self, sample: Sample) -> np.ndarray:
        """Weights for each object from random objects of its class in other blocks, ``[SHUFFLES, n, S]``; NaN: none.

        The image's name seeds the draw.
        """
        rng = np.random.default_rng(zlib.crc32(sample.name.encode()))
        given = np.full((SHUFFLES, len(sample.objects), self.weights.shape[1]), np.nan)
        for k, c in enumerate(sample.objects.classes):
            fitting = np.flatnonzero((self.classes == c) & (self.blocks != sample.block))
            if len(fitting):
                given[:, k] = self.weights[rng.choice(fitting, SHUFFLES)]
        return given


def find_donors(model: ScaleAttention, checkpoint: Checkpoint, dataset: Dataset, out: Path | None = None) -> Donors:
    """The objects of every eighth image, evenly spaced over the data set; of 64 images where there would be more."""
    step = max(EVERY, -(-len(dataset) // MOST))
    few = dataclasses.replace(dataset, items=dataset.items[step - 1 :: step])
    tables = run(_Donating(model), checkpoint, few, out).tables if len(few) else {}
    if "donors" not in tables:
        return Donors(np.zeros((0, len(model.branches))), np.zeros(0, int), np.zeros(0, object))
    table = tables["donors"]
    return Donors(table[[*model.branches]].to_numpy(), table["class"].to_numpy(), table["block"].to_numpy())


@dataclass(frozen=True, eq=False)
class _Donating:
    model: ScaleAttention
    name: str = "object_scale_donors"

    def rows(self, sample: Sample) -> Rows:
        """Table ``donors``: a row per object, its class (number) and the mean weight of every branch."""
        if not len(sample.objects):
            return {}
        maps = see_maps(self.model, sample.image)
        weights = weights_inside(maps.weights, footprints(sample.objects, maps))
        return {
            "donors": pd.DataFrame(weights, columns=self.model.branches).assign(**{"class": sample.objects.classes})
        }
