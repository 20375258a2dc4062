"""What is measured for ``class-channels`` and ``bare-channels`` (DESIGN 6)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.errors import AnalysisError
from analysis.statistics import Effect, Estimate, Weights, estimate
from analysis.studies.channel_groups.effects import (
    Ablated,
    OfSums,
    agreement_change,
    per_image,
    relation,
    selectivity_change,
)
from analysis.studies.channel_groups.sums import PATHS
from analysis.studies.measured import Evidence, Measured
from analysis.studies.miou import miou

SOURCE = "Fu §3.3, user question"
#: DESIGN 6: share of affinity, area under the curve, AMI; points of IoU.
SMALLEST, SMALLEST_POINTS = 0.05, 1.0
SMALLEST_MIOU = 0.5


@dataclasses.dataclass(frozen=True)
class _Sentence:
    """One measure of a claim: whatever its rows for all classes and for each have in common."""

    claim: str
    evidence: Evidence
    unit: str
    smallest_effect: float
    source: str = SOURCE

    def row(self, class_: str, effect: Estimate | str, control: Estimate | None = None) -> Measured:
        """The row of one class; a string says why there is no effect."""
        known, reason = (None, effect) if isinstance(effect, str) else (effect, "")
        shared = (self.unit, self.smallest_effect, reason)
        return Measured(self.claim, self.source, class_, self.evidence, known, control, *shared)


_RELATION = _Sentence("class-channels", "observed", "share of affinity", SMALLEST)
_BEYOND = dataclasses.replace(_RELATION, claim="class-channels: beyond controls")
_SELECTIVITY = _Sentence("class-channels: selectivity", "observed", "area under the ROC curve", SMALLEST)
_AGREEMENT = _Sentence("class-channels: agreement", "observed", "adjusted mutual information", SMALLEST)
_ABLATION = _Sentence("class-channels", "intervention", "points of IoU", SMALLEST_POINTS)
_BARE = _Sentence("bare-channels", "observed", "share of affinity", SMALLEST, "Fu §3.3, seed note")
_BARE_MIOU = dataclasses.replace(_BARE, evidence="intervention", unit="points of mIoU", smallest_effect=SMALLEST_MIOU)


def class_channels(channel_sums: pd.DataFrame, channel_ablation: pd.DataFrame | None = None) -> list[Measured]:
    """The rows of ``class-channels`` for one recipe: measure (a), the ablation, and three sentences of their own.

    Tables of any number of checkpoints of the recipe. The control is the more extreme of two: the same module on the
    position branch's features, and on those of an untrained channel branch. ``class-channels: beyond controls`` is
    measure (a) less that of the higher control: affinity is a function of the features, and any features that know
    classes, trained with the module or not, have channels whose energies follow them. ``: selectivity`` and
    ``: agreement`` are measure (b).
    """
    names = _with_all(_classes(channel_sums))
    sums = channel_sums.reset_index(drop=True)
    related, selective = OfSums(relation), OfSums(selectivity_change)
    rows = [_observed(_RELATION, sums, related.of(i), name) for i, name in names]
    rows += [_BEYOND.row(name, _beyond(sums, related.of(i))) for i, name in names]
    rows += [_observed(_SELECTIVITY, sums, selective.of(i), name) for i, name in names]
    rows.append(_observed(_AGREEMENT, sums, OfSums(agreement_change).of(0), "all"))
    if channel_ablation is None:
        return [*rows, _ABLATION.row("all", "the groups were not ablated")]
    images = per_image(channel_ablation)
    return [*rows, *(_ablated(images, channel_ablation["class"], name) for _, name in names)]


def _ablated(images: pd.DataFrame, group_classes: pd.Series, name: str) -> Measured:
    if name != "all" and not (group_classes == name).any():
        return _ABLATION.row(name, f"no group of channels is most selective for {name}")
    return _ABLATION.row(name, _try(images, Ablated(None if name == "all" else name)))


def _classes(sums: pd.DataFrame) -> tuple[str, ...]:
    found = {tuple(names) for names in sums["classes"]}
    if len(found) != 1:
        raise AnalysisError("checkpoints of different classes cannot be measured together; give those of one data set")
    return found.pop()


def _with_all(names: Sequence[str]) -> list[tuple[int, str]]:
    """Every row's name, and its column in a measure."""
    return list(enumerate(["all", *names]))


