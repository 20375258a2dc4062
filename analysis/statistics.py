"""Intervals and verdicts (DESIGN 6). No model, no image: tables in, numbers and words out.

mean, ratio, slope, rank_correlation, quartile_contrast     effects, for many weightings of the rows at once
estimate                effect and 95 % interval over crossed blocks and seeds, for any of them and for your own
block_draws, shuffled   bootstrap over blocks, shuffles within strata
verdict, judge, combine, overall, holm      from intervals to words

Every effect is a function of row weights ``[R, n]`` and returns ``[R]``: all ones is the effect itself, zeros on one
block leave that block out, counts are a bootstrap draw. One scheme serves them all:

    pseudo-values   p_sb = B T_s - (B - 1) T_s(without b)       T_s: the effect in seed s (Tukey 1958)
    mean squares    M_A = B sum_s (p_s. - p..)^2 / (S - 1)      M_B likewise over blocks, M_E of the residuals
    variance        S B se^2 = L + X    L = max(M_A, M_B)       X = max(0, min(M_A, M_B) - M_E)
    freedom         df = (L + X)^2 / (L^2 / df_L + X^2 / df_X)  S - 1 for seeds, B* - 1 for blocks (Satterthwaite 1946)

M_A / (S B) is var_seeds / S, M_B / (S B) var_blocks / B, M_E / (S B) the interaction that both hold (Cameron, Gelbach,
Miller 2011). Without the two maxima intervals covered 80 % where the interaction was all there was. A block counts in
B* = (sum n_b)^2 / sum n_b^2 by its objects: with B in its place six blocks covered 91 % (Carter et al. 2017). One or
two seeds are fixed, not drawn: S B se^2 = M_B, df = B* - 1. data/calibration has what all this covers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from analysis.errors import AnalysisError

Weights = np.ndarray
Effect = Callable[[pd.DataFrame, Weights], np.ndarray]
Verdict = Literal["supported", "contradicted", "negligible", "undecided", "mixed", "control failed", "not applicable"]

#: Fewer have not been calibrated.
MIN_BLOCKS = 6
#: What is said of an undecided study; takes :meth:`Estimate.detectable`.
DETECTABLE = "only effects of {} or more would be found in 4 of 5 such studies"
#: Fewer say nothing about a further training.
MIN_SEEDS = 3
_GROUPS = 100  # more blocks than this are left out by the group: 99 degrees of freedom are enough
_CELLS = 1_000_000  # of a weights matrix at a time, 8 MB
_TINY = float(np.finfo(float).tiny)


def mean(values: ArrayLike, weights: Weights) -> np.ndarray:
    """The mean over rows: ``values [n]``, ``weights [R, n]`` to ``[R]``. Its unit is that of the values."""
    return ratio(values, np.ones(weights.shape[1]), weights)


def ratio(numerator: ArrayLike, denominator: ArrayLike, weights: Weights) -> np.ndarray:
    """Sum over sum: both ``[n]``, a row an object or the sums of a whole block. NaN where the denominator is 0."""
    return _divide(weights @ np.asarray(numerator, float), weights @ np.asarray(denominator, float))


def slope(y: ArrayLike, x: ArrayLike, strata: ArrayLike, weights: Weights) -> np.ndarray:
    """Least-squares slope on the first column of ``x [n, p]`` given the others, with an intercept for every stratum.

    y per unit of x, ``[R]``; NaN where x does not vary within strata, or its columns are dependent there.
    """
    columns = np.column_stack([np.asarray(x, float), np.asarray(y, float)])
    spread = np.maximum(columns.std(0), _TINY)
    centred = (columns - columns.mean(0)) / spread
    onehot = _onehot(strata)
    sums = [weights @ (onehot * column[:, None]) for column in centred.T]
    total = weights @ onehot
    products = np.empty((len(weights), len(sums), len(sums)))
    for i, j in np.ndindex(len(sums), len(sums)):
        within = np.divide(sums[i] * sums[j], total, out=np.zeros_like(total), where=total > 0).sum(1)
        products[:, i, j] = weights @ (centred[:, i] * centred[:, j]) - within
    normal, right = products[:, :-1, :-1], products[:, :-1, -1:]
    varies = np.diagonal(normal, axis1=1, axis2=2)
    sound = (varies > 1e-9 * weights.sum(1)[:, None]).all(1) & (np.linalg.det(normal) > 1e-9 * varies.prod(1))
    slopes = np.linalg.solve(np.where(sound[:, None, None], normal, np.eye(len(sums) - 1)), right)[:, 0, 0]
    return np.where(sound, slopes * spread[-1] / spread[0], np.nan)


def rank_correlation(x: ArrayLike, y: ArrayLike, strata: ArrayLike, weights: Weights) -> np.ndarray:
    """Spearman's correlation within strata, ``[R]``: Pearson's of ranks taken, scaled to 0..1 and centred in each.

    Ranks are taken anew for every weighting; ties share their middle rank. NaN where x or y is constant.
    """
    u, v = (sum(_ranks(values, strata, weights)) - 1 for values in (x, y))
    wu, wv = weights * u, weights * v
    cross, xx, yy = ((a * b).sum(1) for a, b in ((wu, v), (wu, u), (wv, v)))
    return _divide(cross, np.sqrt(xx * yy))


def quartile_contrast(y: ArrayLike, size: ArrayLike, strata: ArrayLike, weights: Weights) -> np.ndarray:
    """Mean y in the smallest minus the largest quarter by size within each stratum, averaged over strata by rows, [R].

    Quarters are cut anew for every weighting and hold exactly a quarter of it: what a cut goes through counts in part,
    or one object more or less would make intervals 5 % wider. Strata of one size do not count.
    """
    (below, upto), onehot, y = _ranks(size, strata, weights), _onehot(strata), np.asarray(y, float)
    extent = np.maximum(upto - below, _TINY)
    ends = [weights * np.clip(part / extent, 0, 1) for part in (0.25 - below, upto - 0.75)]
    small, large = (_divide((end * y) @ onehot, end @ onehot) for end in ends)
    total = (weights @ onehot) * ((weights * (below + upto - 1) ** 2) @ onehot > 0)
    return _divide((np.nan_to_num(small - large) * total).sum(1), total.sum(1))


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b, out=np.full(np.shape(b), np.nan), where=b > 0)


def _codes(strata: ArrayLike) -> np.ndarray:
    codes = pd.factorize(np.asarray(strata), use_na_sentinel=False)[0]
    return codes.astype(int)


def _onehot(strata: ArrayLike) -> np.ndarray:
    codes = _codes(strata)
    return np.eye(codes.max() + 1)[codes]


def _ranks(x: ArrayLike, strata: ArrayLike, weights: Weights) -> tuple[np.ndarray, np.ndarray]:
    """Shares of the weight of a row's stratum that lie below its value, and up to it: 0..1, both ``[R, n]``."""
    x, codes = np.asarray(x), _codes(strata)
    if pd.isna(x).any():
        raise AnalysisError("a missing value has no rank: drop its row before asking for an effect of ranks")
    order = np.lexsort((x, codes))
    new_stratum = np.diff(codes[order], prepend=-1) != 0
    new_value = new_stratum | np.append(True, x[order][1:] != x[order][:-1])
    sums = np.zeros((len(weights), len(x) + 1))
    np.cumsum(weights[:, order], axis=1, out=sums[:, 1:])
    ties, groups = (sums[:, np.append(np.flatnonzero(new), len(x))] for new in (new_value, new_stratum))
    group = np.cumsum(new_stratum)[new_value] - 1
    start, total = groups[:, group], np.maximum(np.diff(groups), _TINY)[:, group]
    back = (np.cumsum(new_value) - 1)[np.argsort(order)]
    return ((ties[:, :-1] - start) / total)[:, back], ((ties[:, 1:] - start) / total)[:, back]


