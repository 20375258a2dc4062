"""Every claim on given checkpoints: run the studies, group by recipe, judge."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from analysis.checkpoints import Checkpoint
from analysis.claims.sentences import CLAIMS, STUDIES, Claim, Kind, chosen, find_study
from analysis.claims.verdicts import Row, verdict_rows
from analysis.datasets import open_dataset, parse_spec, splits
from analysis.datasets.sample import Dataset
from analysis.errors import AnalysisError
from analysis.models import DualSpec, ScaleSpec
from analysis.store import Tables, command_line, joined, write_source
from analysis.studies.measured import Measured
from analysis.studies.pairing import crossed
from analysis.studies.parts import OtherParts, Rank
from analysis.studies.study import Result, check_classes, evenly_spaced, identity

_FOLDS = {"blocks-even": "blocks-odd", "blocks-odd": "blocks-even"}
_MODELS: dict[Kind, str] = {"scale": "an Attention to Scale model", "dual": "a DANet"}
#: The result of a study on each checkpoint by its name, or why there is none.
Outcomes = Mapping[str, Result | str]


@dataclass(frozen=True)
class Given:
    """A checkpoint and the images it is measured on."""

    checkpoint: Checkpoint
    dataset: Dataset

    @property
    def kind(self) -> Kind | None:
        """Of which paper's models it is; None for others'."""
        spec = self.checkpoint.spec
        return "scale" if isinstance(spec, ScaleSpec) else "dual" if isinstance(spec, DualSpec) else None

    @property
    def identity(self) -> dict[str, Any]:
        """The columns of its tables."""
        return identity(self.checkpoint, self.dataset)


def claims(
    checkpoints: Sequence[Checkpoint],
    data: str,
    split: str,
    out: Path | None = None,
    *,
    only: Collection[str] = (),
    images: int | None = None,
) -> Result:
    """Test every claim, or ``only`` those of these names, on ``checkpoints`` with the data set ``data`` (NAME[:PATH]).

    Those of one recipe are its seeds. ``split="blocks"`` measures each on the fold that it was not trained on, and the
    two folds of a seed count as one. Gives the table ``claims``, a row per claim, class, evidence and recipe, and the
    tables of the studies behind it; with ``out`` they are written there, and a killed job goes on where it was.
    ``images``: of each split at most so many, evenly spaced.

    A study that fails is the reason in its claims' rows. AnalysisError: no checkpoint, two that are one training on the
    same images, one that was trained on images it would be measured on, a data set of other classes, no such claim,
    parts in ``out`` of other measurements.
    """
    wanted = chosen(only)
    given = [Given(one, measured_on(one, data, split, images)) for one in checkpoints]
    _check_distinct(given)
    rows: list[Row] = []
    behind: list[Result] = []
    for study in STUDIES:
        mine = [claim for claim in wanted if claim.study == study]
        outcomes = _outcomes(study, _fitting(mine, given), out)
        rows += [row for claim in mine for row in _rows(claim, given, outcomes)]
        behind += [Result(Tables(one.sources)) for one in outcomes.values() if isinstance(one, Result)]
    verdicts = _in_order(rows).assign(dataset=given[0].dataset.name, split=split, block="all")
    result = Result(Tables({**together(behind).sources, "claims": verdicts}))  # written last, as it follows from them
    if out is not None:
        write_result(result, checkpoints, data, split, out)
    return result


def together(results: Sequence[Result]) -> Result:
    """The tables of several results as one each, rows in the order of the results."""
    names = dict.fromkeys(name for result in results for name in result.sources)
    sources = {name: [result.sources[name] for result in results if name in result.sources] for name in names}
    return Result(Tables({name: joined(found) for name, found in sources.items()}))


def measured_on(checkpoint: Checkpoint, data: str, split: str, images: int | None = None) -> Dataset:
    """What :func:`claims` measures a checkpoint on. AnalysisError: as :func:`held_out`."""
    dataset = held_out(checkpoint, data, split)
    return dataset if images is None else evenly_spaced(dataset, images)


def held_out(checkpoint: Checkpoint, data: str, split: str, strict: bool = True) -> Dataset:
    """The images of ``split``; of ``blocks`` those of the other fold than the checkpoint's training.

    AnalysisError: other classes than the model's; images that it was trained on, where ``strict``.
    """
    same_set = checkpoint.origin.get("dataset") == parse_spec(data)[0]
    trained = str(checkpoint.origin.get("split")) if same_set else ""
    dataset = open_dataset(data, _FOLDS.get(trained, split) if split == "blocks" else split)
    check_classes(checkpoint, dataset)
    if strict and trained in splits(data):
        seen = {item.name for item in open_dataset(data, trained).items} & {item.name for item in dataset.items}
        if seen:
            raise AnalysisError(
                f"{checkpoint.name} was trained on {len(seen)} of the {len(dataset)} images of {dataset.name} "
                f"{dataset.split}, and claims need images it has not seen; give another --split or checkpoint"
            )
    return dataset


def write_result(result: Result, checkpoints: Sequence[Checkpoint], data: str, split: str, out: Path) -> None:
    """Write every table into the folder ``out`` with what it was made from; of several processes the first does."""
    if Rank.here().rank > 0:
        return
    provenance = {
        "version": version("attention-analysis"),
        "command": command_line(),
        "data": data,
        "split": split,
        "checkpoints": {one.name: one.provenance for one in checkpoints},
    }
    for name, source in result.sources.items():
        write_source(source, out / f"{name}.parquet", provenance)


def _check_distinct(given: Sequence[Given]) -> None:
    if not given:
        raise AnalysisError("no checkpoint to test the claims on: give at least one")
    known: dict[tuple[Any, ...], Path] = {}
    for one in given:
        who = one.identity
        for key in ((who["recipe"], who["seed"], who["split"]), (who["checkpoint"],)):
            if key in known:
                raise AnalysisError(
                    f"{known[key]} and {one.checkpoint.path} have the same {'name' if len(key) == 1 else 'training'}, "
                    "and each counts once; leave one of them out"
                )
            known[key] = one.checkpoint.path


def _fitting(wanted: Sequence[Claim], given: Sequence[Given]) -> list[Given]:
    """The checkpoints of the kind that the claims of a study are about."""
    kinds = {claim.model for claim in wanted}
    return [one for one in given if one.kind in kinds]


def _outcomes(study: str, given: Sequence[Given], out: Path | None) -> Outcomes:
    shown = {"desc": study, "unit": "checkpoint", "leave": False, "disable": Rank.here().rank > 0 or len(given) < 2}
    return {one.checkpoint.name: _run(study, one, out) for one in tqdm(given, **shown)}


def _run(study: str, given: Given, out: Path | None) -> Result | str:
    try:
        return find_study(study)(given.checkpoint, given.dataset, out)
    except OtherParts:
        raise  # else old results would be replaced by a table of nothing
    except AnalysisError as error:
        return str(error)


def _rows(claim: Claim, given: Sequence[Given], outcomes: Outcomes) -> Iterator[Row]:
    """The rows of one claim: once for all recipes where it compares them, else once for each."""
    fitting = [one for one in given if one.kind == claim.model]
    recipes = dict.fromkeys("" if claim.compares else one.identity["recipe"] for one in fitting)
    for recipe in recipes or [""]:
        group = [one for one in fitting if recipe in ("", one.identity["recipe"])]
        group, remark = (group, "") if claim.compares or not group else _same_images(group)
        measured = [one.remarked(remark) for one in _measured(claim, group, outcomes)]
        who = _who([one.identity for one in group])
        yield from ({**row, **who} for row in verdict_rows(measured))


def _same_images(group: Sequence[Given]) -> tuple[list[Given], str]:
    """Those seeds of a recipe that were all measured on the same splits, and what to say where some are left out."""
    kept, remark = crossed(pd.DataFrame([one.identity for one in group]))
    return [one for one in group if one.identity["checkpoint"] in set(kept["checkpoint"])], remark


def _measured(claim: Claim, group: Sequence[Given], outcomes: Outcomes) -> list[Measured]:
    if not group:
        return [_not_applicable(claim, f"it needs {_MODELS[claim.model]}, and no checkpoint given is one")]
    found = {one.checkpoint.name: outcomes[one.checkpoint.name] for one in group}
    failed = {name: reason for name, reason in found.items() if isinstance(reason, str)}
    results = [result for result in found.values() if isinstance(result, Result)]
    if failed and not (claim.compares and results):  # a comparison leaves out recipes that cannot be part of it
        name, reason = next(iter(failed.items()))
        return [_not_applicable(claim, reason if len(group) == 1 else f"{name}: {reason}")]
    left_out = [f"without {name}: {reason}" for name, reason in failed.items()]
    try:
        return [one.remarked(*left_out) for one in claim.measure(together(results).tables)]
    except AnalysisError as error:
        return [_not_applicable(claim, str(error)).remarked(*left_out)]


def _not_applicable(claim: Claim, reason: str) -> Measured:
    delta, unit = claim.smallest_effect, claim.unit
    return Measured(claim.name, claim.source, "all", "observed", None, None, unit, delta, reason)


def _who(identities: Sequence[Mapping[str, Any]]) -> Row:
    """The columns of a group's rows: what its checkpoints have in common, or the names of all."""
    values = {key: list(dict.fromkeys(one[key] for one in identities)) for key in ("checkpoint", "recipe", "seed")}
    seed = values.pop("seed")
    return {**{key: ", ".join(names) for key, names in values.items()}, "seed": seed[0] if len(seed) == 1 else None}


def _in_order(rows: list[Row]) -> pd.DataFrame:
    order = [claim.name for claim in CLAIMS]
    return pd.DataFrame(sorted(rows, key=lambda row: order.index(row["claim"].partition(":")[0]))).astype(
        {"seed": "Int64"}
    )
