"""Differences between trainings: planted ones are found, paired by seed and fold, with the right interval."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import open_checkpoint
from analysis.datasets import open_dataset
from analysis.errors import AnalysisError
from analysis.evaluation import evaluate
from analysis.studies.miou import miou
from analysis.studies.pairing import families
from analysis.studies.retrained import block_scores, differences, last_scores
from analysis.studies.study import evenly_spaced

ROOT = Path(__file__).parents[2]
FOLDS = {"blocks-odd": "blocks-even", "blocks-even": "blocks-odd"}  # measured on, trained on


def metrics(recipe: str, seed: int, split: str, value: float, name: str = "") -> pd.DataFrame:
    """A training's table: two classes, two checkpoints of which the last counts."""
    label = f"{recipe} split={FOLDS[split]} validation={split} checkpoints=4"
    same = {"checkpoint": f"{name}{recipe}-{split}-{seed}", "recipe": label, "seed": seed, "dataset": "camvid"}
    rows = [(10, 0.1, 0.1), (20, value - 0.05, value + 0.05)]
    return pd.DataFrame(
        {**same, "split": split, "step": step, "class": name, "size_bin": "all", "iou": iou}
        for step, *ious in rows
        for name, iou in zip(("Sky", "Road"), ious, strict=True)
    )


def trainings(recipe: str, values: dict[tuple[int, str], float]) -> pd.DataFrame:
    return pd.concat([metrics(recipe, seed, split, value) for (seed, split), value in values.items()])


BOTH = [(seed, split) for seed in range(3) for split in FOLDS]
BASE = {key: 0.5 + 0.01 * i for i, key in enumerate(BOTH)}  # seeds and folds differ more than recipes do


def test_a_planted_difference_is_found_whatever_seeds_and_folds_do() -> None:
    gain = {key: BASE[key] + 0.02 + 0.001 * key[0] for key in BOTH}
    table = pd.concat([trainings("camvid-scale model.fusion=average", BASE), trainings("camvid-scale", gain)])
    (row,) = differences(table).to_dict("records")
    assert (row["field"], row["value"], row["baseline"]) == ("fusion", "attention", "average")
    assert row["recipe"] == "camvid-scale"
    known = np.array([2.0, 2.1, 2.2])  # points, a seed
    interval = stats.t.interval(0.95, 2, known.mean(), stats.sem(known))
    assert [row["effect"], row["low"], row["high"]] == pytest.approx([known.mean(), *interval])
    assert (row["n_seeds"], row["n_blocks"], row["verdict"]) == (3, 0, "supported")
    reach = (stats.t.ppf(0.975, 2) + stats.t.ppf(0.8, 2)) * stats.sem(known)
    assert row["detectable"] == pytest.approx(reach)
    assert row["seeds_needed"] == 3  # a spread of 0.1 points: t of two pairs has reach 14.1 and finds 0.99 of them


@pytest.mark.parametrize("spread", [0.1, 0.3, 0.85, 3.0])
def test_as_many_seeds_as_are_said_to_be_needed_are_enough_and_one_less_is_not(spread: float) -> None:
    known = 2 + spread * np.array([-1.0, 0.0, 1.0])
    gain = {key: BASE[key] + known[key[0]] / 100 for key in BOTH}
    table = pd.concat([trainings("camvid-scale model.fusion=average", BASE), trainings("camvid-scale", gain)])
    needed = int(differences(table)["seeds_needed"].item())
    draws = np.random.default_rng(0).normal(0.5, spread, (20_000, needed))

    def power(n: int) -> float:
        return float((stats.ttest_1samp(draws[:, :n], 0, axis=1).pvalue < 0.05).mean())

    assert power(needed) > 0.78
    assert needed == 2 or power(needed - 1) < 0.82


def test_only_recipes_one_field_apart_are_compared() -> None:
    labels = ["camvid-scale", "camvid-scale model.fusion=max", "camvid-dual model.position=False"]
    labels += ["camvid-scale model.extra_supervision=none model.fusion=max", "camvid-scale model.fusion=average"]
    found = differences(pd.concat([trainings(label, BASE) for label in labels]))
    said = set(found[["field", "value", "baseline", "recipe"]].itertuples(index=False, name=None))
    assert said == {
        ("fusion", "attention", "max", "camvid-scale"),
        ("fusion", "attention", "average", "camvid-scale"),
        ("fusion", "max", "average", "camvid-scale"),
        ("extra_supervision", "per_scale", "none", "camvid-scale model.fusion=max"),
    }
    assert (found["effect"].abs() < 1e-9).all()


