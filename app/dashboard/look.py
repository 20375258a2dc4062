"""Page: one photograph inside one checkpoint."""

import streamlit as st

from analysis.models import ScaleAttention
from dashboard import attention, pictures, scales
from dashboard.opened import seen_through
from dashboard.shown import errors_in_one_line, footer, plain
from dashboard.sidebar import choose_checkpoint, choose_photograph
from dashboard.words import model_line, model_title

with errors_in_one_line():
    checkpoint = choose_checkpoint()
    st.markdown(f"### {model_title(checkpoint.spec)}")
    st.caption(plain(model_line(checkpoint.spec)))
    with errors_in_one_line():
        photo = choose_photograph(checkpoint)
        if photo is not None:
            look = pictures.Look(checkpoint, photo, seen_through(checkpoint, photo.image, photo.digest))
            if isinstance(checkpoint.model, ScaleAttention):
                pictures.show(look)
                scales.show(look)
            else:
                attention.show(look)
    footer(checkpoint)
