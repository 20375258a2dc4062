"""Which figures a report has: the forest of all sentences, and those of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pandas as pd

from analysis.claims import Claim
from analysis.figures.claims import forest
from analysis.report import dual_pictures, scale_pictures
from analysis.report.drawing import PAGE, Picture
from analysis.report.material import Material

#: Beside the effects of every class; ``bare-channels`` has those only.
PICTURES: dict[str, Callable[[Claim, Material], Iterator[Picture]]] = {
    "small-objects": scale_pictures.small_objects,
    "large-objects": scale_pictures.large_objects,
    "weights-matter": scale_pictures.weights_matter,
    "attention-fusion": scale_pictures.scores,
    "distinct-scales": scale_pictures.similarity,
    "same-class-context": dual_pictures.same_class_context,
    "class-channels": dual_pictures.class_channels,
    "gates-grow": dual_pictures.gates_grow,
}


def overview(material: Material) -> Picture | None:
    """Every sentence and recipe in one forest; None where nothing has an interval."""
    rows = material.headlines
    caption = (
        "Every sentence that has an interval: what was observed, in multiples of the smallest effect that matters. "
        "Beyond +1 it "
        "supports the sentence, below -1 it contradicts, within both (grey) it is negligible. The mark is the verdict "
        "on all evidence, with controls."
    )
    return _forest("claims", rows, caption, False)


def of_claim(claim: Claim, material: Material) -> list[Picture]:
    """The figures of one sentence, that of its effects last."""
    found = list(PICTURES[claim.name](claim, material)) if claim.name in PICTURES else []
    rows = material.main_rows(claim)
    caption = (
        "Effects of all classes and each, as far as there are intervals, in multiples of the smallest that matters"
    )
    if rows["control_low"].notna().any():
        caption += "; dashed below each, the interval of its control, which must lie in the grey"
    effects = _forest(f"{claim.name}-effects", rows, f"{caption}.", True)
    return [*found, effects] if effects else found


def _forest(name: str, rows: pd.DataFrame, caption: str, controls: bool) -> Picture | None:
    shown = rows[rows["effect"].notna() & rows["low"].notna()]
    if shown.empty:
        return None
    lines = len(shown) + (shown["recipe"].nunique() if shown["recipe"].nunique() > 1 else 0)
    return Picture(name, forest, (shown, None, controls), PAGE, caption, height=0.9 + 0.19 * lines)
