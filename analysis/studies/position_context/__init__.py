"""Does a position attend to its own class, however far (Fu et al., section 4.2.3)?

found = position_context(checkpoint, dataset)
found["position_context"]                                   image x class (DESIGN 5)
same_class_context(found["position_context"], found["position_context_iou"])        the claim

All numbers are exact sums over whole rows of the attention, computed from query and key a grid row at a time. A cell
has the class of most of its labelled pixels; where more pixels are ignored than labelled the cell is ignored: it is no
query, and the mass on it counts for no class. Mass is that of the whole row, 1, of which self, the cells within two and
ignored ones take no part: a row that looks nowhere else has no effect, not an undefined one.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from analysis.checkpoints import Checkpoint
from analysis.datasets.sample import Dataset, Sample
from analysis.errors import AnalysisError
from analysis.models import DualAttention
from analysis.models.dual_attention import PositionAttention
from analysis.studies.dual_paths import Paths, dual_model, run_paths
from analysis.studies.miou import confusion_rows
from analysis.studies.position_context.claim import ARMS, same_class_context
from analysis.studies.position_context.grid import labels_on, sizes_on
from analysis.studies.position_context.rings import Labels, rings
from analysis.studies.position_context.rows import Projected, RowSums, row_sums
from analysis.studies.position_context.tables import Queries
from analysis.studies.study import Result, Rows, run

CONTROL_ROWS = 4  # the controls visit the queries of one grid row in so many
_TAPS = ("position.query", "position.key", "position.value", "position.features", "position.attended")

__all__ = ["PositionContext", "position_context", "removed", "same_class_context"]


def position_context(
    checkpoint: Checkpoint, dataset: Dataset, out: Path | None = None, *, interventions: bool = True
) -> Result:
    """What the positions of every image look at, by class.

    ``position_context``: image, class (of the query), queries; means over the queries of same_class_mass, base_rate
    (share of the class among the keys), distance_matched_rate (own mass if at each distance the mass lay on keys
    whatever their class) and far_mass (what there was to divide; keys beyond two cells, not ignored); effective_cells
    (exp of a row's entropy, of ``cells``), mean_distance (cells). Over control_queries of them the same rates of two
    controls: redrawn_*, query and key convolutions drawn anew, and fixed_*, where the cells of other classes look:
    each query the mean query of all cells but those of its class (missing where there are none).
    ``position_context_distance``: image x class x band, (distance_low, distance_high] cells.
    ``position_context_size``: image x class x size_bin, COCO's by the area of the query's object.
    ``position_context_iou``: image x intervention, intersections and unions; see :mod:`.removal`.

    AnalysisError: no position attention, a data set without labels or with other classes.
    """
    return run(PositionContext(checkpoint, dataset, interventions), checkpoint, dataset, out)


@dataclass(frozen=True, eq=False)
class PositionContext:
    """The study behind :func:`position_context`."""

    checkpoint: Checkpoint
    dataset: Dataset
    interventions: bool = True
    name: ClassVar[str] = "position_context"

    def __post_init__(self) -> None:
        dual_model(self.checkpoint.model, *_TAPS)

    def rows(self, sample: Sample) -> Rows:
        """The tables of one image."""
        label = self._label(sample)
        paths = run_paths(dual_model(self.checkpoint.model), sample.image, _TAPS)
        corners, classes = paths.model.spec.input.align_corners, self.dataset.classes
        cells = labels_on(label, _grid(paths), len(classes), corners)
        seed = zlib.crc32(sample.name.encode())
        visited = range(seed % min(len(cells), CONTROL_ROWS), len(cells), CONTROL_ROWS)
        trained, controls = self._visited(paths, cells, visited, seed)
        queries = Queries.of(cells, classes, trained, controls, visited)
        tables = {
            "position_context": queries.by_class(),
            "position_context_distance": queries.by_distance(trained.by_ring.cpu().numpy()),
            "position_context_size": queries.by_size(sizes_on(sample.objects, cells, corners)),
        }
        if self.interventions:
            tables["position_context_iou"] = pd.DataFrame(self._arms(paths, trained, label))
        return {name: _with_image(table, sample.name) for name, table in tables.items()}

    def _visited(
        self, paths: Paths, cells: np.ndarray, visited: range, seed: int
    ) -> tuple[RowSums, dict[str, RowSums]]:
        """Sums over all trained rows, and over those of each control, which are of the grid rows ``visited``."""
        query, key, value, features, attended = (paths.taps[name][0].float() for name in _TAPS)
        h, w = cells.shape
        labels, grid, n_classes = Labels.of(cells, query.device), rings(h, w, query.device), len(self.dataset.classes)
        values = (value, attended) if self.interventions else ()
        trained = row_sums(Projected(query, key, *values), labels, grid, n_classes, range(h))
        fixed = Projected(_of_others(query, labels), key)
        controls = {"redrawn": _redrawn(paths.model, features, seed), "fixed": fixed}
        return trained, {name: row_sums(one, labels, grid, n_classes, visited) for name, one in controls.items()}

    def _arms(self, paths: Paths, trained: RowSums, label: np.ndarray) -> Iterator[dict[str, object]]:
        """Intersections and unions of every class as trained, and after each removal."""
        for arm, prediction in _predictions(paths, trained).items():
            yield {"intervention": arm, **confusion_rows(prediction, label, self.dataset.classes)}

    def _label(self, sample: Sample) -> np.ndarray:
        if sample.label is None:
            where = f"{self.dataset.name} {self.dataset.split}: {sample.name}"
            raise AnalysisError(f"{where} has no label, so no class is its own; choose a labelled split")
        return sample.label


@torch.no_grad()
def removed(model: DualAttention, image: np.ndarray, label: np.ndarray, n_classes: int) -> dict[str, np.ndarray]:
    """Predictions ``[H, W]`` of one photograph by intervention: as trained, without its own class's keys, and with as
    much taken from other classes at the same distances (:mod:`.removal`). ``label [H, W]`` says what is whose own.

    AnalysisError: no position attention.
    """
    paths = run_paths(dual_model(model, *_TAPS), image, _TAPS)
    cells = labels_on(label, _grid(paths), n_classes, model.spec.input.align_corners)
    query, key, value, _, attended = (paths.taps[name][0].float() for name in _TAPS)
    labels = Labels.of(cells, query.device)
    grid, visited = rings(*cells.shape, query.device), range(len(cells))
    return _predictions(paths, row_sums(Projected(query, key, value, attended), labels, grid, n_classes, visited))


def _predictions(paths: Paths, sums: RowSums) -> dict[str, np.ndarray]:
    """What is predicted as trained, and after each removal."""
    predictions = [paths.prediction]
    for attended in (sums.without_own, sums.without_other):
        if attended is not None:
            predictions.append(paths.predicted(position=paths.end("position", attended[None])))
    return dict(zip(ARMS, predictions, strict=True))


def _grid(paths: Paths) -> tuple[int, int]:
    h, w = paths.taps["position.query"].shape[2:]
    return h, w


def _of_others(query: Tensor, labels: Labels) -> Tensor:
    """``query [d, h, w]`` with, in each cell, the mean query of the cells that are not of its class; NaN for none."""
    flat = query.flatten(1)
    total, replaced = flat.sum(dim=1), torch.empty_like(flat)
    for cells in labels.keys.values():
        others = flat.shape[1] - len(cells)
        replaced[:, cells] = ((total - flat[:, cells].sum(dim=1)) / (others or torch.nan))[:, None]
    return replaced.view_as(query)


@torch.no_grad()
def _redrawn(model: DualAttention, features: Tensor, seed: int) -> Projected:
    """Query and key of convolutions drawn anew: normal weights and biases with the trained ones' root mean squares.

    Every image has a draw of its own: one draw for all would be one accident.
    """
    random = torch.Generator().manual_seed(seed)
    pam = next(module for module in model.modules() if isinstance(module, PositionAttention))

    def projected(convolution: torch.nn.Conv2d) -> Tensor:
        weight, bias = (
            torch.randn(p.shape, generator=random).to(p) * p.square().mean().sqrt()
            for p in (convolution.weight, convolution.bias if convolution.bias is not None else torch.zeros(1))
        )
        return torch.nn.functional.conv2d(features[None], weight, bias)[0]

    return Projected(projected(pam.query), projected(pam.key))


def _with_image(table: pd.DataFrame, image: str) -> pd.DataFrame:
    table.insert(0, "image", image)
    return table
