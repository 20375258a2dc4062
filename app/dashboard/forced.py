"""What the model would predict with other scale weights: fused again from the same score maps, nothing upstream."""

from __future__ import annotations

import math

import streamlit as st
import torch

from dashboard import address, changes
from dashboard.measured import objects_in
from dashboard.pictures import Look
from dashboard.shown import code
from dashboard.words import scale as words

TRAINED, UNIFORM, MIX = "as trained", "uniform", "a mix"


@st.fragment
def show(look: Look) -> None:
    """A choice of weights, and the predictions with the trained and with the chosen ones."""
    st.markdown("#### Other weights")
    st.markdown(words.FORCED)
    branches = look.seen.branches
    options = [UNIFORM, *(f"{branch} only" for branch in branches), MIX]
    chosen = address.choose("weights", options, lambda key: _choice(options, key))
    weights = _mix(branches) if chosen == MIX else _weights(chosen, branches)
    maps = objects_in(look.checkpoint, look.photo, look.labels).maps
    given = torch.tensor(weights).view(-1, 1, 1).expand_as(maps.weights)
    changes.show(look, {TRAINED: look.seen.prediction, chosen: maps.prediction(maps.fused(given))}, "forced")
    code(
        *look.code,
        "import torch",
        "from analysis.studies.object_scale.maps import see_maps",
        "maps = see_maps(checkpoint.model, sample.image)",
        f"weights = torch.tensor({[round(w, 4) for w in weights]}).view(-1, 1, 1).expand_as(maps.weights)",
        "prediction = maps.prediction(maps.fused(weights))",
    )


def _choice(options: list[str], key: str) -> str | None:
    return st.segmented_control("Weights", options, key=key, required=True, label_visibility="collapsed")


def _weights(chosen: str, branches: tuple[str, ...]) -> list[float]:
    """One weight a branch."""
    return [1 / len(branches) if chosen == UNIFORM else float(chosen == f"{branch} only") for branch in branches]


def _mix(branches: tuple[str, ...]) -> list[float]:
    """A slider a branch; weights are their shares."""
    asked = _parsed(address.current().mix, len(branches))
    columns = st.container(width=900).columns(len(branches))
    values = [
        column.slider(branch, 0.0, 1.0, step=0.05, key=address.seeded(f"mix {branch}", value))
        for column, branch, value in zip(columns, branches, asked, strict=True)
    ]
    address.publish(mix=",".join(f"{value:.2f}" for value in values))
    total = sum(values)
    return [value / total for value in values] if total > 0 else [1 / len(values)] * len(values)


def _parsed(text: str, n: int) -> list[float]:
    """What the address says, if it is a number from 0 to 1 for every branch; else equal ones."""
    try:
        values = [float(part) for part in text[:100].split(",")]
    except ValueError:
        values = []
    return values if len(values) == n and all(math.isfinite(v) and 0 <= v <= 1 for v in values) else [0.5] * n
