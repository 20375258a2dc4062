"""One picked position: how much of its row, or column, lies on every class, against what there is at those distances.

    by_class(row, (y, x), labels, classes)

The measure of :mod:`~analysis.studies.position_context` for a single query, for every class and not only its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from analysis.studies.position_context.rings import NEAR, VOID, ring_of


def by_class(
    row: np.ndarray, cells: Sequence[tuple[int, int]], labels: np.ndarray, classes: Sequence[str]
) -> pd.DataFrame:
    """A row a class that the photograph has: class, mass, base_rate, distance_matched_rate; greatest mass first.

    ``row [h, w]``: the attention of ``cells`` (y, x), one or the mean over several, whose nearest one counts for the
    distance. ``labels`` int ``[h, w]``, -1 where ignored. Mass is that of the row's sum; self, the cells within two and
    ignored ones take no part, as in the study. ``base_rate``: the class's share of the cells that do take part;
    ``distance_matched_rate``: its mass, if at every distance the mass lay on cells whatever their class.
    """
    ring = _nearest_ring(cells, labels.shape)
    far = (ring > NEAR) & (labels != VOID)
    share = row / row.sum()
    n_rings = int(ring.max()) + 1
    mass_at, cells_at = (np.bincount(ring[far], weights, n_rings) for weights in (share[far], None))
    per_cell = np.divide(mass_at, cells_at, out=np.zeros(n_rings), where=cells_at > 0)
    rows = []
    for c in np.unique(labels[far]):
        mine = far & (labels == c)
        matched = float(per_cell[ring[mine]].sum())
        rows.append((classes[c], float(share[mine].sum()), float(mine.sum() / far.sum()), matched))
    table = pd.DataFrame(rows, columns=["class", "mass", "base_rate", "distance_matched_rate"])
    return table.sort_values("mass", ascending=False, kind="stable", ignore_index=True)


def _nearest_ring(cells: Sequence[tuple[int, int]], size: tuple[int, ...]) -> np.ndarray:
    """The ring of every cell round the nearest of ``cells``: int64 ``[h, w]``."""
    from scipy.ndimage import distance_transform_edt

    elsewhere = np.ones(size, bool)
    elsewhere[tuple(np.array(cells).T)] = False
    return ring_of(torch.from_numpy(np.asarray(distance_transform_edt(elsewhere)))).numpy()
