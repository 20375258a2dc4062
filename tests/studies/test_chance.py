"""Single heads that learnt nothing beside the trained one: their weights on objects, and what is said of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import open_checkpoint
from analysis.datasets import open_dataset
from analysis.studies.object_scale import object_scale, small_objects
from analysis.studies.object_scale.chance import reach
from analysis.studies.object_scale.head import HEADS

ROOT = Path(__file__).parents[2]


def tables(slopes: list[float]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Objects in 12 blocks, two seeds: weight falls by 0.05 a doubling, that of each head by one of ``slopes``."""
    random = np.random.default_rng(0)
    area = np.tile(np.exp(random.uniform(np.log(20), np.log(10_000), 120)).round(), 2)
    n, doublings = len(area), np.log2(area / 20)
    objects = pd.DataFrame(
        {
            "image": "i", "object": np.arange(n) % 120, "class": "car", "thing": True, "area": area, "cells": area / 16,
            "centroid_y": random.uniform(0, 100, n), "weight_inside": 0.8 - 0.05 * doublings, "weight_placebo": 0.5,
            "weight_interior": 0.8 - 0.05 * doublings, "wins": 1.0, "block": np.arange(n) % 12,
            "seed": np.arange(n) // 120, "checkpoint": np.where(np.arange(n) < 120, "c", "d"), "scale": 1.0,
        }
    )  # fmt: skip
    slopes = [0.05, *slopes, *(-s for s in slopes)]
    heads = list((-np.outer(doublings, slopes)).astype(np.float32))
    return objects, objects[["checkpoint", "image", "object", "scale"]].assign(heads=heads)


@pytest.mark.parametrize(("strong", "said"), [(0, False), (2, True)])
def test_heads_that_reach_as_far_are_said_and_change_no_verdict(strong: int, said: bool) -> None:
    slopes = [0.06, -0.06][:strong] + [0.001] * (HEADS - strong)
    objects, by_head = tables(slopes)
    alone, beside = small_objects(objects), small_objects(objects, objects_by_head=by_head)
    bare = [[dataclasses.replace(one, reason="", control=None) for one in found] for found in (alone, beside)]
    assert bare[0] == bare[1]
    assert ("2 of 16 heads that learnt nothing reach as far as its +0." in beside[0].reason) == said
    trained, heads = reach(objects.merge(by_head), 1)
    np.testing.assert_allclose(heads / trained, np.array(slopes) / 0.05, atol=1e-4)
    control = next(one.control for one in beside if one.claim == "small-objects: rank correlation")
    assert control is not None and abs(control.effect) < 1e-6  # heads and their mirror images


def test_the_mean_of_the_heads_is_the_control() -> None:
    val = open_dataset("shapes", "val")
    demo = open_checkpoint(ROOT / "data/demo/shapes-scale")
    result = object_scale(demo, dataclasses.replace(val, items=val.items[:2]), probed_images=0)
    both = result["objects_by_head"].merge(result["objects_redrawn"], on=["image", "object", "scale"])
    assert len(both) == len(result["objects_by_head"]) > 0
    heads = np.stack(list(both["heads"]))
    assert heads.shape[1] == 1 + 2 * HEADS
    mean, redrawn = heads[:, 1:].mean(axis=1), both["weight_inside"].to_numpy()
    for rows in both.groupby(["image", "scale"]).indices.values():  # but for the mean over the image
        np.testing.assert_allclose(mean[rows] - mean[rows].mean(), redrawn[rows] - redrawn[rows].mean(), atol=1e-5)
