"""Rows of position attention summed by distance and class: exact, a row of the grid at a time, never N x N.

A ring holds the keys at a distance of r - 1 < d <= r cells from the query; ring 0 is the query itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

NEAR = 2  # "self and cells within two excluded": rings up to this one (DESIGN 6)
VOID = -1


@dataclass(frozen=True, eq=False)
class Rings:
    """The rings of a grid of h x w cells.

    ``index`` int64 ``[w, 2h - 1, w]``: column of the query, rows between query and key from 1 - h on, column of the
    key. ``keys`` float32 ``[h, w, R]``: how many keys lie in each ring of each query. ``distance`` float32 ``[R]``: the
    mean over the cells of a ring.
    """

    index: Tensor
    keys: Tensor
    distance: Tensor

    def seen_from(self, y: int) -> Tensor:
        """The ring of every key for the queries of grid row ``y``: ``[w, N]``, a view."""
        h = len(self.keys)
        return self.index[:, h - 1 - y : 2 * h - 1 - y].flatten(1)


def ring_of(distance: Tensor) -> Tensor:
    """The ring of keys at these distances in cells, int64; a root that is a whole number stays on its side."""
    return torch.ceil(distance - 1e-4).long()


@lru_cache(maxsize=1)
def rings(h: int, w: int, device: torch.device) -> Rings:
    """The rings of a grid; they take about ``16 h w^2`` bytes, and are kept for the next image."""
    dy, dx = torch.arange(1 - h, h, device=device), torch.arange(w, device=device)
    distance = torch.hypot(dy[None, :, None].float(), (dx[:, None, None] - dx).float())
    index = ring_of(distance)
    n_rings = int(index.max()) + 1
    sums, counts = (torch.zeros(n_rings, device=device, dtype=torch.float64) for _ in range(2))
    sums.index_add_(0, index.flatten(), distance.flatten().double())
    counts.index_add_(0, index.flatten(), torch.ones_like(distance, dtype=torch.float64).flatten())
    whole = Rings(index, torch.zeros(h, w, n_rings, device=device), (sums / counts.clamp(min=1)).float())
    one = torch.ones(1, 1, device=device).expand(w, h * w)
    for y in range(h):
        whole.keys[y].scatter_add_(1, whole.seen_from(y), one)
    return whole


@dataclass(frozen=True, eq=False)
class Labels:
    """The class of every cell, int64 ``[h, w]``, -1 where ignored, and the keys (0..N-1) of each class."""

    cells: Tensor
    keys: dict[int, Tensor]

    @classmethod
    def of(cls, cells: np.ndarray, device: torch.device) -> Labels:
        """From an array."""
        flat = cells.ravel()
        keys = {int(c): torch.from_numpy(np.flatnonzero(flat == c)).to(device) for c in np.unique(flat)}
        return cls(torch.from_numpy(cells).to(device), keys)

    def runs(self, y: int) -> Iterator[tuple[int, slice]]:
        """The stretches of equal class in grid row ``y``, but for ignored ones."""
        row = self.cells[y].cpu().numpy()
        starts = np.flatnonzero(np.diff(row, prepend=VOID - 1))
        for start, stop in pairwise([*starts.tolist(), len(row)]):
            if row[start] != VOID:
                yield int(row[start]), slice(start, stop)


@dataclass(frozen=True, eq=False)
class Group:
    """Neighbouring queries of a grid row, and the keys of class ``c``; ``ring`` and ``weights`` ``[queries, keys]``."""

    queries: slice
    c: int
    keys: Tensor
    ring: Tensor
    weights: Tensor

    def sums(self, n_rings: int) -> tuple[Tensor, Tensor]:
        """Mass and number of these keys in every ring, each float32 ``[queries, R]``."""
        empty = self.weights.new_zeros(len(self.weights), n_rings)
        ones = self.weights.new_ones(1, 1).expand_as(self.weights)
        return empty.scatter_add(1, self.ring, self.weights), empty.scatter_add(1, self.ring, ones)


@dataclass(frozen=True, eq=False)
class RingSums:
    """By query of a grid row and ring, float32 ``[w, R]``: attention and keys, in all and of the query's own class.

    Ignored keys count nowhere. ``own`` holds the queries with their own class's keys; ``rings`` the row's
    view of the grid's rings; ``distance`` as in :class:`Rings`.
    """

    mass: Tensor
    own_mass: Tensor
    keys: Tensor
    own_keys: Tensor
    own: tuple[Group, ...]
    ring: Tensor
    distance: Tensor

    @property
    def expected(self) -> Tensor:
        """Own mass if within each ring the mass lay on keys regardless of their class: m(d) p(class given d)."""
        return self.mass * self.own_keys / self.keys.clamp(min=1)


def ring_sums(weights: Tensor, y: int, grid: Rings, labels: Labels) -> RingSums:
    """The sums of the attention rows ``weights [w, N]`` of grid row ``y``."""
    ring, n_rings = grid.seen_from(y), len(grid.distance)
    mass = weights.new_zeros(len(weights), n_rings).scatter_add_(1, ring, weights)
    keys = grid.keys[y].clone()
    own_mass, own_keys = torch.zeros_like(mass), torch.zeros_like(mass)
    groups = []
    for c, queries in labels.runs(y):
        group = _group(weights, ring, queries, c, labels)
        own_mass[queries], own_keys[queries] = group.sums(n_rings)
        groups.append(group)
    if VOID in labels.keys:
        void_mass, void_keys = _group(weights, ring, slice(None), VOID, labels).sums(n_rings)
        mass, keys = (mass - void_mass).clamp(min=0), keys - void_keys
    return RingSums(mass, torch.minimum(own_mass, mass), keys, own_keys, tuple(groups), ring, grid.distance)


def _group(weights: Tensor, ring: Tensor, queries: slice, c: int, labels: Labels) -> Group:
    rows, rings, keys = weights[queries], ring[queries], labels.keys[c]
    at = keys.expand(len(rows), -1)  # gather takes a fifth of the time of weights[queries, keys]
    return Group(queries, c, keys, rings.gather(1, at), rows.gather(1, at))


def effective_cells(weights: Tensor, query: Tensor, key: Tensor) -> Tensor:
    """Over how many cells each row is spread, exp(entropy): ``[w]``, from 1 to N.

    ``weights [w, N]`` are the softmax of ``query [w, d] @ key [d, N]``. With Z from the greatest weight, the entropy is
    log Z - q . sum_i s_i k_i: two small products in place of a logarithm of every weight.
    """
    top, at = weights.max(dim=1)
    log_z = (query * key[:, at].T).sum(1) - top.log()
    entropy = log_z - (query * (weights @ key.T)).sum(1)
    return entropy.exp().clamp(1, weights.shape[1])
