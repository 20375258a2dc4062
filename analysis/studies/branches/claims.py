"""The four claims that the branches decide (DESIGN 6), from tables of one or several checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.errors import AnalysisError
from analysis.statistics import DETECTABLE, Estimate, Weights, estimate, judge, mean
from analysis.studies.branches.study import mean_over_pairs, stacked
from analysis.studies.measured import Evidence, Measured, lowest
from analysis.studies.miou import UNION, class_names, points, side_by_side, with_class
from analysis.studies.pairing import PAIR, one_recipe, paired

POINTS = 0.5
CKA = 0.05  # and of the share told
NO_CONTROL = "no control: with AdamW, `none` with its loss x (1 + S) is the same training"
Rows = tuple[pd.DataFrame, str]  # and a remark on which they are


@dataclass(frozen=True)
class _Claim:
    """What all rows of a claim have in common."""

    claim: str
    source: str
    evidence: Evidence
    unit: str = "points"
    smallest: float = POINTS

    def row(self, class_: str, effect: Callable[[], tuple[Estimate, str]]) -> Measured:
        """The estimate with a remark; or why there is none."""
        try:
            found, reason = effect()
        except AnalysisError as error:
            found, reason = None, str(error)
        told = (self.claim, self.source, class_, self.evidence)
        return Measured(*told, found, None, self.unit, self.smallest, reason=reason)


@dataclass(frozen=True)
class _Contrast:
    """mIoU of side ``one`` minus that of side ``other``; ``note`` says which of several contrasts it is."""

    one: str
    other: str
    note: str = ""


def attention_fusion(branches: pd.DataFrame) -> list[Measured]:
    """Attention beats average and max (Chen tables 1, 3, 6): mIoU against the better rival, which ``reason`` names.

    Observed: trained with either. Intervention: the score maps of a model trained with attention, fused by either (of
    several recipes the one with ``per_scale``). Attention beats both only where it beats the one against which its
    interval lies lowest, so that one is given, with the smallest difference from it that would be found.
    """
    rivals = ("average", "max")

    def retrained() -> Rows:
        return paired(branches[branches["map"] == "fused"], "fusion", ["attention", *rivals])

    def swapped() -> Rows:
        rows = branches[branches.fusion == "attention"]
        if rows.empty:
            raise AnalysisError("no checkpoint here was trained with attention: give one that was")
        return one_recipe(rows)

    observed = _Claim("attention-fusion", "Chen tables 1, 3, 6", "observed")
    rows = [
        *_compared(observed, retrained, "condition", _each("attention", rivals)),
        *_compared(replace(observed, evidence="intervention"), swapped, "map", _each("fused", rivals)),
    ]
    return [_with_detectable(row) for row in rows]


def extra_supervision(branches: pd.DataFrame) -> list[Measured]:
    """1 + S losses are essential (Chen, section 3.3): mIoU trained with ``per_scale`` minus with ``none``.

    The control of DESIGN 6, ``none`` with its loss times 1 + S, is not trained: our recipes of this model use AdamW
    without gradient clipping, whose steps do not depend on the loss's scale (its 1e-8 aside), so that it would be the
    training with ``none`` once more. ``voc-scale-vgg16`` uses SGD, and there it would be a control.
    """

    def rows() -> Rows:
        table, remark = paired(branches[branches["map"] == "fused"], "extra_supervision", ["per_scale", "none"])
        return table, "; ".join(filter(None, (remark, NO_CONTROL)))

    claim = _Claim("extra-supervision", "Chen §3.3", "intervention")
    return _compared(claim, rows, "condition", [_Contrast("per_scale", "none")])


def discriminative_branches(branches: pd.DataFrame) -> list[Measured]:
    """Extra supervision makes each branch discriminative (Chen, section 3.3): a branch's own mIoU, with minus without.

    Each branch is a sentence of its own in the source: that with the lowest interval decides, and ``reason`` names it.
    """
    names = [name for name in branches["map"].unique() if name.startswith("x")]

    def rows() -> Rows:
        own = branches[branches["map"].isin(names)]
        table, remark = paired(own, "extra_supervision", ["per_scale", "none"])
        return table.assign(side=table["map"] + " " + table.condition), remark

    claim = _Claim("discriminative-branches", "Chen §3.3", "intervention")
    contrasts = [_Contrast(f"{name} per_scale", f"{name} none", f"{name} alone") for name in names]
    return _compared(claim, rows, "side", contrasts)


def distinct_scales(branch_features: pd.DataFrame, scale_probe: pd.DataFrame | None = None) -> list[Measured]:
    """Extra supervision makes the branches' maps differ: CKA between branches falls (seed note, item 7).

    Observed: untrained minus trained with extra supervision. Intervention: trained without it minus with it. Beside
    them how much more often a probe tells the scale than it does untrained, where the training did not ask for that.
    """
    observed = _Claim("distinct-scales", "seed note item 7", "observed", "CKA", CKA)
    retrained = replace(observed, evidence="intervention")
    probed = replace(observed, claim="distinct-scales: probe", unit="share told")

    def from_untrained() -> tuple[Estimate, str]:
        rows, remark = _supervised(branch_features)
        return _less_alike(rows[rows.model == "untrained"], rows[rows.model == "trained"]), remark

    def from_none() -> tuple[Estimate, str]:
        trained = branch_features[branch_features.model == "trained"]
        kinds = [kind for kind in ("per_scale", "scale_classifier") if kind in set(trained.extra_supervision)]
        kind = kinds[0] if kinds else "per_scale"
        rows, remark = paired(trained, "extra_supervision", ["none", kind])
        return _less_alike(*(rows[rows.condition == one] for one in ("none", kind))), remark

    def from_probe() -> tuple[Estimate, str]:
        if scale_probe is None:
            raise AnalysisError(
                "no probe: it needs two blocks, and a training that did not ask for it as scale_classifier does"
            )
        rows, remark = _supervised(scale_probe)
        return scale_told(rows), remark

    return [observed.row("all", from_untrained), retrained.row("all", from_none), probed.row("all", from_probe)]


def scale_told(scale_probe: pd.DataFrame) -> Estimate:
    """How much more often than in the untrained architecture a probe tells the scale from one position's features.

    ``scale_probe``: rows of ``branches(...)["scale_probe"]``. AnalysisError as ``estimate`` raises.
    """
    keys = ["checkpoint", "seed", "dataset", "split", "block", "image"]
    both = scale_probe.pivot_table(index=keys, columns="model", values="accuracy").reset_index()
    return estimate(both, lambda t, w: mean(t["trained"] - t["untrained"], w))


def _each(ours: str, rivals: Iterable[str]) -> list[_Contrast]:
    return [_Contrast(ours, rival, f"against {rival}") for rival in rivals]


def _compared(claim: _Claim, rows: Callable[[], Rows], column: str, contrasts: list[_Contrast]) -> list[Measured]:
    """The row of all classes and one a class, each of the contrast whose interval lies lowest."""
    sides = list(dict.fromkeys(side for contrast in contrasts for side in (contrast.one, contrast.other)))
    try:
        table, remark = rows()
        together = side_by_side(table, column, sides)
    except AnalysisError as error:
        return [_missing(claim, str(error))]

    def measured(contrast: _Contrast, class_: str) -> Measured:
        one, other, only = sides.index(contrast.one), sides.index(contrast.other), None if class_ == "all" else class_

        def difference(t: pd.DataFrame, w: Weights) -> np.ndarray:
            return points(t, w, one, only) - points(t, w, other, only)

        notes = "; ".join(filter(None, (contrast.note, remark)))
        mine = together if only is None else with_class(together, together.filter(like=f":{UNION}{only}").sum(axis=1))
        return claim.row(class_, lambda: (estimate(mine, difference), notes))

    return [lowest(measured(one, class_) for one in contrasts) for class_ in ("all", *class_names(table))]


def _missing(claim: _Claim, reason: str) -> Measured:
    """The only row of a claim that cannot be measured."""
    return Measured(claim.claim, claim.source, "all", claim.evidence, None, None, claim.unit, claim.smallest, reason)


def _with_detectable(row: Measured) -> Measured:
    """With the smallest detectable difference in the remark; ``judge`` prints it where the verdict is undecided."""
    if row.effect is None or judge(row.effect, row.smallest_effect)[0] == "undecided":
        return row
    found = DETECTABLE.format(f"{row.effect.detectable(row.smallest_effect):.2g}")
    return replace(row, reason=f"{row.reason}; {found}")


def _supervised(rows: pd.DataFrame) -> Rows:
    """The rows of checkpoints trained with extra supervision."""
    rows = rows[rows.extra_supervision != "none"]
    if rows.empty:
        raise AnalysisError("trained without extra supervision: give checkpoints trained with it")
    return one_recipe(rows)


def _less_alike(one: pd.DataFrame, other: pd.DataFrame) -> Estimate:
    """Mean CKA between branches in ``one`` minus in ``other``; rows of ``branch_features``, a checkpoint per pair."""
    keys = [*PAIR, "checkpoint"] if "checkpoint" in one else PAIR
    others = dict(iter(other.groupby(keys)))
    images, arrays = [], {}
    for number, (key, mine) in enumerate(one.groupby(keys)):
        rows, ours = stacked(mine)
        partner, theirs = stacked(others[key])
        if rows.image.tolist() != partner.image.tolist():
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
