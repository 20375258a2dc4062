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
from itertools import groupby

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
    few = min(h, max(4, 2**17 // (h * w)))
    scores, weights = torch.empty(h, h * w), torch.empty(few, h * w)
    e, p = scores.numpy(), weights.numpy()  # the same memory
    by_class = np.zeros((n_classes + 1, h * w), np.float32)
    entropy, mean_distance, mean_score, weight = np.empty((4, w, h), np.float32)
    greatest, each, ones = np.empty(h, np.intp), np.arange(h), np.ones(few, np.float32)
    with torch.autocast("cpu", enabled=False):
        for x, distances in enumerate(_distances(h, w)):
            torch.mm(columns[x], keys, out=scores)
            for start in range(0, h, few):
                rows = slice(start, min(start + few, h))
                n = rows.stop - start
                torch.softmax(scores[rows], dim=1, out=weights[:n])
                p[:n].argmax(1, out=greatest[rows])
                weight[x, rows] = p[each[:n], greatest[rows]]
                np.vecdot(e[rows], p[:n], out=mean_score[x, rows])
                np.vecdot(p[:n], distances[rows], out=mean_distance[x, rows])
                for c, run in _runs(classes[x, rows].tolist()):
                    by_class[c] += ones[: run.stop - run.start] @ p[run]
            entropy[x] = e[each, greatest] - np.log(weight[x]) - mean_score[x]
    by_query = (values[:, ::-1].T for values in (entropy, mean_distance))
    return AttentionSums(by_class.sum(0).reshape(h, w), *by_query, _class_mass(by_class, cells))


def _distances(h: int, w: int) -> Iterator[np.ndarray]:
    """For every column of the grid, from its cells, lowest first, to all cells: ``[h, N]``, a view of few numbers."""
    apart = np.hypot(np.arange(1 - h, h)[:, None], np.arange(w)).astype(np.float32)
    for x in range(w):
        table = apart[:, np.abs(np.arange(w) - x)].ravel()
        yield np.lib.stride_tricks.sliding_window_view(table, h * w)[::w]


def _runs(classes: list[int]) -> Iterator[tuple[int, slice]]:
    """The stretches of equal class."""
    start = 0
    for c, run in groupby(classes):
        stop = start + len(list(run))
        yield c, slice(start, stop)
        start = stop


def _class_mass(by_class: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """``by_class [K + 1, N]``, ignored queries last, summed over the keys of each class."""
    keys = cells.ravel() % len(by_class)
    mass = [np.bincount(keys, weights=row, minlength=len(by_class)) for row in by_class]
    return np.stack(mass)[:-1, :-1]
