"""What each branch is worth to each object: exact Shapley values, in which no attention weight enters (DESIGN 6).

The players are the branches. A coalition T fuses its score maps by their plain average, and is worth

    v(T) = mean over the object's pixels of log p(class of the object)      v(nobody) = -log K

so that a branch's value is its mean marginal contribution over the orders in which branches can join (Shapley 1953);
the values of an object add up to v(all) + log K.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from analysis.datasets.sample import Objects, Sample
from analysis.models.resize import resize
from analysis.statistics import Estimate, Weights, estimate, rank_correlation, shuffled
from analysis.studies.measured import Measured
from analysis.studies.object_scale.by_class import Question
from analysis.studies.object_scale.maps import Maps

#: Of a rank correlation, for weights-matter.
SMALLEST_EFFECT = 0.1
SOURCE = "Chen §3.2, seed note 8.2"
#: How often the control shuffles; its effect is their mean.
SHUFFLES = 10
_PIECE = 4096  # pixels: the sums of a piece stay in the processor's cache


def coalition_values(maps: Maps, objects: Objects) -> Tensor:
    """v(T) of every coalition and object, float64 ``[2**S, n]``; bit s of the index says that branch s is in T.

    Sums of score maps grow by adding one branch to a smaller sum, and are never subtracted: exact to rounding.
    """
    inside = np.flatnonzero(objects.map)
    numbers = torch.from_numpy(objects.map.ravel()[inside]).long() - 1
    target = torch.from_numpy(objects.classes)[numbers]
    pixels = resize(maps.scores, maps.size, maps.align_corners).flatten(2).numpy()  # whose take is torch's twice over
    starts = range(0, len(inside), _PIECE) or (0,)
    pieces = (torch.from_numpy(pixels.take(inside[at : at + _PIECE], axis=2)) for at in starts)
    log_p = torch.cat([_log_p(*one) for one in zip(pieces, target.split(_PIECE), strict=True)], dim=1)
    area = torch.bincount(numbers, minlength=len(objects))
    values = torch.full((1 + len(log_p), len(objects)), -math.log(pixels.shape[1]), dtype=torch.float64)
    for coalition, one in enumerate(log_p, start=1):
        values[coalition] = torch.bincount(numbers, one.double(), minlength=len(objects)) / area
    return values


def _log_p(scores: Tensor, target: Tensor) -> Tensor:
    """log p(target) of every coalition but the empty one: ``scores [S, K, P]``, ``target [P]`` to ``[2**S - 1, P]``."""
    sums: dict[int, Tensor] = {}
    for coalition in range(1, 2 ** len(scores)):
        last = coalition.bit_length() - 1
        rest = coalition ^ (1 << last)
        sums[coalition] = scores[last] + sums[rest] if rest else scores[last]
    means = (one / coalition.bit_count() for coalition, one in sums.items())
    return torch.stack([mean.log_softmax(dim=0).gather(0, target[None])[0] for mean in means])


def shapley_values(values: Tensor) -> Tensor:
    """``v [2**S, n]`` to each player's value ``[S, n]``: the mean of v(T with it) - v(T) over orders of joining."""
    n_players = len(values).bit_length() - 1
    shares = [1 / (n_players * math.comb(n_players - 1, size)) for size in range(n_players)]
    result = values.new_zeros(n_players, values.shape[1])
    for player in range(n_players):
        for coalition in range(len(values)):
            if not coalition >> player & 1:
                gain = values[coalition | 1 << player] - values[coalition]
                result[player] += shares[coalition.bit_count()] * gain
    return result


def shapley_rows(maps: Maps, sample: Sample, classes: tuple[str, ...], weight: np.ndarray) -> pd.DataFrame:
    """One row per object and scale: image, object, class, scale, value (nats), weight_inside; ``weight [n, S]``."""
    objects = sample.objects
    value = shapley_values(coalition_values(maps, objects)).T.numpy()
    n, n_scales = value.shape
    return pd.DataFrame(
        {
            "image": sample.name,
            "object": np.repeat(np.arange(1, n + 1), n_scales),
            "class": np.repeat(np.array([classes[c] for c in objects.classes], dtype=object), n_scales),
            "scale": np.tile(maps.scales, n),
            "value": value.ravel(),
            "weight_inside": weight.ravel(),
        }
    )


def weights_matter_observed(shapley: pd.DataFrame) -> list[Measured]:
    """Within classes, the rank correlation of weight and Shapley value over objects and branches.

    Ranks are taken among a branch's objects of a class, in each checkpoint, which removes the branch's mean there: that
    a branch is good, and gets much weight, says nothing of whether the weights find the objects that it is good for.
    From values the mean over the object's branches is removed as well. Weights add up to 1, so they cannot hold how
    easy an object is; where large objects are easy and weights follow size, that alone gave correlations of 0.15.

    The control: the values of one object given to another of the class.
    """
    question = Question(
        "weights-matter", SOURCE, "observed", "rank correlation", SMALLEST_EFFECT, _agreement, _shuffled_agreement
    )
    return question.by_class(_relative(shapley))


def _relative(shapley: pd.DataFrame) -> pd.DataFrame:
    """Values less their object's mean; rows of an object together, in the order of the scales."""
    table = shapley.sort_values(["checkpoint", "class", "image", "object", "scale"], kind="stable", ignore_index=True)
    easy = table.groupby(["checkpoint", "image", "object"], sort=False)["value"].transform("mean")
    return table.assign(value=table["value"] - easy)


def _strata(table: pd.DataFrame) -> np.ndarray:
    return table.groupby(["checkpoint", "class", "scale"]).ngroup().to_numpy()


def _agreement(table: pd.DataFrame) -> Estimate:
    def effect(rows: pd.DataFrame, weights: Weights) -> np.ndarray:
        return rank_correlation(rows["weight_inside"], rows["value"], _strata(rows), weights)

    return _of_objects(estimate(table, effect, fisher=True), table)


def _shuffled_agreement(table: pd.DataFrame) -> Estimate:
    """The same with whole objects' values shuffled within class and checkpoint; the mean over the shuffles."""
    columns = _shuffles(table)

    def effect(rows: pd.DataFrame, weights: Weights) -> np.ndarray:
        strata = _strata(rows)
        return np.mean([rank_correlation(rows["weight_inside"], rows[c], strata, weights) for c in columns], axis=0)

    return _of_objects(estimate(table.assign(**columns), effect, fisher=True), table)


def _of_objects(found: Estimate, table: pd.DataFrame) -> Estimate:
    """Counted in objects: each has a row for every scale."""
    return replace(found, n_objects=found.n_objects // table["scale"].nunique())


def _shuffles(table: pd.DataFrame) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    n_scales = table["scale"].nunique()
    values = table["value"].to_numpy().reshape(-1, n_scales)
    donors = shuffled(np.arange(len(values)), _strata(table)[::n_scales], SHUFFLES, rng)
    return {f"shuffled {i}": values[donor].ravel() for i, donor in enumerate(donors)}
