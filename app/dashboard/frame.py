"""What pages of one photograph have in common: the sidebar, what the page needs, and where its numbers come from."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from analysis.checkpoints import Checkpoint
from analysis.models import DualAttention, ScaleAttention, gates
from dashboard.opened import seen_through
from dashboard.pictures import Look
from dashboard.shown import errors_in_one_line, footer, plain
from dashboard.sidebar import choose_checkpoint, choose_photograph
from dashboard.words.models import model_line, model_title

#: Why a page has nothing to show of a checkpoint; empty where it has.
Lack = Callable[[Checkpoint], str]


def of_photograph(title: str, show: Callable[[Look], None], lack: Lack = lambda checkpoint: "") -> None:
    """A whole page: ``show`` is called with the photograph seen through the checkpoint, where nothing lacks."""
    with errors_in_one_line():
        checkpoint = choose_checkpoint()
        st.markdown(f"### {title}")
        st.caption(plain(f"{model_title(checkpoint.spec)} · {model_line(checkpoint.spec)}"))
        why = lack(checkpoint)
        with errors_in_one_line():
            if why:
                elsewhere(checkpoint, why)
            elif (photo := choose_photograph(checkpoint)) is not None:
                show(Look(checkpoint, photo, seen_through(checkpoint, photo.image, photo.digest)))
        footer(checkpoint)


def needs_scales(checkpoint: Checkpoint) -> str:
    """Pages on the branches of Attention to Scale."""
    return "" if isinstance(checkpoint.model, ScaleAttention) else "has no branches of several scales"


def needs_position(checkpoint: Checkpoint) -> str:
    """Pages on position attention."""
    model = checkpoint.model
    return "" if isinstance(model, DualAttention) and model.spec.position else "has no position attention"


def needs_channel(checkpoint: Checkpoint) -> str:
    """Pages on channel attention."""
    model = checkpoint.model
    return "" if isinstance(model, DualAttention) and model.spec.channel else "has no channel attention"


def needs_attention_maps(checkpoint: Checkpoint) -> str:
    """Pages on attention that lies over the photograph."""
    scale = isinstance(checkpoint.model, ScaleAttention) and checkpoint.model.spec.fusion != "max"
    return "" if scale or not needs_position(checkpoint) else "has no attention that lies over the photograph"


def needs_gates(checkpoint: Checkpoint) -> str:
    """Pages on a training's gates."""
    return "" if gates(checkpoint.model) else "has no gates"


def elsewhere(checkpoint: Checkpoint, why: str) -> None:
    """Say what the checkpoint lacks, and lead to the pages on what it has."""
    st.info(f"This checkpoint ({plain(f'{model_title(checkpoint.spec)}, {model_line(checkpoint.spec)}')}) {why}.")
    links_of(checkpoint)


def links_of(checkpoint: Checkpoint) -> None:
    """Links to the pages on what a checkpoint has."""
    if not needs_scales(checkpoint):
        st.page_link("dashboard/scale_weights.py", label="Its scale weights", icon=":material/zoom_out_map:")
    if not needs_position(checkpoint):
        st.page_link("dashboard/position.py", label="Its position attention", icon=":material/my_location:")
    if not needs_channel(checkpoint):
        st.page_link("dashboard/channels.py", label="Its channel attention", icon=":material/grid_on:")
    if not needs_gates(checkpoint):
        st.page_link("dashboard/gates.py", label="Its gates over the training", icon=":material/timeline:")
    if not needs_attention_maps(checkpoint):
        st.page_link("dashboard/attribution.py", label="Attributions beside its attention", icon=":material/target:")
    st.page_link("dashboard/compare.py", label="Beside another checkpoint or form", icon=":material/compare:")
    st.page_link("dashboard/checkpoint.py", label="What is in its file", icon=":material/folder_open:")
