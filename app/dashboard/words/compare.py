"""Two checkpoints, or two forms of one."""

from __future__ import annotations

import numpy as np

from analysis.views import View, overlap
from dashboard.words.models import CHEN, FU

COMPARE = """
The same photograph through both, and the second minus the first. A difference of two trainings is also a difference of
their seeds: what a recipe does is tested on the page Claims; what a *form* does to the same weights is seen here."""

WEIGHTS = rf"""
The weight $w^s_i$ of one branch in both, on one scale, and the difference *(weights: {CHEN}, section 3.2, equation
2)*."""

ROWS = rf"""
From the same click: the row $s_{{ji}}$ of each model, in multiples of uniform attention $1/N$, so that grids of other
sizes can be compared *({FU}, section 3.2, equation 1)*."""

COLUMNS = rf"""
From the same click: the column $s_{{ji}}$ over all $j$ of each model, in multiples of uniform attention $1/N$
*({FU}, section 3.2, equation 1)*."""

CHANNELS = rf"""
The attention $x_{{ji}}$ channel by channel: both are of one training, where a channel stays the same channel
*({FU}, section 3.3, equation 3)*."""

OTHER_CHANNELS = """
The two are of different trainings. Their channels have no common numbering, so that a difference of the matrices would
say nothing; how concentrated their rows are can be compared."""


def weights_caption(one: np.ndarray, two: np.ndarray, branch: str) -> str:
    """Mean weights, how far apart they are, and whether they vary together."""
    said = f"Mean weight of the {branch}: {one.mean():.3f} and {two.mean():.3f}"
    apart = f"at a position they are {np.abs(two - one).mean():.3f} apart on average"
    if min(np.ptp(one), np.ptp(two)) < 1e-6:
        return f"{said}; {apart}. One of them is the same everywhere."
    return f"{said}; {apart}. Correlation over positions {np.corrcoef(one.ravel(), two.ravel())[0, 1]:+.2f}."


def rows_caption(one: np.ndarray, two: np.ndarray) -> str:
    """How much attention they have in common."""
    return (
        f"The first peaks at {one.max():,.1f} times uniform attention, the second at {two.max():,.1f} times. "
        f"{overlap(one, two):.0%} of their attention lies on the same places (1 - total variation distance)."
    )


def concentration(one: np.ndarray, two: np.ndarray) -> str:
    """Over how many channels a row of each is spread, and what stays on the channel itself."""
    said = [
        f"{name} spreads over {_effective(x):.1f} of {len(x)} channels (exp of its entropy) and keeps "
        f"{np.diag(x).mean():.1%} on itself"
        for name, x in (("the first", one), ("of the second", two))
    ]
    return f"On average a row of {said[0]}, one {said[1]}."


def _effective(affinity: np.ndarray) -> float:
    """The mean over rows of exp(entropy)."""
    logs = np.log(np.where(affinity > 0, affinity, 1))
    return float(np.exp(-(affinity * logs).sum(axis=1)).mean())


def missing(one: View, two: View) -> str:
    """What only one of the two has; empty where there is nothing."""
    kinds = {"scale weights": "weights", "position attention": "query", "channel attention": "affinity"}
    lone = {
        what: "first" if getattr(two, field) is None else "second"
        for what, field in kinds.items()
        if (getattr(one, field) is None) != (getattr(two, field) is None)
    }
    return " ".join(f"Only the {which} has {what}." for what, which in lone.items())
