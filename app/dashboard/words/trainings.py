"""Several trainings, and several checkpoints of one."""

from __future__ import annotations

import pandas as pd

from analysis.studies.gates.movements import summary
from analysis.studies.pairing import family
from dashboard.words.models import SYMBOLS

TRAININGS = """
Alpha and beta of many trainings at once: a colour a recipe, every training a thin line, their mean a thick one, and a
band from the lowest to the highest. One seed shows what one seed did."""

ALONG = r"""
mIoU of every checkpoint as trained, and with $\alpha$, $\beta$ or both at 0: what the model relies on at that step. It
is no retraining: the rest has learnt with the attention there. On a few images, to look at; the claim `gates-grow` is
decided on all of them."""

THEN = "The maps of the checkpoint that the sidebar's step marks."


def trainings_caption(movements: pd.DataFrame) -> str:
    """Of every recipe, what its gates did."""
    known = "recipe" in movements
    recipes = movements.groupby(movements["recipe"].map(family), sort=False) if known else [("Here", movements)]
    said = [
        f"{recipe}: {'; '.join(f'{SYMBOLS[gate]} {words}' for gate in SYMBOLS if (words := summary(rows, gate)))}"
        for recipe, rows in recipes
    ]
    return f"{'. '.join(said)}."


def along_caption(reliance: pd.DataFrame, step: int | None, images: int, where: str) -> str:
    """What is lost at the marked step."""
    there = step is not None and (reliance["step"] == step).any()
    last = reliance[reliance["step"] == (step if there else reliance["step"].max())]
    miou = 100 * last.set_index("zeroed")["miou"]
    names = {"alpha": "α", "beta": "β", "both": "both"}
    lost = [f"{miou['none'] - miou[zeroed]:+.1f} with {name} at 0" for zeroed, name in names.items() if zeroed in miou]
    said = f"On {images} images of {where}: mIoU {miou['none']:.1f} %"
    return f"{said}; points lost at the {'marked' if there else 'last'} step: {', '.join(lost)}."
