"""The table of claims: verdicts, a forest plot, one row in words, and the job that tests a checkpoint."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pandas as pd
import streamlit as st

from analysis.checkpoints import Checkpoint
from analysis.claims import headlines
from analysis.datasets import splits
from analysis.errors import AnalysisError
from analysis.figures.claims import forest
from analysis.store import read_provenance, read_table
from dashboard import address, jobs
from dashboard.allowed import inside, inside_spec, is_inside
from dashboard.shown import code, errors_in_one_line, figure, plain
from dashboard.sidebar import choose_checkpoint, choose_spec
from dashboard.words import claims as words

FOUND_IN = ("data/reproduction", "runs")
MAIN, EVERY = "one row a claim", "every row"
_COLUMNS = (
    *("claim", "class", "evidence", "verdict", "effect", "low", "high", "unit", "smallest_effect", "control"),
    *("n_seeds", "n_blocks", "recipe", "reason"),
)


def show() -> None:
    """Stored results, and the job for the open checkpoint."""
    st.markdown(words.CLAIMS_PAGE)
    with errors_in_one_line():
        _stored()
    st.markdown("#### Test a checkpoint")
    st.markdown(words.RUN)
    with errors_in_one_line():
        checkpoint = choose_checkpoint()
        spec = choose_spec(checkpoint)
        names = ("blocks", *splits(inside_spec(spec)))
        split = st.sidebar.selectbox("Split", names, key=address.seeded(f"claims split of {spec}", _suitable(names)))
        _job(checkpoint, spec, split)


def _suitable(names: tuple[str, ...]) -> str:
    return "val" if "val" in names else names[0]


def _tables() -> list[str]:
    """Every table of claims below the folders of results."""
    found = [file for folder in FOUND_IN for file in sorted(Path(folder).rglob("claims.parquet"))]
    return [file.as_posix() for file in found if is_inside(file)]


def _stored() -> None:
    known = _tables()
    asked = address.current().claims
    known = [asked, *known] if asked and asked not in known else known
    if not known:
        st.info(f"No table of claims under {' or '.join(FOUND_IN)} of this folder yet: test a checkpoint below.")
        return
    name = address.choose("claims", known, partial(_pick, known))
    file = inside(name)
    claims = read_table(file)
    missing = {"claim", "verdict", "effect", "class", "recipe"} - set(claims.columns)
    if missing:
        raise AnalysisError(f"{file} is no table of claims: it has no column {sorted(missing)[0]}")
    which = address.choose("rows", [MAIN, EVERY], _which)
    recipes, chosen = list(dict.fromkeys(claims["recipe"])), []
    if len(recipes) > 1:
        chosen = st.multiselect("Recipes", recipes, placeholder="all of them", key=address.key("recipes"))
    rows = claims[claims["recipe"].isin(chosen or recipes)]
    rows = headlines(rows) if which == MAIN else rows
    rows = rows.iloc[(rows["verdict"] == "not applicable").argsort(kind="stable")]
    _shown(rows, file, f"{file} · {read_provenance(file).get('command', '')}")


def _pick(known: list[str], key: str) -> str | None:
    return st.selectbox("Results", known, key=key)


def _which(key: str) -> str | None:
    return st.segmented_control("Rows", [MAIN, EVERY], key=key, required=True, label_visibility="collapsed")


def _shown(rows: pd.DataFrame, file: Path, origin: str) -> None:
    """The table, whose rows can be picked, the row in words, and the forest."""
    columns = [name for name in _COLUMNS if name in rows]
    event = st.dataframe(
        rows[columns],
        hide_index=True,
        width="stretch",
        key=address.key(f"claims {file}"),
        on_select="rerun",
        selection_mode="single-row",
    )
    picked = event.selection.rows
    st.caption(plain(f"{words.claims_caption(rows)} Pick a row to read it."))
    if picked and picked[0] < len(rows):
        _in_words(rows.iloc[picked[0]])
    key = (str(file), file.stat().st_mtime_ns, tuple(rows.index), tuple(rows["recipe"]))
    draw = partial(forest, rows)
    figure(draw, "claims", key, "Effects and 95 % intervals; rows without one are left out.", origin, rows)
    code(
        "from analysis.claims import headlines",
        "from analysis.figures.claims import forest",
        "from analysis.store import read_table",
        f"claims = read_table({str(file)!r})",
        "figure = forest(headlines(claims))",
    )


def _in_words(row: pd.Series) -> None:
    """Sentence, what came out and why, and where to look at it."""
    sentence, source, study = words.sentence_of(str(row["claim"]))
    st.markdown(f"**{plain(sentence)}** *({plain(source)})*  \n{plain(row['verdict'])}: {plain(row['reason'] or '')}")
    if study in words.PAGES:
        page, label = words.PAGES[study]
        st.page_link(page, label=label, icon=":material/visibility:")


def _job(checkpoint: Checkpoint, spec: str, split: str) -> None:
    out = jobs.RESULTS / f"{checkpoint.name.replace('/', '-')}-{spec.partition(':')[0]}-{split}"
    st.caption(plain(f"{checkpoint.path} on {spec}, {split}; results go to {out}"))
    running = jobs.job_of(out)
    if running is None or not running.running:
        if running is not None and running.failure:
            st.error(plain(running.failure))
        if st.button("Test the claims", icon=":material/science:"):
            jobs.start(checkpoint.path, spec, split, out)
            st.rerun()
        return
    _progress(running)


@st.fragment(run_every=2.0)
def _progress(job: jobs.Job) -> None:
    share, text = job.progress
    st.progress(share, plain(text))
    if st.button("Cancel", icon=":material/cancel:"):
        job.cancel()
    if not job.running:
        st.rerun()