def test_what_is_not_on_both_sides_does_not_count() -> None:
    less = {key: value - 0.01 for key, value in BASE.items() if key != (2, "blocks-odd")}
    table = pd.concat([trainings("camvid-scale", BASE), trainings("camvid-scale model.fusion=max", less)])
    (row,) = differences(table).to_dict("records")
    assert row["splits"] == "blocks-even" and row["n_seeds"] == 3 and row["effect"] == pytest.approx(1)


def test_two_seeds_have_a_difference_and_no_interval() -> None:
    two = {key: value for key, value in BASE.items() if key[0] < 2}
    table = pd.concat([trainings("camvid-scale", two), trainings("camvid-scale model.fusion=max", BASE)])
    (row,) = differences(table).to_dict("records")
    assert (
        row["n_seeds"] == 2 and row["verdict"] == "not applicable" and np.isnan([row["low"], row["detectable"]]).all()
    )


def test_no_common_seed_is_no_difference() -> None:
    other = {(7, "blocks-odd"): 0.5}
    table = pd.concat([trainings("camvid-scale", BASE), trainings("camvid-scale model.fusion=max", other)])
    (row,) = differences(table).to_dict("records")
    assert row["n_seeds"] == 0 and np.isnan(row["effect"])


def test_a_training_given_twice_is_refused() -> None:
    table = pd.concat(
        [metrics("camvid-scale", 0, "blocks-odd", 0.5), metrics("camvid-scale", 0, "blocks-odd", 0.5, "b")]
    )
    with pytest.raises(AnalysisError, match="two trainings of seed 0 on blocks-odd"):
        last_scores(table)


def scores(recipe: str, seed: int, gain: int) -> pd.DataFrame:
    """Ten blocks with one class; ``gain`` more of 1,000 pixels are right in each."""
    random = np.random.default_rng(seed)
    right = 500 + random.integers(0, 100, 10)
    same = {"checkpoint": f"{recipe}-{seed}", "recipe": recipe, "seed": seed, "dataset": "camvid"}
    blocks = {"split": "blocks-odd", "block": [f"b{i}" for i in range(10)]}
    return pd.DataFrame({**same, **blocks, "intersection_Sky": right + gain, "union_Sky": 1000})


def test_with_scores_the_interval_is_over_blocks_and_seeds() -> None:
    one, other = "camvid-scale", "camvid-scale model.fusion=average"
    keys = [(seed, "blocks-odd") for seed in range(3)]
    table = pd.concat([trainings(recipe, dict.fromkeys(keys, 0.5)) for recipe in (one, other)])
    counted = pd.concat([scores(recipe, seed, gain) for recipe, gain in ((one, 30), (other, 0)) for seed in range(3)])
    (row,) = differences(table, counted).to_dict("records")
    assert (row["n_seeds"], row["n_blocks"]) == (3, 10)
    assert row["effect"] == pytest.approx(3) and row["verdict"] == "supported"
    (row,) = differences(table, counted[counted["recipe"] == one]).to_dict("records")
    assert row["n_blocks"] == 0  # scores of one side are none


def test_scores_by_block_are_those_of_the_evaluation() -> None:
    checkpoint = open_checkpoint(ROOT / "data" / "demo" / "shapes-scale")
    dataset = evenly_spaced(open_dataset("shapes", "val"), 6)
    table = block_scores(checkpoint, dataset)
    assert list(table["block"]) == [sample.block for sample in map(dataset.__getitem__, range(6))]
    whole = miou(table, np.ones((1, len(table))))[0]
    assert whole == pytest.approx(evaluate(checkpoint.model, dataset, objects=False, progress=False).mean_iou)


def test_the_stored_trainings_have_differences() -> None:
    stored = pd.read_parquet(ROOT / "data" / "reproduction" / "metrics.parquet")
    found = differences(stored)
    for _, row in found.query("field == 'extra_supervision' or field == 'form'").iterrows():
        assert row["n_seeds"] >= 3 and row["low"] < row["effect"] < row["high"]
    assert {("extra_supervision", "per_scale"), ("form", "released")} <= set(
        zip(found["field"], found["value"], strict=True)
    )


def test_recipes_of_a_comparison_are_told_apart_also_where_a_value_has_a_comma() -> None:
    labels = "camvid-scale crop=(240, 320) epochs=12 split=blocks-odd" + 2 * ", camvid-scale model.fusion=max"
    assert families(labels) == ["camvid-scale crop=(240, 320) epochs=12", "camvid-scale model.fusion=max"]
    assert families(labels, "model.fusion")[1] == "camvid-scale"
