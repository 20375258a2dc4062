"""The claim ``complementary`` of DESIGN 6: do PAM and CAM add up (Fu table 1)?"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import pandas as pd

from analysis.errors import AnalysisError
from analysis.studies.measured import Evidence, Measured, lowest
from analysis.studies.miou import class_names, difference
from analysis.studies.pairing import PAIR, crossed, family, recipe_fields

CLAIM, SOURCE = "complementary", "Fu table 1"
SMALLEST = 0.5  # points of IoU
_ATTENTION = {(False, False): "none", (True, False): "position", (False, True): "channel", (True, True): "both"}
_FIELDS = ("model.position", "model.channel")


@dataclass(frozen=True)
class _Comparison:
    """Rows whose ``column`` is ``ours``, against those of each rival; ``rivals``: what to call them."""

    claim: str
    evidence: Evidence
    column: str
    ours: str
    rivals: dict[str, str]

    def rows(self, gates: pd.DataFrame) -> list[Measured]:
        """The row of all classes and one a class, each against the rival that does best; or why there is none."""
        try:
            table, of = _with_both(gates) if self.column == "zeroed" else _retrained(gates, {self.ours, *self.rivals})
        except AnalysisError as error:
            return [self._row("all", f"{self._kind}: {error}")]
        names = ("all", *class_names(table))
        return [lowest(self._against(table, rival, name, of) for rival in self.rivals) for name in names]

    def _against(self, table: pd.DataFrame, rival: str, class_: str, of: str) -> Measured:
        note = f"{self._kind}, against {self.rivals[rival]}{of}"
        try:
            effect = difference(table, self.column, self.ours, rival, None if class_ == "all" else class_)
        except AnalysisError as error:
            return self._row(class_, f"{self._kind}: {error}")
        return dataclasses.replace(self._row(class_, note), effect=effect)

    def _row(self, class_: str, reason: str) -> Measured:
        return Measured(self.claim, SOURCE, class_, self.evidence, None, None, "points of IoU", SMALLEST, reason)

    @property
    def _kind(self) -> str:
        return "reliance" if self.column == "zeroed" else "benefit"


_BOTH, _NEITHER = {"position": "PAM alone", "channel": "CAM alone"}, {"none": "neither"}
_COMPARISONS = (
    _Comparison(CLAIM, "observed", "attention", "both", _BOTH),
    _Comparison(CLAIM, "intervention", "zeroed", "none", {"beta": "PAM alone", "alpha": "CAM alone"}),
    _Comparison(f"{CLAIM}: PAM alone", "observed", "attention", "position", _NEITHER),
    _Comparison(f"{CLAIM}: CAM alone", "observed", "attention", "channel", _NEITHER),
)


def complementary(gates: pd.DataFrame) -> list[Measured]:
    """What both attentions give beyond the better of the two, in points of IoU; for all classes and each of them.

    Observed, the *benefit*: trained with both minus with PAM or CAM alone, seeds paired; the recipes may differ in
    ``model.position`` and ``model.channel`` only. Intervention, the *reliance* of models with both: as they are minus
    with one gate at 0. The rival against which the interval lies lowest decides, and ``reason`` names it. Beside them
    what PAM or CAM alone brings. ``gates``: the last checkpoint of every training; of several recipes that would do
    the one with the fewest changed fields is measured.
    """
    return [row for comparison in _COMPARISONS for row in comparison.rows(gates)]


def _with_both(gates: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The rows of the recipe with both gates, and its name where there are several."""
    table = _families(gates)
    table = table[table["attention"] == "both"]
    if table.empty:
        raise AnalysisError("no model here has both alpha and beta: give one")
    return _plainest(table)


def _retrained(gates: pd.DataFrame, needed: set[str]) -> tuple[pd.DataFrame, str]:
    """The rows as trained of the family of recipes with all the attentions ``needed``, of the seeds that have them."""
    table = _families(gates)
    table = table[(table["zeroed"] == "none") & table["attention"].isin(needed)]
    whole = table.groupby(["family", *PAIR])["attention"].transform("nunique") == len(needed)
    if not whole.any():
        wanted = ", ".join((_BOTH | _NEITHER).get(one, one) for one in _ATTENTION.values() if one in needed)
        raise AnalysisError(f"no seed here was trained with each of {wanted}, all else alike: give such trainings")
    return _plainest(table[whole])


def _plainest(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    families = sorted(table["family"].unique(), key=lambda label: (len(recipe_fields(label)[1]), label))
    mine, remark = crossed(table[table["family"] == families[0]])
    of = f", of {families[0]}" if len(families) > 1 else ""
    return mine, of + (f"; {remark}" if remark else "")


def _families(gates: pd.DataFrame) -> pd.DataFrame:
    """The rows, with ``attention`` and ``family``, the recipe without the fields that switch attention on and off."""
    has = [gates[gate].notna() if gate in gates else pd.Series(False, gates.index) for gate in ("alpha", "beta")]
    attention = [_ATTENTION[pair] for pair in zip(*has, strict=True)]
    families = {label: family(label, *_FIELDS) for label in gates["recipe"].unique()}
    return gates.assign(attention=attention, family=gates["recipe"].map(families))
