"""The object probe: what is pasted, and what planted models' weights do when an object changes its size."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from planted_branches import CLASSES, PlantedBranches, Rule, scenes

from analysis.datasets import Dataset, Sample, open_dataset
from analysis.models import ScaleAttention
from analysis.statistics import judge
from analysis.studies.object_scale.maps import footprints, see_maps, weights_inside
from analysis.studies.object_scale.paste import HALO, Box, box_of, erased, pasted
from analysis.studies.object_scale.probe import FACTORS, chosen, probe_rows
from analysis.studies.object_scale.probe_effects import large_objects_probed, slopes, small_objects_probed

SHAPES = ("sky", "ground", "circle", "square", "cross")


def probed(model: ScaleAttention, dataset: Dataset, n: int, classes: tuple[str, ...] = CLASSES) -> pd.DataFrame:
    tables = []
    for i in range(n):
        sample, seed = dataset[i], dataset.items[i].seed if dataset.name == "shapes" else None
        assert sample.label is not None
        rows = probe_rows(model, sample, sample.label, classes, see_maps(model, sample.image), seed)
        tables.append(rows.assign(block=sample.block))
    identity = {"checkpoint": "one", "recipe": "one", "seed": 0, "dataset": dataset.name, "split": dataset.split}
    return pd.concat(tables, ignore_index=True).assign(**identity)


@pytest.fixture(scope="module")
def following() -> pd.DataFrame:
    return probed(PlantedBranches("follow"), scenes(16), 16)


def square(side: int = 12, at: tuple[int, int] = (40, 50)) -> tuple[np.ndarray, np.ndarray]:
    """A bright square on a dark ground of 100 x 120 pixels."""
    mask = np.zeros((100, 120), bool)
    mask[at[0] : at[0] + side, at[1] : at[1] + side] = True
    return np.where(mask[..., None], 200, 50).astype(np.uint8).repeat(3, axis=2), mask


@given(st.sampled_from(FACTORS), st.integers(2, 25))
def test_the_pasted_object_has_the_wanted_size_and_centre(factor: float, side: int) -> None:
    image, mask = square(side)
    result, covered = pasted(erased(image, mask), image, mask, factor)
    wanted, got = box_of(mask).scaled(factor), box_of(covered)
    assert got == wanted
    assert got.bottom - got.top == max(1, round(side * factor))
    assert abs(got.top + got.bottom - (40 + 40 + side)) <= 1
    assert (result[covered] == 200).all()
    assert (result[~covered] == 50).all()


def test_at_factor_one_only_the_halo_is_filled() -> None:
    image, mask = square()
    image = image + np.random.default_rng(0).integers(0, 30, image.shape, dtype=np.uint8)
    result, covered = pasted(erased(image, mask), image, mask, 1.0)
    assert np.array_equal(covered, mask)
    changed = (result != image).any(axis=2)
    assert not changed[mask].any()
    ys, xs = np.nonzero(changed)
    assert (ys.min(), ys.max()) == (40 - HALO, 40 + 11 + HALO)
    assert (xs.min(), xs.max()) == (50 - HALO, 50 + 11 + HALO)


def test_what_is_erased_looks_like_its_surroundings() -> None:
    image, mask = square(30)
    image[:, :60, 0] = 90  # a seam that passes behind the object
    image[mask] = 255
    filled = erased(image, mask)
    assert np.array_equal(filled[:30], image[:30])
    assert filled[mask].min() >= 49.9
    assert filled[mask].max() <= 90.1
    assert filled[55, 51, 0] > 80 > 60 > filled[55, 78, 0]


def test_a_large_object_is_shrunk_without_aliases() -> None:
    _, mask = square(24)
    stripes = np.where(np.arange(120) % 2, 0, 200).astype(np.uint8)
    image = np.broadcast_to(stripes[None, :, None], (100, 120, 3)).copy()
    result, covered = pasted(erased(image, mask), image, mask, 0.5)
    inner = result[box_of(covered).slices][2:-2, 2:-2]
    assert (np.abs(inner.astype(int) - 100) < 30).all()


def test_boxes() -> None:
    box = Box(10, 20, 30, 37)
    assert box.scaled(1) == box
    assert box.moved(-5) == Box(10, 20, 25, 32)
    assert box.inside((21, 38))
    assert not box.inside((20, 38))
    assert not box.scaled(4).inside((100, 100))


def test_every_kind_has_its_factors(following: pd.DataFrame) -> None:
    assert {"image", "object", "class", "area", "factor", "kind", "scale", "weight_inside"} <= set(following)
    found = {kind: set(rows["factor"]) for kind, rows in following.groupby("kind")}
    smaller = {f for f in FACTORS if f < 1}
    assert found == {"object": set(FACTORS), "placebo": set(FACTORS), "image": {*smaller, 1.0}, "blur": smaller}
    sums = following.groupby(["image", "kind", "factor", "object", "class"])["weight_inside"].sum()
    np.testing.assert_allclose(sums, 1, atol=1e-5)
    assert following[following["object"] == 0].groupby("kind").ngroups == 2  # stuff: image and blur only
    probed_objects = following[following["kind"] == "object"].groupby("image")["object"].nunique()
    assert probed_objects.max() == 2


def test_the_untouched_image_has_the_weights_of_the_objects_table(following: pd.DataFrame) -> None:
    model, sample = PlantedBranches("follow"), scenes(1)[0]
    maps = see_maps(model, sample.image)
    expected = weights_inside(maps.weights, footprints(sample.objects, maps))
    untouched = following.query("image == @sample.name and kind == 'image' and factor == 1 and object > 0")
    np.testing.assert_allclose(untouched["weight_inside"].to_numpy().reshape(-1, 3), expected, atol=1e-6)


def test_a_rerun_gives_the_same_rows() -> None:
    model, sample = PlantedBranches("follow"), scenes(3)[2]
    maps = see_maps(model, sample.image)
    assert sample.label is not None
    once, again = (probe_rows(model, sample, sample.label, CLASSES, maps) for _ in range(2))
    pd.testing.assert_frame_equal(once, again)


def test_weights_that_follow_size_are_found(following: pd.DataFrame) -> None:
    small, large = small_objects_probed(following), large_objects_probed(following)
    for found in (small, large):
        assert [m.class_ for m in found if "zoom" not in m.claim] == ["all", "circle", "square"]
        assert found[0].effect is not None
        assert found[0].control is not None
        assert judge(found[0].effect, found[0].smallest_effect, found[0].control)[0] == "supported"


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "verdict"), [("oppose", "contradicted"), ("ignore", "negligible")])
def test_weights_that_oppose_or_ignore_size(rule: Rule, verdict: str) -> None:
    table = probed(PlantedBranches(rule), scenes(60), 60 if rule == "ignore" else 20)
    found = small_objects_probed(table)[0]
    assert found.effect is not None
    assert judge(found.effect, found.smallest_effect, found.control)[0] == verdict


def test_rare_classes_are_probed_as_often_as_common_ones() -> None:
    label = np.zeros((60, 200), np.uint8)
    label[10:20, 5:190:15] = label[10:20, 6:191:15] = 2  # 13 of one class
    label[40:50, 100:104] = label[0:8, 30:40] = 3  # one of the other, and one that touches the border
    image, things = np.zeros((60, 200, 3), np.uint8), frozenset({2, 3})
    samples = [Sample(f"{i}", image, label, "", "", None, things) for i in range(200)]
    first = [sample.objects.classes[chosen(sample, 4, 1)[0][0] - 1] for sample in samples]
    assert 80 < np.count_nonzero(np.array(first) == 3) < 120  # of 100, within 3 standard deviations
    both = [sample.objects.classes[[k - 1 for k, _ in chosen(sample, 4, 2)]].tolist() for sample in samples]
    assert all(sorted(pair) == [2, 3] for pair in both)
    assert {k for sample in samples for k, _ in chosen(sample, 4, 2)} >= set(range(2, 16))


def test_slopes_are_least_squares(following: pd.DataFrame) -> None:
    one = following.query("kind == 'object' and scale == 0.5").groupby(["image", "object"]).get_group(("scene-000", 1))
    expected = np.polyfit(np.log2(one["factor"]), one["weight_inside"], 1)[0]
    found = slopes(following).query("kind == 'object' and scale == 0.5 and image == 'scene-000' and object == 1")
    assert found["slope"].item() == pytest.approx(expected)


def test_with_two_scales_large_objects_is_the_same_test(following: pd.DataFrame) -> None:
    (found,) = large_objects_probed(following[following["scale"] != 0.75])
    assert found.effect is None
    assert "two scales" in found.reason


def test_the_zoom_is_that_of_things_less_that_of_stuff(following: pd.DataFrame) -> None:
    found = {m.class_: m for m in small_objects_probed(following) if m.claim == "small-objects: zoom"}
    assert list(found) == ["all", "circle", "square"]
    one, table = found["all"].effect, slopes(following).query("kind == 'image' and scale == 1")
    assert one is not None and one.low > 0
    things, stuff = (table.loc[side, "slope"].mean() for side in (table["object"] > 0, table["object"] == 0))
    assert one.effect == pytest.approx(stuff - things)
    assert one.n_objects == (table["object"] > 0).sum()
    blur = slopes(following).query("kind == 'blur' and scale == 1 and object > 0")
    assert found["all"].control is not None and len(blur) == one.n_objects


def test_shapes_are_rendered_again() -> None:
    torch.manual_seed(0)
    model = ScaleAttention(5, backbone="tiny", skip=True, head_width=8).eval()
    table = probed(model, open_dataset("shapes", "val"), 6, SHAPES)
    at_one = table[(table["factor"] == 1) & (table["object"] > 0)].pivot_table(
        "weight_inside", ["image", "scale"], "kind"
    )
    np.testing.assert_allclose(at_one["object"].dropna(), at_one["image"][at_one["object"].notna()], atol=1e-6)
    counts = table[table["kind"].isin(["object", "placebo"])].groupby(["image", "kind"])["factor"].nunique().unstack()
    assert (counts["object"] == counts["placebo"]).all()


def test_nothing_is_probed_where_nothing_can_be() -> None:
    model, sample = PlantedBranches("follow"), scenes(1)[0]
    assert sample.label is not None
    none = dataclasses.replace(sample, label=np.minimum(sample.label, 1))
    maps = see_maps(model, sample.image)
    assert none.label is not None
    assert set(probe_rows(model, none, none.label, CLASSES, maps)["kind"]) == {"image", "blur"}
