"""Several predictions of one photograph: the pictures side by side, and what differs between them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from analysis.evaluation import compare_predictions
from dashboard import pictures
from dashboard.pictures import Look
from dashboard.shown import table
from dashboard.words.changes import changes_caption


def show(look: Look, predictions: Mapping[str, np.ndarray], name: str) -> None:
    """Predictions ``[H, W]`` by what they are called, the first of which the others are compared with."""
    pictures.beside(look, predictions)
    rows = compare_predictions(predictions, look.truth, look.checkpoint.classes)
    table(rows.round(2), name, changes_caption(rows, predictions))