@dataclass(frozen=True)
class Estimate:
    """An effect with its 95 % interval. ``se`` and ``df`` are on the z scale (arctanh) where ``fisher``."""

    effect: float
    low: float
    high: float
    se: float
    df: float
    n_objects: int
    n_blocks: int
    n_seeds: int
    fisher: bool = False

    @property
    def scope(self) -> str:
        """What the interval speaks of: seeds are drawn from a recipe only where there are three."""
        if self.n_seeds >= MIN_SEEDS:
            return "this recipe"
        return "this checkpoint" if self.n_seeds == 1 else f"these {self.n_seeds} checkpoints"

    def p_value(self, delta: float = 0.0) -> float:
        """Of "the effect lies within ±delta", against the side it is on: below 0.05 where the interval lies beyond."""
        beyond = abs(_z(self.effect, self.fisher)) - _z(delta, self.fisher)
        statistic = beyond / self.se if self.se > 0 else float(np.sign(beyond)) * np.inf
        return min(1.0, 2 * float(stats.t.sf(statistic, self.df)))

    def detectable(self, delta: float = 0.0, power: float = 0.8) -> float:
        """The smallest true effect that such an interval would show to be beyond delta (Bloom 1995)."""
        reach = _z(delta, self.fisher) + (stats.t.ppf(0.975, self.df) + stats.t.ppf(power, self.df)) * self.se
        return float(np.tanh(reach)) if self.fisher else float(reach)


