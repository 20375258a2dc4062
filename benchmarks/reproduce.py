"""Train what the claims are tested on, test them, and keep the tables: what data/reproduction holds, and how.

    python benchmarks/reproduce.py train  --data camvid:../shared/camvid      # a quarter of an hour a run and core
    python benchmarks/reproduce.py claims --data camvid:../shared/camvid
    python benchmarks/reproduce.py store

Four recipes, three seeds, both block folds of CamVid: 24 runs in runs/reproduction, one after another. Each command
goes on where it was killed. ``claims`` takes the runs that are finished; ``store`` keeps histories, metrics and claims,
no weights.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import tyro

from analysis.claims import headlines
from analysis.store import command_line, read_provenance, read_table, replacing, write_table
from analysis.studies.pairing import family

RUNS, STORED = Path("runs/reproduction"), Path("data/reproduction")
#: Name to recipe and flags, in the order in which they are trained.
RECIPES = {
    "scale-per_scale": ("camvid-scale",),
    "scale-none": ("camvid-scale", "--model.extra-supervision", "none"),
    "dual-released": ("camvid-dual", "--model.permuted-gates"),
    "dual-paper": ("camvid-dual", "--model.form", "paper", "--model.permuted-gates"),
}
FOLDS = {"even": "odd", "odd": "even"}
SEEDS = (0, 1, 2)
CHECKPOINTS = 4


@dataclass(frozen=True)
class Training:
    """One run: trained on one fold of the blocks, validated on the other."""

    recipe: str
    fold: str
    seed: int

    @property
    def name(self) -> str:
        """Of its directory."""
        return f"{self.recipe}-{self.fold}-{self.seed}"

    def command(self, data: str, runs: Path) -> list[str]:
        """The arguments of ``attention-analysis``."""
        recipe, *flags = RECIPES[self.recipe]
        split = ["--split", f"blocks-{self.fold}", "--validation", f"blocks-{FOLDS[self.fold]}"]
        where = ["--data", data, "--out", str(runs / self.name), "--seed", str(self.seed)]
        resume = ["--resume"] if (runs / self.name / "config.json").exists() else []
        return ["train", recipe, *where, *split, *flags, "--checkpoints", str(CHECKPOINTS), "--workers", "0", *resume]


def trainings() -> Iterator[Training]:
    """All runs in order."""
    return (Training(recipe, fold, seed) for recipe in RECIPES for fold in FOLDS for seed in SEEDS)


def finished(runs: Path) -> list[Path]:
    """The run directories whose training reached its last checkpoint."""
    tables = {runs / one.name: runs / one.name / "metrics.parquet" for one in trainings()}
    return [run for run, file in tables.items() if file.exists() and read_table(file)["step"].nunique() == CHECKPOINTS]


def train(data: str, runs: Path = RUNS) -> None:
    """Train what is missing."""
    done = finished(runs)
    for one in trainings():
        if runs / one.name not in done:
            _run(one.command(data, runs))


def claims(data: str, runs: Path = RUNS, out: Path = RUNS / "claims") -> None:
    """Test all claims on the finished runs."""
    _run(["claims", *map(str, finished(runs)), "--data", data, "--split", "blocks", "--out", str(out)])


def store(runs: Path = RUNS, claimed: Path = RUNS / "claims", out: Path = STORED) -> None:
    """Keep the tables: a row of ``history`` and ``metrics`` says which run it is of."""
    if not finished(runs) or not (claimed / "claims.parquet").exists():
        raise SystemExit(f"{runs} has no finished run, or {claimed} no claims.parquet: run train and claims first")
    for name in ("history", "metrics"):
        table = pd.concat([read_table(run / f"{name}.parquet") for run in finished(runs)], ignore_index=True)
        write_table(table, out / f"{name}.parquet", {"command": command_line()})
    source = claimed / "claims.parquet"
    write_table(read_table(source), out / "claims.parquet", read_provenance(source))
    with replacing(out / "README.md") as temporary:
        temporary.write_text(card(read_table(out / "metrics.parquet"), read_table(source)), encoding="utf-8")


def card(metrics: pd.DataFrame, claims: pd.DataFrame) -> str:
    """What was trained and what the claims say, as a page."""
    last = metrics[metrics["step"] == metrics.groupby("checkpoint")["step"].transform("max")]
    by_run = last[last["size_bin"] == "all"].assign(recipe=last["recipe"].map(family))
    scores = by_run.groupby(["recipe", "seed", "split"])["iou"].mean().unstack("split").mul(100).round(1)
    return "\n".join([_INTRODUCTION, _markdown(scores.reset_index()), *_sections(claims)]) + "\n"


_INTRODUCTION = """# What the claims say of our CamVid runs

    python benchmarks/reproduce.py train  --data camvid:../shared/camvid
    python benchmarks/reproduce.py claims --data camvid:../shared/camvid
    python benchmarks/reproduce.py store

This page and the tables beside it are what these commands leave: `history.parquet` (a row a training step),
`metrics.parquet` (IoU per class, on the fold that was not trained on) and `claims.parquet` (a row for each claim, class
and kind of evidence). Twenty-second stretches of video are the blocks; each training saw one half of them and is
measured on the other. `analysis.claims.CLAIMS` has the sentences.

mIoU in per cent, by the fold it is measured on:
"""


def _sections(claims: pd.DataFrame) -> Iterator[str]:
    for recipe, rows in headlines(claims).groupby("recipe", sort=False):
        yield f"\n## {' and '.join(map(family, str(recipe).split(', ')))}\n"
        yield _markdown(pd.DataFrame([_claim_row(row) for _, row in rows.iterrows()]))


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


def _markdown(table: pd.DataFrame) -> str:
    lines = [table.columns, ["---"] * len(table.columns), *table.fillna("").to_numpy()]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', '/') for cell in line)} |" for line in lines)


def _run(arguments: list[str]) -> None:
    subprocess.run([sys.executable, "-m", "analysis", *arguments], check=True)


if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict({"train": train, "claims": claims, "store": store})
