"""One object of one photograph: attention maps and attributions of its score, and what is to be thought of them.

    region = Region(number, class_, mask)
    scene = scene_of(model, image, region)
    maps = maps_of(scene, "attention") | maps_of(scene, "grad_cam")         [rows, columns] by name
    agreement(scene, maps), curves(scene, maps), randomised(scene, maps)    tables

The numbers of the study :mod:`~analysis.studies.attribution` for a single object; one object decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from torch import Tensor

from analysis.models import Model, to_input
from analysis.studies.attribution.agreement import rank_agreement, similarity
from analysis.studies.attribution.curves import deletion_and_insertion, from_largest
from analysis.studies.attribution.maps import Cells, Method, attention_maps, attributions, default_layers
from analysis.studies.attribution.randomisation import cascade
from analysis.studies.attribution.regions import Region, RegionScores

Maps = Mapping[str, np.ndarray]
BATCH = 2  # more only pay on a GPU
STAGES, SEED = 6, 0


@dataclass(frozen=True, eq=False)
class Scene:
    """The ``scores`` of one ``region`` of ``image [1, 3, H, W]``; all maps are on ``cells``."""

    scores: RegionScores
    image: Tensor
    region: Region
    cells: Cells

    @property
    def cell(self) -> tuple[float, float]:
        """Height and width of a cell in pixels of the photograph, which the model may see at another size."""
        height, width = self.region.mask.shape
        return self.cells.side * height / self.cells.height, self.cells.side * width / self.cells.width


def scene_of(model: Model, image: np.ndarray, region: Region, along: int = 16) -> Scene:
    """``image`` uint8 ``[H, W, 3]``; ``along`` cells on its longer side."""
    tensor = to_input(image, model.spec.input).to(next(model.parameters()).device)
    return Scene(RegionScores.of(model, [region], tensor), tensor, region, Cells.over(tensor, along))


def maps_of(scene: Scene, method: Method) -> dict[str, np.ndarray]:
    """Of one method, by name: float64 ``[rows, columns]`` of cells; attention and Grad-CAM are >= 0."""
    return {name: values[0].reshape(scene.cells.rows, -1) for name, values in _of(scene, scene.scores, method).items()}


def _of(scene: Scene, scores: RegionScores, method: Method) -> dict[str, np.ndarray]:
    if method == "attention":
        return attention_maps(scores.model, scene.image, [scene.region], scene.cells)
    return attributions(scores, scene.image, scene.cells, (method,), default_layers(scores.model), BATCH)


def agreement(scene: Scene, attention: Maps, attributed: Maps) -> pd.DataFrame:
    """A row an attribution and attention map: rank correlation of their sizes, and with the map mirrored."""
    rows = []
    for method, value in attributed.items():
        for name, map_ in attention.items():
            flat = map_.ravel()
            alike = rank_agreement(value.ravel(), flat)
            mirrored = rank_agreement(value.ravel(), scene.cells.mirrored(flat))
            rows.append({"attribution": method, "map": name, "agreement": alike, "mirrored": mirrored})
    return pd.DataFrame(rows, columns=["attribution", "map", "agreement", "mirrored"])


def curves(scene: Scene, maps: Maps, steps: int = 8, random_orders: int = 3) -> pd.DataFrame:
    """A row a map, curve (deletion, insertion) and share of the cells: the ``score`` in logits; ``random`` is a map."""
    random = np.random.default_rng(SEED).permuted(np.tile(np.arange(len(scene.cells)), (random_orders, 1)), axis=1)
    orders = [from_largest(map_.reshape(1, -1), random[0]) for map_ in maps.values()]
    every = np.concatenate([random, *orders])
    found = deletion_and_insertion(scene.scores, scene.image, scene.cells, every, steps, BATCH)
    rows = []
    for kind, values in (("deletion", found.deletions), ("insertion", found.insertions)):
        by_map = {"random": values[:, :random_orders, 0].mean(axis=1)}
        by_map |= {name: values[:, m, 0] for m, name in enumerate(maps, random_orders)}
        rows += [
            {"map": name, "curve": kind, "share": share, "score": score}
            for name, curve in by_map.items()
            for share, score in zip(found.shares, curve, strict=True)
        ]
    return pd.DataFrame(rows)


def randomised(scene: Scene, maps: Maps, methods: tuple[Method, ...] = ("attention", "grad_cam")) -> pd.DataFrame:
    """A row a map and stage of re-drawing the weights from the output down: ``share`` of modules, ``similarity``."""
    rows = [{"map": name, "layer": "", "share": 0.0, "similarity": 1.0} for name in maps]
    for redrawn in cascade(scene.scores.model, scene.image, STAGES, SEED):
        scores = scene.scores.first_of(redrawn.model)
        for name, values in (found for method in methods for found in _of(scene, scores, method).items()):
            if name in maps:
                alike = similarity(maps[name].ravel(), values[0])
                rows.append({"map": name, "layer": redrawn.layer, "share": redrawn.share, "similarity": alike})
    return pd.DataFrame(rows)
