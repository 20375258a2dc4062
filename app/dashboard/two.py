"""Two models on one photograph: predictions, weight maps, the attention of one click, channels, and what differs."""

from __future__ import annotations

from functools import partial

import numpy as np
import streamlit as st

from analysis.checkpoints import Checkpoint
from analysis.figures.difference import difference_maps, difference_overlay
from analysis.figures.overlay import enlarge, map_overlay
from analysis.views import View
from dashboard import address, changes, pictures, rows
from dashboard.opened import seen_through
from dashboard.picker import Picked
from dashboard.pictures import Look
from dashboard.shown import code, downloads, errors_in_one_line, figure, origin, plain
from dashboard.sidebar import choose_other
from dashboard.words import compare as words
from dashboard.words.models import model_line, model_title


def show(look: Look) -> None:
    """What both have, side by side with the difference; what only one has is said."""
    with errors_in_one_line():
        checkpoint = choose_other(look.checkpoint)
        other = Look(checkpoint, look.photo, seen_through(checkpoint, look.photo.image, look.photo.digest))
        st.markdown(words.COMPARE)
        for number, one in (("First", look), ("Second", other)):
            said = f"{model_title(one.checkpoint.spec)} · {model_line(one.checkpoint.spec)} · {origin(one.checkpoint)}"
            st.caption(f"**{number}:** {plain(said)}")
        st.markdown("#### Predictions")
        _predictions(look, other)
        _weights(look, other)
        if look.seen.query is not None and other.seen.query is not None:
            st.markdown("#### Position attention")
            _rows(look, other)
        _channels(look, other)
        missing = words.missing(look.seen, other.seen)
        if missing:
            st.info(plain(missing))
        code(*_code(look, other))


def _predictions(look: Look, other: Look) -> None:
    """Both, and by class what differs; where classes differ there is nothing to count."""
    predictions = {"first": look.seen.prediction, "second": other.seen.prediction}
    if look.checkpoint.classes == other.checkpoint.classes:
        changes.show(look, predictions, "compared")
        return
    for one, name in ((look, "first"), (other, "second")):
        pictures.beside(one, {name: predictions[name]})
    st.caption("The two know other classes, so their predictions cannot be compared pixel by pixel.")


@st.fragment
def _weights(look: Look, other: Look) -> None:
    """Scale weights of a branch that both have."""
    first, second = look.seen, other.seen
    shared = [branch for branch in first.branches if branch in second.branches]
    if first.weights is None or second.weights is None:
        return
    if not shared:
        st.info("Both have scale weights, but no branch of one input scale.")
        return
    st.markdown("#### Scale weights")
    st.markdown(words.WEIGHTS)
    branch = address.choose("branch", shared, partial(_branch, shared))
    one, two = _same_size(first, second, branch)
    draw = partial(difference_maps, one, two, ("first", "second"), f"weight of the {branch}")
    said = words.weights_caption(one, two, branch)
    figure(draw, "compared-weights", (*look.key, *other.key, branch), said, _origin(look, other))


def _branch(shared: list[str], key: str) -> str | None:
    return st.segmented_control("Branch", shared, key=key, required=True)


@st.fragment
def _rows(look: Look, other: Look) -> None:
    """One click, and where both models look from there."""
    see = rows.choose_see()
    st.markdown(words.ROWS if see == "row" else words.COLUMNS)
    image = look.photo.image
    clicked, *places = pictures.side_by_side(look.photo, 4, 340)
    with clicked:
        picked = rows.pick_place(look)
    one, two = (_attended(each.seen, picked, see) for each in (look, other))
    top, difference = float(max(one.max(), two.max())), two - one
    shown = {name: map_overlay(image, values, top) for name, values in (("first", one), ("second", two))}
    shown["second minus first"] = difference_overlay(image, difference, float(np.abs(difference).max()))
    for column, (name, overlay) in zip(places, shown.items(), strict=True):
        column.image(overlay, name, width="stretch", output_format="JPEG", alt=f"Attention: {name}")
    st.caption(plain(words.rows_caption(one, two)))
    draw = partial(difference_maps, one, two, ("first", "second"), "attention, in multiples of uniform")
    downloads({f"compared-{see}": draw}, _origin(look, other))


def _attended(seen: View, picked: Picked, see: str) -> np.ndarray:
    """The row or column at the photograph's size, in multiples of uniform attention."""
    attention, _ = rows.attended(seen, picked, see)
    return enlarge(attention * attention.size, (seen.image.shape[0], seen.image.shape[1]), seen.align_corners)


def _channels(look: Look, other: Look) -> None:
    """Affinities channel by channel, where a channel of one is the same channel of the other."""
    one, two = look.seen.affinity, other.seen.affinity
    if one is None or two is None:
        return
    st.markdown("#### Channel attention")
    if not _one_training(look.checkpoint, other.checkpoint) or one.shape != two.shape:
        st.markdown(words.OTHER_CHANNELS)
        st.caption(plain(words.concentration(one, two)))
        return
    st.markdown(words.CHANNELS)
    draw = partial(difference_maps, one, two, ("first", "second"), "affinity")
    figure(draw, "compared-affinity", (*look.key, *other.key), words.concentration(one, two), _origin(look, other))


def _one_training(one: Checkpoint, two: Checkpoint) -> bool:
    """Whether a channel of one is the same channel of the other: the same file, or a run's of one recipe and seed."""
    first, second = one.provenance, two.provenance
    named = all(first.get(name) is not None and first.get(name) == second.get(name) for name in ("recipe", "seed"))
    return first["sha256"] == second["sha256"] or (one.home == two.home and named)


def _same_size(first: View, second: View, branch: str) -> tuple[np.ndarray, np.ndarray]:
    """The weights of a branch, both on the finer of their grids."""
    maps = []
    for seen in (first, second):
        assert seen.weights is not None
        maps.append((seen.weights[seen.branches.index(branch)], seen.align_corners))
    size = max((values.shape for values, _ in maps), key=lambda shape: shape[0] * shape[1])
    one, two = (enlarge(values, (size[0], size[1]), align) for values, align in maps)
    return one, two


def _origin(look: Look, other: Look) -> str:
    return f"first: {look.origin} · second: {origin(other.checkpoint)}"


def _code(look: Look, other: Look) -> list[str]:
    """Lines that give both predictions, and what differs by class."""
    changed = other.checkpoint.provenance.get("changed")
    again = f"in_form(checkpoint, **{changed!r})" if changed else f"open_checkpoint({str(other.checkpoint.path)!r})"
    return [
        *look.code,
        "from analysis.evaluation import compare_predictions",
        "from analysis.forms import in_form",
        "from analysis.views import view",
        f"other = {again}",
        "first, second = (view(one.model, sample.image) for one in (checkpoint, other))",
        "predictions = {'first': first.prediction, 'second': second.prediction}",
        f"truth = {'sample.label' if look.truth is not None else None}",
        "compare_predictions(predictions, truth, checkpoint.classes)",
    ]
