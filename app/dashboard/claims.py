"""Page: what the papers say of attention, tested."""

import streamlit as st

from dashboard import verdicts
from dashboard.shown import errors_in_one_line

st.markdown("### Claims")
with errors_in_one_line():
    verdicts.show()
