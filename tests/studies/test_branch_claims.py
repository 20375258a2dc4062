"""Claims on branches: tables of trainings whose differences are known."""

from collections.abc import Iterable
from itertools import product

import numpy as np
import pandas as pd
import pytest

from analysis.statistics import judge
from analysis.studies.branches import (
    attention_fusion,
    discriminative_branches,
    distinct_scales,
    extra_supervision,
    scale_told,
)
from analysis.studies.branches.study import scale_probe
from analysis.studies.measured import Measured
from analysis.studies.pairing import crossed, recipe_fields

BLOCKS = 12
CLASSES = ("road", "car")
SPLITS = ("blocks-odd", "blocks-even")
NONE = "camvid-scale model.extra_supervision=none"


def how(recipe: str) -> dict[str, str]:
    """The columns that say how a model was trained."""
    fields = recipe_fields(recipe)[1]
    names = {"fusion": "attention", "extra_supervision": "per_scale"}
    return {name: fields.get(f"model.{name}", default) for name, default in names.items()}


def scored(
    recipe: str,
    quality: float,
    seeds: Iterable[int] = (0, 1, 2),
    maps: Iterable[str] = ("fused",),
    splits: Iterable[str] = SPLITS,
) -> list:
    """Rows of ``branches``: every class has an IoU of ``quality`` plus noise, six blocks a fold."""
    rows = []
    for seed, block, image in product(seeds, range(BLOCKS), range(3)):
        if (split := SPLITS[block % 2]) in splits:
            noise = np.random.default_rng([seed, block, image]).normal(scale=0.004, size=len(CLASSES))
            same = {"seed": seed, "dataset": "made", "split": split, "block": f"b{block}", "image": f"{block}-{image}"}
            counts = {f"union_{name}": 100_000 for name in CLASSES}
            hits = {f"intersection_{name}": 100_000 * (quality + n) for name, n in zip(CLASSES, noise, strict=True)}
            named = {"recipe": recipe, "checkpoint": f"{recipe}-{split}-{seed}", **how(recipe)}
            rows += [{**same, **counts, **hits, **named, "map": m} for m in maps]
    return rows


def first(rows: list[Measured], evidence: str) -> Measured:
    return next(row for row in rows if row.evidence == evidence and row.class_ == "all")


def test_extra_supervision_is_the_difference_of_two_trainings() -> None:
    table = pd.DataFrame(scored("camvid-scale", 0.55) + scored(NONE, 0.50))
    rows = extra_supervision(table)
    assert [row.class_ for row in rows] == ["all", *CLASSES]
    for row in rows:
        assert row.effect is not None
        assert row.effect.effect == pytest.approx(5)
        assert (row.effect.n_seeds, row.effect.n_blocks) == (3, BLOCKS)
        assert judge(row.effect, row.smallest_effect)[0] == "supported"
        assert "no control: with AdamW" in row.reason


def test_the_branch_that_gains_least_decides() -> None:
    table = pd.DataFrame(
        scored("camvid-scale", 0.55, maps=("x100", "x50", "fused"))
        + scored(NONE, 0.30, maps=("x100", "fused"))
        + scored(NONE, 0.56, maps=("x50",))
    )
    decides = discriminative_branches(table)[0]
    assert decides.effect is not None
    assert decides.effect.effect == pytest.approx(-1)
    assert decides.reason == "x50 alone"


def test_attention_must_beat_the_better_rival() -> None:
    table = pd.DataFrame(
        scored("camvid-scale", 0.55)
        + scored("camvid-scale model.fusion=average", 0.52)
        + scored("camvid-scale model.fusion=max", 0.54)
        + scored("camvid-scale", 0.50, maps=("average",))
        + scored("camvid-scale", 0.30, maps=("max",))
    )
    rows = attention_fusion(table)
    retrained, swapped = first(rows, "observed"), first(rows, "intervention")
    assert retrained.effect is not None
    assert swapped.effect is not None
    assert (retrained.effect.effect, swapped.effect.effect) == (pytest.approx(1), pytest.approx(5))
    assert retrained.reason.startswith("against max; only effects of 0.")
    assert swapped.reason.startswith("against average; only effects of 0.")


