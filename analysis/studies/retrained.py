"""What a field of the recipe is worth: mIoU of trainings that differ in it alone, seeds and folds paired.

    differences(metrics)            a row for every two recipes that differ in one field
    differences(metrics, scores)    intervals over blocks too, for the runs whose scores are there

Of a seed, the mIoU of the one less that of the other, averaged over the folds that both were measured on. From tables
``metrics`` alone the interval is Student's over seeds: it speaks of these photographs. With intersections and unions by
block (:func:`block_scores`) it is over blocks and seeds (:func:`analysis.statistics.estimate`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from analysis.checkpoints import Checkpoint
from analysis.datasets.sample import Dataset, Sample
from analysis.errors import AnalysisError
from analysis.models import Model, predict
from analysis.statistics import MIN_SEEDS, Estimate, judge
from analysis.studies.miou import INTERSECTION, UNION, confusion_rows, difference
from analysis.studies.pairing import PAIR, crossed, family, recipe_fields
from analysis.studies.study import Rows, run
from analysis.training.recipe import find_recipe

POINTS = 0.5  # the smallest difference of mIoU that matters
_COLUMNS = ["recipe", "field", "value", "baseline", "effect", "low", "high", "smallest_effect"]
_COLUMNS += ["detectable", "seeds_needed", "verdict", "n_seeds", "n_blocks", "splits"]


@dataclass(frozen=True)
class _Scores:
    """The study: intersection and union of every class, a row an image."""

    model: Model
    classes: tuple[str, ...]
    name: str = "scores"

    def rows(self, sample: Sample) -> Rows:
        if sample.label is None:
            raise AnalysisError(f"{sample.name} has no label, and IoU needs one; choose a labelled split")
        prediction = predict(self.model, sample.image).argmax(dim=0).cpu().numpy()
        return {"scores": pd.DataFrame([confusion_rows(prediction, sample.label, self.classes)])}


def block_scores(checkpoint: Checkpoint, dataset: Dataset) -> pd.DataFrame:
    """Pixels in ``intersection_<class>`` and ``union_<class>``, a row a block, with the columns that tables join by."""
    table = run(_Scores(checkpoint.model, dataset.classes), checkpoint, dataset)["scores"]
    counts = [name for name in table.columns if name.startswith((INTERSECTION, UNION))]
    keys = ["checkpoint", "recipe", *PAIR, "block"]
    return table.groupby(keys, sort=False, as_index=False)[counts].sum()


def last_scores(metrics: pd.DataFrame) -> pd.DataFrame:
    """``miou`` (0..1) of each training's last checkpoint, by ``recipe`` (without folds), seed, dataset and split.

    AnalysisError: two trainings of one recipe, seed and split.
    """
    last = metrics["step"] == metrics.groupby(["checkpoint", "recipe", *PAIR])["step"].transform("max")
    rows = metrics[last & (metrics["size_bin"] == "all")]
    rows = rows.assign(recipe=rows["recipe"].map(family))
    runs = rows.groupby(["recipe", *PAIR, "checkpoint"], sort=False, as_index=False)["iou"].mean()
    if (twice := runs.duplicated(["recipe", *PAIR])).any():
        again = runs[twice].iloc[0]
        raise AnalysisError(f"{again.recipe}: two trainings of seed {again.seed} on {again.split}; give each once")
    return runs.rename(columns={"iou": "miou"}).drop(columns="checkpoint")


def differences(metrics: pd.DataFrame, scores: pd.DataFrame | None = None) -> pd.DataFrame:
    """Every two recipes of ``metrics`` that differ in one field: ``value`` less ``baseline``, in points of mIoU.

    ``value`` is what the recipe has of itself where one of both is that. ``detectable`` is the smallest true difference
    that four of five such comparisons would tell from 0, ``seeds_needed`` how many seeds would do so for half a point,
    by the spread of these; both and the interval are missing below three common seeds. ``verdict`` is against
    ``smallest_effect``, without correction for the number of rows. ``n_blocks`` is 0 where the interval is over seeds
    alone. ``scores``: the tables of :func:`block_scores`, one below the other.
    """
    runs = last_scores(metrics)
    blocks = None if scores is None else scores.assign(recipe=scores["recipe"].map(family))
    rows = [_row(runs, blocks, *pair) for pair in _one_field_apart(list(runs["recipe"].unique()))]
    return pd.DataFrame(rows, columns=_COLUMNS)


def _one_field_apart(recipes: list[str]) -> Iterator[tuple[str, str, str]]:
    """Two recipes and the field that sets them apart, the recipe's own value first."""
    for one, other in combinations(recipes, 2):
        (name, a), (other_name, b) = recipe_fields(one), recipe_fields(other)
        apart = [field for field in a.keys() | b.keys() if a.get(field) != b.get(field)]
        if name == other_name and len(apart) == 1:
            yield (other, one, apart[0]) if apart[0] in a and apart[0] not in b else (one, other, apart[0])


