"""One row for each thing that was compared, with an interval over blocks: the table ``attribution``.

measure         value                                               control
agreement       rank correlation of an attention map with the       the same with the attention map mirrored left to
                sizes of an attribution, over an image's cells       right: what the layout of the scenes alone gives
deletion        mean logit while the map's first cells go           random orders
insertion       mean logit while the map's first cells come          random orders
ablation        logits lost without a branch or group                -
agreement       of the part's attention with its ablation: for       -
                branches near 1 by construction, they add w^s f^s
randomised      rank correlation with the map of a model with        -
                all weights re-drawn

``difference``: value minus control, for deletion control minus value, so that better than the control is positive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.errors import AnalysisError
from analysis.statistics import estimate, mean
from analysis.studies.attribution.agreement import part_agreement

SURVIVES = 0.5  # mean rank correlation with the map of re-drawn weights above which a map is flagged
_KEYS = ["measure", "method", "map"]


def summary(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The rows; ``tables`` are those of :mod:`analysis.studies.attribution.study`, as far as there are any."""
    parts = [make(tables[name]) for name, make in _LONG.items() if name in tables]
    rows = pd.concat(parts, ignore_index=True).dropna(subset="difference") if parts else pd.DataFrame(columns=_KEYS)
    return pd.DataFrame(list(_rows(rows)))


def _rows(rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for _, mine in rows.groupby(_KEYS, sort=False):
        named, value = mine.iloc[0][_KEYS].to_dict(), mine.value.mean()
        flagged = named["measure"] == "randomised" and bool(value > SURVIVES)
        yield {**named, "value": value, "control": mine.control.mean(), **_interval(mine), "survives": flagged}


def _interval(rows: pd.DataFrame) -> dict[str, Any]:
    """Of the mean difference; NaN with the reason where there are too few blocks."""
    counts = {"n_objects": len(rows), "n_blocks": rows.block.nunique()}
    try:
        found = estimate(rows, lambda t, w: mean(t.difference, w))
    except AnalysisError as error:
        return {"difference": rows.difference.mean(), "low": np.nan, "high": np.nan, **counts, "reason": str(error)}
    return {"difference": found.effect, "low": found.low, "high": found.high, **counts, "reason": ""}


def _agreement(table: pd.DataFrame) -> pd.DataFrame:
    return _long(table, "agreement", table.agreement, table.agreement_mirrored)


def _curves(table: pd.DataFrame) -> pd.DataFrame:
    table = table.assign(method="")
    down = _long(table, "deletion", table.deletion, table.deletion_random)
    up = _long(table, "insertion", table.insertion, table.insertion_random)
    return pd.concat([down.assign(difference=-down.difference), up])


def _parts(table: pd.DataFrame) -> pd.DataFrame:
    each = table.assign(method=table.layer, map=table.part)
    agreed = part_agreement(table)
    return pd.concat([_long(each, "ablation", each.effect), _long(agreed, "agreement", agreed.agreement)])


def _randomised(table: pd.DataFrame) -> pd.DataFrame:
    last = table[table.share == 1]
    return _long(last.assign(method=""), "randomised", last.similarity)


def _long(table: pd.DataFrame, measure: str, value: pd.Series, control: pd.Series | None = None) -> pd.DataFrame:
    rows = table[["method", "map", "seed", "block"]].assign(measure=measure, value=value)
    against = np.nan if control is None else control
    return rows.assign(control=against, difference=value if control is None else value - control)


_LONG: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "agreement": _agreement,
    "curves": _curves,
    "ablation": _parts,
    "randomisation": _randomised,
}
