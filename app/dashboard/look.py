"""Page: one photograph through one checkpoint, and where to see its attention."""

from functools import partial

import streamlit as st

from analysis.figures.attention import gate_bars
from dashboard import frame, pictures
from dashboard.pictures import Look
from dashboard.shown import code, figure
from dashboard.words import gates as words


def show(look: Look) -> None:
    """The prediction; what the gates add to it; links."""
    pictures.show(look)
    if look.seen.gates:
        st.markdown("#### Gates")
        st.markdown(words.GATES)
        with st.container(width=720):
            draw = partial(gate_bars, look.seen.gates)
            figure(draw, "gates", look.key, words.gates_caption(look.seen.gates), look.origin)
    code(
        *look.code,
        "from analysis.views import view",
        "seen = view(checkpoint.model, sample.image)",
        "prediction, gates = seen.prediction, seen.gates",
    )
    st.markdown("#### What to see of it")
    frame.links_of(look.checkpoint)


frame.of_photograph("Look", show)
