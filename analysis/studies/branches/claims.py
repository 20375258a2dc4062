"""The four claims that the branches decide (DESIGN 6), from tables of one or several checkpoints.

Those that compare trainings read the ``recipe`` column: two recipes are compared where their labels differ in one field
only, as ``camvid-scale`` and ``camvid-scale model.fusion=max`` do. Trainings are paired by seed, images by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.errors import AnalysisError
from analysis.models import ScaleSpec
from analysis.statistics import Estimate, Weights, estimate, mean
from analysis.studies.branches.study import mean_over_pairs, stacked
from analysis.studies.measured import Evidence, Measured
from analysis.studies.miou import class_names, difference

POINTS = 0.5
CKA = 0.05  # and of the share told
SUPERVISION, FUSION = "model.extra_supervision", "model.fusion"
_DEFAULT = {SUPERVISION: ScaleSpec.extra_supervision, FUSION: ScaleSpec.fusion}
_NOT_TRAINING = ("split", "validation", "checkpoints", "save_every")  # folds of one recipe, or what is kept of it
_PAIR = ["seed", "dataset", "split"]


@dataclass(frozen=True)
class _Claim:
    """What all rows of a claim have in common."""

    claim: str
    source: str
    evidence: Evidence
    unit: str = "points"
    smallest: float = POINTS

    def row(self, class_: str, effect: Callable[[], Estimate], note: str = "") -> Measured:
        """The estimate, with a note; or why there is none."""
        try:
            found, reason = effect(), note
        except AnalysisError as error:
            found, reason = None, str(error)
        told = (self.claim, self.source, class_, self.evidence)
        return Measured(*told, found, None, self.unit, self.smallest, reason=reason)

    def missing(self, reason: str) -> list[Measured]:
        """The only row of a claim that cannot be measured."""
        told = (self.claim, self.source, "all", self.evidence)
        return [Measured(*told, None, None, self.unit, self.smallest, reason=reason)]


def attention_fusion(branches: pd.DataFrame) -> list[Measured]:
    """Attention beats average and max (Chen tables 1, 3, 6): mIoU against the better rival, which ``reason`` names.

    Observed: trained with either. Intervention: the score maps of a model trained with attention, fused by either (of
    several recipes the one with ``per_scale``).
    Attention beats both only where it beats the one against which its interval lies lowest, so that one is given.
    """
    claim = _Claim("attention-fusion", "Chen tables 1, 3, 6", "observed")
    retrained = _against_rivals(claim, lambda: _variants(branches[branches["map"] == "fused"], FUSION), "condition")
    swapped = _Claim(claim.claim, claim.source, "intervention")
    return [*retrained, *_against_rivals(swapped, lambda: _own_fusion(branches), "map")]


def extra_supervision(branches: pd.DataFrame) -> list[Measured]:
    """1 + S losses are essential (Chen, section 3.3): mIoU trained with ``per_scale`` minus with ``none``.

    It has no control: a training with ``none`` and its loss times 1 + S is no recipe of ours, and with AdamW, whose
    steps do not depend on the size of the loss, would be the training with ``none``.
    """
    claim = _Claim("extra-supervision", "Chen §3.3", "intervention")
    return _with_minus_without(claim, branches[branches["map"] == "fused"])


def discriminative_branches(branches: pd.DataFrame) -> list[Measured]:
    """Extra supervision makes each branch discriminative (Chen, section 3.3): a branch's own mIoU, with minus without.

    Each branch is a sentence of its own in the source: that with the lowest interval decides, and ``reason`` names it.
    """
    claim = _Claim("discriminative-branches", "Chen §3.3", "intervention")
    names = [name for name in branches["map"].unique() if name.startswith("x")]
    found = [_with_minus_without(claim, branches[branches["map"] == name], f"{name} alone") for name in names]
    return [_lowest(rows) for rows in zip(*found, strict=True)]


def distinct_scales(branch_features: pd.DataFrame, scale_probe: pd.DataFrame | None = None) -> list[Measured]:
    """Extra supervision makes the branches' maps differ: CKA between branches falls (seed note, item 7).

    Observed: untrained minus trained with extra supervision. Intervention: trained without it minus with it. Beside
    them how much more often a probe tells the scale than it does untrained, where the training did not ask for that.
    """
    observed = _Claim("distinct-scales", "seed note item 7", "observed", "CKA", CKA)
    retrained = _Claim("distinct-scales", "seed note item 7", "intervention", "CKA", CKA)
    trained = branch_features[branch_features.model == "trained"]

    def from_untrained() -> Estimate:
        with_it = _supervised(branch_features)
        return _less_alike(with_it[with_it.model == "untrained"], with_it[with_it.model == "trained"])

    def from_none() -> Estimate:
        variants = _variants(trained, SUPERVISION)
        kinds = [kind for kind in ("per_scale", "scale_classifier") if kind in set(variants.condition)]
        paired = _paired(variants, ["none", *(kinds[:1] or ["per_scale"])])
        return _less_alike(*(paired[paired.condition == kind] for kind in ("none", kinds[0])))

    def probed() -> Estimate:
        if scale_probe is None:
            raise AnalysisError("no probe: the training with scale_classifier made the branches to be told apart")
        return scale_told(_supervised(scale_probe))

    told = _Claim("distinct-scales: probe", "seed note item 7", "observed", "share told", CKA)
    return [observed.row("all", from_untrained), retrained.row("all", from_none), told.row("all", probed)]


def scale_told(scale_probe: pd.DataFrame) -> Estimate:
    """How much more often than in the untrained architecture a probe tells the scale from one position's features.

    ``scale_probe``: rows of ``branches(...)["scale_probe"]``. AnalysisError as ``estimate`` raises.
    """
    keys = ["checkpoint", "seed", "dataset", "split", "block", "image"]
    both = scale_probe.pivot_table(index=keys, columns="model", values="accuracy").reset_index()
    return estimate(both, lambda t, w: mean(t["trained"] - t["untrained"], w))


def _against_rivals(claim: _Claim, rows: Callable[[], pd.DataFrame], column: str) -> list[Measured]:
    """The row of all classes and one a class, each against the rival that does best."""
    ours, rivals = ("attention" if column == "condition" else "fused"), ("average", "max")
    try:
        table = rows()
        if column == "condition":
            table = _paired(table, [ours, *rivals])
    except AnalysisError as error:
        return claim.missing(str(error))

    def against(rival: str, class_: str) -> Measured:
        return claim.row(
            class_,
            lambda: difference(table, column, ours, rival, None if class_ == "all" else class_),
            f"against {rival}",
        )

    return [_lowest(against(rival, class_) for rival in rivals) for class_ in ("all", *class_names(table))]


def _with_minus_without(claim: _Claim, rows: pd.DataFrame, note: str = "") -> list[Measured]:
    try:
        table = _paired(_variants(rows, SUPERVISION), ["per_scale", "none"])
    except AnalysisError as error:
        return claim.missing(str(error))
    return [
        claim.row(
            class_,
            lambda class_=class_: difference(
                table, "condition", "per_scale", "none", None if class_ == "all" else class_
            ),
            note,
        )
        for class_ in ("all", *class_names(table))
    ]


def _lowest(rows: Iterable[Measured]) -> Measured:
    """The row whose interval lies lowest; one without an interval first."""
    return min(rows, key=lambda row: row.effect.low if row.effect else -np.inf)


def _own_fusion(branches: pd.DataFrame) -> pd.DataFrame:
    """The rows of checkpoints trained with attention."""
    rows = branches[_field(branches, FUSION) == "attention"]
    if rows.empty:
        raise AnalysisError("no checkpoint here was trained with attention: give one that was")
    return _one_recipe(rows)


def _supervised(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of checkpoints trained with extra supervision."""
    rows = rows[_field(rows, SUPERVISION) != "none"]
    if rows.empty:
        raise AnalysisError("trained without extra supervision: give checkpoints trained with it")
    return _one_recipe(rows)


