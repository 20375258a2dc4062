"""A run directory: one training.

    config.json              recipe, seed, data set, and the command that made it
    history.parquet          one row a step
    metrics.parquet          one row per evaluation and class
    checkpoints/step_*.safetensors
    resume.pt                what --resume continues from; written last, so it is the point of commitment

Every file is written to a temporary name and renamed.
"""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from analysis.checkpoints import save_checkpoint
from analysis.datasets import Dataset
from analysis.errors import AnalysisError
from analysis.models import Model
from analysis.store import command_line, read_table, replacing, write_table
from analysis.training.history import history_table
from analysis.training.recipe import Recipe, recipe_label


@dataclasses.dataclass
class Run:
    """One run directory and the rows it has gathered so far."""

    folder: Path
    config: dict[str, Any]
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)
    metrics: list[pd.DataFrame] = dataclasses.field(default_factory=list)

    @property
    def identity(self) -> dict[str, Any]:
        """The columns that every table of this run carries."""
        names = ("recipe", "seed", "dataset", "split")
        return {"checkpoint": self.folder.resolve().name, **{name: self.config[name] for name in names}, "block": "all"}

    def begin(self) -> None:
        """Write the configuration, once nothing else can be wrong; remove what a killed process left half-written."""
        for leftover in _leftovers(self.folder):
            leftover.unlink()
        with replacing(self.folder / "config.json") as temporary:
            temporary.write_text(json.dumps(self.config, indent=1))

    def save_model(self, model: Model, classes: tuple[str, ...], step: int) -> None:
        """Add one checkpoint to the series."""
        provenance = {**self.identity, "step": step, "command": self.config["command"]}
        save_checkpoint(model, self.folder / "checkpoints" / f"step_{step:06d}.safetensors", classes, provenance)

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Write the tables, then the state that --resume continues from."""
        provenance = {**self.config, "version": version("attention-analysis")}
        if self.history:
            write_table(history_table(self.history, self.identity), self.folder / "history.parquet", provenance)
        if self.metrics:
            write_table(pd.concat(self.metrics, ignore_index=True), self.folder / "metrics.parquet", provenance)
        with replacing(self.folder / "resume.pt") as temporary:
            torch.save(dict(state), temporary)

    def load_state(self) -> dict[str, Any] | None:
        """The stored state, with the rows up to its step; None where the run was killed before its first state."""
        if not (self.folder / "resume.pt").is_file():
            return None
        try:
            state = torch.load(self.folder / "resume.pt", map_location="cpu", weights_only=True)
        except (RuntimeError, pickle.UnpicklingError, EOFError, OSError):
            raise AnalysisError(
                f"{self.folder / 'resume.pt'} is damaged; remove it to train again from step 0"
            ) from None
        if (self.folder / "history.parquet").is_file():
            rows = read_table(self.folder / "history.parquet").drop(columns=list(self.identity))
            self.history = rows[rows.step < state["step"]].to_dict("records")
        if (self.folder / "metrics.parquet").is_file():
            metrics = read_table(self.folder / "metrics.parquet")
            self.metrics = [metrics[metrics.step <= state["step"]]]
        return state


def find_run(folder: Path, name: str, recipe: Recipe, seed: int, dataset: Dataset, resume: bool) -> Run:
    """The run of this training in ``folder``, which is only looked at: :meth:`Run.begin` writes.

    Raises AnalysisError where the folder holds anything else or, with ``resume``, a run of another recipe, seed or data
    set, or none.
    """
    config = {
        "name": name,
        "recipe": recipe_label(name, recipe),
        "seed": seed,
        "dataset": dataset.name,
        "split": dataset.split,
        "images": len(dataset),
        "classes": list(dataset.classes),
        "fields": json.loads(json.dumps(dataclasses.asdict(recipe))),
        "command": command_line(),
    }
    if folder.exists() and not folder.is_dir():
        raise AnalysisError(f"cannot write into {folder}: it is a file; choose another --out")
    if not resume:
        if folder.is_dir() and any(p for p in folder.rglob("*") if p.is_file() and p not in _leftovers(folder)):
            raise AnalysisError(f"{folder} is not empty; continue it with --resume, or choose another --out")
        return Run(folder, config)
    if not (folder / "config.json").is_file():
        raise AnalysisError(f"{folder} holds no run to resume (no config.json); leave --resume out to start one")
    stored = json.loads((folder / "config.json").read_text())
    _check_same(stored, config, folder)
    return Run(folder, stored)


def _leftovers(folder: Path) -> set[Path]:
    """Temporary files of a process that was killed while it wrote them."""
    return set(folder.rglob(".*.part"))


def _check_same(stored: dict[str, Any], config: dict[str, Any], folder: Path) -> None:
    kept = ("name", "seed", "dataset", "split", "images", "classes", "fields")
    if found := _difference({key: stored.get(key) for key in kept}, {key: config[key] for key in kept}):
        raise AnalysisError(f"{folder} was trained with {found}; resume with the same flags, or choose another --out")


def _difference(stored: Any, wanted: Any, name: str = "") -> str:
    """The first difference of two configurations, as in ``seed 0, not 1``; empty where there is none."""
    if isinstance(stored, dict) and isinstance(wanted, dict):
        below = (_difference(stored.get(key), value, key) for key, value in wanted.items())
        return next(filter(None, below), "")
    return "" if stored == wanted else f"{name} {stored!r}, not {wanted!r}"
