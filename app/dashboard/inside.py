"""What is in a checkpoint's file: how it is understood, what fits, its gates, dead channels and tensors."""

from __future__ import annotations

import json
from dataclasses import asdict

import pandas as pd
import streamlit as st

from analysis.inspection import Inspection
from dashboard.shown import code, plain, table
from dashboard.words import inside as words
from dashboard.words.models import SYMBOLS, model_title


def show(inspection: Inspection) -> None:
    """The whole page; a file of no known layout has no model, and everything else."""
    found = inspection.to_dict()
    st.markdown(f"### {plain(inspection.path.name)}")
    st.markdown(words.INSIDE)
    _numbers(inspection, found["parameters"])
    st.caption(plain(words.layout_caption(inspection)))
    _fit(inspection)
    _gates(inspection)
    _dead(inspection)
    st.markdown("#### Where it comes from")
    origin = {"SHA-256": inspection.sha256, **inspection.beside}
    table(pd.DataFrame({"what": list(origin), "value": list(map(str, origin.values()))}), "origin", words.ORIGIN)
    _tensors(inspection, found["tensors"])
    st.download_button(
        "Everything as JSON", json.dumps(found), f"{inspection.path.stem}.json", "application/json", on_click="ignore"
    )
    code(
        "from analysis.inspection import inspect",
        f"inspection = inspect({str(inspection.path)!r})",
        "print(inspection.text())",
    )


def _numbers(inspection: Inspection, parameters: int) -> None:
    match = inspection.match
    needed = len(match.names) + len(match.missing) + len(match.mismatched)
    numbers = {
        "Layout": match.layout if match.spec else "not known",
        "Model": model_title(match.spec) if match.spec else "not known",
        "Tensors that fit": f"{len(match.names)} of {needed}" if match.spec else "none",
        "Parameters": f"{parameters:,}",
        "Size": f"{inspection.size / 1e6:,.1f} MB",
    }
    for column, (name, value) in zip(st.columns(len(numbers)), numbers.items(), strict=True):
        column.markdown(f"{name}  \n**{plain(value)}**")


def _fit(inspection: Inspection) -> None:
    match = inspection.match
    rows = [
        *(("missing", ours, _shape(shape)) for ours, shape in match.missing.items()),
        *(
            ("another shape", theirs, f"{_shape(found)}; the model needs {_shape(needed)}")
            for theirs, needed, found in match.mismatched.values()
        ),
        *(("left over", theirs, _shape(shape)) for theirs, shape in match.left_over.items()),
    ]
    if rows:
        st.markdown("#### What does not fit")
        table(pd.DataFrame(rows, columns=["how", "tensor", "shape"]), "misfits", words.misfits_caption(match))


def _gates(inspection: Inspection) -> None:
    if inspection.gates:
        st.markdown("#### Gates")
        rows = [
            {
                "gate": SYMBOLS.get(gate.symbol, gate.symbol),
                "value": gate.value,
                "start": gate.start,
                "tensor": gate.name,
            }
            for gate in inspection.gates
        ]
        table(pd.DataFrame(rows), "gates", words.stored_gates_caption(inspection))


def _dead(inspection: Inspection) -> None:
    everywhere = inspection.dead_anywhere
    if not everywhere.layers:
        return
    st.markdown("#### Dead channels")
    st.markdown(words.DEAD)
    counts = {**inspection.dead, "all batch norms": everywhere}
    rows = [{"layer": layer, **asdict(count)} for layer, count in counts.items()]
    names = {"layers": "batch norms", "certain": "dead for sure", "at_most_0": "scale and shift at most 0"}
    table(pd.DataFrame(rows).rename(columns=names), "dead-channels", words.dead_caption(everywhere))


def _tensors(inspection: Inspection, tensors: list[dict[str, object]]) -> None:
    st.markdown("#### Tensors")
    rows = pd.DataFrame(tensors)
    rows["shape"] = rows["shape"].map(_shape)
    table(rows, "tensors", words.tensors_caption(inspection))


def _shape(shape: list[int] | tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "1"
