"""The history of someone else's training: from the checkpoints it left, or from its TensorBoard event files.

A series of checkpoints gives the gates at each of them. It is ordered by the numbers in the files' names, as numbers,
or by their metadata (epoch, iter, step) where the names have none. Event files give every step at which a gate, a loss
or a learning rate was logged. What neither holds is missing in the table, never invented.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from analysis.checkpoints import SUFFIXES
from analysis.checkpoints.layouts import recognise
from analysis.errors import AnalysisError
from analysis.inspection import provenance
from analysis.reading import Stored, read_file
from analysis.training.events import Scalars, event_files, read_runs
from analysis.training.gate_names import gate_names, logged_tags
from analysis.training.history import foreign_table

_SUFFIXES = (".safetensors", *SUFFIXES)
_NAMED = {
    "step": re.compile(r"(?<![a-z])(?:step|iter|iteration)s?[-_=]?0*(\d{1,15})(?!\d)", re.IGNORECASE),
    "epoch": re.compile(r"(?<![a-z])ep(?:och)?s?[-_=]?0*(\d{1,15})(?!\d)", re.IGNORECASE),
}
_LAST = re.compile(r"(?:^|[-_=]|(?<!\d)\.)0*(\d{1,15})$")
_KEYS = {"step": ("step", "global_step", "iter", "iteration"), "epoch": ("epoch",)}
_GATES = {"alpha": "pam.gate", "beta": "cam.gate"}


@dataclass(frozen=True, eq=False)
class ForeignHistory:
    """A training that this project did not run.

    ``table`` has the columns of ``history`` (DESIGN 5); its ``step`` counts ``unit``: step, or epoch where the files
    tell nothing finer. ``names``: column to the tensor or tag it was read from. ``notes``: what was left out, and why.
    """

    table: pd.DataFrame
    unit: str
    sources: tuple[str, ...]
    names: dict[str, str]
    notes: tuple[str, ...]


def foreign_history(path: Path) -> ForeignHistory:
    """The history of a folder of checkpoints or of event files (searched recursively), or of one such file.

    Event files win where they hold a gate. AnalysisError: nothing to read, no gate in it (listing the scalars there
    are), or checkpoints that nothing orders.
    """
    try:
        return _history(path)
    except OSError as error:
        raise AnalysisError(f"cannot read {path}: {error.strerror}; give a path that you may read") from None


def _history(path: Path) -> ForeignHistory:
    if not path.exists():
        raise AnalysisError(f"nothing at {path}; give a folder of checkpoints or of TensorBoard event files")
    checkpoints, events = checkpoint_series(path), event_files(path)
    if not checkpoints and not events:
        kinds = f"no checkpoint ({' '.join(_SUFFIXES)}) and no events.out.tfevents file"
        raise AnalysisError(f"{path}: {kinds} there; give the folder that the training wrote to")
    runs, damaged = read_runs(events)
    logged = _from_events(path, runs)
    if not logged.table.empty:
        return replace(logged, sources=tuple(map(str, events)), notes=(*damaged, *logged.notes))
    if checkpoints:
        return _from_checkpoints(path, checkpoints)
    tags = sorted({tag for scalars in runs.values() for tag in scalars})
    raise AnalysisError(damaged[0] if damaged and not tags else f"{path}: no gate was logged{_listed(tags)}")


def checkpoint_series(path: Path) -> list[Path]:
    """The checkpoint files of a folder and of its ``checkpoints``; of a file and links to it, the file."""
    if path.is_file():
        return [path] if path.suffix in _SUFFIXES else []
    folders = (folder for folder in (path, path / "checkpoints") if folder.is_dir())
    found = [p for folder in folders for p in folder.iterdir() if p.suffix in _SUFFIXES and p.is_file()]
    return sorted({p.resolve(): p for p in sorted(found, key=Path.is_symlink, reverse=True)}.values())


def place(name: str, metadata: Mapping[str, Any]) -> dict[str, int]:
    """What is known of a checkpoint's ``step`` and ``epoch``: by its file's name, else by its metadata.

    >>> place("epoch_12.pth.tar", {"meta": {"iter": 4000}}), place("0300.pt", {}), place("DANet101.pth.tar", {})
    ({'step': 4000, 'epoch': 12}, {'step': 300}, {})
    """
    while Path(name).suffix in _SUFFIXES:
        name = Path(name).stem
    named = {unit: int(match[1]) for unit, pattern in _NAMED.items() if (match := pattern.search(name))}
    if not named and (match := _LAST.search(name)):
        named = {"step": int(match[1])}
    counts = {**metadata, **_mapping(metadata.get("meta")), **provenance(metadata)}
    told = {unit: _whole(counts[key]) for unit, keys in _KEYS.items() for key in keys if key in counts}
    return {unit: n for unit in _NAMED if (n := named.get(unit, told.get(unit))) is not None}


def _from_events(path: Path, runs: Mapping[Path, Scalars]) -> ForeignHistory:
    """The rows of every run that has logged a gate."""
    rows: list[dict[str, Any]] = []
    notes = []
    names: dict[str, str] = {}
    for folder, scalars in sorted(runs.items()):
        run = folder.resolve().name if folder in (path, path.parent) else str(folder.relative_to(path))
        columns = gate_names(scalars, folder)
        if not {"alpha", "beta"} & columns.keys():
            notes.append(f"left out: {folder} has no gate")
            continue
        for column, tags in logged_tags(scalars).items():
            if len(tags) == 1:
                columns[column] = tags[0]
            else:
                notes.append(f"{folder}: {column} is left empty, since {' and '.join(tags[:4])} could each be it")
        rows += [{"checkpoint": run, **row} for row in _logged_rows(scalars, columns)]
        names |= columns
    return ForeignHistory(foreign_table(rows), "step", (), names, tuple(notes))


def _logged_rows(scalars: Scalars, columns: Mapping[str, str]) -> list[dict[str, float]]:
    """One row for every step at which any of the columns was logged."""
    values = {column: scalars[tag] for column, tag in columns.items()}
    steps = sorted(set().union(*values.values()))
    return [{"step": step, **{c: logged[step] for c, logged in values.items() if step in logged}} for step in steps]


def _from_checkpoints(path: Path, files: Sequence[Path]) -> ForeignHistory:
    rows: dict[Path, dict[str, Any]] = {}
    names: dict[str, str] = {}
    notes = []
    for file in tqdm(files, desc=path.name, unit="file", leave=False, delay=1):
        try:
            stored = read_file(file)
            columns = _stored_gates(stored)
            rows[file] = _row(stored, columns)
            names |= columns
        except AnalysisError as error:
            notes.append(f"left out: {error}")
    if not rows:
        more = f" (and {len(notes) - 1} files more)" if len(notes) > 1 else ""
        raise AnalysisError(notes[0].removeprefix("left out: ") + more)
    unit = max(_NAMED, key=lambda unit: sum(unit in row for row in rows.values()))  # step, where both are as many
    kept, left = _ordered(rows, unit)
    if not kept:
        raise AnalysisError(f"{path}: nothing orders its files; name them step_N or epoch_N")
    name = path.resolve().name
    table = foreign_table([{"checkpoint": name, **row, "step": row[unit]} for row in kept.values()])
    return ForeignHistory(table, unit, tuple(map(str, kept)), names, (*notes, *left))


def _stored_gates(stored: Stored) -> dict[str, str]:
    """Column to tensor: by the file's layout, else the scalars whose names say position or channel."""
    matched = recognise(stored).names
    if known := {column: matched[ours] for column, ours in _GATES.items() if ours in matched}:
        return known
    scalars = [name for name, tensor in stored.tensors.items() if tensor.numel() == 1 and tensor.is_floating_point()]
    found = {column: name for column, name in gate_names(scalars, stored.path).items() if column in _GATES}
    if not found:
        raise AnalysisError(f"{stored.path}: no gate of position or channel attention{_listed(scalars)}")
    return found


