"""The objects of a photograph: their weights, a scatter that is linked to the picture, and the object probe."""

from __future__ import annotations

from functools import partial
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from analysis.figures.maps import object_scatter
from analysis.figures.style import CATEGORIES
from analysis.studies.object_scale.one_image import ObjectsOf
from analysis.studies.object_scale.paste import box_of
from analysis.studies.object_scale.probe import resized_in
from analysis.views import branch_labels
from dashboard import address
from dashboard.measured import objects_in, probed
from dashboard.outlines import move_to, pick_object
from dashboard.pictures import Look
from dashboard.shown import code, downloads, errors_in_one_line, plain, table
from dashboard.words import scale as words

MEASURES = {
    "inside": "weight on the object",
    "placebo": "weight less its placebo",
    "interior": "weight a cell inside the outline",
    "shapley": "Shapley value (nats)",
    "iou": "IoU of the object",
}
CROPS = 12  # shown of the selected points


@st.fragment
def show(look: Look) -> None:
    """The objects, one of them picked; a click runs this part of the page again and nothing else."""
    st.markdown("#### Objects")
    st.markdown(words.OBJECTS)
    seen = objects_in(look.checkpoint, look.photo, look.labels)
    st.caption(plain(words.objects_caption(seen.table, look.truth is not None)))
    if seen.table.empty:
        return
    branch, measure = _choices(look)
    rows = _measured(seen.table, look.seen.branches.index(branch), measure)
    photograph, beside = st.container(width=1400).columns([3, 2])
    with photograph:
        k = pick_object(look, seen.objects, _texts(seen.table, look.truth is not None))
        # Before the chart, which a browser takes longest to draw; replaced at once: an emptied place stays a second.
        mine = seen.table[seen.table["object"] == k]
        caption = words.object_caption(mine, look.truth is not None) if k else "No object there: click an outlined one."
        st.caption(plain(caption))
    with beside:
        picked = _scatter(rows, MEASURES[measure] if measure == "iou" else f"{branch}: {MEASURES[measure]}", k, look)
    if picked:
        _crops(look, seen, rows[rows["object"].isin(picked)])
    if k:
        with errors_in_one_line():
            _probe(look, seen, k, branch)
    wide = seen.table.drop(columns=["image", "thing"]).round(3)
    with st.expander("Every object and branch"):
        table(wide, "objects", words.objects_caption(seen.table, look.truth is not None))
    code(
        *look.code,
        "from analysis.datasets import things_of",
        "from analysis.studies.object_scale.one_image import objects_of",
        "from analysis.models import predict",
        "label = sample.label"
        if look.truth is not None
        else "label = predict(checkpoint.model, sample.image).argmax(dim=0).byte().cpu().numpy()",
        "things = things_of(checkpoint.classes)",
        "seen = objects_of(checkpoint.model, sample, label, things, checkpoint.classes)",
        "seen.table",
    )


def _choices(look: Look) -> tuple[str, str]:
    left, right = st.container(width=1200).columns([2, 3])
    branch = address.choose("branch", look.seen.branches, partial(_control, left, "Branch", list(look.seen.branches)))
    measures = [measure for measure in MEASURES if measure != "iou" or look.truth is not None]
    measure = address.choose("measure", measures, partial(_control, right, "Of each object", measures))
    return branch, measure


def _control(place: st.delta_generator.DeltaGenerator, label: str, options: list[str], key: str) -> str | None:
    return place.segmented_control(
        label, options, key=key, required=True, format_func=lambda option: MEASURES.get(option, option)
    )


def _measured(objects: pd.DataFrame, branch: int, measure: str) -> pd.DataFrame:
    """The rows of a branch, with the ``value`` that is asked for."""
    scales = list(dict.fromkeys(objects["scale"]))
    rows = objects[objects["scale"] == scales[branch]]
    if measure == "placebo":
        return rows.assign(value=rows["weight_inside"] - rows["weight_placebo"])
    column = {"inside": "weight_inside", "interior": "weight_interior"}.get(measure, measure)
    return rows.assign(value=rows[column])


def _texts(objects: pd.DataFrame, truth: bool) -> list[str]:
    """What the pointer shows of every object; first of none."""
    texts = [""] * (int(objects["object"].max()) + 1)
    for k, rows in objects.groupby("object"):
        first = rows.iloc[0]
        lines = [f"{first['class']}, {first['area']:,} pixels"] + [f"IoU {first['iou']:.2f}"] * truth
        labels = branch_labels(tuple(rows["scale"]))
        pairs = zip(labels, rows["weight_inside"], rows["shapley"], strict=True)
        lines += [f"{label}: weight {weight:.2f}, Shapley {value:+.2f} nats" for label, weight, value in pairs]
        texts[int(str(k))] = "\n".join(lines)
    return texts


