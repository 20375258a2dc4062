"""8-connected regions of equal value in a map, found from runs: stretches of a row with one value.

Runs are joined, not pixels. The pixels below a run and its two corners are a stretch of the next row, so that the runs
that touch it are neighbours in raster order: those from the one that holds the stretch's first pixel to the one that
holds its last. A label map of two million pixels has some 80,000 runs.
"""

from __future__ import annotations

import numpy as np


def run_starts(values: np.ndarray) -> np.ndarray:
    """Flat indices of ``values [H, W]`` where runs start, int64, in raster order; none goes beyond its row."""
    flat, width = values.ravel(), values.shape[1]
    new = np.ones(flat.shape, bool)
    np.not_equal(flat[1:], flat[:-1], out=new[1:])
    new[::width] = True
    return np.flatnonzero(new)


def connected_regions(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every region of ``values [H, W]``, numbered from 0 in the raster order of their first pixels.

    The region of each run ``[R]``, the lengths of the runs ``[R]``, and the value of each region ``[n]``.
    """
    from scipy import sparse

    starts = run_starts(values)
    lengths = np.diff(starts, append=values.size)
    of_run = values.ravel()[starts]
    above, below = _touching(starts, lengths, values.shape)
    same = of_run[above] == of_run[below]
    links = (np.ones(np.count_nonzero(same), bool), (above[same], below[same]))
    graph = sparse.coo_array(links, shape=(len(starts), len(starts)))
    n, region = sparse.csgraph.connected_components(graph, directed=False)
    of_region = np.empty(n, values.dtype)
    of_region[region] = of_run
    return region, lengths, of_region


def _touching(starts: np.ndarray, lengths: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of a run and one of the next row that it touches, at a corner too: indices of runs."""
    height, width = shape
    run_at = np.repeat(np.arange(len(starts), dtype=np.int32), lengths)
    n = np.searchsorted(starts, (height - 1) * width)  # runs that have a row below
    start, row = starts[:n], starts[:n] // width
    first = run_at[np.maximum(start + width - 1, (row + 1) * width)]
    last = run_at[np.minimum(start + lengths[:n] + width, (row + 2) * width - 1)]
    counts = last - first + 1
    above = np.repeat(np.arange(n), counts)
    within = np.arange(len(above)) - np.repeat(np.cumsum(counts) - counts, counts)
    return above, first[above] + within