def _row(runs: pd.DataFrame, blocks: pd.DataFrame | None, one: str, other: str, field: str) -> dict[str, object]:
    pairs = _pairs(runs, one, other)
    by_seed = pairs.groupby("seed")["difference"].mean().to_numpy()
    found = _over_blocks(pairs, blocks, one, other) or _over_seeds(by_seed)
    has_interval = not np.isnan(found.se)
    return {
        "recipe": family(one, field),
        "field": field.removeprefix("model."),
        "value": _value(one, field),
        "baseline": _value(other, field),
        "effect": found.effect,
        "low": found.low,
        "high": found.high,
        "smallest_effect": POINTS,
        "detectable": found.detectable() if has_interval else np.nan,
        "seeds_needed": _seeds_needed(by_seed),
        "verdict": judge(found, POINTS)[0] if has_interval else "not applicable",
        "n_seeds": found.n_seeds,
        "n_blocks": found.n_blocks,
        "splits": ", ".join(sorted(pairs["split"].unique())),
    }


def _value(recipe: str, field: str) -> str:
    name, changed = recipe_fields(recipe)
    return changed.get(field) or str(reduce(getattr, field.split("."), find_recipe(name)))


def _pairs(runs: pd.DataFrame, one: str, other: str) -> pd.DataFrame:
    """``difference`` in points for each seed and split that both recipes have, splits the same for every seed."""
    sides = [runs[runs["recipe"] == recipe].set_index(PAIR)["miou"] for recipe in (one, other)]
    common = (100 * (sides[0] - sides[1])).dropna().rename("difference").reset_index()
    return common if common.empty else crossed(common)[0]


def _over_blocks(pairs: pd.DataFrame, blocks: pd.DataFrame | None, one: str, other: str) -> Estimate | None:
    """The interval over blocks and seeds; None where not all runs of the pairs have their scores."""
    if blocks is None or pairs.empty:
        return None
    mine = blocks[blocks["recipe"].isin([one, other])].merge(pairs[PAIR], on=PAIR)
    complete = mine.groupby(["recipe", *PAIR]).ngroups == 2 * len(pairs)
    return difference(mine, "recipe", one, other) if complete else None


def _over_seeds(values: np.ndarray) -> Estimate:
    """Student's interval of the mean of paired differences, one a seed; none below three seeds."""
    n, middle = len(values), float(values.mean()) if len(values) else np.nan
    if n < MIN_SEEDS:
        return Estimate(middle, np.nan, np.nan, np.nan, n - 1, n, 0, n)
    se = float(values.std(ddof=1) / np.sqrt(n))
    low, high = middle + np.array([-1, 1]) * stats.t.ppf(0.975, n - 1) * se
    return Estimate(middle, float(low), float(high), se, n - 1, n, 0, n)


def _seeds_needed(values: np.ndarray) -> float:
    """Pairs for a difference of :data:`POINTS` to be told from 0 in four of five studies; NaN below three seeds.

    By Student's t, as the intervals are: few pairs have a wide one. At most 10,000.
    """
    if len(values) < MIN_SEEDS:
        return np.nan
    n = np.arange(2, 10_001)
    reach = stats.t.ppf(0.975, n - 1) + stats.t.ppf(0.8, n - 1)
    enough = reach * values.std(ddof=1) / np.sqrt(n) <= POINTS
    return float(n[enough.argmax()]) if enough.any() else np.nan
