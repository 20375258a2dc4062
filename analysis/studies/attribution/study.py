"""The rows of one image.

agreement       object x attribution x attention map    rank correlation of their sizes over the image's cells, and the
                                                        same with the attention map mirrored left to right
curves          object x map        mean logit along the curves of deletion and insertion, in the map's order of cells
                                    and in random orders; score of the whole image, and of the mean colour alone
ablation        object x part       effect: by how many logits the score falls without the branch or channel group;
                                    attention: its mean weight in the region, or CAM's mass on it
regions         object              the frozen mask whose score all of this is about
randomisation   map x layer         similarity with the original map when the weights from the output down to that layer
                                    are re-drawn; survives: it is above 0.5 with all of them re-drawn

and over all of them attribution, what was compared in one row each (:mod:`analysis.studies.attribution.summary`).
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
from torch import Tensor

from analysis.checkpoints import Checkpoint
from analysis.datasets.sample import Dataset, Sample
from analysis.errors import AnalysisError, closest
from analysis.models import Model, predict, to_input
from analysis.studies.attribution.agreement import rank_agreement, similarity
from analysis.studies.attribution.curves import deletion_and_insertion, from_largest
from analysis.studies.attribution.maps import (
    METHODS,
    Cells,
    Method,
    attention_maps,
    attributions,
    default_layers,
    module_at,
)
from analysis.studies.attribution.parts import ablated_parts, correlated_groups
from analysis.studies.attribution.randomisation import Redrawn, cascade
from analysis.studies.attribution.regions import MIN_AREA, Region, RegionScores, RegionSource, choose_regions
from analysis.studies.attribution.summary import SURVIVES, summary
from analysis.studies.study import Result, Rows, check_classes, evenly_spaced, identity, run

Maps = dict[str, np.ndarray]  # [R, cells] by the name of the map


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
    steps: int = 4
    random_orders: int = 2
    stages: int = 6
    batch: int = 2
    name: ClassVar[str] = "attribution"

    def rows(self, sample: Sample) -> Rows:
        """The five tables; none for an image without an object of 64 pixels or more."""
        predicted = None
        if self.region == "prediction":
            predicted = predict(self.model, sample.image).max(dim=0).indices.cpu().numpy()
        regions = choose_regions(sample, predicted, self.objects)
        if not regions:
            return {}
        image = to_input(sample.image, self.model.spec.input).to(next(self.model.parameters()).device)
        names = [self.classes[region.class_] for region in regions]
        scene = _Scene(sample.name, image, regions, names, Cells.over(image, self.cells))
        scores = RegionScores.of(self.model, regions, image)
        attention, attributed = self._attention(scene, scores), self._attributions(scene, scores, self.methods)
        tables = {
            "agreement": list(_agreement(scene, attention, attributed)),
            "curves": list(self._curves(scene, scores, attention | attributed)),
            "ablation": list(self._ablated(scene, scores)),
            "regions": [{**scene.key(r), "region": self.region, **region.row()} for r, region in enumerate(regions)],
            "randomisation": list(self._randomised(scene, scores, attention | attributed)),
        }
        return {name: pd.DataFrame(rows) for name, rows in tables.items() if rows}

    def _attention(self, scene: _Scene, scores: RegionScores) -> Maps:
        regions = scene.regions[: len(scores.classes)]
        return attention_maps(scores.model, scene.image, regions, scene.cells) if "attention" in self.methods else {}

    def _attributions(self, scene: _Scene, scores: RegionScores, methods: Sequence[Method]) -> Maps:
        layers = self.layers or default_layers(scores.model)
        return attributions(scores, scene.image, scene.cells, methods, layers, self.batch)

    def _curves(self, scene: _Scene, scores: RegionScores, maps: Maps) -> Iterator[dict[str, Any]]:
        """One row for each map and object. All orders go through the model together."""
        random = np.random.default_rng(scene.seed).permuted(
            np.tile(np.arange(len(scene.cells)), (self.random_orders, 1)), axis=1
        )
        orders = [from_largest(values, random[0]) for values in maps.values()]
        every = np.concatenate([random, *orders])
        found = deletion_and_insertion(scores, scene.image, scene.cells, every, self.steps, self.batch)
        by_chance = {name: getattr(found, name)[: len(random)].mean(axis=0) for name in ("deletion", "insertion")}
        for m, (name, r) in enumerate(((name, r) for name in maps for r in range(len(scene.regions))), len(random)):
            ends = {"score": found.whole[r], "score_empty": found.empty[r]}
            areas = {"deletion": found.deletion[m, r], "insertion": found.insertion[m, r]}
            yield {**scene.key(r), "map": name, **areas, **{f"{k}_random": v[r] for k, v in by_chance.items()}, **ends}

    def _ablated(self, scene: _Scene, scores: RegionScores) -> Iterator[dict[str, Any]]:
        for part in ablated_parts(scores, scene.image, self.groups):
            for r, (effect, attention) in enumerate(zip(part.effect, part.attention, strict=True)):
                named = {**scene.key(r), "layer": part.layer, "part": part.name, "size": part.size}
                yield {**named, "effect": effect, "attention": attention}

    def _randomised(self, scene: _Scene, scores: RegionScores, maps: Maps) -> Iterator[dict[str, Any]]:
        """Similarity of the first object's maps with those of re-drawn weights, none of occlusion, for its cost."""
        if not self.stages or not set(self.methods) - {"occlusion"}:
            return
        for redrawn in cascade(self.model, scene.image, self.stages, scene.seed):
            for name, values in self._of_redrawn(scene, scores.first_of(redrawn.model), redrawn).items():
                alike = similarity(maps[name][0], values[0])
                survives = redrawn.share == 1 and alike > SURVIVES
                what = {**scene.key(0), "map": name, "layer": redrawn.layer, "share": redrawn.share}
                yield {**what, "similarity": alike, "survives": survives}

    def _of_redrawn(self, scene: _Scene, scores: RegionScores, redrawn: Redrawn) -> Maps:
        """Its maps; integrated gradients cost as much as all others and are taken at the last stage only."""
        left_out = {"occlusion"} if redrawn.share == 1 else {"occlusion", "integrated_gradients"}
        asked = [method for method in self.methods if method not in left_out]
        return self._attention(scene, scores) | self._attributions(scene, scores, asked)


