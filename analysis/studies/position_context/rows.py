"""All rows of one image's position attention, visited once: sums by query, and by class and distance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from analysis.studies.position_context.removal import Values, remove
from analysis.studies.position_context.rings import NEAR, Labels, Rings, RingSums, effective_cells, ring_sums


@dataclass(frozen=True, eq=False)
class Projected:
    """Of one image ``query, key [d, h, w]``, and where rows are intervened on ``value, attended [C, h, w]``."""

    query: Tensor
    key: Tensor
    value: Tensor | None = None
    attended: Tensor | None = None


@dataclass(frozen=True, eq=False)
class RowSums:
    """``by_query``: float32 ``[visited rows of the grid, w]`` each; see the columns of ``position_context``.

    ``by_ring`` float64 ``[3, K, R]``: attention, that on the query's own class, and that expected of it, summed over
    the queries of each class. ``without_own``, ``without_other``: ``position.attended [C, h, w]`` after the removal.
    """

    by_query: dict[str, Tensor]
    by_ring: Tensor
    without_own: Tensor | None = None
    without_other: Tensor | None = None


@torch.no_grad()
def row_sums(projected: Projected, labels: Labels, grid: Rings, n_classes: int, visited: range) -> RowSums:
    """Visit the rows of the queries in the grid rows ``visited``, and remove keys where ``projected`` has values.

    Of the N x N matrix, w rows are there at a time.
    """
    h, w = labels.cells.shape
    key = projected.key.flatten(1)
    values = None if projected.value is None else Values.of(projected.value, labels)
    queries = projected.query.flatten(1).T.contiguous().view(h, w, -1)
    by_query: list[dict[str, Tensor]] = []
    arms: list[tuple[Tensor, Tensor]] = []
    by_ring = torch.zeros(3, n_classes + 1, len(grid.distance), dtype=torch.float64, device=key.device)
    for y in visited:
        weights = torch.softmax(queries[y] @ key, dim=1)
        sums = ring_sums(weights, y, grid, labels)
        three = torch.stack([sums.mass, sums.own_mass, sums.expected]).double()
        by_ring.index_add_(1, labels.cells[y] % (n_classes + 1), three)  # ignored queries last
        found = {**_of_queries(sums), "effective_cells": effective_cells(weights, queries[y], key)}
        if values is not None and projected.attended is not None:
            removed = remove(weights, sums, labels, values, projected.attended[:, y].T)
            arms.append((removed.own, removed.other))
            found["removed_mass"] = removed.mass
        by_query.append(found)
    stacked = {name: torch.stack([one[name] for one in by_query]) for name in by_query[0]}
    own, other = (torch.stack(arm).permute(2, 0, 1) for arm in zip(*arms, strict=True)) if arms else (None, None)
    return RowSums(stacked, by_ring[:, :-1], own, other)


def _of_queries(sums: RingSums) -> dict[str, Tensor]:
    far = slice(NEAR + 1, None)
    labelled = sums.mass.sum(1).clamp(min=torch.finfo(sums.mass.dtype).tiny)
    return {
        "same_class_mass": sums.own_mass[:, far].sum(1),
        "base_rate": sums.own_keys[:, far].sum(1) / sums.keys[:, far].sum(1).clamp(min=1),
        "distance_matched_rate": sums.expected[:, far].sum(1),
        "far_mass": sums.mass[:, far].sum(1),
        "mean_distance": (sums.mass @ sums.distance) / labelled,
    }
