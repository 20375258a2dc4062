"""The claims on size and the means by size: on models whose weights are planted, and on tables made by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.checkpoints import Checkpoint
from analysis.claims.verdicts import verdict_rows
from analysis.datasets import Dataset, open_dataset
from analysis.planted import (
    Rule,
    class_only,
    contour_only,
    large_to_full_size,
    painted,
    planted,
    slightly_small_to_full_size,
    small_to_full_size,
)
from analysis.store import Tables, write_table
from analysis.studies.measured import Measured
from analysis.studies.object_scale import object_scale
from analysis.studies.object_scale.effects import large_objects, small_objects
from analysis.studies.object_scale.sizes import size_bins
from analysis.studies.study import Result

Study = Callable[[Rule], Result]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The study of a model with a planted rule, on 96 painted scenes; each is run once."""
    dataset = painted(open_dataset("shapes", "val"))
    dataset = dataclasses.replace(dataset, items=dataset.items[:96])
    done: dict[Rule, Result] = {}

    def result(rule: Rule) -> Result:
        if rule not in done:
            done[rule] = observed(planted(tmp_path_factory.mktemp("planted"), rule), dataset)
        return done[rule]

    return result


def observed(checkpoint: Checkpoint, dataset: Dataset) -> Result:
    return object_scale(checkpoint, dataset, probed_images=0, intervene=False)


def judged(measured: list[Measured]) -> dict[tuple[str, str], tuple[str, str]]:
    """Verdict and reason by claim and class."""
    return {(row["claim"], row["class"]): (row["verdict"], row["reason"]) for row in verdict_rows(measured)}


def claims(result: Result) -> dict[tuple[str, str], tuple[str, str]]:
    tables = result["objects"], result["objects_redrawn"]
    return judged([*small_objects(*tables), *large_objects(*tables)])


def naive(result: Result) -> float:
    """The correlation that people look at: area and full-size weight of all objects."""
    objects = result["objects"]
    rows = objects[objects["thing"] & (objects["scale"] == 1)]
    return stats.spearmanr(rows["area"], rows["weight_inside"]).statistic


@pytest.mark.slow
def test_weights_that_follow_size_are_found(study: Study) -> None:
    found = claims(study(small_to_full_size))
    assert next(iter(found)) == ("small-objects", "all") and ("large-objects", "background") in found
    for name in ("all", "circle", "square", "cross"):
        for claim in ("small-objects", "large-objects"):
            for measure in ("", ": rank correlation", ": interior"):
                assert found[claim + measure, name] == ("supported", "")
    # Of one class's slope 96 scenes do not show that the control is null: heads of so large a spread have 0.006.
    assert found["small-objects: slope", "all"] == found["large-objects: slope", "all"] == ("supported", "")


@pytest.mark.slow
def test_weights_that_oppose_size_are_found(study: Study) -> None:
    found = claims(study(large_to_full_size))
    for claim in ("small-objects", "large-objects"):
        for measure in ("", ": rank correlation", ": slope", ": interior"):
            assert found[claim + measure, "all"] == ("contradicted", "")


@pytest.mark.slow
def test_weights_that_ignore_size_are_negligible(study: Study) -> None:
    found = claims(study(class_only))
    for claim in ("small-objects", "large-objects"):
        assert found[claim, "all"][0] == found[claim + ": interior", "all"][0] == "negligible"
        # A small object shares its cells with what is round it: an effect of resolution, which the interior has not.
        for name in ("circle", "cross"):
            verdict, reason = found[claim, name]
            assert verdict == "mixed" and "the outline may explain it" in reason


@pytest.mark.slow
def test_weights_that_follow_the_contour_fool_the_correlation_and_not_the_claim(study: Study) -> None:
    assert naive(study(contour_only)) < -0.8
    found = claims(study(contour_only))
    for claim in ("small-objects", "large-objects"):
        verdict, reason = found[claim, "all"]
        assert verdict == "mixed" and "the outline may explain it: a cell inside it" in reason
        assert found[f"{claim}: rank correlation", "all"][0] == "supported"


