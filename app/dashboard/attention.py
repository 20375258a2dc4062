"""DANet: the attention row of a clicked pixel, the channel affinity, and what the gates add."""

from __future__ import annotations

from functools import partial

import streamlit as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.attention import affinity_matrix, attention_row, energy_matrix, gate_bars
from dashboard import address, pictures, words
from dashboard.picker import pick_pixel
from dashboard.pictures import Look
from dashboard.shown import errors_in_one_line, figure


def show(look: Look) -> None:
    """What the model has, position attention first; then how it predicts."""
    if look.seen.query is not None:
        st.markdown("#### Position attention")
        st.markdown(words.POSITION)
        _position(look)
    st.markdown("#### Prediction")
    pictures.show(look)
    if look.seen.gates:
        _gates(look)
    if look.seen.affinity is not None:
        _channels(look)


@st.fragment
def _position(look: Look) -> None:
    """A click runs this part of the page again and nothing else."""
    photograph, attended = pictures.side_by_side(look.photo, 2, 520)
    with photograph, errors_in_one_line():
        pixel = pick_pixel(look.photo, _start(look), _cell_size(look), address.key("picker"))
        address.publish(pixel=f"{pixel[0]},{pixel[1]}")
        with attended:
            caption = words.row_caption(look.seen, look.seen.row(pixel), pixel, look.checkpoint.classes)
            draw = partial(_row_figure, look, pixel)
            figure(draw, "attention-row", (*look.key, pixel), caption, look.origin)


def _row_figure(look: Look, pixel: tuple[int, int]) -> Figure:
    height, width = look.photo.image.shape[:2]
    ax = _axes(5.2, 4.4 * height / width + 0.4)
    return attention_row(look.photo.image, look.seen.row(pixel), pixel, look.seen.align_corners, ax)


def _start(look: Look) -> tuple[int, int]:
    """The pixel of the address, or the centre where it names none of this photograph."""
    height, width = look.photo.image.shape[:2]
    asked = address.current().pixel
    y, _, x = asked[:20].partition(",")
    inside = y.isdecimal() and x.isdecimal() and int(y) < height and int(x) < width
    return (int(y), int(x)) if inside else (height // 2, width // 2)


def _cell_size(look: Look) -> int:
    assert look.seen.query is not None
    return max(1, round(look.photo.image.shape[0] / look.seen.query.shape[1]))


def _gates(look: Look) -> None:
    st.markdown("#### Gates")
    st.markdown(words.GATES)
    with st.container(width=720):
        draw = partial(gate_bars, look.seen.gates)
        figure(draw, "gates", look.key, words.gates_caption(look.seen.gates), look.origin)
    st.page_link("dashboard/gates.py", label="These gates over the training", icon=":material/timeline:")


def _channels(look: Look) -> None:
    seen = look.seen
    assert seen.affinity is not None and seen.energy is not None and seen.form is not None
    st.markdown("#### Channel attention")
    st.markdown(words.CHANNEL[seen.form])
    affinity, energy = st.container(width=1200).columns(2)
    with affinity:
        draw = partial(affinity_matrix, seen.affinity, seen.form)
        figure(draw, "channel-affinity", look.key, words.affinity_caption(seen), look.origin)
    with energy:
        draw = partial(energy_matrix, seen.energy, seen.form)
        figure(draw, "channel-energy", look.key, words.energy_caption(seen), look.origin)


def _axes(width: float, height: float) -> Axes:
    return Figure(figsize=(width, height), layout="constrained").add_subplot()
