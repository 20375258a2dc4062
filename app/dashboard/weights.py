"""Attention to Scale: the weight of each branch, and which branch wins."""

from __future__ import annotations

from functools import partial

import streamlit as st

from analysis.figures.captions import weights_caption, winner_caption
from analysis.figures.maps import weight_maps, winner_map
from analysis.models import ScaleSpec
from dashboard import address
from dashboard.pictures import Look
from dashboard.shown import figure
from dashboard.words import scale as words

PANELS = {"common": "All maps from 0 to 1", "panel": "Each map its own range"}


def show(look: Look) -> None:
    """What the fusion in force has: weight maps, winner map."""
    spec = look.checkpoint.spec
    assert isinstance(spec, ScaleSpec)
    if look.seen.weights is not None:
        st.markdown("#### Weight maps")
        st.markdown(words.AVERAGE if spec.fusion == "average" else words.WEIGHTS)
        _maps(look)
    if look.seen.winner is not None:
        st.markdown("#### Winning branch")
        st.markdown(words.WINNER_OF_MAX if spec.fusion == "max" else words.WINNER)
        _winner(look)


@st.fragment
def _maps(look: Look) -> None:
    assert look.seen.weights is not None
    panels = address.choose("panels", list(PANELS), _panels)
    if panels == "panel":
        st.warning(words.PANELS, icon=":material/visibility:")
    scale = "common" if panels == "common" else "panel"
    draw = partial(weight_maps, look.seen.weights, look.seen.branches, look.photo.image, scale)
    figure(draw, "weights", (*look.key, panels), weights_caption(look.seen), look.origin)


def _panels(key: str) -> str | None:
    return st.segmented_control(
        "Range of the maps", list(PANELS), format_func=PANELS.__getitem__, key=key, required=True
    )


def _winner(look: Look) -> None:
    assert look.seen.winner is not None
    with st.container(width=600):
        draw = partial(winner_map, look.seen.winner, look.seen.branches, "Winning branch")
        figure(draw, "winner", look.key, winner_caption(look.seen), look.origin)