@pytest.mark.slow
def test_a_branch_that_wins_nowhere_carries_nothing(study: Study) -> None:
    assert naive(study(slightly_small_to_full_size)) < -0.9
    assert claims(study(slightly_small_to_full_size))["small-objects", "all"] == (
        "mixed", "the weight rises, but the 1.0x branch wins on only 0% of the smallest quarter"
    )  # fmt: skip


@pytest.mark.slow
def test_with_two_scales_large_objects_is_no_test_of_its_own(tmp_path: Path) -> None:
    dataset = painted(open_dataset("shapes", "val"))
    few = dataclasses.replace(dataset, items=dataset.items[:12])
    objects = observed(planted(tmp_path, small_to_full_size, scales=(1.0, 0.5)), few)["objects"]
    (only,) = large_objects(objects)
    assert only.effect is None and "two scales" in only.reason
    assert small_objects(objects)[0].effect is not None


def table(seed: int = 0, n: int = 240, interior: float = 1.0) -> pd.DataFrame:
    """Objects of two classes in 12 blocks: at 1.0x, 0.8 less 0.05 a doubling; ``interior`` of that a cell inside."""
    random = np.random.default_rng(seed)
    area = np.exp(random.uniform(np.log(20), np.log(10_000), n)).round()
    fall = 0.05 * np.log2(area / 20)
    base = pd.DataFrame(
        {
            "image": "i", "object": np.arange(n), "class": random.choice(["car", "sign"], n), "thing": True,
            "area": area, "cells": area / 16, "centroid_y": random.uniform(0, 100, n), "weight_ring": 0.5,
            "weight_placebo": 0.5, "iou": 0.5, "block": np.arange(n) % 12, "seed": 0, "checkpoint": "c",
            "recipe": "r", "dataset": "d", "split": "s",
        }
    )  # fmt: skip
    full = base.assign(scale=1.0, weight_inside=0.8 - fall, weight_interior=0.8 - interior * fall)
    half = base.assign(scale=0.5, weight_inside=0.1 + fall, weight_interior=0.1 + interior * fall)
    rest = base.assign(scale=0.75, weight_inside=0.1, weight_interior=0.1)
    return pd.concat([t.assign(wins=(t["weight_inside"] > 0.5).astype(float)) for t in (full, rest, half)])


def test_what_is_beside_the_effect_by_hand() -> None:
    found = {(one.claim, one.class_): one for one in [*small_objects(table()), *large_objects(table())]}
    for claim in ("small-objects", "large-objects"):
        slope, correlation = (found[f"{claim}: {name}", "car"].effect for name in ("slope", "rank correlation"))
        assert slope is not None and slope.effect == pytest.approx(0.05)
        assert correlation is not None and correlation.effect == pytest.approx(1)
        assert found[f"{claim}: interior", "all"].effect == found[claim, "all"].effect
    same = small_objects(table().assign(weight_inside=0.3))  # the same weight everywhere
    assert "not defined" in {one.claim: one for one in same}["small-objects: rank correlation"].reason


def test_size_bins_cover_all_objects_and_keep_those_below_a_cell_apart(tmp_path: Path) -> None:
    objects = table()
    objects["cells"] = objects["area"] / 50
    stuff = objects.head(10).assign(thing=False, weight_interior=np.nan)
    result = Result({"objects": pd.concat([objects, stuff])})
    found = size_bins(result)
    assert {"checkpoint", "recipe", "seed", "dataset", "split", "block"} < set(found)
    bins = found.set_index(["class", "scale", "size_bin"])
    below = int((objects["area"] < 50).sum() / 3)
    assert bins.loc[("all", 1.0, "below a cell"), "n_objects"] == below > 0
    of = {name: bins.loc[("all", 1.0, name), "n_objects"] for name in bins.loc["all", 1.0].index}
    quartiles = [of[f"quartile {i}"] for i in (1, 2, 3, 4)]
    assert sum(quartiles) == 240 - below == of["all"] - below == sum(of[name] for name in ("small", "medium", "large"))
    assert max(quartiles) - min(quartiles) <= 4  # two classes, each cut in four
    large = objects[(objects["scale"] == 0.5) & (objects["area"] >= 96**2)]
    assert bins.loc[("all", 0.5, "large"), "weight_inside"] == pytest.approx(large["weight_inside"].mean())
    halves = [tmp_path / "1.parquet", tmp_path / "2.parquet"]
    for file, rows in zip(halves, (objects[:300], pd.concat([objects[300:], stuff])), strict=True):
        write_table(rows, file, {})
    pd.testing.assert_frame_equal(size_bins(Result(Tables({"objects": halves}))), found)


