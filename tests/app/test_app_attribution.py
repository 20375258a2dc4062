"""Attributions beside attention, for an object that is picked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dashboards import dual, fine, opened, said, save, scale

from analysis.studies.attribution.curves import deletion_and_insertion
from analysis.studies.attribution.one_image import agreement, curves, maps_of


def executed(test: Any) -> dict[str, Any]:
    (shown,) = test.code
    namespace: dict[str, Any] = {}
    exec(shown.value, namespace)
    return namespace


@pytest.mark.parametrize(("kind", "photo"), [("scale", {}), ("dual", {}), ("scale", {"photo": "coffee", "cells": "8"})])
def test_attention_and_grad_cam_stand_beside_each_other(folder: Path, kind: str, photo: dict[str, str]) -> None:
    save(scale() if kind == "scale" else dual(), folder / "runs" / "one", steps=(0, 5) if kind == "dual" else (0,))
    test = opened("attribution", **photo)
    assert fine(test)
    rows = next(table.value for table in test.dataframe if "agreement" in table.value)
    left = executed(test)
    mine = agreement(left["scene"], left["attention"], left["attributions"])
    np.testing.assert_allclose(rows["agreement"], mine["agreement"].round(3), atol=1.1e-3)
    names = set(rows["map"]) | set(rows["attribution"])
    expected = {"weight of the 0.5x branch", "Grad-CAM, 0.75x branch"} if kind == "scale" else {"Grad-CAM, fused"}
    assert expected <= names


def test_what_is_asked_for_is_in_the_address_and_is_measured(folder: Path) -> None:
    save(scale(), folder / "runs" / "one")
    test = opened("attribution", cells="8", methods="occlusion,integrated_gradients", tests="randomised,curves")
    assert fine(test) and test.query_params["methods"] == "integrated_gradients,occlusion"
    captions = said(test.caption)
    assert "Best order by deletion" in captions and ("No map survives" in captions or "These maps survive" in captions)
    names = set(next(table.value for table in test.dataframe if "agreement" in table.value)["attribution"])
    assert {"occlusion", "integrated gradients"} <= names


def test_a_photograph_without_objects_has_no_score(folder: Path) -> None:
    sky = scale()
    torch.nn.init.zeros_(sky.classifier.weight)
    sky.classifier.bias.data = torch.tensor([1.0, 0, 0, 0, 0])
    save(sky, folder / "runs" / "sky")
    assert "No object of a thing class" in said(opened("attribution", photo="coffee").info)


@pytest.mark.parametrize("model", [dual(position=False), scale(fusion="max")])
def test_models_without_a_map_over_the_photograph_lead_elsewhere(folder: Path, model: Any) -> None:
    save(model, folder / "runs" / "one", steps=(0, 5) if "Dual" in type(model).__name__ else (0,))
    assert "has no attention that lies over the photograph" in said(opened("attribution").info)


def test_curves_start_with_the_image_and_end_without_it(folder: Path) -> None:
    save(scale(), folder / "runs" / "one")
    left = executed(opened("attribution", cells="8"))
    scene, attention = left["scene"], left["attention"]
    rows = curves(scene, attention, steps=4, random_orders=2)
    assert set(rows["map"]) == {"random", *attention}
    found = deletion_and_insertion(
        scene.scores, scene.image, scene.cells, np.arange(len(scene.cells))[None], steps=4, batch=2
    )
    for (kind, _), mine in rows.groupby(["curve", "map"]):
        ends = (found.whole[0], found.empty[0]) if kind == "deletion" else (found.empty[0], found.whole[0])
        assert mine["score"].iloc[[0, -1]].tolist() == pytest.approx(ends, abs=1e-4)
        assert mine["share"].tolist() == [0, 0.25, 0.5, 0.75, 1]
    np.testing.assert_allclose(found.deletion, np.trapezoid(found.deletions, found.shares, axis=0), rtol=1e-6)
    assert maps_of(scene, "grad_cam").keys() == {f"grad_cam scale.scores.{x}" for x in ("x100", "x75", "x50")}
