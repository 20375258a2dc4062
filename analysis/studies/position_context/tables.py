"""The tables of one image, from what :mod:`.rows` summed: by class, by class and object size, by class and distance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
import pandas as pd

from analysis.studies.position_context.grid import SIZES
from analysis.studies.position_context.rings import NEAR
from analysis.studies.position_context.rows import RowSums

BANDS = (0, NEAR, 4, 8, 16, 32, np.inf)  # cells; what lies in the first is part of no other number
_RATES = ("same_class_mass", "distance_matched_rate")


@dataclass(frozen=True, eq=False)
class Queries:
    """The cells of one image: their classes int64 ``[h, w]`` (-1 ignored), and a number ``[h, w]`` a name for each.

    NaN where a number was not measured: the control visits some rows of the grid only.
    """

    cells: np.ndarray
    classes: Sequence[str]
    maps: Mapping[str, np.ndarray]

    @classmethod
    def of(
        cls,
        cells: np.ndarray,
        classes: Sequence[str],
        trained: RowSums,
        controls: Mapping[str, RowSums],
        visited: range,
    ) -> Queries:
        """Numbers of the trained attention, and the two rates of each control as ``<its name>_...``."""
        maps = {name: values.double().cpu().numpy() for name, values in trained.by_query.items()}
        for (control, sums), name in product(controls.items(), _RATES):
            maps[f"{control}_{name}"] = np.full(cells.shape, np.nan)
            maps[f"{control}_{name}"][visited] = sums.by_query[name].double().cpu().numpy()
        return cls(cells, classes, maps)

    def there(self) -> list[int]:
        """The classes of queries in this image."""
        return [int(c) for c in np.unique(self.cells) if c >= 0]

    def by_class(self) -> pd.DataFrame:
        """One row a class."""
        return pd.DataFrame([self._row(c, self.cells == c) for c in self.there()])

    def by_size(self, sizes: np.ndarray) -> pd.DataFrame:
        """One row a class and size of its objects, ``sizes`` int64 ``[h, w]``."""
        bins = [(c, s, (self.cells == c) & (sizes == s)) for c in self.there() for s in range(len(SIZES))]
        rows = [{**self._row(c, where), "size_bin": SIZES[s]} for c, s, where in bins if where.any()]
        return pd.DataFrame(rows).reindex(columns=["class", "size_bin", "queries", "base_rate", *_RATES, "far_mass"])

    def by_distance(self, by_ring: np.ndarray) -> pd.DataFrame:
        """One row a class and band of distance, from ``by_ring [3, K, R]``.

        The mass of a row's bands and that on ignored cells add up to 1.
        """
        reach, rows = np.arange(by_ring.shape[2]), []
        for low, high in pairwise(BANDS):
            inside = (reach <= high) & ((reach > low) | (low == 0))
            for c in self.there() if inside.any() else ():
                queries = int((self.cells == c).sum())
                means = (by_ring[:, c, inside].sum(axis=1) / queries).tolist()
                band = {"class": self.classes[c], "distance_low": float(low), "distance_high": float(high)}
                rows.append({**band, "queries": queries, **dict(zip(("mass", *_RATES), means, strict=True))})
        return pd.DataFrame(rows)

    def _row(self, c: int, where: np.ndarray) -> dict[str, object]:
        """Numbers of queries, and the mean of every map over them."""
        measured = {name: values[where & ~np.isnan(values)] for name, values in self.maps.items()}
        means = {name: float(values.mean()) if len(values) else np.nan for name, values in measured.items()}
        control = len(measured[f"redrawn_{_RATES[0]}"])
        counts = {"queries": int(where.sum()), "control_queries": control, "cells": where.size}
        return {"class": self.classes[c], **counts, **means}


def own_class(position_context: pd.DataFrame) -> pd.DataFrame:
    """Means over the queries of all images: a row a class with ``mass`` on itself, its ``base_rate`` among the keys,
    and ``distance_matched_rate``, what its distances alone would give; ``queries`` and ``images``.
    """
    rates = ["same_class_mass", "base_rate", "distance_matched_rate"]
    found = []
    for class_, rows in position_context.groupby("class", sort=True):
        weight = rows["queries"] / rows["queries"].sum()
        means = {name: float(rows[name] @ weight) for name in rates}
        counts = {"queries": int(rows["queries"].sum()), "images": rows["image"].nunique()}
        found.append({"class": class_, **means, **counts})
    return pd.DataFrame(found).rename(columns={"same_class_mass": "mass"})
