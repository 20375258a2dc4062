"""The claims and their verdicts."""

from __future__ import annotations

import pandas as pd

from analysis.claims.words import MEANING, counted, find_claim

CLAIMS_PAGE = f"""
Every sentence of the two papers that can be tested, with an effect, its 95 % interval and a control that must come out
null. {"; ".join(f"*{verdict.capitalize()}*: {meaning}" for verdict, meaning in MEANING.items())}."""

RUN = """
Test the claims on the checkpoint of the sidebar. It takes minutes for a small model, hours for a large one, and goes on
while you look at other pages; what is measured stays, also when you cancel."""

#: Where the evidence of a study can be looked at.
PAGES = {
    "object_scale": ("dashboard/scale_weights.py", "Its objects and weights, photograph by photograph"),
    "branches": ("dashboard/scale_weights.py", "The branches, and predictions with one of them only"),
    "position_context": ("dashboard/position.py", "Rows of position attention, by class"),
    "channel_groups": ("dashboard/channels.py", "Channels and their groups"),
    "gates": ("dashboard/gates.py", "The gates over the training"),
}


def claims_caption(rows: pd.DataFrame) -> str:
    """How many rows have which verdict."""
    return f"{len(rows)} rows: {counted(rows)}."


def sentence_of(claim: str) -> tuple[str, str, str]:
    """Sentence, source and study of a claim, also of one of its further measures."""
    found = find_claim(claim)
    return (found.sentence, found.source, found.study) if found else (claim, "", "")