def _agreement(scene: _Scene, attention: Maps, attributed: Maps) -> Iterator[dict[str, Any]]:
    """One row for each attribution with each attention map."""
    for method, values in attributed.items():
        for name, maps in attention.items():
            for r, (value, map_) in enumerate(zip(values, maps, strict=True)):
                found = {"agreement": map_, "agreement_mirrored": scene.cells.mirrored(map_)}
                numbers = {column: rank_agreement(value, one) for column, one in found.items()}
                yield {**scene.key(r), "method": method, "map": name, **numbers}


def attribution(
    checkpoint: Checkpoint, dataset: Dataset, out: Path | None = None, *, images: int = 8, **options: Any
) -> Result:
    """Attributions for an object of each of ``images`` images, evenly spaced: the tables of the module.

    ``options``: ``methods`` of attention, grad_cam, integrated_gradients, occlusion; ``layers`` of Grad-CAM, by the
    names of taps or modules; ``groups``, a number a channel of CAM's input, to ablate them, by default 8 of correlated
    channels; ``region``: label or prediction, whose objects are scored, at most ``objects`` an image; ``cells`` along
    the longer side, on which maps are compared and deleted; ``steps`` of the curves, ``random_orders`` beside them;
    ``stages`` of randomising, 0 for none; ``batch`` perturbed images at a time, more only pay on a GPU. By default an
    image costs about 160 forwards and 16 backwards, most of them for the curves (6 a map) and occlusion (one a cell).

    AnalysisError: an option or layer that is not known, no object of 64 pixels in any image, no labels.
    """
    _check(checkpoint, options)
    check_classes(checkpoint, dataset)
    few = evenly_spaced(dataset, images)
    options = {"groups": correlated_groups(checkpoint.model, few), **options}
    result = run(Attribution(checkpoint.model, dataset.classes, **options), checkpoint, few, out, images_per_part=1)
    if "regions" not in result.tables:
        raise AnalysisError(
            f"no object of {MIN_AREA} pixels or more in {dataset.name} {dataset.split}: nothing to score"
        )
    columns = {"n_images": len(few), "of_images": len(dataset), **identity(checkpoint, dataset), "block": "all"}
    return result.plus({"attribution": summary(result.tables).assign(**columns)})


def _check(checkpoint: Checkpoint, options: dict[str, Any]) -> None:
    known = [field.name for field in dataclasses.fields(Attribution)][2:]  # after model and classes
    if unknown := sorted(set(options) - set(known)):
        raise AnalysisError(f"attribution has no option {unknown[0]!r}{closest(unknown[0], known)}")
    if strange := sorted(set(options.get("methods", METHODS)) - set(METHODS)):
        raise AnalysisError(f"there is no attribution {strange[0]!r}{closest(strange[0], METHODS)}")
    for layer in options.get("layers", ()):
        module_at(checkpoint.model, layer)
