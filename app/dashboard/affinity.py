"""DANet's channel attention on one photograph: the clustered matrices, one channel's way to its weights, the groups."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from analysis.figures.attention import affinity_matrix, energy_matrix
from analysis.figures.channels import channel_steps, correlation_matrix, entering, group_maps
from analysis.figures.overlay import heat
from analysis.models.spec import ChannelForm
from analysis.studies.channel_groups.groups import SMALLEST
from analysis.studies.channel_groups.one_image import ChannelsOf
from dashboard import address, changes
from dashboard.measured import channels_in
from dashboard.picker import Picked, pick
from dashboard.pictures import Look
from dashboard.shown import code, errors_in_one_line, figure, table
from dashboard.words import channels as words

GROUPS = 8  # of the slider at first
MOST = 20
MAPS = 12  # shown at most


def show(look: Look) -> None:
    """The form in force; then what a click on a channel, and a number of groups, show."""
    assert look.seen.form is not None
    form: ChannelForm = look.seen.form
    st.markdown(words.CHANNEL[form])
    seen = channels_in(look.checkpoint, look.photo)
    _matrices(look, seen, form)
    _one(look, seen, form)
    _groups(look, seen)


def _matrices(look: Look, seen: ChannelsOf, form: ChannelForm) -> None:
    correlation, affinity, energy = st.container(width=1800).columns(3)
    group = seen.groups(_asked_groups(seen))
    with correlation:
        draw = partial(correlation_matrix, seen.correlation, seen.order, group)
        key = (*look.key, int(group.max()))
        figure(draw, "channel-correlation", key, words.correlation_caption(seen.correlation, seen.alive), look.origin)
    with affinity:
        draw = partial(affinity_matrix, seen.affinity, form, seen.order)
        figure(draw, "channel-affinity", look.key, words.affinity_caption(look.seen), look.origin)
    with energy:
        draw = partial(energy_matrix, seen.energy, form, seen.order)
        figure(draw, "channel-energy", look.key, words.energy_caption(look.seen), look.origin)


@st.fragment
def _one(look: Look, seen: ChannelsOf, form: ChannelForm) -> None:
    """A row of the affinity, clicked: energy, what enters the softmax, weights."""
    st.markdown("#### One channel")
    st.markdown(words.STEPS[form])
    matrix, steps = st.container(width=1500).columns([1, 3])
    shown = seen.affinity[np.ix_(seen.order, seen.order)]
    with matrix:
        key, digest = address.key("channel"), " ".join(look.key)
        picture = heat(shown, 0, float(shown.max()))
        label = "Affinity: click the row of a channel"
        picked = pick(picture, _start(seen), key, label, digest=digest)
    j = int(seen.order[picked.pixel[0]])
    address.publish(channel=str(j))
    with steps:
        rows = _row(seen, j, form)
        draw = partial(channel_steps, seen.energy, seen.affinity, j, seen.order, form)
        figure(draw, "one-channel", (*look.key, j), words.steps_caption(rows, j), look.origin, rows)
        table(rows.head(6).round(4), "one-channel", f"The six channels that channel {j} gets most from.")
    code(
        *look.code,
        "from analysis.studies.channel_groups.one_image import channels_of",
        "seen = channels_of(checkpoint.model, sample.image)",
        f"energy, weights = seen.energy[{j}], seen.affinity[{j}]",
    )


def _start(seen: ChannelsOf) -> Picked:
    """The row of the channel of the address, else of the first live one."""
    asked = address.current().channel
    j = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 6 else -1
    at = int(np.flatnonzero(seen.order == j)[0]) if 0 <= j < len(seen.order) else 0
    return Picked((at, at))


def _row(seen: ChannelsOf, j: int, form: ChannelForm) -> pd.DataFrame:
    """Row ``j``, the greatest weight first."""
    energy = seen.energy[j]
    columns = {"channel": np.arange(len(energy)), "energy": energy, "enters the softmax": entering(energy, form)}
    rows = pd.DataFrame({**columns, "weight": seen.affinity[j], "dead": ~seen.alive})
    return rows.sort_values("weight", ascending=False, kind="stable", ignore_index=True)


def _asked_groups(seen: ChannelsOf) -> int:
    """The slider's number; it stands above the matrices, which it divides."""
    most = min(MOST, int(seen.alive.sum()) - 1)
    asked = address.current().groups
    first = int(asked) if asked.isascii() and asked.isdigit() and 2 <= int(asked[:6]) <= most else min(GROUPS, most)
    with st.container(width=600):
        k = st.slider("Groups of channels", 2, most, key=address.seeded("groups", first)) if most > 2 else most
    address.publish(groups=str(k))
    return k


@st.fragment
def _groups(look: Look, seen: ChannelsOf) -> None:
    """Where each group responds, what it tells, and the prediction without it."""
    st.markdown("#### Groups on this photograph")
    st.markdown(words.GROUPS)
    group = seen.groups(int(address.current().groups))
    rows = seen.described(group, look.labels, look.checkpoint.classes)
    large = rows[rows["channels"] >= SMALLEST].head(MAPS)
    if len(large):
        maps = seen.maps(group)[large["group"]]
        titles = [f"group {r['group']}: {r['channels']} channels, {r['top_class']}" for _, r in large.iterrows()]
        draw = partial(group_maps, look.photo.image, maps, titles, look.seen.align_corners)
        key = (*look.key, int(group.max()))
        figure(draw, "channel-groups", key, words.groups_caption(rows, seen.alive, look.truth is not None), look.origin)
    shown = rows.rename(columns={"top_class": "tells best", "selectivity": "area under the curve"})
    table(shown.round(3), "groups", words.SELECTIVITY)
    with errors_in_one_line():
        _ablated(look, seen, group, rows)


def _ablated(look: Look, seen: ChannelsOf, group: np.ndarray, rows: pd.DataFrame) -> None:
    """The prediction with a group at its mean."""
    st.markdown("##### Without a group")
    options = ["none", *map(str, rows["group"])]
    chosen = address.choose("group", options, partial(_group, options))
    if chosen == "none":
        return
    channels = np.flatnonzero(group == int(chosen))
    name = f"without group {chosen} ({len(channels)} channels)"
    changes.show(look, {"as trained": look.seen.prediction, name: seen.without(channels)}, "without-group")


def _group(options: list[str], key: str) -> str | None:
    return st.segmented_control("Put at its mean", options, key=key, required=True)
