"""Channel attention."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.models.spec import ChannelForm
from analysis.views import View
from dashboard.words.models import FU

CHANNEL: dict[ChannelForm, str] = {
    "paper": rf"""
Which channels $i$ make up channel $j$: $x_{{ji}} = \exp(A_j \cdot A_i) \,/\, \sum_i \exp(A_j \cdot A_i)$.
**The paper's form is in force** *({FU}, section 3.3, equation 3)*.""",
    "released": rf"""
Which channels $i$ make up channel $j$. **The released form is in force**,
$x_{{ji}} = \mathrm{{softmax}}_i(\max_i e_{{ji}} - e_{{ji}}) = \mathrm{{softmax}}_i(-e_{{ji}})$ with the energy
$e_{{ji}} = A_j \cdot A_i$: the weight goes to the channels with the *smallest* inner product, the reverse of
equation 3 *({FU}, section 3.3; this form is that of the authors' released code)*.""",
}


STEPS: dict[ChannelForm, str] = {
    "paper": rf"""
Row $j$ of the attention in three steps: the energy $e_{{ji}} = A_j \cdot A_i$, less its greatest (which a softmax
does not feel), and the weights $x_{{ji}}$ with which channel $j$ is made of channels $i$
*({FU}, section 3.3, equation 3)*.""",
    "released": rf"""
Row $j$ of the attention in three steps: the energy $e_{{ji}} = A_j \cdot A_i$; the greatest energy minus it, which
turns the order round; and the weights $x_{{ji}}$ *({FU}, section 3.3; the authors' released code)*.""",
}

GROUPS = """
Channels that respond together: average linkage on 1 - correlation over this photograph's positions, cut into as many
groups as the slider says. Each map is the mean of the group's standardised channels. These are groups of one
photograph; which of them come back in others is what the study `channel_groups` finds out."""

SELECTIVITY = (
    "The class that the group's channels tell best from the rest, on average: area under the ROC curve over cells of "
    "this photograph, 0.5 where they tell nothing."
)


def correlation_caption(correlation: np.ndarray, alive: np.ndarray) -> str:
    """How correlated the live channels are, and how many are dead."""
    live = correlation[np.ix_(alive, alive)]
    off = live[~np.eye(len(live), dtype=bool)]
    dead = int((~alive).sum())
    return (
        f"{len(alive)} channels, {dead} of them dead on this photograph. Live ones correlate by "
        f"{np.abs(off).mean():.2f} in size on average; {(off > 0.5).mean():.1%} of the pairs by more than 0.5."
    )


def steps_caption(rows: pd.DataFrame, j: int) -> str:
    """Where the row's weight goes."""
    first, own = rows.iloc[0], rows[rows["channel"] == j].iloc[0]
    p = rows["weight"].to_numpy(float)
    effective = float(np.exp(-(p[p > 0] * np.log(p[p > 0])).sum()))
    return (
        f"Channel {j} puts {first['weight']:.1%} of its weight on channel {first['channel']:.0f} and "
        f"{own['weight']:.1%} on itself; the row is spread over {effective:.1f} of {len(rows)} channels (exp of its "
        "entropy)."
    )


def groups_caption(rows: pd.DataFrame, alive: np.ndarray, truth: bool) -> str:
    """How large they are."""
    by = "the labels" if truth else "the prediction, as there are no labels here"
    few = int((rows["channels"] < 3).sum())
    return (
        f"{len(rows)} groups of {int(alive.sum())} live channels, the largest of {rows['channels'].max()}; {few} have "
        f"fewer than three channels and no map here. Classes by {by}."
    )


def affinity_caption(seen: View) -> str:
    """How concentrated the rows of the affinity are, and how much stays on the channel itself."""
    assert seen.affinity is not None
    count = len(seen.affinity)
    top, own = seen.affinity.max(axis=1).mean(), np.diag(seen.affinity).mean()
    return (
        f"{count} channels. On average a row puts {top:.0%} of its weight on one channel and {own:.1%} on itself; "
        f"uniform would be {1 / count:.1%}."
    )


def energy_caption(seen: View) -> str:
    """The range of the energies, which decides how sharp the softmax is."""
    assert seen.energy is not None
    return (
        f"The energies before the softmax, {seen.energy.min():.4g} to {seen.energy.max():.4g}: sums over positions, so "
        "rows are sharper at a higher resolution."
    )
