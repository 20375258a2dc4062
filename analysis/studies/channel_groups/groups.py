"""Groups of channels: hierarchical clustering of their correlation, of which those groups count that come back.

Average linkage on 1 - correlation (of activations, over positions, images weighted equally). A group's stability is the
mean over bootstrap draws of blocks of its largest Jaccard overlap with a group of the draw's own clustering; 0.75 and
more is stable (Hennig 2007). The tree is cut where it gives the most stable groups of three channels or more: single
channels are split off stably as well, which says nothing of groups. On CamVid the best silhouette among cuts whose
groups are *all* stable chose two, of 89 and 39 channels of 128: nothing that could belong to one of 11 classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from analysis.errors import AnalysisError
from analysis.statistics import MIN_BLOCKS, block_draws

STABLE = 0.75
SMALLEST = 3  # channels
DRAWS = 50
_DEAD = 0.01  # of the channels' mean spread


@dataclass(frozen=True, eq=False)
class Grouping:
    """``group`` int ``[C]``, from 0, -1 for channels in none; ``stability`` ``[groups]``; ``alive`` bool ``[C]``."""

    group: np.ndarray
    stability: np.ndarray
    alive: np.ndarray

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


def leaf_order(linkage: np.ndarray, alive: np.ndarray) -> np.ndarray:
    """All channels in the order of the leaves of the live ones' tree, dead ones (``alive [C]`` false) last: ``[C]``."""
    from scipy.cluster.hierarchy import leaves_list

    return np.concatenate([np.flatnonzero(alive)[leaves_list(linkage)], np.flatnonzero(~alive)])


def cut(linkage: np.ndarray, k: int) -> np.ndarray:
    """At most ``k`` groups, int ``[C]`` from 0."""
    from scipy.cluster.hierarchy import fcluster

    return fcluster(linkage, k, "maxclust") - 1


def stable_groups(
    moments: np.ndarray, means: np.ndarray, images: np.ndarray, number: int | None = None, seed: int = 0
) -> Grouping:
    """Groups from sums of blocks: ``moments [B, C, C]``, ``means [B, C]`` over ``images [B]`` images.

    Only stable ones, and of fewer than 6 blocks none; or ``number`` groups, at most, with whatever stability.
    AnalysisError: fewer than 3 live channels; a number that is not 2 or more, and fewer than these.
    """
    total = images.sum()
    moment, mean = moments.sum(0) / total, means.sum(0) / total
    alive = responsive(moment, mean)
    if alive.sum() < 3:
        raise AnalysisError(f"only {alive.sum()} of {len(alive)} channels respond to any image; groups need 3")
    if number is not None and not 2 <= number < alive.sum():
        raise AnalysisError(f"{number} groups of {alive.sum()} live channels; ask for 2 to {alive.sum() - 1}")
    group = np.full(len(alive), -1)
    if number is None and len(images) < MIN_BLOCKS:
        return Grouping(group, np.zeros(0), alive)
    whole = tree(correlation(moment, mean)[np.ix_(alive, alive)])
    trees = [tree(correlation(*one)) for one in _drawn(moments, means, images, alive, seed)]
    group[alive], stability = _clusters(whole, trees, number) if number else _most_stable(whole, trees)
    return Grouping(group, stability, alive)


def _drawn(
    moments: np.ndarray, means: np.ndarray, images: np.ndarray, alive: np.ndarray, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Moments and means of the live channels in each bootstrap draw."""
    weights = block_draws(len(images), DRAWS, np.random.default_rng(seed))
    pairs = np.flatnonzero(np.outer(alive, alive))
    live = drawn_means(moments.reshape(len(images), -1).take(pairs, axis=1), images, weights)
    n = int(alive.sum())
    return zip(live.reshape(-1, n, n), drawn_means(means[:, alive], images, weights), strict=True)


def drawn_means(sums: np.ndarray, images: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Means over the images of bootstrap draws: one matrix product for them all.

    ``sums [B, n]`` over the ``images [B]`` of each block, and how often each draw took it, ``weights [D, B]``, to
    float64 ``[D, n]``.
    """
    return (weights / (weights @ images)[:, None]) @ sums


def _clusters(whole: np.ndarray, trees: list[np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and stability of the groups at one cut."""
    group = cut(whole, k)
    return group, stabilities(group, [cut(one, k) for one in trees])


def _most_stable(whole: np.ndarray, trees: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Labels, -1 for channels in no stable group, and stability at the cut with the most stable groups."""
    n = len(whole) + 1
    cuts = [_stable_only(*_clusters(whole, trees, k)) for k in range(2, max(2, n // SMALLEST) + 1)]
    return max(cuts, key=lambda one: (len(one[1]), np.count_nonzero(one[0] >= 0)))


def _stable_only(group: np.ndarray, stability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    kept = np.flatnonzero((stability >= STABLE) & (np.bincount(group) >= SMALLEST))
    number = np.full(len(stability), -1)
    number[kept] = np.arange(len(kept))
    return number[group], stability[kept]


def stabilities(group: np.ndarray, drawn: list[np.ndarray]) -> np.ndarray:
    """The mean over draws of each group's largest Jaccard overlap with one of the draw's groups, 0..1 ``[groups]``."""
    return np.mean([_overlaps(group, other).max(axis=1) for other in drawn], axis=0)


def _overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    both = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(both, (a, b), 1)
    either = both.sum(1)[:, None] + both.sum(0) - both
    return both / either
