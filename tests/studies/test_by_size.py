"""Means by size with intervals, and the mean over queries by class: known answers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from analysis.store import Tables
from analysis.studies.object_scale.sizes import ious_by_size, size_bins, weights_by_size
from analysis.studies.position_context.tables import own_class
from analysis.studies.study import Result

IDENTITY = {"checkpoint": "c", "recipe": "r", "seed": 0, "dataset": "shapes", "split": "val"}


def objects(n: int, blocks: int) -> pd.DataFrame:
    """``n`` objects of two classes in so many blocks, whose weight at 1.0x is 1 / (1 + area / 100)."""
    area = np.arange(1, n + 1) * 37 % 4001 + 8
    small = 1 / (1 + area / 100)
    one = pd.DataFrame({"image": [f"i{k}" for k in range(n)], "object": 1, "area": area, "cells": area / 64.0})
    one = one.assign(**{"class": np.where(np.arange(n) % 2, "car", "sign"), "thing": True}, **IDENTITY)
    one["block"] = [f"b{k % blocks}" for k in range(n)]
    shared = {"weight_interior": np.nan, "weight_ring": np.nan, "weight_placebo": 0.5, "wins": 0.0, "iou": 0.5}
    sides = [one.assign(scale=scale, weight_inside=w, **shared) for scale, w in ((1.0, small), (0.5, 1 - small))]
    return pd.concat(sides, ignore_index=True)


def result(n: int = 240, blocks: int = 12) -> Result:
    return Result(Tables({"objects": objects(n, blocks)}))


def test_means_are_those_of_the_bins_with_an_interval_round_them() -> None:
    table, bins = weights_by_size(result()), size_bins(result())
    both = table[table["value"] == "weight_inside"].merge(bins, on=["class", "scale", "size_bin"])
    shown = bins["size_bin"].str.startswith(("quartile", "below"))
    assert len(both) == shown.sum() > 3 * 2 * 4  # classes and all, scales, quarters; and some below a cell
    assert_allclose(both["mean"], both["weight_inside"])
    assert (both["n_objects_x"] == both["n_objects_y"]).all()
    known = both[both["low"].notna()]
    assert len(known) >= 3 * 2 * 4 and ((known["low"] < known["mean"]) & (known["mean"] < known["high"])).all()
    assert (both[both["low"].isna()]["n_blocks"] < 6).all()
    assert ((both["area_low"] <= both["area"]) & (both["area"] <= both["area_high"])).all()
    placebo = table[table["value"] == "weight_placebo"]
    assert_allclose(placebo[["mean", "low", "high"]].dropna(), 0.5)


def test_fewer_than_six_blocks_have_means_and_a_reason() -> None:
    table = weights_by_size(result(blocks=3))
    assert table[["low", "high"]].isna().all(axis=None) and table["mean"].notna().all()
    assert table["reason"].str.contains("[1-3] blocks with objects are too few").all()


def test_the_baseline_of_interventions_is_one_of_them() -> None:
    rows = objects(240, 12)
    rows = rows[rows["scale"] == 1].drop(columns=["scale", "iou"])
    both = [
        rows.assign(intervention=name, iou=iou, iou_baseline=0.6)
        for name, iou in (("untouched", 0.7), ("uniform", 0.4))
    ]
    table = ious_by_size(Result(Tables({"object_interventions": pd.concat(both, ignore_index=True)})))
    means = table.groupby("intervention")["mean"]
    assert means.min().to_dict() == pytest.approx({"untouched": 0.7, "uniform": 0.4, "object mean": 0.6})
    assert_allclose(means.max(), means.min())


def test_the_mean_over_queries_weights_images_by_them() -> None:
    rates = {"same_class_mass": [0.2, 0.6], "base_rate": [0.1, 0.1], "distance_matched_rate": [0.3, 0.3]}
    table = pd.DataFrame({"class": ["sky", "sky"], "image": ["a", "b"], "queries": [30, 10], **rates})
    (row,) = own_class(table).to_dict("records")
    assert row["mass"] == pytest.approx(0.3) and row["base_rate"] == pytest.approx(0.1)
    assert (row["queries"], row["images"]) == (40, 2)
