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
        return {"checkpoint": self.folder.name, **{name: self.config[name] for name in names}, "block": "all"}

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
        state = torch.load(self.folder / "resume.pt", map_location="cpu", weights_only=True)
        if (self.folder / "history.parquet").is_file():
            rows = read_table(self.folder / "history.parquet").drop(columns=list(self.identity))
            self.history = rows[rows.step < state["step"]].to_dict("records")
        if (self.folder / "metrics.parquet").is_file():
            metrics = read_table(self.folder / "metrics.parquet")
            self.metrics = [metrics[metrics.step <= state["step"]]]
        return state


def start_run(folder: Path, name: str, recipe: Recipe, seed: int, dataset: Dataset, resume: bool) -> None:
    """Make a run directory, or with ``resume`` check that one was made by the same recipe, seed and data set.

    Raises AnalysisError where the folder holds another training, is not writable, or has nothing to resume.
    """
    config = {
        "name": name,
        "recipe": recipe_label(name, recipe),
        "seed": seed,
        "dataset": dataset.name,
        "split": dataset.split,
        "fields": json.loads(json.dumps(dataclasses.asdict(recipe))),
        "command": command_line(),
    }
    file = folder / "config.json"
    if not resume:
        if folder.exists() and any(folder.iterdir()):
            raise AnalysisError(f"{folder} is not empty; continue it with --resume, or choose another --out")
        with replacing(file) as temporary:
            temporary.write_text(json.dumps(config, indent=1))
    elif not file.is_file():
        raise AnalysisError(
            f"{folder} holds no run to resume (config.json is missing); leave --resume out to start one"
        )
    else:
        _check_same(json.loads(file.read_text()), config, folder)


def open_run(folder: Path) -> Run:
    """The run in a directory that :func:`start_run` made."""
    return Run(folder, json.loads((folder / "config.json").read_text()))


def _check_same(stored: dict[str, Any], config: dict[str, Any], folder: Path) -> None:
    for key in ("recipe", "seed", "dataset", "split", "fields"):
        if stored.get(key) != config[key]:
            raise AnalysisError(
                f"{folder} was trained with {key} {_short(stored.get(key))}, not {_short(config[key])}; "
                f"resume with the same flags, or choose another --out"
            )


def _short(value: Any) -> str:
    text = str(value)
    return repr(value) if len(text) < 80 else f"{text[:77]}..."
