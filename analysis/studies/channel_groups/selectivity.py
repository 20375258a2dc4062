"""How well one channel's activation tells a class from the others: an area under the ROC curve, image by image.

Ranks are taken within an image, among at most :data:`CELLS` cells of each class, and averaged over the images that
hold the class: every image counts the same whatever its size, a large class does not stand for all others, and what
differs between photographs (light, contrast) plays no part. Memory does not grow with the images.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from analysis.errors import AnalysisError
from analysis.measures import IGNORE

CELLS = 64  # of a class in an image


def label_on_grid(label: np.ndarray, grid: tuple[int, int], align_corners: bool) -> np.ndarray:
    """The label ``[H, W]`` under the middle of every cell of a feature map, ``[h, w]``."""
    rows, columns = (_middles(n, cells, align_corners) for n, cells in zip(label.shape, grid, strict=True))
    return label[np.ix_(rows, columns)]


def _middles(n: int, cells: int, align_corners: bool) -> np.ndarray:
    i = np.arange(cells)
    middles = i * ((n - 1) / max(1, cells - 1)) if align_corners else (i + 0.5) * n / cells - 0.5
    return np.clip(np.round(middles), 0, n - 1).astype(int)


def chosen_cells(label: np.ndarray, name: str) -> np.ndarray:
    """Flat indices into ``label [...]``: up to :data:`CELLS` of every class, the same for an image's ``name``."""
    rng = np.random.default_rng(list(name.encode()))
    flat = label.ravel()
    found = [np.flatnonzero(flat == c) for c in np.unique(flat) if c != IGNORE]
    cells = [one if len(one) <= CELLS else rng.choice(one, CELLS, replace=False) for one in found]
    return np.concatenate(cells) if cells else np.zeros(0, int)


def class_auc(values: np.ndarray, classes: np.ndarray, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """P(x > y) + P(x = y) / 2 for x of class c and y of the rest: ``values [C, P]``, ``classes [P]`` to ``[C, K]``.

    Also which classes have cells and a rest to tell them from, bool ``[K]``; the others' columns are 0. Unchanged by
    any increasing function of the values (the Mann-Whitney U).
    """
    from scipy.stats import rankdata

    member = (classes[:, None] == np.arange(n_classes)).astype(float)
    inside = member.sum(axis=0)
    rest = len(classes) - inside
    defined = (inside > 0) & (rest > 0)
    if not defined.any():
        return np.zeros((len(values), n_classes)), defined
    ranks = rankdata(values, axis=1) @ member
    mean_rank = np.divide(ranks, inside, out=np.zeros_like(ranks), where=defined)
    above = mean_rank - (inside + 1) / 2
    return np.divide(above, rest, out=np.zeros_like(above), where=defined), defined


def activations(features: Tensor, cells: np.ndarray) -> np.ndarray:
    """The values of ``features [T, C, h, w]`` at the chosen cells of all T crops, ``[C, P]``."""
    return features.transpose(0, 1).flatten(1)[:, cells].float().cpu().numpy()


def labels_of(label: np.ndarray | None, where: str) -> np.ndarray:
    """The label, which this study cannot do without."""
    if label is None:
        raise AnalysisError(f"{where} has no labels, and the classes of channels come from them: choose a labelled set")
    return label


def top_classes(auc: np.ndarray, alive: np.ndarray) -> np.ndarray:
    """The class that each channel tells best, ``[C, K]`` to int ``[C]``; -1 where it tells none, or is dead."""
    known = np.where(np.isnan(auc), -np.inf, auc)
    return np.where(alive & (known.max(axis=1) > 0.5), known.argmax(axis=1), -1)
