"""How much two partitions of the same channels agree, chance taken out."""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln


def adjusted_mutual_information(a: np.ndarray, b: np.ndarray) -> float:
    """AMI of labels ``a [n]`` and ``b [n]``: 1 for the same partition, 0 on average for unrelated ones of these sizes.

    (I - E[I]) / (mean entropy - E[I]), E under random permutations (Vinh, Epps, Bailey 2010).
    """
    table = np.zeros((len(np.unique(a)), len(np.unique(b))))
    np.add.at(table, (np.unique(a, return_inverse=True)[1], np.unique(b, return_inverse=True)[1]), 1)
    if table.shape in ((1, 1), (len(a), len(a))):
        return 1.0
    rows, columns = table.sum(1), table.sum(0)
    expected = _expected(rows, columns)
    norm = (_entropy(rows) + _entropy(columns)) / 2 - expected
    information = _entropy(rows) + _entropy(columns) - _entropy(table.ravel())
    return float((information - expected) / norm) if abs(norm) > 1e-12 else 0.0


def _entropy(counts: np.ndarray) -> float:
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log(share)).sum())


def _expected(rows: np.ndarray, columns: np.ndarray) -> float:
    """The mean mutual information of a table with these sums: each cell is hypergeometric."""
    n = rows.sum()
    a, b = rows[:, None, None], columns[None, :, None]
    cell = np.arange(1, min(rows.max(), columns.max()) + 1)
    possible = (cell <= np.minimum(a, b)) & (cell >= a + b - n)
    a, b, cell = (x[possible] for x in np.broadcast_arrays(a, b, cell))
    ways = gammaln(np.stack([a, b, n - a, n - b]) + 1).sum(0) - gammaln(n + 1)
    ways -= gammaln(np.stack([cell, a - cell, b - cell, n - a - b + cell]) + 1).sum(0)
    return float((cell / n * np.log(n * cell / (a * b)) * np.exp(ways)).sum())
