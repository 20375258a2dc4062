"""One photograph inside a model, as figures: whatever attention the model has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from analysis.datasets.voc import palette as voc_palette
from analysis.figures.attention import affinity_matrix, attention_row, energy_matrix, gate_bars
from analysis.figures.maps import label_map, weight_maps, winner_map
from analysis.views import View


def draw(
    seen: View,
    classes: Sequence[str],
    palette: np.ndarray | None = None,
    position: tuple[int, int] | None = None,
) -> dict[str, Figure]:
    """Figures by name: ``prediction``, and as the model has them ``weights``, ``winner``; ``attention_row``,
    ``channel_affinity``, ``channel_energy``, ``gates``.

    ``position`` is the pixel (y, x) of the photograph whose row is drawn, its centre where left out. ``palette`` uint8
    ``[K, 3]``, Pascal VOC's colours where left out. AnalysisError: a pixel outside the photograph.
    """
    colours = voc_palette(len(classes)) if palette is None else palette
    figures = {"prediction": label_map(seen.prediction, classes, colours, "Prediction")}
    return figures | _scale_figures(seen) | _position_figures(seen, position) | _channel_figures(seen)


def _scale_figures(seen: View) -> dict[str, Figure]:
    figures = {}
    if seen.weights is not None:
        figures["weights"] = weight_maps(seen.weights, seen.branches, seen.image)
    if seen.winner is not None:
        by = "max fusion" if seen.weights is None else "by weight"
        figures["winner"] = winner_map(seen.winner, seen.branches, f"Winning branch ({by})")
    return figures


def _position_figures(seen: View, position: tuple[int, int] | None) -> dict[str, Figure]:
    if seen.query is None:
        return {}
    pixel = position or (seen.image.shape[0] // 2, seen.image.shape[1] // 2)
    return {"attention_row": attention_row(seen.image, seen.row(pixel), pixel, seen.align_corners)}


def _channel_figures(seen: View) -> dict[str, Figure]:
    figures = {"gates": gate_bars(seen.gates)} if seen.gates else {}
    if seen.energy is not None and seen.affinity is not None and seen.form is not None:
        figures["channel_affinity"] = affinity_matrix(seen.affinity, seen.form)
        figures["channel_energy"] = energy_matrix(seen.energy, seen.form)
    return figures
