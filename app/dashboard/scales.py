"""Attention to Scale: the weight of each branch, and which branch wins."""

from __future__ import annotations

from functools import partial

import streamlit as st

from analysis.figures.maps import weight_maps, winner_map
from analysis.models import ScaleSpec
from dashboard import words
from dashboard.pictures import Look
from dashboard.shown import figure


def show(look: Look) -> None:
    """What the fusion in force has: weight maps, winner map."""
    spec = look.checkpoint.spec
    assert isinstance(spec, ScaleSpec)
    if look.seen.weights is not None:
        st.markdown("#### Scale weights")
        st.markdown(words.AVERAGE if spec.fusion == "average" else words.WEIGHTS)
        draw = partial(weight_maps, look.seen.weights, look.seen.branches, look.photo.image)
        figure(draw, "weights", look.key, words.weights_caption(look.seen), look.origin)
    if look.seen.winner is not None:
        st.markdown("#### Winning branch")
        st.markdown(words.WINNER_OF_MAX if spec.fusion == "max" else words.WINNER)
        _winner(look)


def _winner(look: Look) -> None:
    assert look.seen.winner is not None
    with st.container(width=600):
        draw = partial(winner_map, look.seen.winner, look.seen.branches, "Winning branch")
        figure(draw, "winner", look.key, words.winner_caption(look.seen), look.origin)
