"""The dashboard's pages; ``python app`` starts it. Pages lay out; ``analysis`` computes."""

import streamlit as st
from dashboard import address, early

st.set_page_config(page_title="Attention analysis", layout="wide")
page = st.navigation(
    [
        st.Page("dashboard/look.py", title="Look", default=True),
        st.Page("dashboard/scale_weights.py", title="Scale weights", url_path="scale-weights"),
        st.Page("dashboard/position.py", title="Position attention", url_path="position"),
        st.Page("dashboard/channels.py", title="Channels", url_path="channels"),
        st.Page("dashboard/claims.py", title="Claims", url_path="claims"),
        st.Page("dashboard/gates.py", title="Gates", url_path="gates"),
        st.Page("dashboard/attribution.py", title="Attribution", url_path="attribution"),
        st.Page("dashboard/compare.py", title="Compare", url_path="compare"),
        st.Page("dashboard/checkpoint.py", title="Checkpoint", url_path="checkpoint"),
    ],
    position="top",
)
address.adopt(page.url_path)
with early.while_importing(page.title):
    page.run()