def _scatter(rows: pd.DataFrame, label: str, k: int, look: Look) -> list[int]:
    """The chart, and the objects whose points are selected in it: by clicks, or by a box."""
    shown = rows[["object", "class", "area", "value"]].dropna().assign(picked=rows["object"] == k)
    box, clicked = alt.selection_interval(name="box"), alt.selection_point(name="clicked", fields=["object"])
    classes = sorted(rows["class"].unique())
    colours = alt.Scale(domain=classes, range=[CATEGORIES[i % len(CATEGORIES)] for i in range(len(classes))])
    picked = alt.datum.picked
    points: Any = alt.Chart(shown, height=380).mark_point(filled=True, opacity=0.85)
    chart = points.encode(
        x=alt.X("area:Q", title="area (pixels)").scale(type="log"),
        y=alt.Y("value:Q", title=label).scale(zero=False),
        color=alt.Color("class:N", scale=colours, title=None).legend(orient="bottom"),
        shape=alt.Shape("class:N", title=None).legend(orient="bottom"),
        size=alt.condition(picked, alt.value(320), alt.value(60)),
        stroke=alt.condition(picked, alt.value("#D55E00"), alt.value(None)),
        strokeWidth=alt.condition(picked, alt.value(3), alt.value(0)),
        tooltip=["class", alt.Tooltip("area", format=","), alt.Tooltip("value", format=".3f"), "object"],
    ).add_params(box, clicked)
    chosen = st.altair_chart(
        chart, on_select="rerun", key=address.key(f"scatter {look.key}"), theme="streamlit"
    ).selection
    draw = partial(object_scatter, rows, "value", label, k)
    downloads({"objects": draw}, look.origin, {"objects": rows})
    picked = _selected(shown, chosen)
    _follow(look, picked, k)
    return picked


def _follow(look: Look, picked: list[int], k: int) -> None:
    """A point that was clicked moves the mark of the picture to its object."""
    name = address.key("points")
    before = st.session_state.get(name)
    st.session_state[name] = (look.key, picked)
    if before is not None and before[0] == look.key and picked != before[1] and len(picked) == 1 and picked[0] != k:
        move_to(picked[0])
        st.rerun()


def _selected(shown: pd.DataFrame, chosen: object) -> list[int]:
    """Object numbers from what the browser sent: ranges of a box, or points."""
    box, clicked = (chosen.get(name) if isinstance(chosen, dict) else None for name in ("box", "clicked"))
    if isinstance(box, dict) and {"area", "value"} <= set(box):
        inside = shown["area"].between(*sorted(box["area"])) & shown["value"].between(*sorted(box["value"]))
        return shown.loc[inside, "object"].tolist()
    return [point.get("object") for point in clicked or [] if isinstance(point, dict)]


def _crops(look: Look, seen: ObjectsOf, rows: pd.DataFrame) -> None:
    """The selected objects, each with a margin."""
    st.caption(plain(f"{len(rows)} objects selected, by area" + (f"; the first {CROPS}" if len(rows) > CROPS else "")))
    shown = rows.sort_values("area").head(CROPS)
    for column, (_, row) in zip(st.columns(CROPS), shown.iterrows(), strict=False):
        box = box_of(seen.objects.map == row["object"])
        margin = max(12, (box.bottom - box.top) // 3, (box.right - box.left) // 3)
        top, left = max(0, box.top - margin), max(0, box.left - margin)
        crop = look.photo.image[top : box.bottom + margin, left : box.right + margin]
        column.image(crop, f"{row['class']} {row['value']:.2f}", width="stretch")


def _probe(look: Look, seen: ObjectsOf, k: int, branch: str) -> None:
    """The object at other sizes, once it is asked for: that takes ten forwards."""
    st.markdown("##### Object probe")
    st.markdown(words.PROBE)
    if not st.toggle("Probe this object", key=address.seeded("probe", bool(address.current().factor))):
        address.publish(factor="")
        return
    rows, shift = probed(look.checkpoint, look.photo, seen, k)
    factors = sorted(rows["factor"].unique())
    names = [f"{factor:.2f}" for factor in factors]
    asked = address.current().factor
    key = address.seeded(f"factor {k}", asked if asked in names else names[-1])
    name = st.select_slider("Times its size", names, key=key)
    address.publish(factor=name)
    factor = factors[names.index(name)]
    pasted, placebo = st.container(width=1100).columns(2)
    pasted.image(resized_in(seen.sample, k, factor), f"the object at {name}", width="stretch", output_format="JPEG")
    placebo.image(
        resized_in(seen.sample, k, factor, shift), f"the placebo at {name}", width="stretch", output_format="JPEG"
    )
    scale = seen.maps.scales[look.seen.branches.index(branch)]
    mine = rows[rows["scale"] == scale]
    table(mine.drop(columns=["image"]).round(4), "probe", words.probe_caption(mine, factor, branch))
