"""The rows of one image.

attribution     object x method x attention map   agreement: rank correlation over the image's cells; areas under the
                                                  curves of deletion and insertion, for the method's map and at random
ablation        object x part                     effect: by how many logits the score falls without it
regions         object                            the frozen mask whose score all of this is about
randomisation   method x layer                    similarity with the original map, survives; the last layer of a
                                                  method, with all weights re-drawn, is the one that counts
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from scipy import stats
from torch import Tensor

from analysis.checkpoints import Checkpoint
from analysis.datasets.sample import Dataset, Sample
from analysis.errors import AnalysisError, closest
from analysis.models import Model, predict, to_input
from analysis.studies.attribution.curves import deletion_and_insertion
from analysis.studies.attribution.maps import (
    METHODS,
    Cells,
    Method,
    ablated_parts,
    attention_maps,
    attributions,
    default_layers,
    module_at,
)
from analysis.studies.attribution.randomisation import cascade
from analysis.studies.attribution.regions import MIN_AREA, Region, RegionScores, RegionSource, choose_regions
from analysis.studies.study import Result, Rows, run

SURVIVES = 0.5  # rank correlation with the original, all weights re-drawn, above which a map is flagged
Maps = dict[tuple[str, str], np.ndarray]  # (method, attention map or "") -> [R, cells]


@dataclass(frozen=True, eq=False)
class _Scene:
    """One image with its regions; all maps of it are on ``cells``."""

    name: str
    image: Tensor
    regions: list[Region]
    classes: list[str]
    cells: Cells

    @property
    def seed(self) -> int:
        """Of all that is drawn for this image."""
        return zlib.crc32(self.name.encode())

    def key(self, r: int) -> dict[str, Any]:
        """The columns that say which object a row is about."""
        return {"image": self.name, "object": self.regions[r].number, "class": self.classes[r]}


@dataclass(frozen=True, eq=False)
class Attribution:
    """The study of one image; the fields are the options of :func:`attribution`."""

    model: Model
    classes: tuple[str, ...]
    methods: tuple[Method, ...] = METHODS
    layers: tuple[str, ...] = ()
    groups: tuple[int, ...] = ()
    region: RegionSource = "label"
    objects: int = 1
    cells: int = 8
    steps: int = 5
    random_orders: int = 3
    stages: int = 3
    batch: int = 8
    name: ClassVar[str] = "attribution"

    def rows(self, sample: Sample) -> Rows:
        """The four tables; none for an image without an object of 64 pixels or more."""
        prediction = predict(self.model, sample.image).argmax(dim=0).cpu().numpy()
        regions = choose_regions(sample, prediction, self.region, self.objects)
        if not regions:
            return {}
        image = to_input(sample.image, self.model.spec.input).to(next(self.model.parameters()).device)
        names = [self.classes[region.class_] for region in regions]
        scene = _Scene(sample.name, image, regions, names, Cells.over(image, self.cells))
        scores = RegionScores(self.model, regions, image)
        maps = self._maps(scene, scores, self.methods)
        tables = {
            "attribution": list(self._compared(scene, scores, maps)),
            "ablation": list(self._ablated(scene, scores)),
            "regions": [{**scene.key(r), "region": self.region, **region.row()} for r, region in enumerate(regions)],
            "randomisation": list(self._randomised(scene, maps)),
        }
        return {name: pd.DataFrame(rows) for name, rows in tables.items() if rows}

    def _maps(self, scene: _Scene, scores: RegionScores, methods: Sequence[Method]) -> Maps:
        """The attention maps, and the attributions that ``methods`` ask for."""
        layers = self.layers or default_layers(scores.model)
        attention = attention_maps(scores.model, scene.image, scene.regions, scene.cells)
        found = attributions(scores, scene.image, scene.cells, methods, layers, self.batch)
        return {("attention", name): map_ for name, map_ in attention.items()} | {
            (name, ""): map_ for name, map_ in found.items()
        }

    def _compared(self, scene: _Scene, scores: RegionScores, maps: Maps) -> Iterator[dict[str, Any]]:
        """One row for each attribution with each attention map, and one for each attention map by itself."""
        attention = {name: map_ for (method, name), map_ in maps.items() if method == "attention"}
        asked = {key: map_ for key, map_ in maps.items() if key[0] != "attention" or "attention" in self.methods}
        for ((method, own), values), curves in zip(asked.items(), self._curves(scene, scores, asked), strict=True):
            for other in [own] if own else attention or [""]:
                for r in range(len(values)):
                    agreement = np.nan if own or not other else rank_agreement(values[r], attention[other][r])
                    yield {**scene.key(r), "method": method, "map": other, "agreement": agreement, **curves[r]}

    def _curves(self, scene: _Scene, scores: RegionScores, maps: Maps) -> Iterator[list[dict[str, float]]]:
        """For each map the four areas of every region. All orders go through the model together."""
        orders = [np.argsort(-values, axis=1, kind="stable") for values in maps.values()]
        drawn = self._random_orders(scene)
        every = np.concatenate([drawn, *orders])
        areas = deletion_and_insertion(scores, scene.image, scene.cells, every, self.steps, self.batch)
        random, n = areas[: len(drawn)].mean(axis=0), len(scene.regions)
        for start in range(len(drawn), len(every), n):
            yield [_areas(areas[start + r, :, r], random[:, r]) for r in range(n)]

    def _random_orders(self, scene: _Scene) -> np.ndarray:
        cells = np.tile(np.arange(len(scene.cells)), (self.random_orders, 1))
        return np.random.default_rng(scene.seed).permuted(cells, axis=1)

    def _ablated(self, scene: _Scene, scores: RegionScores) -> Iterator[dict[str, Any]]:
        for layer, part, effects in ablated_parts(scores, scene.image, self.groups):
            yield from ({**scene.key(r), "layer": layer, "part": part, "effect": e} for r, e in enumerate(effects))

    def _randomised(self, scene: _Scene, maps: Maps) -> Iterator[dict[str, Any]]:
        """Similarity of the first object's maps with those of re-drawn weights. Occlusion is left out, for its cost."""
        methods = [method for method in self.methods if method != "occlusion"]
        if not self.stages or not methods:
            return
        first = dataclasses.replace(scene, regions=scene.regions[:1])
        for layer, changed in cascade(self.model, scene.image, self.stages, scene.seed):
            scores = RegionScores(changed, first.regions, scene.image)
            for (method, name), values in self._maps(first, scores, methods).items():
                similarity = rank_agreement(values[0], maps[method, name][0])
                what = {"image": scene.name, "method": f"{method} {name}".strip(), "layer": layer}
                yield {**what, "similarity": similarity, "survives": similarity > SURVIVES}


