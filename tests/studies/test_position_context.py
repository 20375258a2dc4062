"""What positions look at: sums against their definitions written out naively, and verdicts on planted attention."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal
from torch import Tensor

from analysis import intervene, open_checkpoint
from analysis.checkpoints import Checkpoint
from analysis.datasets import open_dataset
from analysis.datasets.sample import Dataset, Item, Sample, connected_objects
from analysis.errors import AnalysisError
from analysis.models import DualAttention
from analysis.statistics import Estimate, judge
from analysis.studies.dual_paths import dual_model, run_paths
from analysis.studies.miou import confusion_rows
from analysis.studies.position_context import PositionContext, position_context, removed, same_class_context
from analysis.studies.position_context.grid import labels_on, nearest_cells, sizes_on
from analysis.studies.position_context.one_query import by_class
from analysis.studies.position_context.rings import NEAR, Labels, rings
from analysis.studies.position_context.rows import Projected, row_sums
from analysis.studies.position_context.sums import attention_sums
from analysis.views import cell_of

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
SCENES = 12


@pytest.fixture(scope="module")
def dual() -> Checkpoint:
    return open_checkpoint(ROOT / "data/demo/shapes-dual")


def scenes(n: int) -> Dataset:
    whole = open_dataset("shapes", "val")
    return dataclasses.replace(whole, items=whole.items[:n])


def drawn(seed: int, h: int, w: int) -> tuple[Projected, np.ndarray]:
    """Query, key, value, attended of a small grid, and labels of three classes with ignored cells."""
    random = np.random.default_rng(seed)
    cells = random.choice([-1, 0, 0, 1, 1, 2], size=(h, w))
    query, key, value = (torch.from_numpy(random.normal(size=(c, h, w))).float() for c in (4, 4, 3))
    weights = torch.softmax(query.flatten(1).T @ key.flatten(1), dim=1)
    return Projected(query, key, value, (weights @ value.flatten(1).T).T.reshape(3, h, w)), cells


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 21), st.integers(1, 9), st.sampled_from([0.1, 1.0, 5.0, 50.0]))
def test_sums_of_one_pass_are_those_of_the_whole_matrix(seed: int, h: int, w: int, scale: float) -> None:
    projected, cells = drawn(seed, h, w)
    query, key = scale * projected.query, projected.key
    whole = torch.softmax(query.flatten(1).T.double() @ key.flatten(1).double(), dim=1).numpy()
    ys, xs = np.divmod(np.arange(h * w), w)
    distance = np.hypot(ys[:, None] - ys, xs[:, None] - xs)
    logs = np.log(np.where(whole > 0, whole, 1))
    found = attention_sums(query, key, cells, 3)
    close = {
        "rtol": 1e-4 if scale > 5 else 1e-5,
        "atol": 2e-4 if scale > 5 else 1e-5,
    }  # scores of 200 have an ulp of 2e-5
    np.testing.assert_allclose(found.received.ravel(), whole.sum(0), **close)
    np.testing.assert_allclose(found.entropy.ravel(), -(whole * logs).sum(1), **close)
    np.testing.assert_allclose(found.mean_distance.ravel(), (whole * distance).sum(1), **close)
    of = [cells.ravel() == c for c in range(3)]
    np.testing.assert_allclose(found.class_mass, [[whole[a][:, b].sum() for b in of] for a in of], **close)


def test_one_pass_agrees_with_the_study_about_rows() -> None:
    projected, cells = drawn(3, 9, 7)
    cells = np.abs(cells)  # the study leaves ignored keys out of the mean distance
    labels, grid = Labels.of(cells, CPU), rings(9, 7, CPU)
    by_query = row_sums(Projected(projected.query, projected.key), labels, grid, 3, range(9)).by_query
    found = attention_sums(projected.query, projected.key, cells, 3)
    np.testing.assert_allclose(np.exp(found.entropy), by_query["effective_cells"], rtol=1e-4)
    np.testing.assert_allclose(found.mean_distance, by_query["mean_distance"], rtol=0.15)  # there by rings


def naive(weights: np.ndarray, cells: np.ndarray, j: int) -> dict[str, float]:
    """DESIGN 6 for one query, key by key."""
    places = list(product(range(cells.shape[0]), range(cells.shape[1])))
    flat, rings_of = cells.ravel(), {}
    for i, (y, x) in enumerate(places):
        ring = int(np.ceil(np.hypot(y - places[j][0], x - places[j][1]) - 1e-9))
        if flat[i] >= 0 and ring > NEAR:
            rings_of.setdefault(ring, []).append(i)
    own = [i for keys in rings_of.values() for i in keys if flat[i] == flat[j]]
    count = sum(map(len, rings_of.values()))
    expected = sum(weights[j, keys].sum() * np.mean([flat[i] == flat[j] for i in keys]) for keys in rings_of.values())
    removed = sum(
        min(weights[j, keys].sum() - weights[j, [i for i in keys if flat[i] == flat[j]]].sum(),
            weights[j, [i for i in keys if flat[i] == flat[j]]].sum())
        for keys in rings_of.values()
    )  # fmt: skip
    return {
        "same_class_mass": weights[j, own].sum(),
        "base_rate": len(own) / max(1, count),
        "distance_matched_rate": float(expected),
        "far_mass": sum(weights[j, keys].sum() for keys in rings_of.values()),
        "effective_cells": float(np.exp(-(weights[j] * np.log(weights[j])).sum())),
        "removed_mass": float(removed),
    }


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.integers(4, 7), st.integers(4, 8))
def test_sums_of_rows_are_their_definition(seed: int, h: int, w: int) -> None:
    projected, cells = drawn(seed, h, w)
    query, key = (t.flatten(1).double() for t in (projected.query, projected.key))
    weights = torch.softmax(query.T @ key, dim=1).numpy()
    found = row_sums(projected, Labels.of(cells, CPU), rings(h, w, CPU), 3, range(h))
    for j in np.flatnonzero(cells.ravel() >= 0):
        for name, value in naive(weights, cells, j).items():
            assert found.by_query[name].flatten()[j] == pytest.approx(value, abs=2e-5, rel=1e-5), name
    labelled = torch.tensor([weights[cells.ravel() == c][:, cells.ravel() >= 0].sum() for c in range(3)])
    assert torch.allclose(found.by_ring[0].sum(1), labelled, atol=1e-4)


@settings(max_examples=15)
@given(st.integers(0, 10**6))
def test_both_removals_take_equal_mass_at_equal_distance(seed: int) -> None:
    h, w = 6, 7
    projected, cells = drawn(seed, h, w)
    query, key = (t.flatten(1) for t in (projected.query, projected.key))
    weights = torch.softmax(query.T @ key, dim=1).double()
    found = row_sums(projected, Labels.of(cells, CPU), rings(h, w, CPU), 3, range(h))
    flat, ring = torch.from_numpy(cells.ravel()), torch.cat([rings(h, w, CPU).seen_from(y) for y in range(h)])
    own = (flat[:, None] == flat) & (flat >= 0)
    other = (flat[:, None] != flat) & (flat >= 0)
    arms = []
    for side in (own, other):
        thinned = weights.clone()
        for r in range(NEAR + 1, int(ring.max()) + 1):
            masses = [(weights * (kind & (ring == r))).sum(1) for kind in (own, other)]
            mine = (weights * (side & (ring == r))).sum(1)
            share = torch.where(mine > 0, torch.minimum(*masses) / mine, 0)
            thinned -= weights * (side & (ring == r)) * share[:, None]
        thinned[flat < 0] = weights[flat < 0]  # ignored queries are left alone
        arms.append(thinned)
    assert torch.allclose(arms[0].sum(1), arms[1].sum(1))
    value = projected.value
    assert value is not None
    for arm, got in zip(arms, (found.without_own, found.without_other), strict=True):
        assert got is not None
        expected = (arm / arm.sum(1, keepdim=True)) @ value.flatten(1).T.double()
        assert torch.allclose(got.flatten(1).T.double(), expected, atol=1e-4)


def test_a_cell_has_the_class_of_most_labelled_pixels() -> None:
    label = np.array([[0, 0, 255, 255, 2, 255], [0, 1, 255, 1, 2, 255]], np.uint8)
    assert labels_on(label, (1, 3), 3, align_corners=False).tolist() == [[0, -1, 2]]
    assert (
        labels_on(label, (2, 6), 3, align_corners=True).tolist() == np.where(label < 9, label.astype(int), -1).tolist()
    )
    assert (labels_on(label, (4, 6), 3, align_corners=True) == -1).sum() > 4  # a cell without a pixel is ignored


@given(st.integers(2, 60), st.integers(1, 20), st.booleans())
def test_pixels_belong_to_the_cell_that_a_view_shows_there(pixels: int, cells: int, corners: bool) -> None:
    shown = [cell_of((y, 0), (pixels, 1), (cells, 1), corners)[0] for y in range(pixels)]
    assert nearest_cells(pixels, cells, corners).tolist() == shown


def test_sizes_are_those_of_whole_objects() -> None:
    label = np.zeros((128, 128), np.uint8)
    label[:8, :8], label[64:, 64:] = 1, 2
    sizes = sizes_on(connected_objects(label, frozenset({1, 2})), labels_on(label, (16, 16), 3, False), False)
    assert sizes[0, 0] == 0 and (sizes[8:, 8:] == 1).all() and (sizes == -1).sum() == 256 - 65


class Planted:
    """Scenes, and query and key that follow the label of the one that was read last."""

    def __init__(self, cells: Callable[[np.ndarray], tuple[Tensor, Tensor]]) -> None:
        self.cells, self.label = cells, np.zeros((0, 0), np.uint8)
        self.dataset = dataclasses.replace(scenes(SCENES), read=self.read)

    def read(self, dataset: Dataset, item: Item) -> Sample:
        sample = open_dataset("shapes", "val")[int(item.name.rpartition("-")[2])]
        assert sample.label is not None
        self.label = sample.label
        return sample

    def functions(self) -> dict[str, Callable[[Tensor], Tensor]]:
        def put(which: int) -> Callable[[Tensor], Tensor]:
            def replaced(tensor: Tensor) -> Tensor:
                h, w = tensor.shape[2:]
                planted = self.cells(labels_on(self.label, (h, w), 5, True))[which]
                tensor.zero_()[0, : len(planted)] = planted
                return tensor

            return replaced

        return {"position.query": put(0), "position.key": put(1)}


def class_attention(cells: np.ndarray) -> tuple[Tensor, Tensor]:
    """Five classes at the corners of a simplex, in the four channels there are."""
    corners = np.linalg.svd(np.eye(5) - 1 / 5)[0][:, :4]
    onehot = torch.from_numpy(corners[cells]).permute(2, 0, 1).float()
    return 12 * onehot, onehot


def local_attention(cells: np.ndarray) -> tuple[Tensor, Tensor]:
    """Gaussian in the distance alone, 4 cells wide: q.k = -|x_q - x_k|^2 / (2 * 4^2) but for a constant of the row."""
    y, x = torch.meshgrid(*(torch.arange(n).float() for n in cells.shape), indexing="ij")
    return torch.stack([2 * y, 2 * x, -torch.ones_like(y)]) / 32, torch.stack([y, x, y**2 + x**2])


def random_attention(cells: np.ndarray) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(int(cells.sum()))
    query, key = torch.randn(2, 4, *cells.shape, generator=random)
    return query, key


def fixed_attention(cells: np.ndarray) -> tuple[Tensor, Tensor]:
    """From everywhere to the cells of the class that most cells have."""
    most = torch.from_numpy(cells == np.bincount(cells.ravel()).argmax()).float()
    return torch.full((1, *cells.shape), 6.0), most[None]


def measured(dual: Checkpoint, cells: Callable[[np.ndarray], tuple[Tensor, Tensor]]) -> tuple[Estimate, float, str]:
    """The effect over all classes, own mass beyond the base rate, and the verdict."""
    planted = Planted(cells)
    with intervene(dual.model, planted.functions()):
        table = position_context(dual, planted.dataset, interventions=False)["position_context"]
    every = [one for one in same_class_context(table, None) if one.evidence == "observed"]
    assert not any(one.unmet for one in every)
    found = every[0]
    assert found.effect and found.control and (found.class_, found.evidence) == ("all", "observed")
    naive = np.average(table.same_class_mass - table.base_rate * table.far_mass, weights=table.queries)
    return found.effect, float(naive), judge(found.effect, found.smallest_effect)[0]


def test_attention_to_the_own_class_is_supported(dual: Checkpoint) -> None:
    effect, _, verdict = measured(dual, class_attention)
    assert verdict == "supported" and effect.effect > 0.2


def test_attention_to_neighbours_looks_like_class_attention_but_is_not(dual: Checkpoint) -> None:
    effect, naive, verdict = measured(dual, local_attention)
    assert naive > 0.15 and verdict == "negligible" and abs(effect.effect) < 0.02


def test_a_fixed_look_is_no_look_at_the_own_class(dual: Checkpoint) -> None:
    planted = Planted(fixed_attention)
    with intervene(dual.model, planted.functions()):
        table = position_context(dual, planted.dataset, interventions=False)["position_context"]
    found = {one.class_: one for one in same_class_context(table, None) if one.evidence == "observed"}
    sky = found["sky"]
    assert sky.effect and judge(sky.effect, sky.smallest_effect)[0] == "supported"
    assert "other classes' cells look there too, +0." in sky.unmet
    fixed = np.average(table.fixed_same_class_mass.fillna(0), weights=table.control_queries)
    assert fixed == pytest.approx(np.average(table.same_class_mass, weights=table.queries), abs=0.02)


def test_random_attention_is_negligible(dual: Checkpoint) -> None:
    assert measured(dual, random_attention)[2] == "negligible"


def test_the_demo_gives_every_table(dual: Checkpoint) -> None:
    study, dataset = PositionContext(dual, scenes(8)), scenes(8)
    again = study.rows(dataset[3])
    found = position_context(dual, dataset)
    for name, rows in again.items():
        table = found[name]
        mine = table[table.image == dataset[3].name][rows.columns].reset_index(drop=True)
        assert_frame_equal(mine, rows)  # an image's rows do not depend on those before it
    table = found["position_context"]
    assert set(table["class"]) <= set(dataset.classes) and (table.groupby("image").queries.sum() == 33**2).all()
    assert (table.same_class_mass <= table.far_mass + 1e-5).all() and table.effective_cells.between(1, 33**2).all()
    bands = found["position_context_distance"].groupby(["image", "class"]).mass.sum()
    np.testing.assert_allclose(bands, 1, atol=1e-4)  # nothing is ignored in shapes
    assert list(found["position_context_iou"].intervention.unique()) == [
        "none",
        "own class removed",
        "other classes removed",
    ]
    every = same_class_context(table, found["position_context_iou"])
    assert [one.class_ for one in every[:2]] == ["all", "sky"] and every[0].control is not None
    intervention = next(one for one in every if one.evidence == "intervention")
    assert intervention.effect is None and "has an equal on other classes" in intervention.reason


@pytest.mark.parametrize(("drop", "found"), [(0.005, False), (-0.1, True), (0.2, True)])
def test_little_to_remove_is_no_evidence_unless_it_makes_a_difference(drop: float, found: bool) -> None:
    """IoU falls by ``drop`` without the own class; a quarter of the mass on it had an equal elsewhere."""
    table = pd.DataFrame({"block": [*"abcdefgh"], "image": [*"abcdefgh"], "seed": 0, "class": "x", "queries": 9})
    rates = {
        f"{of}{name}": 0.4 for of in ("", "redrawn_", "fixed_") for name in ("same_class_mass", "distance_matched_rate")
    }
    arms = zip(("none", "own class removed", "other classes removed"), (0.5, 0.5 - drop, 0.5), strict=True)
    counted = [table.assign(intervention=arm, intersection_x=1000 * iou, union_x=1000) for arm, iou in arms]
    measured = same_class_context(table.assign(control_queries=3, removed_mass=0.1, **rates), pd.concat(counted))
    for one in measured[2:]:
        assert (one.effect is not None) == found and ("only 25 %" in one.reason) != found
        assert found or f"removed: {100 * drop:+.2f} points" in one.reason


def test_a_replaced_path_predicts_what_an_intervention_does(dual: Checkpoint) -> None:
    image, model = scenes(1)[0].image, dual_model(dual.model)
    seen = run_paths(model, image, ("position.features", "channel.features"))
    for path in ("position", "channel"):
        with intervene(model, {f"{path}.attended": torch.zeros_like}):
            there = run_paths(model, image, ()).prediction
        ended = seen.end(path, torch.zeros_like(seen.taps[f"{path}.features"]))
        assert (seen.predicted(**{path: ended}) == there).all()
    assert (seen.predicted() == seen.prediction).all()


def test_what_cannot_be_studied_is_said_in_one_line(dual: Checkpoint) -> None:
    with pytest.raises(AnalysisError, match="no dual attention head"):
        position_context(open_checkpoint(ROOT / "data/demo/shapes-scale"), scenes(1))
    unlabelled = dataclasses.replace(scenes(1), read=lambda d, i: dataclasses.replace(scenes(1)[0], label=None))
    with pytest.raises(AnalysisError, match="has no label"):
        position_context(dual, unlabelled)
    table = position_context(dual, scenes(2), interventions=False)["position_context"]
    found = same_class_context(table, None)
    assert all(one.effect is None and one.reason for one in found)
    assert "blocks" in found[0].reason and "interventions" in found[-1].reason


MEMORY = """
import resource, sys, torch, numpy as np
from analysis.studies.position_context.rings import Labels, rings
from analysis.studies.position_context.rows import Projected, row_sums
from analysis.studies.position_context.sums import attention_sums
torch.set_num_threads(1)
random = np.random.default_rng(0)
q, k, v, a = (torch.from_numpy(random.normal(size=(c, 96, 96)).astype(np.float32)) for c in (16, 16, 128, 128))
cells = random.integers(-1, 11, (8, 8)).repeat(12, 0).repeat(12, 1)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
row_sums(Projected(q, k, v, a), Labels.of(cells, q.device), rings(96, 96, q.device), 11, range(96))
print(peak() - before)
"""


@pytest.mark.slow
def test_memory_stays_flat_at_9216_positions() -> None:
    done = subprocess.run([sys.executable, "-c", MEMORY], cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 200  # MiB; the matrix alone has 324


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.integers(4, 7), st.integers(4, 8))
def test_one_query_by_class_is_what_the_study_sums(seed: int, h: int, w: int) -> None:
    projected, cells = drawn(seed, h, w)
    query, key = (t.flatten(1).double() for t in (projected.query, projected.key))
    weights = torch.softmax(query.T @ key, dim=1).numpy()
    for j in np.flatnonzero(cells.ravel() >= 0)[:6]:
        table = by_class(weights[j].reshape(h, w), [divmod(int(j), w)], cells, "abc").set_index("class")
        wanted, own = naive(weights, cells, int(j)), "abc"[cells.ravel()[j]]
        if wanted["base_rate"] == 0:
            assert own not in table.index
            continue
        for column, name in (("mass", "same_class_mass"), ("base_rate", "base_rate")):
            assert table.loc[own, column] == pytest.approx(wanted[name])
        assert table.loc[own, "distance_matched_rate"] == pytest.approx(wanted["distance_matched_rate"])
        assert table["mass"].sum() == pytest.approx(wanted["far_mass"]) == pytest.approx(table.iloc[:, 2].sum())


def test_predictions_without_keys_are_those_of_the_study(dual: Checkpoint) -> None:
    dataset = scenes(1)
    sample = dataset[0]
    assert sample.label is not None and isinstance(dual.model, DualAttention)
    found = removed(dual.model, sample.image, sample.label, len(dataset.classes))
    rows = PositionContext(dual, dataset).rows(sample)["position_context_iou"]
    for prediction, (_, row) in zip(found.values(), rows.iterrows(), strict=True):
        counts = confusion_rows(prediction, sample.label, dataset.classes)
        assert all(row[name] == count for name, count in counts.items())
    assert list(found) == rows["intervention"].tolist()
