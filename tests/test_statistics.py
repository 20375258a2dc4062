"""Effects against scipy and loops, intervals against textbook cases; what they cover is in test_calibration."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.errors import AnalysisError
from analysis.statistics import (
    Estimate,
    block_draws,
    crossed,
    estimate,
    mean,
    quartile_contrast,
    rank_correlation,
    ratio,
    shuffled,
    slope,
)

EFFECTS = {
    "mean": lambda t, w: mean(t["y"], w),
    "ratio": lambda t, w: ratio(t["y"], t["x"], w),
    "slope": lambda t, w: slope(t["y"], t[["x", "z"]], t["class"], w),
    "rank": lambda t, w: rank_correlation(t["x"], t["y"], t["class"], w),
    "contrast": lambda t, w: quartile_contrast(t["y"], t["x"], t["class"], w),
}
SEEDS = st.integers(0, 2**32 - 1)
effects = pytest.mark.parametrize("effect", EFFECTS.values(), ids=EFFECTS.keys())


def objects(seed: int, n: int = 60, seeds: int = 1, blocks: int = 8) -> pd.DataFrame:
    """Areas x (skewed, with ties), covariate z, weight y; three classes; every block with an object."""
    rng = np.random.default_rng(seed)
    block = np.append(np.arange(blocks), rng.integers(0, blocks, n - blocks))
    x, z, group = np.ceil(rng.lognormal(2, 1, n)), rng.normal(size=n), rng.integers(0, 3, n)
    one = pd.DataFrame({"block": block, "x": x, "z": z, "class": group})
    noise = rng.normal(size=(seeds, n)) + rng.normal(size=(seeds, 1))
    return pd.concat([one.assign(seed=s, y=np.log(x) - z + noise[s] + group) for s in range(seeds)], ignore_index=True)


def whole(effect: Callable, table: pd.DataFrame) -> float:
    return float(effect(table, np.ones((1, len(table))))[0])


@effects
@given(SEEDS)
def test_counts_are_repeated_rows(effect: Callable, seed: int) -> None:
    table = objects(seed)
    counts = np.random.default_rng(seed).integers(0, 3, (4, len(table)))
    repeated = [whole(effect, table.loc[table.index.repeat(row)]) for row in counts]
    np.testing.assert_allclose(effect(table, counts.astype(float)), repeated, rtol=1e-7, atol=1e-9)


@effects
@given(SEEDS, st.floats(0.01, 100), st.floats(-10, 10))
def test_order_names_and_units_do_not_matter(effect: Callable, seed: int, unit: float, offset: float) -> None:
    table = objects(seed, seeds=3)
    shuffled_rows = table.sample(frac=1, random_state=seed % 1000).assign(
        **{"class": lambda t: t["class"].map(dict(enumerate("cab"))), "block": lambda t: "b" + t["block"].astype(str)}
    )
    before, after = estimate(table, effect), estimate(shuffled_rows, effect)
    assert (after.effect, after.low, after.df) == pytest.approx((before.effect, before.low, before.df), rel=1e-6)
    scaled = estimate(table.assign(y=unit * table["y"]), effect)
    factor = 1 if effect is EFFECTS["rank"] else unit
    assert scaled.low == pytest.approx(factor * before.low, rel=1e-6, abs=1e-9 * unit)
    if effect is not EFFECTS["ratio"]:
        shift = offset if effect is EFFECTS["mean"] else 0.0
        shifted = estimate(table.assign(y=table["y"] + offset), effect)
        assert shifted.high == pytest.approx(before.high + shift, rel=1e-6, abs=1e-6)


@given(SEEDS)
def test_against_scipy(seed: int) -> None:
    table = objects(seed)
    single = np.zeros(len(table))
    ones = np.ones((1, len(table)))
    expected = stats.spearmanr(table["x"], table["y"]).statistic
    assert rank_correlation(table["x"], table["y"], single, ones)[0] == pytest.approx(expected)
    line = stats.linregress(table["x"], table["y"])
    assert slope(table["y"], table["x"], single, ones)[0] == pytest.approx(line.slope)
    design = np.column_stack([table[["x", "z"]], pd.get_dummies(table["class"])])
    fitted = np.linalg.lstsq(design, table["y"], rcond=None)[0]
    assert whole(EFFECTS["slope"], table) == pytest.approx(fitted[0])


@given(SEEDS)
def test_effects_within_classes_ignore_what_lies_between_them(seed: int) -> None:
    table = objects(seed)
    moved = table.assign(y=table["y"] + 50 * table["class"], x=table["x"] * 10.0 ** table["class"])
    monotone = table.assign(x=table["x"] ** 3, y=np.exp(table["y"]))
    assert whole(EFFECTS["rank"], moved) == pytest.approx(whole(EFFECTS["rank"], table))
    assert whole(EFFECTS["rank"], monotone) == pytest.approx(whole(EFFECTS["rank"], table))
    assert whole(EFFECTS["contrast"], moved) == pytest.approx(whole(EFFECTS["contrast"], table))


def test_quartiles_are_quarters_of_each_class() -> None:
    table = pd.DataFrame({"x": [*range(8), *range(100, 104)], "y": [9, 9, 0, 0, 0, 0, 1, 1, 7, 0, 0, 3]})
    table["class"] = [0] * 8 + [1] * 4
    assert whole(EFFECTS["contrast"], table) == pytest.approx((8 * 8 + 4 * 4) / 12)
    six = pd.DataFrame({"x": range(6), "y": [1, 3, 0, 0, 0, 0], "class": 0})
    assert whole(EFFECTS["contrast"], six) == pytest.approx((1 + 3 / 2) / 1.5)  # a quarter is one object and a half
    lone = pd.concat([six, pd.DataFrame({"x": [5], "y": [7], "class": [1]})])
    assert whole(EFFECTS["contrast"], lone) == pytest.approx(whole(EFFECTS["contrast"], six))


def test_limits() -> None:
    x = np.arange(20.0)
    ones, strata = np.ones((1, 20)), np.zeros(20)
    assert rank_correlation(x, np.exp(x), strata, ones)[0] == pytest.approx(1)
    assert rank_correlation(x, -x, strata, ones)[0] == pytest.approx(-1)
    assert np.isnan(rank_correlation(x, strata, strata, ones)[0])
    assert np.isnan(slope(x, strata, strata, ones)[0])
    halves = x > 9
    assert np.isnan(slope(x, 0.1 + halves / 3, halves, ones)[0])
    assert np.isnan(slope(x, np.column_stack([x, 2 * x]), strata, ones)[0])
    assert np.isnan(mean(x, np.zeros((1, 20)))[0])
    with pytest.raises(AnalysisError, match="no rank"):
        rank_correlation(np.where(x > 3, x, np.nan), x, strata, ones)


def cells(values: np.ndarray) -> pd.DataFrame:
    """A row for each of ``[S, B]``."""
    seed, block = np.indices(values.shape)
    return pd.DataFrame({"seed": seed.ravel(), "block": block.ravel(), "y": values.ravel()})


def expect_t_interval(found: Estimate, sample: np.ndarray) -> None:
    textbook = stats.ttest_1samp(sample, 0.0)
    interval = textbook.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert (found.df, found.p_value()) == pytest.approx((len(sample) - 1, textbook.pvalue))


@given(SEEDS, st.integers(3, 6), st.integers(6, 12))
def test_one_sample_t_interval_where_only_one_side_varies(seed: int, n_seeds: int, n_blocks: int) -> None:
    rng = np.random.default_rng(seed)
    blocks, seeds = rng.normal(size=(1, n_blocks)), rng.normal(size=(n_seeds, 1))
    over_seeds = np.tile(seeds, n_blocks)
    expect_t_interval(estimate(cells(blocks), EFFECTS["mean"]), blocks[0])
    expect_t_interval(estimate(cells(np.tile(blocks, (n_seeds, 1))), EFFECTS["mean"]), blocks[0])
    expect_t_interval(estimate(cells(over_seeds), EFFECTS["mean"]), seeds[:, 0])
    two = rng.normal(size=(2, n_blocks))
    expect_t_interval(estimate(cells(two), EFFECTS["mean"]), two.mean(0))  # fixed seeds: their mean, over blocks


@given(SEEDS)
def test_crossed_variance_is_the_two_way_table(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(4, 1)) * 2 + rng.normal(size=(1, 9)) * 2 + 0.1 * rng.normal(size=(4, 9))
    se, df = crossed(y)
    seeds, blocks = y.mean(1).var(ddof=1) / 4, y.mean(0).var(ddof=1) / 9
    residual = y - y.mean(0) - y.mean(1, keepdims=True) + y.mean()
    assert se**2 == pytest.approx(seeds + blocks - (residual**2).sum() / 24 / 36, rel=1e-9)
    assert min(3, 8) <= df <= 3 + 8 + 1e-9


def test_interaction_never_makes_an_interval_narrower_than_seeds_or_blocks_alone() -> None:
    for seed in range(50):
        y = np.random.default_rng(seed).normal(size=(3, 6))
        assert crossed(y)[0] ** 2 >= max(y.mean(1).var(ddof=1) / 3, y.mean(0).var(ddof=1) / 6) - 1e-12


def test_many_blocks_are_left_out_by_the_group() -> None:
    y = np.random.default_rng(0).normal(size=(1, 5000))
    found = estimate(cells(y), EFFECTS["mean"])
    assert (found.n_blocks, found.df) == (5000, pytest.approx(99))
    assert found.se == pytest.approx(y.std() / np.sqrt(5000), rel=0.2)


def test_blocks_count_by_their_objects() -> None:
    table = cells(np.random.default_rng(0).normal(size=(1, 60)))
    table["block"] = np.repeat(range(6), [5, 5, 5, 5, 10, 30])
    assert estimate(table, EFFECTS["mean"]).df == pytest.approx(60**2 / (4 * 25 + 100 + 900) - 1)


def test_scope() -> None:
    scopes = [estimate(objects(0, seeds=n), EFFECTS["mean"]).scope for n in (1, 2, 3)]
    assert scopes == ["this checkpoint", "these 2 checkpoints", "this recipe"]


def test_correlations_stay_below_one() -> None:
    table = objects(3, seeds=3).assign(y=lambda t: t["x"] + 2 * t["y"])
    found = estimate(table, EFFECTS["rank"], fisher=True)
    assert 0 < found.low < found.effect < found.high < 1


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (objects(0, blocks=5), "5 blocks with objects are too few"),
        (objects(0, seeds=3).query("seed != 1 or block != 2"), "seed 1 was not measured on block 2.*other fold too"),
        (objects(0).assign(x=0.0), "not defined without one of the blocks"),
    ],
)
def test_errors(table: pd.DataFrame, message: str) -> None:
    with pytest.raises(AnalysisError, match=message):
        estimate(table, EFFECTS["rank"])


def test_resampling() -> None:
    rng = np.random.default_rng(0)
    draws = block_draws(7, 100, rng)
    assert draws.shape == (100, 7) and (draws.sum(1) == 7).all()
    values, strata = rng.normal(size=40), rng.integers(0, 3, 40)
    mixed = shuffled(values, strata, 50, rng)
    for group in range(3):
        assert (np.sort(mixed[:, strata == group], axis=1) == np.sort(values[strata == group])).all()
    null = [rank_correlation(values, row, strata, np.ones((1, 40)))[0] for row in mixed]
    assert abs(np.mean(null)) < 0.1


@pytest.mark.slow
def test_two_thousand_resamples_of_twenty_thousand_objects() -> None:
    rng = np.random.default_rng(0)
    block, strata, x, y = rng.integers(0, 500, 20_000), rng.integers(0, 11, 20_000), *rng.random((2, 20_000))
    started = time.process_time()
    for draws in np.split(block_draws(500, 2000, rng), 40):
        rank_correlation(x, y, strata, draws[:, block])
    assert time.process_time() - started < 10
