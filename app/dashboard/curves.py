"""The gates of the training that a checkpoint is from: curves, other trainings, what depends on them, the maps then."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import streamlit as st
from matplotlib.figure import Figure

from analysis.checkpoints import checkpoint_files
from analysis.errors import AnalysisError
from analysis.figures.attention import affinity_matrix
from analysis.figures.curves import gate_contributions, gate_gradients, gate_values
from analysis.figures.trainings import QUANTITIES, gate_bands, miou_without_gates
from analysis.store import read_table
from analysis.studies.gates import movements, reliance
from dashboard import address, rows
from dashboard.allowed import inside, is_inside
from dashboard.measured import gates_at
from dashboard.pictures import Look
from dashboard.shown import code, errors_in_one_line, figure, plain, table
from dashboard.words import gates as words
from dashboard.words import trainings as said_of

PANELS = {
    "gate-values": (gate_values, words.GATE_VALUES, words.values_caption),
    "gate-gradients": (gate_gradients, words.GATE_GRADIENTS, words.gradients_caption),
    "gate-contributions": (gate_contributions, words.GATE_CONTRIBUTIONS, words.contributions_caption),
}
FOUND_IN = ("data/reproduction", "data/demo", "runs")
NONE = "none"
IMAGES = 8  # on which mIoU along the training is measured


def show(look: Look) -> None:
    """One training, others beside it, and what its checkpoints do; each part says by itself what it lacks."""
    step = look.checkpoint.provenance.get("step")
    with errors_in_one_line():
        _training(look, step)
    with errors_in_one_line():
        _others()
    with errors_in_one_line():
        _along(look, step)
    _then(look, step)


def _training(look: Look, step: int | None) -> None:
    """Values, gradients and contributions. AnalysisError: no history, or a damaged one."""
    file = inside(_run_folder(look.checkpoint.path) / "history.parquet")
    history = read_table(file)
    for name, (draw, sentence, caption) in PANELS.items():
        st.markdown(sentence)
        key = (str(file), file.stat().st_mtime_ns, step)
        with st.container(width=900):
            marked = partial(_marked, draw, history, step)
            figure(marked, name, key, caption(history, step), look.origin, _logged(history))
    code(
        "from analysis.figures.curves import gate_contributions, gate_gradients, gate_values",
        "from analysis.store import read_table",
        f"history = read_table({str(file)!r})",
        "figures = [draw(history) for draw in (gate_values, gate_gradients, gate_contributions)]",
    )


def _run_folder(file: Path) -> Path:
    return file.parent.parent if file.parent.name == "checkpoints" else file.parent


def _logged(history: pd.DataFrame) -> pd.DataFrame:
    """Steps and gates, without the losses."""
    return history[[c for c in history if c == "step" or c.split("_")[0] in ("alpha", "beta")]]


def _marked(draw: Callable[[pd.DataFrame], Figure], history: pd.DataFrame, step: int | None) -> Figure:
    """A panel with a line at the step of the chosen checkpoint."""
    drawn = draw(history)
    if step is not None and len(history) > 1:
        drawn.axes[0].axvline(step, color="0.5", linestyle="--", linewidth=1.2, label="this checkpoint")
        drawn.axes[0].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    return drawn


def _others() -> None:
    """Bands over seeds. AnalysisError: no such table, or one without gates."""
    asked = address.current().trainings
    found = [file for folder in FOUND_IN for file in sorted(Path(folder).rglob("history.parquet")) if is_inside(file)]
    known = [*map(Path.as_posix, found), NONE]
    known = known if asked in ("", *known) else [*known, asked]
    st.markdown("#### Beside other trainings")
    st.markdown(said_of.TRAININGS)
    name = address.choose("trainings", known, partial(_pick, known))
    if name == NONE:
        return
    file = inside(name)
    history = read_table(file)
    if "step" not in history:
        raise AnalysisError(f"{file} is no history: it has no column step")
    said = movements(history)
    history = _identified(history, file.parent.name)
    quantity = address.choose("quantity", list(QUANTITIES), _quantity)
    with st.container(width=1100):
        draw = partial(gate_bands, history, quantity)
        key = (str(file), file.stat().st_mtime_ns, quantity)
        figure(draw, "trainings", key, said_of.trainings_caption(said), str(file))
    shown = [name for name in ("checkpoint", "recipe", "seed", "gate", "says") if name in said]
    table(said[shown], "movements", "Each gate of each training in words; permuted ones are the control.")


def _identified(history: pd.DataFrame, name: str) -> pd.DataFrame:
    """With ``recipe`` and ``checkpoint`` for trainings of someone else, told apart by seed where there is one."""
    if "recipe" not in history:
        history = history.assign(recipe=name)
    if "checkpoint" not in history:
        seeds = history["seed"].astype(str) if "seed" in history else ""
        history = history.assign(checkpoint=history["recipe"].astype(str) + " " + seeds)
    return history


def _pick(known: list[str], key: str) -> str | None:
    return st.selectbox("Trainings", known, key=key)


def _quantity(key: str) -> str | None:
    return st.segmented_control(
        "Of each gate", list(QUANTITIES), format_func=QUANTITIES.__getitem__, key=key, required=True
    )


@st.fragment
def _along(look: Look, step: int | None) -> None:
    """mIoU with gates at 0, at every checkpoint: on the photographs of the chosen split."""
    st.markdown("#### Without the gates, along the training")
    st.markdown(said_of.ALONG)
    asked = address.current()
    if look.truth is None or not asked.data:
        st.info("This needs labels of the model's classes: choose an image of such a data set in the sidebar.")
        return
    files = checkpoint_files(_run_folder(look.checkpoint.path))
    label = f"Measure {len(files)} checkpoint{'s' * (len(files) != 1)} on {IMAGES} images"
    if not st.toggle(label, key=address.seeded("along", bool(asked.along))):
        address.publish(along="")
        return
    address.publish(along="yes")
    bar, found = st.progress(0.0, "starting"), []
    with errors_in_one_line():
        for i, file in enumerate(files):
            bar.progress(i / len(files), plain(f"{file.stem}, {i + 1} of {len(files)}"))
            found.append(gates_at(inside(file), asked.data, asked.split, IMAGES))
        measured = reliance(pd.concat(found))
        with st.container(width=900):
            draw = partial(miou_without_gates, measured, step)
            used = found[0]["image"].nunique()
            said = said_of.along_caption(measured, step, used, f"{asked.data} {asked.split}")
            key = (step, measured.to_csv())
            figure(draw, "miou-without-gates", key, said, look.origin, measured)
    bar.empty()


def _then(look: Look, step: int | None) -> None:
    """The attention maps of the checkpoint at the marked step."""
    st.markdown("#### Attention at the marked step")
    st.markdown(said_of.THEN if step is None else f"{said_of.THEN} It is that of step {plain(step)}.")
    if look.seen.query is not None:
        rows.place(look, "row")
    if look.seen.affinity is not None and look.seen.form is not None:
        with st.container(width=520):
            draw = partial(affinity_matrix, look.seen.affinity, look.seen.form)
            figure(draw, "channel-affinity", look.key, words.gates_caption(look.seen.gates), look.origin)