def _one_recipe(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the only recipe; of several, of the one trained with ``per_scale``, as in the paper."""
    if rows.recipe.nunique() > 1:
        rows = rows[_field(rows, SUPERVISION) == "per_scale"]
    if rows.recipe.nunique() != 1:
        raise AnalysisError("several recipes, and not one with per_scale alone: give the checkpoints of one at a time")
    return rows


def recipe_fields(label: str) -> tuple[str, dict[str, str]]:
    """Name and changed fields of a recipe's label: ``("camvid-scale", {"model.fusion": "max"})``."""
    name, _, rest = label.partition(" ")
    return name, dict(re.findall(r"([\w.]+)=(.*?)(?= [\w.]+=|$)", rest))


def _field(table: pd.DataFrame, name: str) -> pd.Series:
    values = {label: recipe_fields(label)[1].get(name, _DEFAULT[name]) for label in table.recipe.unique()}
    return table.recipe.map(values)


def _variants(table: pd.DataFrame, field: str) -> pd.DataFrame:
    """The rows, with ``condition``, the field's value, and ``family``, their recipe without it."""

    def family(label: str) -> str:
        name, fields = recipe_fields(label)
        rest = [f"{key}={value}" for key, value in sorted(fields.items()) if key not in (field, *_NOT_TRAINING)]
        return " ".join([name, *rest])

    families = {label: family(label) for label in table.recipe.unique()}
    return table.assign(condition=_field(table, field), family=table.recipe.map(families))


def _paired(variants: pd.DataFrame, conditions: list[str]) -> pd.DataFrame:
    """The rows of the one family that has all conditions, on the seeds and splits that all of them have.

    AnalysisError: a condition that no recipe has, several families, no common seed, two checkpoints of one training.
    """
    has = variants.groupby("family").condition.agg(set)
    complete = [family for family, there in has.items() if there >= set(conditions)]
    if len(complete) != 1:
        raise AnalysisError(_why_not_one(complete, variants, conditions))
    mine = variants[(variants.family == complete[0]) & variants.condition.isin(conditions)]
    runs = mine[[*_PAIR, "condition", "checkpoint"]].drop_duplicates()
    if (twice := runs.duplicated([*_PAIR, "condition"])).any():
        again = runs[twice].iloc[0]
        raise AnalysisError(f"two checkpoints of seed {again.seed} with {again.condition}: give one of each training")
    whole = runs.groupby(_PAIR).condition.nunique() == len(conditions)
    if not whole.any():
        raise AnalysisError(f"no seed was trained with each of {', '.join(conditions)} and measured on one split")
    kept = pd.MultiIndex.from_frame(mine[_PAIR]).isin(whole[whole].index)
    return mine[kept].drop(columns=["checkpoint", "recipe", "family"])


def _why_not_one(complete: list[str], variants: pd.DataFrame, conditions: list[str]) -> str:
    if complete:
        return f"{len(complete)} recipes were trained in all these ways ({'; '.join(complete)}): give one at a time"
    missing = [one for one in conditions if one not in set(variants.condition)]
    if missing:
        return f"no checkpoint here was trained with {' or '.join(missing)}: give such a training beside the others"
    return f"the trainings with {', '.join(conditions)} differ in other fields too: give some that do not"


def _less_alike(one: pd.DataFrame, other: pd.DataFrame) -> Estimate:
    """Mean CKA between branches in ``one`` minus in ``other``; rows of ``branch_features``, a checkpoint per pair."""
    keys = [*_PAIR, "checkpoint"] if "checkpoint" in one else _PAIR
    others = dict(iter(other.groupby(keys)))
    images, arrays = [], {}
    for number, (key, mine) in enumerate(one.groupby(keys)):
        rows, ours = stacked(mine)
        paired, theirs = stacked(others[key])
        if rows.image.tolist() != paired.image.tolist():
            raise AnalysisError("the checkpoints were not measured on the same images: measure both on all")
        arrays[number] = (ours, theirs)
        images.append(rows.assign(pair=number, row=np.arange(len(rows))))
    return estimate(pd.concat(images, ignore_index=True), _LessAlike(arrays))


@dataclass(frozen=True, eq=False)
class _LessAlike:
    """The effect of :func:`_less_alike`: averaged over the checkpoints (folds) of one seed."""

    arrays: dict[int, tuple[list[np.ndarray], list[np.ndarray]]]

    def __call__(self, table: pd.DataFrame, weights: Weights) -> np.ndarray:
        """``table`` a row an image in the order of its arrays, ``weights [R, n]`` of 0 and 1."""
        found = []
        for pair in table.pair.unique():
            ours, theirs = self.arrays[int(pair)]
            kept = weights[:, np.flatnonzero(table.pair == pair)]
            found.append(mean_over_pairs(ours, kept) - mean_over_pairs(theirs, kept))
        return np.mean(found, axis=0)
