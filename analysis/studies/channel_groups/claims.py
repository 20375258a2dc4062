"""What is measured for ``class-channels`` and ``bare-channels`` (DESIGN 6)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.errors import AnalysisError
from analysis.statistics import Effect, Estimate, Weights, estimate
from analysis.studies.channel_groups.ablation import WHOLE
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
from analysis.studies.miou import miou, with_class
from analysis.studies.pairing import family

SOURCE = "Fu §3.3, user question"
#: DESIGN 6: share of affinity, area under the curve, AMI; points of IoU; points of mIoU.
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

    def row(
        self, class_: str, effect: Estimate | str, control: Estimate | None = None, reason: str = "", unmet: str = ""
    ) -> Measured:
        """The row of one class; a string instead of an effect says why there is none."""
        known, reason = (None, effect) if isinstance(effect, str) else (effect, reason)
        shared = (self.unit, self.smallest_effect, reason, unmet)
        return Measured(self.claim, self.source, class_, self.evidence, known, control, *shared)


_BEYOND = _Sentence("class-channels", "observed", "share of affinity", SMALLEST)
_RELATION = dataclasses.replace(_BEYOND, claim="class-channels: affinity")
_SELECTIVITY = _Sentence("class-channels: selectivity", "observed", "area under the ROC curve", SMALLEST)
_AGREEMENT = _Sentence("class-channels: agreement", "observed", "adjusted mutual information", SMALLEST)
_ABLATION = _Sentence("class-channels", "intervention", "points of IoU", SMALLEST_POINTS)
_BARE = _Sentence("bare-channels", "observed", "share of affinity", SMALLEST, "Fu §3.3, seed note")
_BARE_MIOU = dataclasses.replace(_BARE, evidence="intervention", unit="points of mIoU", smallest_effect=SMALLEST_MIOU)


def class_channels(channel_sums: pd.DataFrame, channel_ablation: pd.DataFrame) -> list[Measured]:
    """The rows of ``class-channels`` for one recipe, of tables of any number of its checkpoints.

    Affinity is a function of the features, and channels of any features that know classes have energies which follow
    them: measure (a) of features that channel attention never trained is not 0, and its control cannot come out null.
    The claim's own row is therefore measure (a) less that of its controls, images paired: the same module on the
    features of the position branch, and on those of a channel branch drawn anew. ``class-channels: affinity`` is
    measure (a) itself, ``: selectivity`` and ``: agreement`` are measure (b), each with the more extreme control;
    "minus the same with the gate at 0" takes nothing off (b), as the module is then the identity.
    """
    names = _with_all(_classes(channel_sums))
    sums = channel_sums.reset_index(drop=True)
    related, selective = OfSums(relation), OfSums(selectivity_change)
    rows = [_beyond(sums, related.of(i), name) for i, name in names]
    rows = [one.remarked(_resolution(sums)) for one in rows]
    ablated = group_ablations(channel_ablation, [name for _, name in names])
    rows += [*ablated, *(_observed(_RELATION, sums, related.of(i), name) for i, name in names)]
    rows += [_observed(_SELECTIVITY, sums, selective.of(i), name) for i, name in names]
    return [*rows, _observed(_AGREEMENT, sums, OfSums(agreement_change).of(0), "all")]


def _resolution(sums: pd.DataFrame) -> str:
    """A remark where rows are not as they were in training."""
    whole = sums.loc[sums["crop"] == "whole", "checkpoint"].unique()
    if not len(whole):
        return ""
    return f"nothing beside {whole[0]} says at what resolution it was trained: on whole images rows of affinity differ"


def group_ablations(table: pd.DataFrame, names: Sequence[str]) -> list[Measured]:
    """The intervention, of a table ``channel_ablation``: a row for each of ``names``, ``all`` or a class."""
    images = per_image(table)
    by_checkpoint = table.groupby("checkpoint", sort=False)
    groups = [(str(checkpoint), of.groupby("class")["draw"].max()) for checkpoint, of in by_checkpoint]
    return [
        _ABLATION.row(name, _lacking(groups, name) or _try(_with_class(images, name), Ablated(name))) for name in names
    ]


def _with_class(images: pd.DataFrame, name: str) -> pd.DataFrame:
    """The rows of the blocks that have the class: others say nothing of it."""
    if name == "all":
        return images
    pairs = zip(images["names"], images["either"], strict=True)
    union = [either.reshape(-1, len(names))[:, names.index(name)].sum() for names, either in pairs]
    return with_class(images, pd.Series(union, images.index))


def _lacking(groups: list[tuple[str, pd.Series]], name: str) -> str:
    """Why a class cannot be ablated: a checkpoint without a group for it, or without random sets beside that group.

    ``groups``: of each checkpoint the number of the last draw, by class.
    """
    for checkpoint, draws in groups:
        mine = draws.drop("", errors="ignore") if name == "all" else draws[draws.index == name]
        if mine.empty:
            what = "comes back in other stretches of images" if name == "all" else f"is most selective for {name}"
            return f"no group of channels of {checkpoint} {what}"
        if mine.max() == 0:
            return f"more than a third of the live channels of {checkpoint} are in its group: too few to compare with"
    return ""


def _classes(sums: pd.DataFrame) -> tuple[str, ...]:
    found = {tuple(names) for names in sums["classes"]}
    if len(found) != 1:
        raise AnalysisError("checkpoints of different classes cannot be measured together; give those of one data set")
    return found.pop()


def _with_all(names: Sequence[str]) -> list[tuple[int, str]]:
    """Every row's name, and its column in a measure."""
    return list(enumerate(["all", *names]))


