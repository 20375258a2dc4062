"""What differs between predictions of one photograph."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd


def changes_caption(rows: pd.DataFrame, predictions: Mapping[str, np.ndarray]) -> str:
    """Of every prediction but the first: pixels that change, and with a truth what that does to the classes.

    ``rows``: of :func:`analysis.evaluation.compare_predictions`.
    """
    first, *others = predictions
    said = [_changed(rows, first, name, predictions[first] != predictions[name]) for name in others]
    return f"{' '.join(said)} The table is in per cent."


def _changed(rows: pd.DataFrame, first: str, name: str, different: np.ndarray) -> str:
    said = f"{name}: {100 * float(different.mean()):.2f} % of the pixels change"
    if f"IoU {name}" not in rows:
        return f"{said}."
    classes, mean = rows.iloc[:-1], rows.iloc[-1]
    if np.isnan(mean[f"IoU {first}"]):
        return f"{said}; no pixel of this photograph is labelled."
    said = f"{said}, mIoU {mean[f'IoU {first}']:.1f} to {mean[f'IoU {name}']:.1f} ({mean[f'change {name}']:+.2f})"
    changes = classes[f"change {name}"].fillna(0)
    if not changes.any():
        return f"{said}."
    most = classes.loc[changes.abs().idxmax()]
    return f"{said}, most of all {most['class']} ({most[f'change {name}']:+.1f})."
