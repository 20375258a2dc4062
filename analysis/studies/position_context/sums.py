"""What an image's position attention adds up to, in one pass over its rows: by key, by query, and class to class.

    sums = attention_sums(query, key, cells, n_classes)
    sums.received       who is looked at: sum_j s_ji of every cell i (alone: analysis.measures.attention_received)
    sums.class_mass     how much attention the cells of one class pay to those of another

The queries of a column of the grid are visited from the bottom up: seen from each of them, the distances to all keys
are a window of one small table, which begins a grid row later for every step up. After the product of query and key a
few rows at a time go through all steps, so that a core's own cache holds them. With row p, its scores e, and k where p
is greatest, the entropy is -sum_i p_i log p_i = (e_k - log p_k) - sum_i p_i e_i: no logarithm of every weight.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class AttentionSums:
    """Of the rows s_j of one image's N x N attention.

    ``received`` float32 ``[h, w]``: sum over j, N in all. ``entropy`` (nats) and ``mean_distance`` (cells) of every
    row, float32 ``[h, w]``. ``class_mass`` float64 ``[K, K]``: what the queries of the first class pay in all to the
    keys of the second; ignored cells are neither.
    """

    received: np.ndarray
    entropy: np.ndarray
    mean_distance: np.ndarray
    class_mass: np.ndarray


@torch.no_grad()
def attention_sums(query: Tensor, key: Tensor, cells: np.ndarray, n_classes: int) -> AttentionSums:
    """``query, key [d, h, w]`` of one image; ``cells`` int ``[h, w]``, the class of every cell and -1 where ignored.

    On the CPU, wherever the tensors are.
    """
    h, w = cells.shape
    keys = key.float().cpu().flatten(1).contiguous()
    columns = query.float().cpu().permute(2, 1, 0).flip(1).contiguous()  # [w, h, d], from below
    classes = cells.T[:, ::-1] % (n_classes + 1)  # ignored ones last
    by_class = torch.zeros(n_classes + 1, h * w)
    by_query = np.empty((2, w, h), np.float32)
    scores, few = torch.empty(h, h * w), max(8, 2**16 // (h * w))
    weights, ones = torch.empty(min(few, h), h * w), torch.ones(h)
    with torch.autocast("cpu", enabled=False):
        for x, distances in enumerate(_distances(h, w)):
            torch.mm(columns[x], keys, out=scores)
            for rows in (slice(start, min(start + few, h)) for start in range(0, h, few)):
                p = torch.softmax(scores[rows], dim=1, out=weights[: rows.stop - rows.start])
                for c, run in _runs(classes[x, rows]):
                    by_class[c].addmv_(p[run].T, ones[: run.stop - run.start])
                by_query[0, x, rows] = _entropy(scores[rows].numpy(), p.numpy())
                by_query[1, x, rows] = np.vecdot(p.numpy(), distances[rows])
    entropy, mean_distance = by_query[:, :, ::-1].transpose(0, 2, 1)
    received = by_class.sum(0).view(h, w).numpy()
    return AttentionSums(received, entropy, mean_distance, _class_mass(by_class.numpy(), cells))


def _entropy(scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    greatest = np.arange(len(weights)), weights.argmax(1)
    return scores[greatest] - np.log(weights[greatest]) - np.vecdot(scores, weights)


def _distances(h: int, w: int) -> Iterator[np.ndarray]:
    """For every column of the grid, from its cells, lowest first, to all cells: ``[h, N]``, a view of few numbers."""
    apart = np.hypot(np.arange(1 - h, h)[:, None], np.arange(w)).astype(np.float32)
    for x in range(w):
        table = apart[:, np.abs(np.arange(w) - x)].ravel()
        yield np.lib.stride_tricks.sliding_window_view(table, h * w)[::w]


def _runs(classes: np.ndarray) -> Iterator[tuple[int, slice]]:
    """The stretches of equal class."""
    changes = (classes[1:] != classes[:-1]).nonzero()[0] + 1
    return ((int(classes[start]), slice(start, stop)) for start, stop in pairwise([0, *changes.tolist(), len(classes)]))


def _class_mass(by_class: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """``by_class [K + 1, N]``, ignored queries last, summed over the keys of each class."""
    keys = cells.ravel() % len(by_class)
    mass = [np.bincount(keys, weights=row, minlength=len(by_class)) for row in by_class]
    return np.stack(mass)[:-1, :-1]