def _row(stored: Stored, columns: Mapping[str, str]) -> dict[str, Any]:
    gates = {column: stored.tensors[name].item() for column, name in columns.items()}
    told = provenance(stored.metadata)
    identity = {key: str(told[key]) for key in ("recipe", "dataset", "split") if key in told}
    return {**identity, "seed": _whole(told.get("seed")), **place(stored.path.name, stored.metadata), **gates}


def _ordered(rows: Mapping[Path, dict[str, Any]], unit: str) -> tuple[dict[Path, dict[str, Any]], list[str]]:
    """The rows by number, one for each, of two the one of the shorter name; and a note for every file left out."""
    placed: dict[int, Path] = {}
    notes = []
    for file in sorted(rows, key=lambda file: (not place(file.name, {}), len(file.name), file.name)):
        number = rows[file].get(unit)
        if number is None:
            notes.append(f"left out: {file} has no {unit} in its name or metadata")
        elif number in placed:
            notes.append(f"left out: {file} is {unit} {number} again, as {placed[number].name}")
        else:
            placed[number] = file
    return {placed[number]: rows[placed[number]] for number in sorted(placed)}, notes


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _whole(value: Any) -> int | None:
    digits = isinstance(value, str) and value.isdecimal() and len(value) < 16
    return int(value) if digits or (type(value) is int and 0 <= value < 10**15) else None  # a bool is an int too


def _listed(scalars: Sequence[str]) -> str:
    more = f" and {len(scalars) - 12} more" if len(scalars) > 12 else ""
    return f"; its scalars: {', '.join(scalars[:12])}{more}" if scalars else "; it holds no scalar at all"
