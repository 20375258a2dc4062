"""Train what the claims and notebook 09 compare, test the claims, keep the tables: what data/reproduction holds.

    python benchmarks/reproduce.py train  --data camvid:../shared/camvid      # a quarter of an hour a run and core
    python benchmarks/reproduce.py claims --data camvid:../shared/camvid
    python benchmarks/reproduce.py store
    python benchmarks/reproduce.py status                                     # how far the grid is
    python benchmarks/reproduce.py table                                      # the README's table of verdicts

Each recipe of :data:`PARTS` on both block folds of CamVid with three seeds, in runs/reproduction; what differs between
two recipes is one field, and a seed means the same start, order and crops in each. Each command goes on where it was
killed, and ``train`` leaves out what is in data/reproduction already, where no weights are kept: ``train --again``
makes them. ``claims`` takes the runs whose weights are there; ``store`` adds the tables of finished runs, with the
command that made each, to the stored ones, and takes claims that were tested on no fewer trainings than the stored.
`none` with its loss times 1 + S is not among the recipes: with AdamW it is the same training.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice, product
from pathlib import Path

import pandas as pd
import tyro
from reproduction_page import card, markdown, verdicts

from analysis.checkpoints import open_checkpoint
from analysis.claims import held_out
from analysis.store import command_line, read_provenance, read_table, replacing, write_table
from analysis.studies.retrained import block_scores

RUNS, STORED = Path("runs/reproduction"), Path("data/reproduction")
_DUAL = ("camvid-dual", "--model.permuted-gates")
#: What is trained, part after part: of each, name to recipe and flags.
PARTS: dict[str, dict[str, tuple[str, ...]]] = {
    "first": {
        "scale-per_scale": ("camvid-scale",),
        "scale-none": ("camvid-scale", "--model.extra-supervision", "none"),
        "dual-released": _DUAL,
        "dual-paper": (*_DUAL, "--model.form", "paper"),
    },
    "average": {"scale-average-per_scale": ("camvid-scale", "--model.fusion", "average")},
    "max": {"scale-max-per_scale": ("camvid-scale", "--model.fusion", "max")},
    "fusion-none": {
        "scale-average-none": ("camvid-scale", "--model.fusion", "average", "--model.extra-supervision", "none"),
        "scale-max-none": ("camvid-scale", "--model.fusion", "max", "--model.extra-supervision", "none"),
    },
    "attentions": {
        "dual-pam": (*_DUAL, "--model.no-channel"),
        "dual-cam": (*_DUAL, "--model.no-position"),
        "dual-neither": (*_DUAL, "--model.no-position", "--model.no-channel"),
    },
    "projections": {"dual-projections": (*_DUAL, "--model.form", "paper", "--model.projections")},
    "classifier": {"scale-classifier": ("camvid-scale", "--model.extra-supervision", "scale_classifier")},
    "scales": {
        "scale-two": ("camvid-scale", "--model.scales", "1.0", "0.5"),
        "scale-one": ("camvid-scale", "--model.scales", "1.0", "--model.extra-supervision", "none"),
    },
}
RECIPES = {name: flags for part in PARTS.values() for name, flags in part.items()}
FOLDS = {"even": "odd", "odd": "even"}
SEEDS = (0, 1, 2)
CHECKPOINTS = 4
KEPT = ("history", "metrics", "scores")  # tables of a run


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
    """All runs in order: within a part fold after fold and seed after seed, so that what is there can be paired."""
    return (
        Training(recipe, fold, seed)
        for part in PARTS.values()
        for fold, seed in product(FOLDS, SEEDS)
        for recipe in part
    )


def finished(runs: Path) -> list[Path]:
    """The run directories whose training reached its last checkpoint and was scored."""
    there = [runs / one.name for one in trainings() if all(_has(runs / one.name, name) for name in KEPT)]
    return [run for run in there if read_table(run / "metrics.parquet")["step"].nunique() == CHECKPOINTS]


def stored(out: Path = STORED) -> set[str]:
    """The names of the runs whose tables are kept already."""
    return set(read_table(out / "metrics.parquet")["checkpoint"]) if (out / "metrics.parquet").exists() else set()


def train(
    data: str,
    runs: Path = RUNS,
    again: bool = False,
    limit: int | None = None,
    at_once: int = 1,
    device: str = "auto",
) -> None:
    """Train what is missing.

    Args:
        data: NAME[:PATH] of CamVid.
        runs: Where the run directories go.
        again: Train also what has its tables in data/reproduction, for its weights.
        limit: Stop after so many trainings.
        at_once: Trainings side by side; several of these small models fit on a GPU. On a CPU set OMP_NUM_THREADS too.
        device: auto, cpu, cuda or cuda:N.
    """
    done = {run.name for run in finished(runs)} | (set() if again else stored())
    left = list(islice((one for one in trainings() if one.name not in done), limit))
    with ThreadPoolExecutor(at_once) as pool:  # each training is a process of its own
        for name in pool.map(partial(_train, data, runs, device), left):
            print(f"trained {name}", flush=True)


def _train(data: str, runs: Path, device: str, one: Training) -> str:
    _run([*one.command(data, runs), "--device", device])
    score(data, runs / one.name)
    return one.name


def score(data: str, run: Path) -> None:
    """Keep intersections and unions of the last checkpoint by block: ``scores.parquet``, for intervals over blocks."""
    checkpoint = open_checkpoint(run)
    table = block_scores(checkpoint, held_out(checkpoint, data, "blocks"))
    write_table(table, run / "scores.parquet", {"command": command_line(), "checkpoint": checkpoint.provenance})


def claims(data: str, runs: Path = RUNS, out: Path = RUNS / "claims") -> None:
    """Test all claims on the finished runs."""
    _run(["claims", *map(str, finished(runs)), "--data", data, "--split", "blocks", "--out", str(out)])


def store(runs: Path = RUNS, claimed: Path = RUNS / "claims", out: Path = STORED) -> None:
    """Keep the tables of finished runs beside those that are kept already: their rows say which run they are of."""
    done = finished(runs)
    commands = {run.name: read_provenance(run / "scores.parquet")["checkpoint"]["command"] for run in done}
    for name in KEPT if done else ():
        kept = out / f"{name}.parquet"
        new = [read_table(run / f"{name}.parquet").assign(checkpoint=run.name) for run in done]
        known = read_provenance(kept).get("trainings", {}) if kept.exists() else {}
        write_table(_beside(new, kept), kept, {"command": command_line(), "trainings": known | commands})
    if _has(claimed, "claims"):
        _store_claims(claimed / "claims.parquet", out / "claims.parquet")
    if not _has(out, "metrics"):
        raise SystemExit(f"{runs} has no finished run, and {out} no table: run train first")
    with replacing(out / "README.md") as temporary:
        temporary.write_text(card(out, _progress(stored(out))), encoding="utf-8")


def _store_claims(source: Path, kept: Path) -> None:
    """Verdicts of some trainings do not take the place of verdicts of more."""
    new, old = (set(read_provenance(file)["checkpoints"]) if file.exists() else set() for file in (source, kept))
    if lost := old - new:
        raise SystemExit(
            f"{source} was tested without {len(lost)} of the {len(old)} trainings of {kept}, such as {min(lost)}: "
            f"`train --again` makes their weights; or remove {source.parent} to keep the stored claims"
        )
    write_table(read_table(source), kept, read_provenance(source))


def status(out: Path = STORED, runs: Path = RUNS) -> None:
    """Print which trainings of the grid are there."""
    print(markdown(_progress(stored(out) | {run.name for run in finished(runs)})))


def table(out: Path = STORED) -> None:
    """Print the verdict on every sentence, as the README shows it."""
    print(verdicts(read_table(out / "claims.parquet")))


def _has(folder: Path, name: str) -> bool:
    return (folder / f"{name}.parquet").exists()


def _beside(new: list[pd.DataFrame], kept: Path) -> pd.DataFrame:
    """The rows of the runs in ``new``, below those of other runs that are kept already."""
    names = {name for table in new for name in table["checkpoint"].unique()}
    old = [read_table(kept)[lambda table: ~table["checkpoint"].isin(names)]] if kept.exists() else []
    return pd.concat([table for table in (*old, *new) if len(table)], ignore_index=True)


def _progress(done: set[str]) -> pd.DataFrame:
    """Every recipe, and how many of its trainings are there."""
    counts = [(recipe, sum(one.recipe == recipe and one.name in done for one in trainings())) for recipe in RECIPES]
    whole = len(FOLDS) * len(SEEDS)
    return pd.DataFrame([{"recipe": name, "trained": f"{n} of {whole}"} for name, n in counts])


def _run(arguments: list[str]) -> None:
    subprocess.run([sys.executable, "-m", "analysis", *arguments], check=True)


if __name__ == "__main__":
    commands = (train, claims, store, status, table)
    tyro.extras.subcommand_cli_from_dict({command.__name__: command for command in commands})