def test_where_undecided_the_verdict_itself_says_what_would_be_found() -> None:
    table = pd.DataFrame(scored("camvid-scale", 0.5) + scored("camvid-scale", 0.495, maps=("average", "max")))
    table.loc[table["map"] == "max", "intersection_car"] += np.random.default_rng(0).normal(0, 1500, 108)
    swapped = first(attention_fusion(table), "intervention")
    assert swapped.effect is not None
    word, said = judge(swapped.effect, swapped.smallest_effect)
    assert (word, swapped.reason) == ("undecided", "against max")
    assert said.startswith("only effects of")


def test_of_several_recipes_the_papers_fusions_are_swapped() -> None:
    def swapped(*recipes: str) -> Measured:
        parts = [scored(r, 0.6 + 0.1 * i) + scored(r, 0.5, maps=("average", "max")) for i, r in enumerate(recipes)]
        return first(attention_fusion(pd.concat(map(pd.DataFrame, parts))), "intervention")

    both = swapped("camvid-scale", NONE)
    assert both.effect is not None
    assert both.effect.effect == pytest.approx(10)
    assert "one at a time" in swapped("a", "b").reason


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (scored("camvid-scale", 0.5), "trained with none"),
        (
            scored("camvid-scale", 0.5) + scored("camvid-scale epochs=3 model.extra_supervision=none", 0.5),
            "differ in other fields",
        ),
        (
            scored("camvid-scale", 0.5, [0]) + scored(NONE, 0.5, [1]),
            "no seed was trained with each",
        ),
        (
            scored("a", 0.5)
            + scored("b", 0.5)
            + scored("a model.extra_supervision=none", 0.5)
            + scored("b model.extra_supervision=none", 0.5),
            "2 recipes",
        ),
    ],
)
def test_what_cannot_be_compared_says_why(rows: list, reason: str) -> None:
    measured = extra_supervision(pd.DataFrame(rows))
    assert len(measured) == 1
    assert measured[0].effect is None
    assert reason in measured[0].reason


def test_two_checkpoints_of_one_training_are_not_averaged() -> None:
    table = pd.DataFrame(scored("camvid-scale", 0.5) + scored(NONE, 0.5))
    again = table.assign(checkpoint=table.checkpoint + "-earlier")
    assert "two checkpoints of seed 0" in extra_supervision(pd.concat([table, again]))[0].reason


def test_a_branch_that_one_recipe_lacks_is_no_reason_to_stop() -> None:
    two, names = "model.scales=(1.0, 0.5)", ("x100", "x75", "x50")
    table = pd.DataFrame(
        scored("camvid-scale", 0.5, maps=names)
        + scored(NONE, 0.5, maps=names)
        + scored(f"camvid-scale {two}", 0.5, maps=names[::2])
        + scored(f"{NONE} {two}", 0.5, maps=names[::2])
    )
    assert "2 recipes" in discriminative_branches(table)[0].reason


def test_seeds_of_other_folds_are_left_out_and_that_is_said() -> None:
    """per_scale: seeds 0 to 2 on both folds; none: 0 and 1 on one, 0 on both."""
    ragged = scored(NONE, 0.5, [0, 1], splits=SPLITS[:1]) + scored(NONE, 0.5, [0], splits=SPLITS[1:])
    row = extra_supervision(pd.DataFrame(scored("camvid-scale", 0.55) + ragged))[0]
    assert row.effect is not None
    assert row.effect.effect == pytest.approx(5)
    assert (row.effect.n_seeds, row.effect.n_blocks) == (2, 6)
    assert "seeds 0, 1 on blocks-odd only" in row.reason