def _z(effect: Any, fisher: bool) -> Any:
    return np.arctanh(np.clip(effect, -1 + 1e-12, 1 - 1e-12)) if fisher else effect


def estimate(table: pd.DataFrame, effect: Effect, fisher: bool = False) -> Estimate:
    """Effect and 95 % interval over blocks, and over seeds where there are three (see the module).

    ``table`` has a row per object (or per block, with sums) and seed, and columns ``seed`` and ``block``; ``effect``
    takes the rows of one seed and weights ``[R, n]``: ``lambda t, w: mean(t["weight_inside"], w)``. A run on two folds
    is one seed whose rows are those of both checkpoints. ``fisher`` for correlations: averages, errors and freedom on
    arctanh of the effect. AnalysisError: fewer than six blocks, seeds that saw other blocks, an effect that is not
    defined without one of them.
    """
    block, sizes = _blocks(table)
    group = np.empty(len(sizes), int)
    group[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes)) % _GROUPS
    seeds = [(table.iloc[rows], group[block[rows]]) for rows in table.groupby("seed", sort=True).indices.values()]
    values = _z(np.stack([_left_out(*seed, effect) for seed in seeds]), fisher)
    if not np.isfinite(values).all():
        raise AnalysisError("the effect is not defined without one of the blocks: too few objects for an interval")
    per_group = np.bincount(group, sizes)
    pseudo = len(per_group) * values[:, :1] - (len(per_group) - 1) * values[:, 1:]
    se, df = crossed(pseudo, per_group.sum() ** 2 / (per_group**2).sum())
    ends = values[:, 0].mean() + np.array([0, -1, 1]) * stats.t.ppf(0.975, df) * se
    point, low, high = (np.tanh(ends) if fisher else ends).tolist()
    return Estimate(point, low, high, se, df, len(table) // len(seeds), len(sizes), len(seeds), fisher)


def _blocks(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The block of every row, counted from 0, and the rows in each; checks that they will do."""
    (block, blocks), (seed, seeds) = (pd.factorize(table[name], sort=True) for name in ("block", "seed"))
    if len(blocks) < MIN_BLOCKS:
        raise AnalysisError(f"{len(blocks)} blocks with objects are too few for an interval: {MIN_BLOCKS} are needed")
    seen = np.zeros((len(seeds), len(blocks)), bool)
    seen[seed, block] = True
    if not seen.all():
        s, b = np.argwhere(~seen)[0]
        raise AnalysisError(
            f"seed {seeds[s]} was not measured on block {blocks[b]}, as other seeds were: "
            "give its checkpoint of the other fold too, or leave that seed out"
        )
    return block, np.bincount(block)


def _left_out(rows: pd.DataFrame, group: np.ndarray, effect: Effect) -> np.ndarray:
    """The effect in one seed, whole and then without each group of blocks, ``[1 + groups]``."""
    without = np.arange(-1, group.max() + 1)
    chunks = np.array_split(without, min(len(without), -(-len(without) * len(rows) // _CELLS)))
    return np.concatenate([effect(rows, (group != chunk[:, None]).astype(float)) for chunk in chunks])


def crossed(pseudo: np.ndarray, effective_blocks: float | None = None) -> tuple[float, float]:
    """Standard error and degrees of freedom of the mean of ``pseudo [S, B]``, by the formulas of the module."""
    n_seeds, n_blocks = pseudo.shape
    by_block, by_seed = pseudo.mean(0), pseudo.mean(1)
    blocks, block_df = n_seeds * by_block.var(ddof=1), (effective_blocks or n_blocks) - 1
    if n_seeds < MIN_SEEDS:
        return float(np.sqrt(blocks / pseudo.size)), block_df
    seeds, seed_df = n_blocks * by_seed.var(ddof=1), n_seeds - 1
    residual = pseudo - by_block - by_seed[:, None] + pseudo.mean()
    interaction = (residual**2).sum() / (seed_df * (n_blocks - 1))
    (smaller, smaller_df), (larger, larger_df) = sorted([(seeds, seed_df), (blocks, block_df)])
    excess = max(0.0, smaller - interaction)
    total = larger + excess
    df = total**2 / (larger**2 / larger_df + excess**2 / smaller_df) if total > 0 else larger_df
    return float(np.sqrt(total / pseudo.size)), float(df)


def block_draws(n_blocks: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Bootstrap over blocks: how often each block is in each draw, ``[draws, n_blocks]``; times per-block sums."""
    return rng.multinomial(n_blocks, np.full(n_blocks, 1 / n_blocks), size=draws).astype(float)


def shuffled(values: ArrayLike, strata: ArrayLike, draws: int, rng: np.random.Generator) -> np.ndarray:
    """``values [n]`` shuffled within strata, ``draws`` times: ``[draws, n]``."""
    result = np.tile(np.asarray(values), (draws, 1))
    for rows in pd.Series(np.arange(result.shape[1])).groupby(np.asarray(strata)).indices.values():
        result[:, rows] = rng.permuted(result[:, rows], axis=1)
    return result


def verdict(
    low: float, high: float, delta: float, control_low: float | None = None, control_high: float | None = None
) -> Verdict:
    """DESIGN 6, for an effect signed so that the source predicts > 0; no control: None; no interval: NaN."""
    if control_low is not None and control_high is not None and not -delta < control_low <= control_high < delta:
        return "control failed"
    if np.isnan(low) or np.isnan(high):
        return "not applicable"
    if low > delta:
        return "supported"
    if high < -delta:
        return "contradicted"
    return "negligible" if -delta < low and high < delta else "undecided"


def judge(effect: Estimate, delta: float, control: Estimate | None = None) -> tuple[Verdict, str]:
    """The verdict, and a sentence where it needs a reason."""
    ends = (control.low, control.high) if control else (None, None)
    word = verdict(effect.low, effect.high, delta, *ends)
    if word == "control failed" and control:
        kind = "too wide to show that it is null" if control.p_value() > 0.05 else "not null"
        return word, f"the control is {kind}: {control.low:+.3g} to {control.high:+.3g}, not inside ±{delta:g}"
    if word == "undecided":
        return word, DETECTABLE.format(f"{effect.detectable(delta):.2g}")
    return word, ""


def combine(observed: Verdict, intervention: Verdict) -> Verdict:
    """One verdict of both kinds of evidence: what they agree on; decided both and differently, ``mixed``."""
    for word in ("not applicable", "control failed", "undecided"):
        if word in (observed, intervention):
            return word
    return observed if observed == intervention else "mixed"


def holm(p_values: ArrayLike) -> np.ndarray:
    """Adjusted p-values of a family, ``[n]`` in its order (Holm 1979)."""
    p = np.asarray(p_values, float)
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted


def overall(pooled: Verdict, classes: Sequence[Estimate], delta: float) -> Verdict:
    """The row for all classes: ``mixed`` where after Holm one class lies above delta and one below -delta."""
    sure = holm([one.p_value(delta) for one in classes]) < 0.05
    signs = {one.effect > 0 for one, is_sure in zip(classes, sure, strict=True) if is_sure}
    return "mixed" if len(signs) == 2 and pooled not in ("control failed", "not applicable") else pooled
