"""Which trainings are compared: recipes that differ in one field only, on the seeds and splits that all of them have.

A recipe's label is its name and its fields that differ from that: ``camvid-scale`` and ``camvid-scale
model.fusion=max`` differ in one. How a model was trained stands in the columns ``fusion`` and ``extra_supervision``.
"""

from __future__ import annotations

import re
from itertools import combinations
from typing import Literal

import pandas as pd

from analysis.errors import AnalysisError
from analysis.statistics import MIN_SEEDS

Field = Literal["fusion", "extra_supervision"]
NOT_TRAINING = ("split", "validation", "checkpoints", "save_every")  # folds of one recipe, or what is kept of it
PAIR = ["seed", "dataset", "split"]


def one_recipe(rows: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The rows of the only recipe, or of that with ``per_scale``, as in the paper; see :func:`crossed`.

    AnalysisError: several recipes.
    """
    if rows.recipe.nunique() > 1:
        rows = rows[rows.extra_supervision == "per_scale"]
    if rows.recipe.nunique() != 1:
        raise AnalysisError("several recipes, and not one with per_scale alone: give the checkpoints of one at a time")
    return crossed(rows)


def paired(rows: pd.DataFrame, field: Field, conditions: list[str]) -> tuple[pd.DataFrame, str]:
    """The rows of the one family of recipes that has all ``conditions`` of ``field``; see :func:`crossed`.

    The field's value is in the column ``condition``; images pair by seed, split and name, so what differs between the
    trainings of a pair is dropped. AnalysisError: a condition that no recipe has, several families, no common seed, two
    checkpoints of one training.
    """
    families = {label: family(label, f"model.{field}") for label in rows.recipe.unique()}
    rows = rows.assign(condition=rows[field], family=rows.recipe.map(families))
    has = rows.groupby("family").condition.agg(set)
    complete = [family for family, there in has.items() if there >= set(conditions)]
    if len(complete) != 1:
        raise AnalysisError(_why_not_one(complete, set(rows.condition), conditions))
    mine = rows[(rows.family == complete[0]) & rows.condition.isin(conditions)]
    runs = mine[[*PAIR, "condition", "checkpoint"]].drop_duplicates()
    if (twice := runs.duplicated([*PAIR, "condition"])).any():
        again = runs[twice].iloc[0]
        raise AnalysisError(f"two checkpoints of seed {again.seed} with {again.condition}: give one of each training")
    whole = runs.groupby(PAIR).condition.nunique() == len(conditions)
    if not whole.any():
        raise AnalysisError(f"no seed was trained with each of {', '.join(conditions)} and measured on one split")
    return crossed(mine.drop(columns=["checkpoint", "recipe", "family", field]), set(whole[whole].index))


def crossed(rows: pd.DataFrame, allowed: set[tuple[int, str, str]] | None = None) -> tuple[pd.DataFrame, str]:
    """The rows of seeds that were all measured on the same splits, and a remark where that leaves some out.

    Intervals need every seed to have the same blocks. Of the sets of splits that three seeds have, which then speak of
    the recipe, that with the most trainings is taken, and of equal ones that with more seeds; without any, of all sets.
    ``allowed``: the seeds, data sets and splits that may be taken.
    """
    runs = set(rows[PAIR].itertuples(index=False, name=None))
    seeds: dict[tuple[str, str], set[int]] = {}
    for seed, dataset, split in allowed or runs:
        seeds.setdefault((dataset, split), set()).add(seed)
    sets = [splits for n in range(1, len(seeds) + 1) for splits in combinations(sorted(seeds), n)]
    common = {splits: set.intersection(*(seeds[split] for split in splits)) for splits in sets}

    def worth(splits: tuple[tuple[str, str], ...]) -> tuple[bool, int, int]:
        n = len(common[splits])
        return n >= MIN_SEEDS, n * len(splits), n

    best = max(sets, key=worth)
    kept = {(seed, *split) for seed in common[best] for split in best}
    if kept == runs:
        return rows, ""
    numbers, names = ", ".join(map(str, sorted(common[best]))), " and ".join(split for _, split in best)
    remark = f"seeds {numbers} on {names} only, where every training compared was measured"
    return rows[pd.MultiIndex.from_frame(rows[PAIR]).isin(kept)], remark


def recipe_fields(label: str) -> tuple[str, dict[str, str]]:
    """Name and changed fields of a recipe's label: ``("camvid-scale", {"model.fusion": "max"})``."""
    name, _, rest = label.partition(" ")
    return name, dict(re.findall(r"([\w.]+)=(.*?)(?= [\w.]+=|$)", rest))


def family(label: str, *without: str) -> str:
    """The recipe without some fields, and without what does not change the training."""
    name, fields = recipe_fields(label)
    return " ".join([name, *(f"{k}={v}" for k, v in sorted(fields.items()) if k not in (*without, *NOT_TRAINING))])


def families(labels: str, *without: str) -> list[str]:
    """The recipes that the column ``recipe`` of a table of claims names, each once; see :func:`family`.

    Values may hold a comma too, as in ``crop=(240, 320)``: names begin with a letter.
    """
    return list(dict.fromkeys(family(label, *without) for label in re.split(r", (?=[a-z])", labels)))


def _why_not_one(complete: list[str], there: set[str], conditions: list[str]) -> str:
    if complete:
        return f"{len(complete)} recipes were trained in all these ways ({'; '.join(complete)}): give one at a time"
    missing = [one for one in conditions if one not in there]
    if missing:
        return f"no checkpoint here was trained with {' or '.join(missing)}: give such a training beside the others"
    return f"the trainings with {', '.join(conditions)} differ in other fields too: give some that do not"