def test_objects_below_a_cell_are_not_in_the_effect() -> None:
    objects = table()
    small = objects["area"] < objects["area"].median()
    outside = objects.assign(
        cells=objects["cells"].where(~small, 0.5), weight_inside=objects["weight_inside"].where(~small, 0)
    )
    kept, cut = small_objects(outside)[0], small_objects(outside[~small])[0]
    assert kept.effect == cut.effect


def test_an_effect_that_only_the_placebo_has_is_no_answer() -> None:
    objects = table()
    fall = (0.8 - objects["weight_inside"]).where(objects["scale"] == 1, 0)
    flat = objects.assign(weight_inside=0.9, weight_interior=0.9, weight_placebo=0.5 - fall)
    measured = small_objects(flat)
    assert measured[0].effect is not None and measured[0].effect.high < -0.05
    assert judged(measured)["small-objects", "all"] == (
        "mixed", "the placebo makes it: of the objects alone the effect is +0.00 to +0.00"
    )  # fmt: skip


def test_background_counts_where_the_branch_wins_there() -> None:
    stuff = table().assign(thing=False, weight_placebo=np.nan, **{"class": "road"})
    stuff["weight_inside"] = stuff["scale"].map({1.0: 0.2, 0.75: 0.4, 0.5: 0.4})
    won, lost = (pd.concat([table(), stuff.assign(wins=wins)]) for wins in (1.0, 0.25))
    first, second = (judged(large_objects(objects))["large-objects", "background"] for objects in (won, lost))
    assert first == ("supported", "")
    assert second == ("mixed", "the weight rises, but the 0.5x branch wins on only 25% of the background")


def test_an_effect_that_the_interior_lacks_is_no_answer() -> None:
    assert small_objects(table())[0].unmet == ""
    assert small_objects(table(interior=0.0))[0].unmet.startswith("the outline may explain it: a cell inside it")
    without = table().assign(weight_interior=np.nan)
    assert "of what lies a cell inside it, 0 blocks" in small_objects(without)[0].unmet


def test_too_few_blocks_are_said_class_by_class() -> None:
    objects = table()
    objects["block"] = np.where(objects["class"] == "car", objects["block"] % 3, objects["block"])
    by_class = {one.class_: one for one in small_objects(objects) if one.claim == "small-objects"}
    assert by_class["car"].effect is None and "3 blocks" in by_class["car"].reason
    assert by_class["sign"].effect is not None and by_class["all"].effect is not None


def test_sizes_are_compared_within_class_and_checkpoint() -> None:
    """Weights that differ between folds, or between classes, by no matter how much are no effect of size."""
    one, two = table(0), table(1)
    both = pd.concat(
        [one, two.assign(checkpoint="other", weight_inside=two["weight_inside"] + 5, block=two["block"] + 12)]
    )
    both["area"] *= np.where(both["checkpoint"] == "other", 40, 1)
    apart = [small_objects(rows)[0].effect for rows in (one, two)]
    together = small_objects(both)[0].effect
    assert together is not None and all(apart)
    assert together.effect == pytest.approx(np.mean([one.effect for one in apart if one]), abs=0.01)
