"""What data/reproduction holds, as Markdown: its page, and the README's table of verdicts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.claims import CLAIMS, headlines
from analysis.claims.sentences import Claim
from analysis.statistics import DETECTABLE
from analysis.store import read_provenance, read_table
from analysis.studies.pairing import families
from analysis.studies.retrained import differences, last_scores

_INTRODUCTION = """# What our CamVid runs say

    python benchmarks/reproduce.py train --again --data camvid:../shared/camvid
    python benchmarks/reproduce.py claims        --data camvid:../shared/camvid
    python benchmarks/reproduce.py store

This page and the tables beside it are what these commands leave: `history.parquet` (a row a training step),
`metrics.parquet` (IoU per class, on the fold that was not trained on), `scores.parquet` (intersections and unions by
block, of the trainings since it is kept) and `claims.parquet` (a row for each claim, class and kind of evidence), each
with the command of every training in its provenance (`analysis.store.read_provenance`). Without `--again` only what is
not stored here is trained; `claims` needs the weights of all, which are not kept.

Twenty-second stretches of video are the blocks; each training saw one half of them and is measured on the other.
`analysis.claims.CLAIMS` has the sentences.

## mIoU in per cent, by the fold it is measured on
"""
_DIFFERENCES = """
## What one field of the recipe is worth

Points of mIoU, seeds and folds paired (`analysis.studies.retrained`), with 95 % intervals: over seeds alone where no
blocks are counted. `found` is the smallest true difference that 4 of 5 such comparisons would tell from 0; 0.5 matters.
"""
_REST = """
## How far the grid is trained

`python benchmarks/reproduce.py status` prints it.
"""

_CLAIMS = """
## What attention is said to do

Tested on {tested} of the {trained} trainings: what was trained later has mIoU above, and no word here. These verdicts
pool the blocks of both halves, with intervals over blocks and seeds; the differences above average the halves. So the
numbers of one comparison can differ a little, here and there.
"""

_FOUND = re.compile(DETECTABLE.format(r"(\S+)"))


def card(folder: Path, progress: pd.DataFrame) -> str:
    """What was trained, what its differences are, and what the claims say, as a page."""
    metrics = read_table(folder / "metrics.parquet")
    scores, claims = (folder / f"{name}.parquet" for name in ("scores", "claims"))
    runs = last_scores(metrics).assign(miou=lambda rows: (100 * rows["miou"]).round(1))
    table = runs.pivot_table("miou", ["recipe", "seed"], "split").reset_index()
    parts = [_INTRODUCTION, markdown(table.astype(object).where(table.notna(), ""))]
    compared = map(
        _difference_row, differences(metrics, read_table(scores) if scores.exists() else None).to_dict("records")
    )
    parts += [_DIFFERENCES, markdown(pd.DataFrame(compared))]
    parts += [_REST, markdown(progress)]
    if claims.exists():
        tested = len(read_provenance(claims)["checkpoints"])
        parts.append(_CLAIMS.format(tested=tested, trained=metrics["checkpoint"].nunique()))
        parts += _sections(read_table(claims))
    return "\n".join(parts) + "\n"


def verdicts(claims: pd.DataFrame) -> str:
    """Every sentence with its main verdicts, a line a recipe or comparison, as Markdown."""
    rows = headlines(claims).set_index("claim")
    lines = [_sentence_row(claim, row) for claim in CLAIMS for _, row in rows.loc[[claim.name]].iterrows()]
    shown = pd.DataFrame(lines)
    return markdown(shown.assign(sentence=shown["sentence"].where(~shown["sentence"].duplicated(), "")))


def _sentence_row(claim: Claim, row: pd.Series) -> dict[str, str]:
    recipes = [label.replace("model.", "") for label in families(str(row["recipe"]), "model.permuted_gates")]
    return {
        "sentence": f"{claim.sentence} ({claim.source})",
        "trainings": " and ".join(recipes),
        "evidence": row["evidence"],
        "verdict": f"**{row['verdict']}**",
        "effect, 95 % interval": _interval(row),
        "matters from": f"{row['smallest_effect']:g}",
        "would be found": ", ".join(_FOUND.findall(row["reason"])),
        "remark": re.sub(r"(\w+: )?" + _FOUND.pattern + "(; )?", "", row["reason"]),
    }


def _interval(row: pd.Series) -> str:
    if pd.isna(row["effect"]):
        return ""
    return f"{row['effect']:+.2g} [{row['low']:+.2g}, {row['high']:+.2g}] {row['unit']}"


def _difference_row(row: dict[str, Any]) -> dict[str, str]:
    interval = "no interval" if pd.isna(row["low"]) else f"[{row['low']:+.2f}, {row['high']:+.2f}]"
    return {
        "recipe": row["recipe"],
        "field": row["field"],
        "compared": f"{row['value']} less {row['baseline']}",
        "points": "" if pd.isna(row["effect"]) else f"{row['effect']:+.2f} {interval}",
        "found": "" if pd.isna(row["detectable"]) else f"{row['detectable']:.2f}",
        "seeds × blocks": f"{row['n_seeds']} × {row['n_blocks'] or '-'}",
        "measured on": row["splits"],
        "verdict": row["verdict"],
    }


def _sections(claims: pd.DataFrame) -> Iterator[str]:
    for recipe, rows in headlines(claims).groupby("recipe", sort=False):
        yield f"\n### {' and '.join(families(str(recipe)))}\n"
        yield markdown(pd.DataFrame([_claim_row(row) for _, row in rows.iterrows()]))


def _claim_row(row: pd.Series) -> dict[str, str]:
    measured = pd.notna(row["effect"])
    interval = f"{row['effect']:+.3g} [{row['low']:+.3g}, {row['high']:+.3g}] {row['unit']}" if measured else ""
    n = f"{row['n_seeds']} × {row['n_blocks']}" if row["n_blocks"] else ""
    return {
        "claim": row["claim"],
        "verdict": row["verdict"],
        "effect, 95 % interval": interval,
        "smallest": f"{row['smallest_effect']:g}",
        "seeds × blocks": n,
        "why": row["reason"],
    }


def markdown(table: pd.DataFrame) -> str:
    """A table of plain values as Markdown."""
    lines = [table.columns, ["---"] * len(table.columns), *table.fillna("").to_numpy()]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', '/') for cell in line)} |" for line in lines)