def _areas(own: np.ndarray, random: np.ndarray) -> dict[str, float]:
    named = {"deletion_auc": own[0], "deletion_auc_random": random[0]}
    return {**named, "insertion_auc": own[1], "insertion_auc_random": random[1]}


def rank_agreement(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's correlation of two maps ``[cells]``; NaN where one is constant."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(stats.rankdata(a), stats.rankdata(b))[0, 1])


def attribution(
    checkpoint: Checkpoint, dataset: Dataset, out: Path | None = None, *, images: int = 16, **options: Any
) -> Result:
    """Attributions for ``images`` images, evenly spaced: the tables of the module.

    ``options``: ``methods`` of attention, grad_cam, integrated_gradients, occlusion; ``layers`` of Grad-CAM, by the
    names of taps or modules; ``groups``, a number a channel of CAM's input, to ablate them; ``region``: label or
    prediction, whose objects are scored, at most ``objects`` an image; ``cells`` along the longer side, on which maps
    are compared and deleted; ``steps`` of the curves, ``random_orders`` beside them; ``stages`` of randomising, 0 for
    none; ``batch`` perturbed images at a time. With all that is the default an image costs about 200 forwards and 45
    backwards, most of them for the curves (8 a map and object) and occlusion (one a cell).

    AnalysisError: an option or layer that is not known, no object of 64 pixels in any image, no labels.
    """
    known = [field.name for field in dataclasses.fields(Attribution)][2:]  # after model and classes
    if unknown := sorted(set(options) - set(known)):
        raise AnalysisError(f"attribution has no option {unknown[0]!r}{closest(unknown[0], known)}")
    if strange := sorted(set(options.get("methods", METHODS)) - set(METHODS)):
        raise AnalysisError(f"there is no attribution {strange[0]!r}{closest(strange[0], METHODS)}")
    for layer in options.get("layers", ()):
        module_at(checkpoint.model, layer)
    result = run(Attribution(checkpoint.model, dataset.classes, **options), checkpoint, _spaced(dataset, images), out)
    if "attribution" not in result.tables:
        raise AnalysisError(
            f"no object of {MIN_AREA} pixels or more in {dataset.name} {dataset.split}: nothing to score"
        )
    return result


def _spaced(dataset: Dataset, images: int) -> Dataset:
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(images, len(dataset))).round().astype(int))
    return dataclasses.replace(dataset, items=tuple(dataset.items[i] for i in chosen))
