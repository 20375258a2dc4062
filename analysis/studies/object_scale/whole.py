"""The whole study: what is observed (``objects``), and what follows when objects or weights are changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis.checkpoints import Checkpoint
from analysis.datasets.sample import Dataset, Sample
from analysis.datasets.shapes import read_shapes
from analysis.studies.measured import Measured
from analysis.studies.object_scale import effects
from analysis.studies.object_scale.head import attending
from analysis.studies.object_scale.interventions import (
    Donors,
    find_donors,
    intervention_rows,
    interventions,
    weights_matter_intervened,
)
from analysis.studies.object_scale.maps import see_maps
from analysis.studies.object_scale.objects import ObjectScale
from analysis.studies.object_scale.probe import OBJECTS, Seed, probe_rows
from analysis.studies.object_scale.probe_effects import large_objects_probed, small_objects_probed
from analysis.studies.object_scale.shapley import shapley_rows, weights_matter_observed
from analysis.studies.study import Result, Rows, check_classes, run


def object_scale(
    checkpoint: Checkpoint, dataset: Dataset, out: Path | None = None, redrawn: bool = True, probed: int = OBJECTS
) -> Result:
    """Tables ``objects``, ``objects_redrawn``, ``shapley``, ``interventions`` (and the objects behind it,
    ``object_interventions``), ``fusions`` and ``probe``.

    ``probed`` objects of an image are resized, ten forwards each, and its zooms take three more; with 0 there is no
    table ``probe``, and an image takes two forwards.

    AnalysisError: a model without an attention over scales, a data set without labels or of other classes.
    """
    model = attending(checkpoint)
    check_classes(checkpoint, dataset)
    scenes = {item.name: item.seed for item in dataset.items if item.seed and dataset.read is read_shapes}
    observed = ObjectScale(model, dataset.classes, redrawn)
    result = run(Whole(observed, find_donors(model, dataset), scenes, redrawn, probed), checkpoint, dataset, out)
    if "object_interventions" not in result.tables:
        return result
    return result.plus({"interventions": interventions(result["object_interventions"])})


@dataclass(frozen=True, eq=False)
class Whole:
    """``scenes``: what those of ``shapes`` are rendered from, by image name."""

    observed: ObjectScale
    donors: Donors
    scenes: Mapping[str, Seed]
    redrawn: bool
    probed: int
    name: str = "object_scale"

    def rows(self, sample: Sample) -> Rows:
        """The tables of one image. AnalysisError: no label."""
        tables, model, classes = self.observed.rows(sample), self.observed.model, self.observed.classes
        maps = see_maps(model, sample.image)
        if len(sample.objects):
            tables["shapley"] = shapley_rows(maps, sample, classes)
        tables |= intervention_rows(maps, sample, classes, self.donors)
        if self.probed:
            scene = self.scenes.get(sample.name)
            tables["probe"] = probe_rows(model, sample, classes, maps, scene, self.probed)
        return tables


def small_objects(
    objects: pd.DataFrame, objects_redrawn: pd.DataFrame | None = None, probe: pd.DataFrame | None = None
) -> list[Measured]:
    """Observed, as :func:`effects.small_objects` has it, and with ``probe`` the object probe."""
    observed = effects.small_objects(objects, objects_redrawn)
    return observed if probe is None else [*observed, *small_objects_probed(probe)]


def large_objects(
    objects: pd.DataFrame, objects_redrawn: pd.DataFrame | None = None, probe: pd.DataFrame | None = None
) -> list[Measured]:
    """Observed, as :func:`effects.large_objects` has it, and with ``probe`` the object probe."""
    observed = effects.large_objects(objects, objects_redrawn)
    return observed if probe is None else [*observed, *large_objects_probed(probe)]


def weights_matter(shapley: pd.DataFrame, object_interventions: pd.DataFrame) -> list[Measured]:
    """Observed, the agreement with Shapley values; and what is lost when weights are shuffled between objects."""
    return [*weights_matter_observed(shapley), *weights_matter_intervened(object_interventions)]
