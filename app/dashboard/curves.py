"""The gates over the training that a checkpoint is from."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import streamlit as st
from matplotlib.figure import Figure

from analysis.checkpoints import Checkpoint
from analysis.figures.curves import gate_contributions, gate_gradients, gate_values
from analysis.models import DualAttention, gates
from analysis.store import read_table
from dashboard.shown import figure, origin, plain
from dashboard.words import gates as words
from dashboard.words.models import model_line, model_title

PANELS = {
    "gate-values": (gate_values, words.GATE_VALUES, words.values_caption),
    "gate-gradients": (gate_gradients, words.GATE_GRADIENTS, words.gradients_caption),
    "gate-contributions": (gate_contributions, words.GATE_CONTRIBUTIONS, words.contributions_caption),
}


def show(checkpoint: Checkpoint) -> None:
    """Values, gradients and contributions, or why there are none. AnalysisError: no history, or a damaged one."""
    if not (isinstance(checkpoint.model, DualAttention) and gates(checkpoint.model)):
        _not_here(checkpoint)
        return
    file = _run_folder(checkpoint.path) / "history.parquet"
    history = read_table(file)
    step = checkpoint.provenance.get("step")
    st.markdown("### Gates over the training")
    st.caption(plain(f"{checkpoint.provenance.get('recipe', checkpoint.name)} · {model_line(checkpoint.spec)}"))
    for name, (draw, sentence, caption) in PANELS.items():
        st.markdown(sentence)
        key = (str(file), file.stat().st_mtime_ns, step)
        with st.container(width=900):
            figure(partial(_marked, draw, history, step), name, key, caption(history, step), origin(checkpoint))


def _not_here(checkpoint: Checkpoint) -> None:
    model = f"{model_title(checkpoint.spec)}, {plain(model_line(checkpoint.spec))}"
    st.info(
        f"This checkpoint has no gates ({model}). "
        "What it does with a photograph is on the page Look; to see gates, choose a DANet in the sidebar."
    )
    st.page_link("dashboard/look.py", label="Look through this checkpoint", icon=":material/visibility:")


def _run_folder(file: Path) -> Path:
    return file.parent.parent if file.parent.name == "checkpoints" else file.parent


def _marked(draw: Callable[[pd.DataFrame], Figure], history: pd.DataFrame, step: int | None) -> Figure:
    """A panel with a line at the step of the chosen checkpoint."""
    drawn = draw(history)
    if step is not None and len(history) > 1:
        drawn.axes[0].axvline(step, color="0.5", linestyle="--", linewidth=1.2, label="this checkpoint")
        drawn.axes[0].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    return drawn