def _beyond(sums: pd.DataFrame, measure: Effect, name: str) -> Measured:
    """Measure (a) less that of the control which leaves the least of it; the other one must not say the opposite."""
    own, *controls = (_of_path(sums, path, measure) for path in PATHS)
    found = [_less(sums, control, measure) for control in PATHS[1:]]
    if reason := next((one for one in (own, *controls, *found) if isinstance(one, str)), ""):
        return _BEYOND.row(name, reason)
    least, other = sorted((one for one in found if isinstance(one, Estimate)), key=lambda one: max(one.low, -one.high))
    values = [f"{one.effect:+.3f}" for one in (own, *controls) if isinstance(one, Estimate)]
    reason = "{} here, {} of the position branch's features, {} of an untrained branch's".format(*values)
    unmet = f"less the other control {other.effect:+.3f}" if other.effect * least.effect < 0 else ""
    if isinstance(own, Estimate) and own.effect * least.effect < 0:
        unmet = f"its own share of affinity is {own.effect:+.3f}, only its controls' are further on that side"
    return _BEYOND.row(name, least, reason=reason, unmet=unmet)


def _less(sums: pd.DataFrame, control: str, measure: Effect) -> Estimate | str:
    rows = sums[sums["path"].isin([PATHS[0], control])]
    return _of_images(_try(rows, _Between(measure, "path", PATHS[0], control)), rows)


def _observed(sentence: _Sentence, sums: pd.DataFrame, measure: Effect, name: str) -> Measured:
    effect, *controls = (_of_path(sums, path, measure) for path in PATHS)
    known = [one for one in controls if isinstance(one, Estimate)]
    return sentence.row(name, effect, max(known, key=_reach, default=None))


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


def bare_channels(channel_sums: pd.DataFrame, channel_ablation: pd.DataFrame) -> list[Measured]:
    """The rows of ``bare-channels``: channel attention without 1x1 convolutions minus with them, seeds paired.

    Observed: measure (a) of ``class-channels``. Retrained: mIoU, from the rows of ``channel_ablation`` where nothing is
    replaced. Not applicable, with the reason, where no two checkpoints of one form and seed, on the same images, differ
    in their projections.
    """
    own = _both_ways(channel_sums[channel_sums["path"] == PATHS[0]])
    if own.empty:
        there = ", ".join(f"projections={one}" for one in channel_sums["projections"].unique())
        reason = (
            f"it needs a training with projections=True beside one without, of one form, seed and fold; here {there}"
        )
        return [sentence.row("all", reason) for sentence in (_BARE, _BARE_MIOU)]
    related, names = OfSums(relation), _with_all(_classes(own))
    rows = [_BARE.row(name, _try(own, _Between(related.of(i), "projections", False, True))) for i, name in names]
    kinds = own.groupby("checkpoint")["projections"].first()
    whole = channel_ablation[(channel_ablation["group"] == WHOLE) & channel_ablation["checkpoint"].isin(kinds.index)]
    whole = whole.assign(projections=whole["checkpoint"].map(kinds)).reset_index(drop=True)
    return [*rows, _BARE_MIOU.row("all", _try(whole, _Between(_points, "projections", False, True)))]


def _both_ways(sums: pd.DataFrame) -> pd.DataFrame:
    """The rows of the recipes, seeds and splits that are there with projections and without, all else being equal."""
    families = sums["recipe"].map({label: family(label, "model.projections") for label in sums["recipe"].unique()})
    kinds = sums.groupby([families, "form", "seed", "dataset", "split"])["projections"].transform("nunique")
    return sums[kinds == 2].reset_index(drop=True)


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
