"""The measures of ``class-channels`` as effects of row weights, for :func:`analysis.statistics.estimate`.

Groups and classes never come from the same blocks: each measure is a mean over random halvings of the blocks, once
with the one and once with the other half in each part. A block that is left out is left out of everything: clustering,
classes and affinity are made anew; only which channels live is asked once, of all. Rows of two checkpoints of a seed
(block folds) are measured apart, as channel 5 of the one has nothing to do with channel 5 of the other, and averaged by
their weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from analysis.statistics import Effect, Weights
from analysis.studies.channel_groups.ablation import WHOLE, counted
from analysis.studies.channel_groups.agreement import adjusted_mutual_information
from analysis.studies.channel_groups.groups import correlation, cut, responsive, tree
from analysis.studies.channel_groups.selectivity import top_classes
from analysis.studies.miou import class_names

Stage = Literal["before", "after"]
#: Rows of one checkpoint and path to ``[R, 1 + K]``: over all classes, then for each; or only the first column.
Measure = Callable[["Stack", Weights], np.ndarray]
_HALVINGS = 20  # clusterings jump when a block is left out: with 5 the interval of (b2) was twice as wide


@dataclass(frozen=True, eq=False)
class OfSums:
    """A measure of rows of ``channel_sums``, whichever checkpoints they are of; what it gave is kept for all classes.

    Rows are known by their index, so it serves one table.
    """

    measure: Measure
    known: dict[tuple[object, ...], np.ndarray] = field(default_factory=dict)

    def of(self, column: int) -> Effect:
        """The effect over all classes (0), or for class ``column - 1``."""
        return lambda table, weights: _over_checkpoints(table, weights, lambda rows, w: self._all(rows, w)[:, column])

    def _all(self, rows: pd.DataFrame, weights: Weights) -> np.ndarray:
        key = (*rows.index, weights.tobytes())
        if key not in self.known:
            self.known[key] = self.measure(Stack(rows), weights)
        return self.known[key]


@dataclass(frozen=True, eq=False)
class Stack:
    """Rows of ``channel_sums`` of one checkpoint and path, matrices by name."""

    rows: pd.DataFrame

    def sums(self, name: str, weights: Weights) -> np.ndarray:
        """The weighted mean over images of a matrix, flat: ``weights [R, n]`` to ``[R, ...]``."""
        total = weights @ np.stack(list(self.rows[name]))
        count = weights @ self.rows["images"].to_numpy(float)
        return total / np.where(count > 0, count, np.nan)[:, None]

    def moments(self, stage: Stage, weights: Weights) -> tuple[np.ndarray, np.ndarray]:
        """Means over images of x x^T and x, ``[R, C, C]`` and ``[R, C]``."""
        mean = self.sums(f"mean_{stage}", weights)
        c = mean.shape[1]
        return self.sums(f"moment_{stage}", weights).reshape(-1, c, c), mean

    def auc(self, stage: Stage, weights: Weights) -> np.ndarray:
        """The mean over the images that hold the class, ``[R, C, K]``; NaN where none does."""
        total = weights @ np.stack(list(self.rows[f"auc_{stage}"]))
        images = weights @ np.stack(list(self.rows["labelled"]))
        return total.reshape(len(weights), -1, images.shape[1]) / np.where(images > 0, images, np.nan)[:, None, :]

    def alive(self) -> np.ndarray:
        """Live channels over all rows, before the module; bool ``[C]``."""
        moment, mean = self.moments("before", np.ones((1, len(self.rows))))
        return responsive(moment[0], mean[0])


def _over_checkpoints(
    table: pd.DataFrame, weights: Weights, measure: Callable[[pd.DataFrame, Weights], np.ndarray]
) -> np.ndarray:
    """Each checkpoint's measure, averaged by weight; weightings that are the same for one are measured once."""
    total = np.zeros(len(weights))
    for rows in table.groupby("checkpoint", sort=True).indices.values():
        mine, back = np.unique(weights[:, rows], axis=0, return_inverse=True)
        total += measure(table.iloc[rows], mine)[back.ravel()] * weights[:, rows].sum(axis=1)
    return total / weights.sum(axis=1)


