"""The whole study: what is observed (``objects``), and what follows when objects or weights are changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis.checkpoints import Checkpoint
from analysis.datasets.sample import Dataset, Sample
from analysis.datasets.shapes import read_shapes
from analysis.errors import AnalysisError
from analysis.studies.measured import Measured
from analysis.studies.object_scale import effects
from analysis.studies.object_scale.chance import compared_to_chance, head_rows
from analysis.studies.object_scale.donors import Donors, find_donors
from analysis.studies.object_scale.head import attending
from analysis.studies.object_scale.interventions import intervention_rows, weights_matter_intervened
from analysis.studies.object_scale.maps import footprints, weights_inside
from analysis.studies.object_scale.objects import ObjectScale
from analysis.studies.object_scale.probe import Seed, probe_rows
from analysis.studies.object_scale.probe_effects import large_objects_probed, small_objects_probed
from analysis.studies.object_scale.shapley import shapley_rows, weights_matter_observed
from analysis.studies.object_scale.sizes import interventions, size_bins
from analysis.studies.study import Result, Rows, check_classes, evenly_spaced, run

#: Images whose objects are probed: each takes 25 forwards more.
PROBED_IMAGES = 32


def object_scale(
    checkpoint: Checkpoint,
    dataset: Dataset,
    out: Path | None = None,
    probed_images: int = PROBED_IMAGES,
    intervene: bool = True,
) -> Result:
    """Tables ``objects``, ``objects_redrawn``, ``objects_by_head``, ``shapley``, ``object_interventions``,
    ``probe``, and the means by size that follow from them, ``size_bins`` and ``interventions``.

    An image takes one forward, and every eighth one more (:mod:`donors`). Of ``probed_images`` images, evenly spaced,
    two objects are resized, ten forwards each, and zooms of the whole take four; with 0 there is no table ``probe``.
    Without ``intervene`` weights are only looked at: no table ``object_interventions``, and a third less time.

    AnalysisError: a model without an attention over scales, a data set without labels or of other classes.
    """
    model = attending(checkpoint)
    check_classes(checkpoint, dataset)
    scenes = {item.name: item.seed for item in dataset.items if item.seed and dataset.read is read_shapes}
    donors = find_donors(model, checkpoint, dataset, out) if intervene else None
    probed = tuple(item.name for item in evenly_spaced(dataset, probed_images).items)
    study = Whole(ObjectScale(model, dataset.classes), donors, scenes, probed, intervene)
    result = run(study, checkpoint, dataset, out)
    derived = {"objects": ("size_bins", size_bins), "object_interventions": ("interventions", interventions)}
    return result.plus({name: of(result) for table, (name, of) in derived.items() if table in result.tables})


@dataclass(frozen=True, eq=False)
class Whole:
    """``scenes``: what those of ``shapes`` are rendered from, by image name. ``probed``: names of images.

    ``intervene``: whether there are ``donors``; a plain value, so that a job is continued only with the same.
    """

    observed: ObjectScale
    donors: Donors | None
    scenes: Mapping[str, Seed]
    probed: tuple[str, ...]
    intervene: bool
    name: str = "object_scale"

    def rows(self, sample: Sample) -> Rows:
        """The tables of one image. AnalysisError: no label."""
        if sample.label is None:
            raise AnalysisError(f"{sample.name} has no label; weights on objects need a labelled split")
        model, classes, seen = self.observed.model, self.observed.classes, self.observed.see(sample)
        tables = self.observed.rows(sample, sample.label, seen)
        if len(sample.objects):
            footprint = footprints(sample.objects, seen.maps)
            inside = weights_inside(seen.maps.weights, footprint)
            tables["shapley"] = shapley_rows(seen.maps, sample, classes, inside)
            if self.donors is not None:
                tables["object_interventions"] = intervention_rows(
                    seen.maps, sample, sample.label, classes, self.donors, footprint
                )
            tables["objects_by_head"] = head_rows(seen.maps, seen.heads, sample, footprint)
        if sample.name in self.probed:
            scene = self.scenes.get(sample.name)
            tables["probe"] = probe_rows(model, sample, sample.label, classes, seen.maps, scene)
        return tables


def small_objects(
    objects: pd.DataFrame,
    objects_redrawn: pd.DataFrame | None = None,
    probe: pd.DataFrame | None = None,
    objects_by_head: pd.DataFrame | None = None,
) -> list[Measured]:
    """Observed, as :func:`effects.small_objects` has it, with ``objects_by_head`` against chance (:mod:`.chance`), and
    with ``probe`` the object probe."""
    observed = compared_to_chance(effects.small_objects(objects, objects_redrawn), objects, objects_by_head, side=1)
    return observed if probe is None else [*observed, *small_objects_probed(probe)]


def large_objects(
    objects: pd.DataFrame,
    objects_redrawn: pd.DataFrame | None = None,
    probe: pd.DataFrame | None = None,
    objects_by_head: pd.DataFrame | None = None,
) -> list[Measured]:
    """The mirror of :func:`small_objects`; see :func:`effects.large_objects`."""
    observed = compared_to_chance(effects.large_objects(objects, objects_redrawn), objects, objects_by_head, side=-1)
    return observed if probe is None else [*observed, *large_objects_probed(probe)]


def weights_matter(shapley: pd.DataFrame, object_interventions: pd.DataFrame) -> list[Measured]:
    """Observed, the agreement with Shapley values; and what is lost when weights are shuffled between objects.

    Objects below one cell are left out of both: their weights are those of what is round them.
    """
    seen = object_interventions[object_interventions["cells"] >= 1]
    keys = ["checkpoint", "image", "object"]
    large = pd.MultiIndex.from_frame(shapley[keys]).isin(pd.MultiIndex.from_frame(seen[keys].drop_duplicates()))
    return [*weights_matter_observed(shapley[large]), *weights_matter_intervened(seen)]
