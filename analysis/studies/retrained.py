"""What a field of the recipe is worth: mIoU of trainings that differ in it alone, seeds and folds paired.

    differences(metrics, scores)        a row for every pair of recipes that differ in one field

For each seed the mIoU of the one less that of the other, mean of the folds that both were measured on. Where intersections
and unions are there by block (:func:`block_scores`), the interval is over blocks and seeds (:func:`~analysis.statistics.
estimate`); otherwise it is over seeds alone (a paired t-interval), for these photographs.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.checkpoints import Checkpoint
from analysis.datasets.sample import Dataset, Sample
from analysis.models import predict
from analysis.studies.miou import INTERSECTION, UNION, confusion_rows
from analysis.studies.study import Rows, run


class _Scores:
    """Intersection and union of every class, a row an image."""

    name = "scores"

    def __init__(self, checkpoint: Checkpoint, classes: tuple[str, ...]) -> None:
        self.model, self.classes = checkpoint.model, classes

    def rows(self, sample: Sample) -> Rows:
        if sample.label is None:
            return {}
        prediction = predict(self.model, sample.image).argmax(dim=0).cpu().numpy()
        return {"scores": pd.DataFrame([confusion_rows(prediction, np.asarray(sample.label), self.classes)])}


def block_scores(checkpoint: Checkpoint, dataset: Dataset) -> pd.DataFrame:
    """Pixels in ``intersection_<class>`` and ``union_<class>`` of every block, with the columns of DESIGN 5."""
    table = run(_Scores(checkpoint, dataset.classes), checkpoint, dataset)["scores"]
    counts = [name for name in table.columns if name.startswith((INTERSECTION, UNION))]
    keys = [name for name in ("checkpoint", "recipe", "seed", "dataset", "split", "block") if name in table.columns]
    return table.groupby(keys, sort=False, as_index=False)[counts].sum()