def _halves(n: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Masks ``[n]`` of both halves, each pair both ways round."""
    rng = np.random.default_rng(0)
    for _ in range(_HALVINGS):
        one = rng.permutation(n) < n // 2
        yield one, ~one
        yield ~one, one


def relation(stack: Stack, weights: Weights) -> np.ndarray:
    """Measure (a): the share of affinity on other channels of the same top class, minus their base rate.

    Mean of :func:`excess` over live channels, and over those of each class. Classes (before the module) from one half,
    affinity from the other.
    """
    alive = stack.alive()
    found = []
    for classes, rest in _halves(len(stack.rows)):
        auc = stack.auc("before", weights * classes)
        affinity = stack.sums("affinity", weights * rest).reshape(len(weights), len(alive), -1)
        tops = [top_classes(one, alive) for one in auc]
        found.append([_by_class(excess(*pair), pair[1], auc.shape[2]) for pair in zip(affinity, tops, strict=True)])
    return _mean(np.array(found))


def excess(affinity: np.ndarray, tops: np.ndarray) -> np.ndarray:
    """Of every row of ``affinity [C, C]`` with classes ``tops [C]``, -1 for none: ``[C]``, NaN where it has no class.

    For channel j: sum over i != j of x_ji [class i = class j] - b_j sum over i != j of x_ji, with b_j the share of the
    other channels that have its class. A row that is all on itself relates nothing; one on dead channels less.
    """
    member = (tops[:, None] == np.arange(tops.max(initial=0) + 1)).astype(float)
    own, top, rows = np.diagonal(affinity), np.maximum(tops, 0), np.arange(len(tops))
    share = (affinity @ member)[rows, top] - own
    base = (member.sum(axis=0)[top] - 1) / (len(tops) - 1)
    return np.where(tops >= 0, share - base * (affinity.sum(axis=1) - own), np.nan)


def _by_class(values: np.ndarray, tops: np.ndarray, n_classes: int) -> np.ndarray:
    """The mean over all channels that have a class, then over those of each, ``[1 + K]``."""
    member = (tops[:, None] == np.arange(n_classes)) & np.isfinite(values)[:, None]
    counts = np.concatenate([[member.sum()], member.sum(axis=0)])
    sums = np.where(member, values[:, None], 0).sum(axis=0)
    sums = np.concatenate([[sums.sum()], sums])
    return np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)


def selectivity_change(stack: Stack, weights: Weights) -> np.ndarray:
    """Measure (b1): a channel's area under the curve for its top class, after minus before the module.

    Top classes of either stage from one half of the blocks, areas from the other. With the gate at 0 the module is the
    identity, and both stages the same: what the measure subtracts for it is 0.
    """
    alive = stack.alive()
    return _selectivity(stack, weights, "after", alive) - _selectivity(stack, weights, "before", alive)


def _selectivity(stack: Stack, weights: Weights, stage: Stage, alive: np.ndarray) -> np.ndarray:
    found = []
    for choosing, rest in _halves(len(stack.rows)):
        tops = [top_classes(one, alive) for one in stack.auc(stage, weights * choosing)]
        aucs = stack.auc(stage, weights * rest)
        values = [one[np.arange(len(top)), np.maximum(top, 0)] for one, top in zip(aucs, tops, strict=True)]
        found.append([_by_class(*pair, aucs.shape[2]) for pair in zip(values, tops, strict=True)])
    return _mean(np.array(found))


def agreement_change(stack: Stack, weights: Weights) -> np.ndarray:
    """Measure (b2): adjusted mutual information of groups and top classes, after minus before the module."""
    return (agreement(stack, weights, "after") - agreement(stack, weights, "before"))[:, None]


def agreement(stack: Stack, weights: Weights, stage: Stage) -> np.ndarray:
    """AMI of groups, from one half of the blocks, and top classes, from the other, ``[R]``.

    As many groups as there are labelled classes, whatever number is stable: a pair of groups cannot agree with many.
    """
    alive, found = stack.alive(), []
    k = int((np.stack(list(stack.rows["labelled"])).sum(axis=0) > 0).sum())
    for groups, rest in _halves(len(stack.rows)):
        moments, means = stack.moments(stage, weights * groups)
        aucs = stack.auc(stage, weights * rest)
        found.append([_agree(*one, alive, k) for one in zip(moments, means, aucs, strict=True)])
    return _mean(np.array(found))


def _agree(moment: np.ndarray, mean: np.ndarray, auc: np.ndarray, alive: np.ndarray, k: int) -> float:
    correlated = correlation(moment[np.ix_(alive, alive)], mean[alive])
    if not np.isfinite(correlated).all():
        return float("nan")
    return adjusted_mutual_information(cut(tree(correlated), k), top_classes(auc, alive)[alive])


@dataclass(frozen=True)
class Ablated:
    """The intervention: IoU drop on a group's class minus on the others, less the same for random sets, in points.

    Of rows of :func:`per_image`; mean over the groups of a class, or over ``all``.
    """

    class_: str

    def __call__(self, table: pd.DataFrame, weights: Weights) -> np.ndarray:
        """The contrast under every weighting of the images, ``[R]``."""
        return _over_checkpoints(table, weights, self._contrast)

    def _contrast(self, rows: pd.DataFrame, weights: Weights) -> np.ndarray:
        done, names = list(rows["done"].iloc[0]), list(rows["names"].iloc[0])
        counts = [
            (weights @ np.stack(list(rows[name]))).reshape(len(weights), len(done), len(names))
            for name in ("both", "either")
        ]
        whole = _iou(counts, [done.index((WHOLE, 0, ""))])
        contrasts = []
        for group, of_class in {group: c for group, draw, c in done if draw > 0 and self.class_ in ("all", c)}.items():
            at = [q for q, (other, _, _) in enumerate(done) if other == group]  # the group, then its random sets
            own, random = (
                _own_less_others(whole - _iou(counts, mine), names.index(of_class)) for mine in (at[:1], at[1:])
            )
            contrasts.append(own - random)
        return _mean(np.array(contrasts).reshape(-1, len(weights)))


def _iou(counts: Sequence[np.ndarray], done: list[int]) -> np.ndarray:
    """IoU in per cent, ``[R, K]``, of what some replacements count together; ``counts`` ``[R, replacements, K]``."""
    both, either = (one[:, done].sum(axis=1) for one in counts)
    return 100 * np.divide(both, either, out=np.full(both.shape, np.nan), where=either > 0)


def _own_less_others(lost: np.ndarray, c: int) -> np.ndarray:
    """``lost [R, K]``: that of class c minus the mean of the others that there are, ``[R]``."""
    return lost[:, c] - _mean(np.delete(lost, c, axis=1).T)


def per_image(ablation: pd.DataFrame) -> pd.DataFrame:
    """``channel_ablation`` with one row an image: counts of all replacements in one list each."""
    both, either = counted(ablation)
    names, rows = class_names(ablation), []
    for index in ablation.groupby(["checkpoint", "image"], sort=True).indices.values():
        mine = ablation.iloc[index]
        done = list(mine[["group", "draw", "class"]].itertuples(index=False, name=None))
        counts = {"both": both[index].ravel(), "either": either[index].ravel()}
        what = mine.iloc[0][["checkpoint", "recipe", "seed", "block", "image"]].to_dict()
        rows.append({**what, **counts, "done": done, "names": names})
    return pd.DataFrame(rows)


def _mean(values: np.ndarray) -> np.ndarray:
    """The mean over the first axis of what is defined, NaN where nothing is."""
    there = np.isfinite(values)
    n = there.sum(axis=0)
    return np.divide(np.where(there, values, 0).sum(axis=0), n, out=np.full(n.shape, np.nan), where=n > 0)
