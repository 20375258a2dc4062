"""Groups of channels: hierarchical clustering of their correlation, with as many groups as further blocks would give.

Average linkage on 1 - correlation (of activations, over positions, images weighted equally). A group's stability is the
mean over bootstrap draws of blocks of its largest Jaccard overlap with a group of the draw's own clustering (Hennig
2007, who calls 0.75 and more stable). Of the numbers at which all groups are stable, that with the largest silhouette
(Rousseeuw 1987) is taken: with enough images even single channels are split off stably, which says nothing of groups.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from analysis.errors import AnalysisError
from analysis.statistics import block_draws

STABLE = 0.75
MAX_GROUPS = 20
DRAWS = 50
_DEAD = 0.01  # of the channels' mean spread


@dataclass(frozen=True, eq=False)
class Grouping:
    """``group`` int ``[C]``, from 0, -1 for dead channels; ``stability`` ``[groups]``, 0..1."""

    group: np.ndarray
    stability: np.ndarray

    def __len__(self) -> int:
        """How many groups."""
        return len(self.stability)


def responsive(moment: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Which channels are not dead: their spread over positions is 1 % or more of the channels' mean, bool ``[C]``.

    ``moment [C, C]`` and ``mean [C]`` of activations. AnalysisError: none responds.
    """
    spread = np.sqrt(np.maximum(np.diagonal(moment) - mean**2, 0))
    if not spread.any():
        raise AnalysisError("no channel of this path responds to any image: the branch is dead, train it again")
    return spread >= _DEAD * spread.mean()


def correlation(moment: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Pearson's correlation from means of x x^T ``[C, C]`` and x ``[C]``; 0 where a channel is constant."""
    covariance = moment - np.outer(mean, mean)
    spread = np.sqrt(np.maximum(np.diagonal(covariance), 0))
    scale = np.outer(spread, spread)
    return np.clip(np.divide(covariance, scale, out=np.zeros_like(covariance), where=scale > 0), -1, 1)


def tree(correlated: np.ndarray) -> np.ndarray:
    """The linkage of ``[C, C]``, as scipy writes it."""
    from scipy.cluster.hierarchy import linkage

    upper = np.triu_indices(len(correlated), 1)
    return linkage(1 - correlated[upper], "average")


def cut(linkage: np.ndarray, k: int) -> np.ndarray:
    """At most ``k`` groups, int ``[C]`` from 0."""
    from scipy.cluster.hierarchy import fcluster

    return fcluster(linkage, k, "maxclust") - 1


def stable_groups(
    moments: np.ndarray, means: np.ndarray, images: np.ndarray, number: int | None = None, seed: int = 0
) -> Grouping:
    """Groups from sums of blocks: ``moments [B, C, C]``, ``means [B, C]`` over ``images [B]`` images.

    ``number`` of groups, at most; None for a stable one. AnalysisError: not 2 or more, and fewer than live channels.
    """
    total = images.sum()
    moment, mean = moments.sum(0) / total, means.sum(0) / total
    alive = responsive(moment, mean)
    if alive.sum() < 3:
        raise AnalysisError(f"only {alive.sum()} of {len(alive)} channels respond to any image; groups need 3")
    if number is not None and not 2 <= number < alive.sum():
        raise AnalysisError(f"{number} groups of {alive.sum()} live channels; ask for 2 to {alive.sum() - 1}")
    correlated = correlation(moment, mean)[np.ix_(alive, alive)]
    whole = tree(correlated)
    trees = [tree(correlation(*one)) for one in _drawn(moments, means, images, alive, seed)]
    group = np.full(len(alive), -1)
    group[alive], stability = _chosen(correlated, whole, trees, number)
    return Grouping(group, stability)


def _drawn(
    moments: np.ndarray, means: np.ndarray, images: np.ndarray, alive: np.ndarray, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Moments and means of the live channels in each bootstrap draw: one matrix product for them all."""
    weights = block_draws(len(images), DRAWS, np.random.default_rng(seed))
    weights /= (weights @ images)[:, None]
    n = int(alive.sum())
    live = moments[:, alive][:, :, alive].reshape(len(images), -1)
    return zip((weights @ live).reshape(-1, n, n), weights @ means[:, alive], strict=True)


def _chosen(
    correlated: np.ndarray, whole: np.ndarray, trees: list[np.ndarray], number: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Labels and stability at the number of groups that is stable and fits best; where none is, at the most stable."""
    tried = []
    for k in range(2, min(MAX_GROUPS, len(correlated) - 1) + 1) if number is None else [number]:
        group = cut(whole, k)
        tried.append((group, stabilities(group, [cut(one, k) for one in trees])))
    sound = [one for one in tried if one[1].min() >= STABLE]
    if sound:
        return max(sound, key=lambda one: silhouette(correlated, one[0]))
    return max(tried, key=lambda one: one[1].min())


def silhouette(correlated: np.ndarray, group: np.ndarray) -> float:
    """How much nearer channels are to their own group than to the next, mean over channels, -1..1; alone in one: 0.

    Distances are 1 - ``correlated [C, C]``; ``group`` int ``[C]`` from 0.
    """
    member = (group[:, None] == np.arange(group.max() + 1)).astype(float)
    size, mine = member.sum(axis=0), member.astype(bool)
    total = (1 - correlated) @ member
    own = total[mine] / np.maximum(size[group] - 1, 1)
    other = np.where(mine, np.inf, total / size).min(axis=1)
    widest = np.maximum(own, other)
    value = np.divide(other - own, widest, out=np.zeros_like(own), where=(size[group] > 1) & (widest > 0))
    return float(value.mean())


def stabilities(group: np.ndarray, drawn: list[np.ndarray]) -> np.ndarray:
    """The mean over draws of each group's largest Jaccard overlap with one of the draw's groups, 0..1 ``[groups]``."""
    return np.mean([_overlaps(group, other).max(axis=1) for other in drawn], axis=0)


def _overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    both = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(both, (a, b), 1)
    either = both.sum(1)[:, None] + both.sum(0) - both
    return both / either
