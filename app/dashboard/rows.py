"""DANet's position attention: rows and columns of picked pixels and boxes, and what depends on the own class's keys."""

from __future__ import annotations

from functools import partial

import numpy as np
import streamlit as st
from matplotlib.figure import Figure

from analysis.figures.attention import attention_row, class_mass, row_overlay
from analysis.studies.position_context.grid import labels_on
from analysis.studies.position_context.one_query import by_class
from analysis.views import View
from dashboard import address, changes, pictures
from dashboard.measured import predictions_without_keys
from dashboard.picker import Picked, pick
from dashboard.pictures import Look
from dashboard.shown import code, errors_in_one_line, figure, picture
from dashboard.words import position as words

SEE = {"row": "Where it looks (row)", "column": "Who looks at it (column)"}


def show(look: Look) -> None:
    """One picked place, a second one beside it where asked for, then what depends on the attention."""
    see = choose_see()
    st.markdown(words.POSITION if see == "row" else words.COLUMN)
    place(look, see)
    if _second(look):
        place(look, see, "pixel2", "box2")
    _without_own_class(look)
    code(
        *look.code,
        "from analysis.views import view",
        "seen = view(checkpoint.model, sample.image)",
        *_code(see),
    )


def choose_see() -> str:
    """Row or column."""
    return address.choose("see", list(SEE), _see)


def _see(key: str) -> str | None:
    return st.segmented_control(
        "Attention", list(SEE), format_func=SEE.__getitem__, key=key, required=True, label_visibility="collapsed"
    )


def _second(look: Look) -> bool:
    on = st.toggle("A second place beside it", key=address.seeded("second", bool(address.current().pixel2)))
    if not on:
        address.publish(pixel2="", box2="")
    return on


@st.fragment
def place(look: Look, see: str, pixel_name: str = "pixel", box_name: str = "box") -> None:
    """A place to pick, its row or column, and that by class; a click runs this part again and nothing else."""
    photograph, beside = pictures.side_by_side(look.photo, 2, 520)
    with photograph, errors_in_one_line():
        picked = pick_place(look, pixel_name, box_name)
        name = f"attention-{see}" + ("-2" if pixel_name == "pixel2" else "")
        with beside:
            attention, cells = _shown(look, see, picked, name)
        _by_class(look, see, picked, name, attention, cells)


def pick_place(look: Look, pixel_name: str = "pixel", box_name: str = "box") -> Picked:
    """The photograph, to click in; the names are what the address calls pixel and box."""
    image, asked = look.photo.image, address.current()
    start = Picked.parse(getattr(asked, pixel_name), getattr(asked, box_name), image.shape[:2])
    label, key = "Photograph: click a pixel or drag a box", address.key(f"picker {pixel_name}")
    picked = pick(image, start, key, label, digest=look.photo.digest, step=_cell_size(look), drag=True)
    address.publish(**dict(zip((pixel_name, box_name), picked.text, strict=True)))
    return picked


def attended(seen: View, picked: Picked, see: str) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """The row or column ``[h, w]`` of a place, and the cells that it is of."""
    cells = seen.cells_in(picked.box) if picked.box else [seen.cell(picked.pixel)]
    return (seen.mean_row(cells) if see == "row" else seen.mean_column(cells)), cells


def _shown(look: Look, see: str, picked: Picked, name: str) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """The row or column over the photograph; what it is of."""
    attention, cells = attended(look.seen, picked, see)
    overlay = row_overlay(look.photo.image, attention, float(attention.max()), look.seen.align_corners)
    caption = words.row_caption(look.seen, attention, picked.pixel, len(cells), look.checkpoint.classes, see)
    picture(overlay, partial(_row_figure, look, attention, picked, SEE[see]), name, caption, look.origin)
    return attention, cells


def _by_class(
    look: Look, see: str, picked: Picked, name: str, attention: np.ndarray, cells: list[tuple[int, int]]
) -> None:
    size = (attention.shape[0], attention.shape[1])
    labels = labels_on(look.labels, size, len(look.checkpoint.classes), look.seen.align_corners)
    rows = by_class(attention, cells, labels, look.checkpoint.classes)
    key = (*look.key, see, picked)
    said = words.mass_caption(rows, look.class_at(picked.pixel), look.truth is not None)
    figure(partial(class_mass, rows, f"{SEE[see]}, by class"), f"{name}-by-class", key, said, look.origin, rows)


def _row_figure(look: Look, attention: np.ndarray, picked: Picked, title: str) -> Figure:
    return attention_row(look.photo.image, attention, picked.pixel, look.seen.align_corners, title=title)


def _cell_size(look: Look) -> int:
    assert look.seen.query is not None
    return max(1, round(look.photo.image.shape[0] / look.seen.query.shape[1]))


@st.fragment
def _without_own_class(look: Look) -> None:
    """All rows at once lose their own class's keys: takes seconds, so it waits for the click."""
    st.markdown("#### Without the keys of the own class")
    st.markdown(words.WITHOUT)
    if not st.toggle("Take them away", key=address.seeded("removed", bool(address.current().removed))):
        address.publish(removed="")
        return
    address.publish(removed="yes")
    with errors_in_one_line():
        found = predictions_without_keys(look.checkpoint, look.photo, look.labels)
        changes.show(look, found, "without-keys")
        if look.truth is None:
            st.caption("The own class is that of the prediction, as there are no labels here.")


def _code(see: str) -> list[str]:
    asked = address.current()
    cells = f"seen.cells_in(({asked.box}))" if asked.box else f"[seen.cell(({asked.pixel}))]"
    return [f"{see} = seen.mean_{see}({cells})"]
