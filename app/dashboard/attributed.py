"""Attention maps beside attributions of a picked object's score, and three tests of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import streamlit as st

from analysis.figures.attribution import attribution_maps, score_curves, survival
from analysis.studies.attribution.maps import Method
from analysis.studies.attribution.one_image import Scene, agreement
from analysis.studies.attribution.regions import MIN_AREA, Region
from analysis.studies.attribution.summary import SURVIVES
from dashboard import address
from dashboard.measured import Key, attributed, curves_in, randomised_in, scene_in
from dashboard.outlines import pick_object
from dashboard.pictures import Look
from dashboard.shown import code, errors_in_one_line, figure, plain, table
from dashboard.words import attribution as words

CELLS = ("16", "8", "24")
METHODS: dict[Method, str] = {"integrated_gradients": "integrated gradients", "occlusion": "occlusion"}
TESTS = {"curves": "deletion and insertion", "randomised": "weights drawn anew"}


@st.fragment
def show(look: Look) -> None:
    """An object, its maps, and what tests them; a click runs this part of the page again and nothing else."""
    st.markdown(words.ATTRIBUTION)
    objects = look.objects
    if not len(objects):
        st.info("No object of a thing class is on this photograph: there is no score to attribute.")
        return
    photograph, beside = st.container(width=1400).columns([3, 2])
    with photograph:
        k = pick_object(look, objects, words.texts(objects, look.checkpoint.classes))
    with beside:
        along, methods, tests = _choices()
    if not k:
        st.info("Click an object.")
        return
    region = Region(k, int(objects.classes[k - 1]), objects.map == k)
    if region.mask.sum() < MIN_AREA:
        st.info(f"This object has fewer than {MIN_AREA} pixels, one cell of the model: pick a larger one.")
        return
    with beside:
        st.caption(plain(words.object_caption(region, look.checkpoint.classes, look.truth is not None)))
    with errors_in_one_line():
        scene = scene_in(look.checkpoint, look.photo, region, along)
        _maps(look, scene, methods, tests, (*look.key, region.class_, region.mask.tobytes(), along))
        code(*_code(look, k, along, methods))


def _choices() -> tuple[int, list[str], list[str]]:
    """Cells along the longer side; further methods; tests."""
    along = address.choose("cells", CELLS, _cells)
    methods = address.choose_some("methods", list(METHODS), partial(_pills, "Besides Grad-CAM", METHODS))
    tests = address.choose_some("tests", list(TESTS), partial(_pills, "Tests of the maps", TESTS))
    st.caption(words.COSTS)
    return int(along), methods, tests


def _cells(key: str) -> str | None:
    return st.segmented_control("Cells on the longer side", CELLS, key=key, required=True)


def _pills(label: str, options: Mapping[Any, str], key: str) -> list[str]:
    return st.pills(label, list(options), selection_mode="multi", format_func=options.__getitem__, key=key)


def _maps(look: Look, scene: Scene, methods: list[str], tests: list[str], key: Key) -> None:
    """Maps and their agreement, then the tests that were asked for."""
    anew = attributed(key, "attention", scene), attributed(key, "grad_cam", scene)  # also with weights drawn anew
    attention, others = map(words.titled, anew)
    for method in METHODS:
        if method in methods:
            others |= words.titled(attributed(key, method, scene))
    maps, shown = attention | others, (*key, *methods)
    rows = agreement(scene, attention, others)
    draw = partial(attribution_maps, look.photo.image, scene.region.mask, maps, scene.cell)
    figure(draw, "attribution", shown, words.MAPS, look.origin)
    table(rows.round(3), "agreement", words.agreement_caption(rows))
    if "curves" in tests:
        st.markdown("#### Deletion and insertion")
        st.markdown(words.CURVES)
        found = curves_in(shown, scene, maps)
        said = words.curves_caption(found)
        figure(partial(score_curves, found), "deletion", shown, said, look.origin, found)
    if "randomised" in tests:
        st.markdown("#### Weights drawn anew")
        st.markdown(words.RANDOMISED)
        found = words.titled_rows(randomised_in(key, scene, anew[0] | anew[1]))
        with st.container(width=900):
            said = words.randomised_caption(found, SURVIVES)
            figure(partial(survival, found, SURVIVES), "randomised", key, said, look.origin, found)


def _code(look: Look, k: int, along: int, methods: list[str]) -> list[str]:
    objects = "sample.objects"
    if look.truth is None:
        objects = "connected_objects(predicted, things_of(checkpoint.classes))"
    return [
        *look.code,
        "from analysis.datasets import things_of",
        "from analysis.datasets.sample import connected_objects",
        "from analysis.models import predict",
        "from analysis.studies.attribution.one_image import agreement, maps_of, scene_of",
        "from analysis.studies.attribution.regions import Region",
        "predicted = predict(checkpoint.model, sample.image).argmax(dim=0).byte().cpu().numpy()",
        f"objects = {objects}",
        f"region = Region({k}, int(objects.classes[{k - 1}]), objects.map == {k})",
        f"scene = scene_of(checkpoint.model, sample.image, region, {along})",
        "attention = maps_of(scene, 'attention')",
        f"methods = {('grad_cam', *methods)!r}",
        "attributions = {name: found for method in methods for name, found in maps_of(scene, method).items()}",
        "agreement(scene, attention, attributions)",
    ]
