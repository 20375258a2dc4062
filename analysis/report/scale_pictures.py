"""The figures of the sentences on Attention to Scale (Chen et al.)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from analysis.claims import Claim, Given
from analysis.figures.branches import branch_scores, branch_similarity
from analysis.figures.captions import weights_caption, winner_caption
from analysis.figures.maps import weights_and_winner
from analysis.figures.sizes import iou_by_size, weight_by_size, weight_by_size_of_classes
from analysis.report.drawing import COLUMN, PAGE, Picture
from analysis.report.material import Material, counts_of, named
from analysis.statistics import MIN_BLOCKS
from analysis.studies.object_scale.sizes import ious_by_size, weights_by_size
from analysis.studies.pairing import family
from analysis.views import view

_BINS = "bins are quarters of the areas within a class, and objects below a cell of the weight map"


def small_objects(claim: Claim, material: Material) -> Iterator[Picture]:
    """Weight maps of one image on one scale with the winning branch; mean weights by size."""
    yield from _maps(claim, material)
    yield from _weights(claim, material)


def large_objects(claim: Claim, material: Material) -> Iterator[Picture]:
    """Mean weights by size, class by class."""
    objects = material.table("objects")
    for suffix, given in material.recipes("scale") if objects is not None else ():
        rows = _of_recipe(weights_by_size(material.result), given)
        caption = f"As above for every class; {_BINS}. {named(given)}. {_intervals(rows, given)}"
        yield Picture(f"{claim.name}-by-class{suffix}", weight_by_size_of_classes, (rows,), PAGE, caption, table=rows)


def weights_matter(claim: Claim, material: Material) -> Iterator[Picture]:
    """Object IoU by size under interventions on the weights."""
    if material.table("object_interventions") is None:
        return
    table = ious_by_size(material.result)
    for suffix, given in material.recipes("scale"):
        rows = _of_recipe(table, given)
        rows = rows[rows["class"] == "all"]
        caption = (
            "Mean IoU of objects by size, with their own mean weight in all their cells (object mean), with that of "
            "another object of their class (shuffled; only objects for which there is one), with equal weights, and "
            f"with one branch only; {_BINS}. {named(given)}. {_intervals(rows, given)}"
        )
        yield Picture(f"{claim.name}-iou-by-size{suffix}", iou_by_size, (rows,), COLUMN, caption, 3.4, rows)


def scores(claim: Claim, material: Material) -> Iterator[Picture]:
    """What branches are worth alone, and fused in three ways."""
    fusions = material.table("fusions")
    if fusions is None:
        return
    caption = (
        "mIoU of each branch alone, and of the score maps fused as trained, by average and by maximum. "
        f"{_recipes(material)}."
    )
    height = 0.8 + 0.2 * fusions["map"].nunique() + _legend_height(fusions)
    yield Picture(f"{claim.name}-scores", branch_scores, (fusions,), COLUMN, caption, height, fusions)


def similarity(claim: Claim, material: Material) -> Iterator[Picture]:
    """How alike the branches' features are."""
    table = material.table("similarity")
    if table is None:
        return
    caption = (
        "Similarity of the features of two branches, in training's result (filled) and in the same architecture "
        "untrained (hollow); 1 is the same up to rotation and size. "
        f"{_recipes(material)}."
    )
    pairs = table[["branch_a", "branch_b"]].drop_duplicates()
    height = 0.8 + 0.22 * len(pairs) + _legend_height(table)
    yield Picture(f"{claim.name}-similarity", branch_similarity, (table,), COLUMN, caption, height, table)


def _legend_height(table: pd.DataFrame) -> float:
    """Inches for the recipes' names, which may take several lines."""
    return 0.14 * sum(1 + len(family(recipe)) // 40 for recipe in table["recipe"].unique())


def _recipes(material: Material) -> str:
    return "; ".join(named(given) for _, given in material.recipes("scale"))


def _maps(claim: Claim, material: Material) -> Iterator[Picture]:
    objects = material.table("objects")
    for suffix, (first, *_) in material.recipes("scale") if objects is not None else ():
        assert objects is not None
        name = _busiest(objects, first)
        seen = view(first.checkpoint.model, first.dataset[first.dataset.index(name)].image)
        if seen.weights is None or seen.winner is None:
            continue  # average or max fusion: there is no weight to show
        caption = (
            f"Weights of all branches on one scale from 0 to 1, and the branch with the most. {first.checkpoint.name} "
            f"on {name} of {first.dataset.name} {first.dataset.split}, the measured image with the most objects. "
            f"{weights_caption(seen)} {winner_caption(seen)} One image shows nothing of size by itself."
        )
        arguments = (seen.image, seen.weights, seen.winner, seen.branches)
        yield Picture(f"{claim.name}-maps{suffix}", weights_and_winner, arguments, PAGE, caption)


def _busiest(objects: pd.DataFrame, given: Given) -> str:
    """The image with the most objects; of equal ones the first."""
    mine = objects[objects["thing"] & (objects["checkpoint"] == given.checkpoint.name)]
    counts = mine.groupby("image")["object"].nunique().reindex([item.name for item in given.dataset.items])
    return str(counts.fillna(0).idxmax())


def _weights(claim: Claim, material: Material) -> Iterator[Picture]:
    if material.table("objects") is None:
        return
    table = weights_by_size(material.result)
    for suffix, given in material.recipes("scale"):
        rows = _of_recipe(table, given)
        rows = rows[rows["class"] == "all"]
        caption = (
            "Mean weight of each branch on objects, by size; dotted, where the same masks are moved sideways; "
            f"{_BINS}. {named(given)}. {_intervals(rows, given)}"
        )
        yield Picture(f"{claim.name}-by-size{suffix}", weight_by_size, (rows,), COLUMN, caption, 3.0, rows)


def _of_recipe(table: pd.DataFrame, given: list[Given]) -> pd.DataFrame:
    return table[table["recipe"] == given[0].identity["recipe"]].reset_index(drop=True)


def _intervals(rows: pd.DataFrame, given: Sequence[Given]) -> str:
    """Of what the bars are, or why there are none."""
    series = "scale" if "scale" in rows else "intervention"
    objects = int(rows.groupby(["class", "value", series])["n_objects"].sum().max())
    blocks = len({item.block for one in given for item in one.dataset.items})
    counted = counts_of(pd.DataFrame([{"n_objects": objects, "n_blocks": blocks, "n_seeds": rows["n_seeds"].max()}]))
    known = rows["low"].notna()
    if known.any():
        few = "" if known.all() else f" Bins with objects in fewer than {MIN_BLOCKS} blocks have none."
        return f"Bars are 95 % intervals over blocks; {counted}.{few}"
    why = next((reason for reason in rows["reason"] if reason), "too few data")
    return f"No intervals: {why}; {counted}."