def _observed(sentence: _Sentence, sums: pd.DataFrame, measure: Effect, name: str) -> Measured:
    effect, *controls = (_of_path(sums, path, measure) for path in PATHS)
    known = [one for one in controls if isinstance(one, Estimate)]
    return sentence.row(name, effect, max(known, key=_reach, default=None))


def _beyond(sums: pd.DataFrame, measure: Effect) -> Estimate | str:
    """The smaller of the differences to the two controls, blocks paired; a string where one is not defined."""
    found = []
    for control in PATHS[1:]:
        rows = sums[sums["path"].isin([PATHS[0], control])]
        found.append(_of_images(_try(rows, _Between(measure, "path", PATHS[0], control)), rows))
    known = [one for one in found if isinstance(one, Estimate)]
    return (
        min(known, key=lambda one: one.effect)
        if len(known) == len(found)
        else next(one for one in found if isinstance(one, str))
    )


def _of_path(sums: pd.DataFrame, path: str, measure: Effect) -> Estimate | str:
    rows = sums[sums["path"] == path]
    return _of_images(_try(rows, measure), rows)


def _of_images(found: Estimate | str, rows: pd.DataFrame) -> Estimate | str:
    """With the number of images that a seed saw, where a row holds the sums of several."""
    if isinstance(found, str):
        return found
    images = rows.drop_duplicates(["checkpoint", "block"])["images"].sum()
    return dataclasses.replace(found, n_objects=int(images) // found.n_seeds)


def _reach(control: Estimate) -> float:
    """How far from 0 the interval reaches."""
    return max(-control.low, control.high)


def _try(rows: pd.DataFrame, effect: Effect) -> Estimate | str:
    try:
        return estimate(rows, effect)
    except AnalysisError as error:
        return str(error)


def bare_channels(channel_sums: pd.DataFrame, channel_ablation: pd.DataFrame | None = None) -> list[Measured]:
    """The rows of ``bare-channels``: channel attention without 1x1 convolutions minus with them, seeds paired.

    Observed: measure (a) of ``class-channels``. Retrained: mIoU, from the rows of ``channel_ablation`` where nothing is
    replaced. Not applicable, with the reason, where one of the two kinds is missing.
    """
    own = channel_sums[channel_sums["path"] == PATHS[0]].reset_index(drop=True)
    kinds = own.groupby("checkpoint")["projections"].first()
    if kinds.nunique() < 2:
        reason = f"it compares trainings with and without projections; all given have projections={kinds.iloc[0]}"
        return [sentence.row("all", reason) for sentence in (_BARE, _BARE_MIOU)]
    related, names = OfSums(relation), _with_all(_classes(own))
    observed = [_BARE.row(name, _try(own, _Between(related.of(i), "projections", False, True))) for i, name in names]
    if channel_ablation is None:
        return [*observed, _BARE_MIOU.row("all", "the predictions were not measured")]
    whole = channel_ablation[channel_ablation["group"] < 0]
    whole = whole.assign(projections=whole["checkpoint"].map(kinds))
    return [*observed, _BARE_MIOU.row("all", _try(whole, _Between(_points, "projections", False, True)))]


def _points(rows: pd.DataFrame, weights: Weights) -> np.ndarray:
    return 100 * miou(rows, weights)


@dataclasses.dataclass(frozen=True)
class _Between:
    """An effect of the rows whose ``column`` is ``one`` minus that of those where it is ``other``."""

    effect: Effect
    column: str
    one: object
    other: object

    def __call__(self, table: pd.DataFrame, weights: Weights) -> np.ndarray:
        """The difference under every weighting of the rows, ``[R]``."""
        values = table[self.column].to_numpy()
        one, other = (self.effect(table[values == side], weights[:, values == side]) for side in (self.one, self.other))
        return one - other
