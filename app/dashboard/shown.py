"""How things are shown: figures with their downloads, errors as one line, classes as a legend, origin as a footer."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from io import BytesIO

import numpy as np
import pandas as pd
import streamlit as st
from matplotlib.axis import Axis
from matplotlib.colors import same_color
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.spines import Spine
from matplotlib.text import Text

from analysis.checkpoints import Checkpoint
from analysis.errors import AnalysisError
from dashboard.turns import InTurn

KINDS = {"png": "image/png", "svg": "image/svg+xml", "pdf": "application/pdf"}
_ORIGIN = {"png": "Description", "svg": "Description", "pdf": "Subject"}  # the metadata field that takes free text
_DARK_TEXT = "#fafafa"
_DPI = 130
_DRAWING = InTurn()  # matplotlib's parser of formulas is not made for two threads


def plain(text: object) -> str:
    """Text of any origin for a place that renders Markdown: shown as it is."""
    return re.sub(r"([\\`*_{}\[\]()<>#+\-.!|~$:@&])", r"\\\1", str(text))


@contextmanager
def errors_in_one_line() -> Generator[None]:
    """Show an AnalysisError of the block, or what the disk refuses, as one line; the rest of the page goes on."""
    try:
        yield
    except AnalysisError as error:
        st.error(plain(error))
    except OSError as error:
        st.error(plain(f"cannot read {str(error.filename)[:200]} ({error.strerror}); check the path"))


def figure(
    draw: Callable[[], Figure],
    name: str,
    key: tuple[object, ...],
    caption: str,
    origin: str,
    rows: pd.DataFrame | None = None,
) -> None:
    """Show a figure in the colours of the theme and its caption, with a menu that downloads it in its own colours.

    ``key`` says what ``draw`` depends on: figures of one name and key are drawn once. ``rows``: the numbers behind it.
    """
    dark = st.context.theme.type == "dark"
    st.image(_rendered(name, key, dark, draw), width="stretch", alt=f"{name.replace('-', ' ')}: {caption}")
    st.caption(plain(caption))
    downloads({name: draw}, origin, {} if rows is None else {name: rows})


def picture(image: np.ndarray, draw: Callable[[], Figure], name: str, caption: str, origin: str) -> None:
    """Show uint8 ``[H, W, 3]`` at once, which drawing a figure is too slow for; ``draw`` is what is downloaded."""
    st.image(image, width="stretch", output_format="JPEG", alt=f"{name.replace('-', ' ')}: {caption}")
    st.caption(plain(caption))
    downloads({name: draw}, origin)


def downloads(
    figures: Mapping[str, Callable[[], Figure]], origin: str, tables: Mapping[str, pd.DataFrame] | None = None
) -> None:
    """A small menu with every figure as PNG, SVG and PDF, drawn when asked for, and every table as CSV."""
    with st.popover("Download", type="tertiary", icon=":material/download:"):
        for name, rows in (tables or {}).items():
            st.download_button(
                "CSV", partial(_csv, rows, origin), f"{name}.csv", "text/csv", key=f"csv {name}", on_click="ignore"
            )
        for name, draw in figures.items():
            st.caption(plain(name.replace("-", " ")))
            for column, (kind, mime) in zip(st.columns(len(KINDS)), KINDS.items(), strict=True):
                column.download_button(
                    kind.upper(),
                    partial(written, draw, kind, origin),
                    f"{name}.{kind}",
                    mime,
                    key=f"download {name} {kind}",
                    on_click="ignore",
                )


def _csv(rows: pd.DataFrame, origin: str) -> bytes:
    """Its first line says where the numbers are from; pandas reads it with ``comment="#"``."""
    said = origin.replace("\n", " ").replace("\r", " ")
    return f"# {said}\n{rows.to_csv(index=False)}".encode()


def written(draw: Callable[[], Figure], kind: str, origin: str) -> bytes:
    """A figure as the bytes of a file of the given kind, which says where it comes from."""
    stream = BytesIO()
    with _DRAWING:
        draw().savefig(stream, format=kind, dpi=_DPI, bbox_inches="tight", metadata={_ORIGIN[kind]: origin})
    return stream.getvalue()


def table(rows: pd.DataFrame, name: str, caption: str) -> None:
    """A table that can be sorted, searched and saved as CSV, and its caption; all its text is shown as it is."""
    st.dataframe(rows, hide_index=True, width="stretch", key=f"table {name}")
    st.caption(plain(caption))


def code(*lines: str) -> None:
    """A fold with the lines that give what the page shows, in a notebook started in the same folder."""
    with st.expander("Code", icon=":material/code:"):
        st.code("\n".join(lines), language="python")


def legend(classes: Sequence[str], palette: np.ndarray, present: Sequence[int], notes: Mapping[int, str]) -> None:
    """The classes that are present, each with its colour and a note, as one line of text."""
    chips = [
        f'<span style="white-space:nowrap"><span style="display:inline-block;width:0.8em;height:0.8em;'
        f"border-radius:2px;outline:1px solid #8888;background:rgb({r},{g},{b})"
        f'"></span> {html.escape(classes[c])} {html.escape(notes.get(c, ""))}</span>'
        for c in present
        for r, g, b in [map(int, palette[c])]
    ]
    st.html(f'<div style="display:flex;flex-wrap:wrap;gap:0.2em 1.2em;font-size:0.875em">{"".join(chips)}</div>')


def footer(checkpoint: Checkpoint) -> None:
    """Where the numbers of this page come from."""
    st.divider()
    st.caption(plain(origin(checkpoint)))


def origin(checkpoint: Checkpoint) -> str:
    """A checkpoint's provenance in one line."""
    known = checkpoint.provenance
    parts = [("recipe", known.get("recipe")), ("step", known.get("step")), ("seed", known.get("seed"))]
    said = [f"{name} {value}" for name, value in parts if value not in (None, "")]
    if known.get("dataset"):
        said.append(f"trained on {known['dataset']} {known.get('split', '')}".rstrip())
    said += [f"in another form: {name}={value}" for name, value in known.get("changed", {}).items()]
    return " · ".join([str(checkpoint.path), f"sha256 {known['sha256'][:12]}", *said])


@st.cache_data(max_entries=128, show_spinner=False)
def _rendered(name: str, key: tuple[object, ...], dark: bool, _draw: Callable[[], Figure]) -> bytes:
    stream = BytesIO()
    with _DRAWING:
        drawn = _draw()
        if dark:
            _darken(drawn)
        drawn.savefig(stream, format="png", dpi=_DPI, bbox_inches="tight", facecolor="none")
    return stream.getvalue()


def _darken(drawn: Figure) -> None:
    """Black text and lines become light and white grounds clear; maps and their colours stay."""
    for axes in drawn.axes:
        axes.patch.set_alpha(0)
    for part in drawn.findobj():
        if isinstance(part, Text | Line2D) and same_color(part.get_color(), "black") and not _is_mark(part):
            part.set_color(_DARK_TEXT)
    for part in drawn.findobj(Spine):
        part.set_edgecolor(_DARK_TEXT)
    for part in drawn.findobj(Axis):
        part.set_tick_params(which="both", color=_DARK_TEXT, labelcolor=_DARK_TEXT)


def _is_mark(part: Text | Line2D) -> bool:
    """Marks without a line lie on pictures, where black stays readable."""
    return isinstance(part, Line2D) and part.get_linestyle() == "None"