@pytest.mark.parametrize(
    ("runs", "kept"),
    [
        ("0a 0b 1a 1b 2a 2b", "0a 0b 1a 1b 2a 2b"),
        ("0a 0b 1a 1b 2a", "0a 1a 2a"),  # three seeds speak of the recipe
        ("0a 0b 1a 1b 2a 2b 3a", "0a 0b 1a 1b 2a 2b"),
        ("0a 0b 1a 1b 2b 3a", "0a 1a 3a"),
        ("0a 1b", "0a"),
    ],
)
def test_the_seeds_kept_all_have_the_same_splits(runs: str, kept: str) -> None:
    rows = pd.DataFrame([{"seed": int(s), "dataset": "made", "split": split} for s, split in runs.split()])
    found, remark = crossed(rows)
    assert " ".join(found["seed"].astype(str) + found["split"]) == kept
    assert (remark == "") == (runs == kept)


def test_one_recipes_ragged_seeds_are_left_out_too() -> None:
    table = made_features("camvid-scale", {"trained": 0.5, "untrained": 0.9}, [0, 1, 2])
    table = table[(table.seed < 2) | (table.split == SPLITS[0])]
    observed, _, told = distinct_scales(table, scale_probe(table))
    for row in (observed, told):
        assert row.effect is not None
        assert (row.effect.n_seeds, row.effect.n_blocks) == (3, 6)
        assert "on blocks-odd only" in row.reason


def test_how_a_model_was_trained_does_not_hang_on_its_label() -> None:
    """Checkpoints that do not say their recipe are called by their name."""
    table = pd.DataFrame(scored("converted", 0.5, [0], maps=("fused", "average", "max"))).assign(fusion="max")
    assert "trained with attention" in first(attention_fusion(table), "intervention").reason


def test_labels_of_recipes_are_read() -> None:
    label = "camvid-scale model.fusion=max crop=(240, 320) model.scales=(1.0, 0.5)"
    fields = {"model.fusion": "max", "crop": "(240, 320)", "model.scales": "(1.0, 0.5)"}
    assert recipe_fields(label) == ("camvid-scale", fields)


def made_features(recipe: str, alike: dict[str, float], seeds: Iterable[int] = (0, 1, 2)) -> pd.DataFrame:
    """Rows of ``branch_features``: branches share the part ``alike[model]`` of their variance."""
    rows = []
    for seed in seeds:
        for model, shared in alike.items():
            for block, image, draw in np.ndindex(BLOCKS, 6, 2):
                rng = np.random.default_rng([seed, block, image, draw])
                common = rng.normal(size=4)
                split = SPLITS[block % 2]
                same = {"seed": seed, "dataset": "made", "split": split, "block": f"b{block}", "model": model}
                named = {**same, "recipe": recipe, "checkpoint": f"{recipe}-{split}-{seed}", **how(recipe)}
                for branch in ("x100", "x75", "x50"):
                    vector = np.sqrt(shared) * common + np.sqrt(1 - shared) * rng.normal(size=4)
                    rows.append(
                        {**named, "image": f"{block}-{image}", "draw": draw, "branch": branch, "features": vector}
                    )
    return pd.DataFrame(rows)


def test_distinct_scales_finds_branches_that_training_made_differ() -> None:
    with_it = made_features("camvid-scale", {"trained": 0.5, "untrained": 0.95})
    without = made_features(NONE, {"trained": 0.95, "untrained": 0.95})
    both = pd.concat([with_it, without])
    observed, retrained, probed = distinct_scales(both, scale_probe(both))
    assert probed.claim == "distinct-scales: probe"
    assert probed.effect is not None
    for row in (observed, retrained):
        assert row.effect is not None
        assert row.effect.n_seeds == 3
        assert judge(row.effect, row.smallest_effect)[0] == "supported"


def test_distinct_scales_finds_nothing_where_nothing_changed() -> None:
    table = made_features("camvid-scale", {"trained": 0.9, "untrained": 0.9})
    observed, retrained, probed = distinct_scales(table)
    assert observed.effect is not None
    assert judge(observed.effect, observed.smallest_effect)[0] == "negligible"
    assert "trained with none" in retrained.reason
    assert "scale_classifier" in probed.reason
    told = scale_told(scale_probe(table))
    assert told.low <= 0 <= told.high
