"""Commands about checkpoint files and series of them: ``inspect``, ``convert``, ``history``, ``publish``."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from analysis.errors import AnalysisError

if TYPE_CHECKING:
    from pandas import DataFrame

    from analysis.checkpoints import Checkpoint

Positional = tyro.conf.Positional
Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]
_GATES = ("alpha", "beta")


def inspect(file: Positional[Path], /, as_json: Annotated[bool, tyro.conf.arg(name="json")] = False) -> None:
    """Say what is in a checkpoint, whoever's it is: layout, gates, what fits and what not, every tensor.

    Nothing in the file is run. A file of no known layout is shown too, with the closest one and what does not fit.

    Example: attention-analysis inspect DANet101.pth.tar

    Args:
        file: A checkpoint, or a run or demo directory (its last checkpoint).
        as_json: Print everything as JSON, nothing folded.
    """
    import json

    from analysis.inspection import inspect as look_into

    inspection = look_into(file)
    print(json.dumps(inspection.to_dict(), allow_nan=False) if as_json else inspection.text())


def convert(
    file: Positional[Path],
    out: Positional[Path],
    /,
    half: bool = False,
    multi_grid: tuple[int, int, int] | None = None,
    align_corners: Flag = False,
    no_align_corners: Flag = False,
    form: Literal["released", "paper"] | None = None,
    classes_file: Path | None = None,
) -> None:
    """Write a checkpoint of any known layout as this project's own safetensors, every bit kept.

    What weights don't show follows the layout's published default, unless a flag says otherwise.

    Example: attention-analysis convert DANet101.pth.tar danet101.safetensors

    Args:
        file: A checkpoint of any layout that inspect recognises.
        out: The file to write (.safetensors).
        half: Store weights as float16.
        multi_grid: Dilations of layer4's three blocks; 2 4 4 is without multi-grid.
        align_corners: Score maps are resized with their corners aligned.
        no_align_corners: Score maps are resized without that.
        form: What channel attention takes the softmax of: -energy (released) or energy (paper).
        classes_file: Names of the classes, one a line, in the order of the logits.
    """
    import torch

    from analysis.checkpoints import open_checkpoint, save_checkpoint

    if out.suffix != ".safetensors":
        raise AnalysisError(f"{out}: convert writes safetensors; give a name that ends in .safetensors")
    if align_corners and no_align_corners:
        raise AnalysisError("--align-corners and --no-align-corners exclude each other; give one")
    aligned = align_corners if align_corners or no_align_corners else None
    names = _names(classes_file) if classes_file else None
    opened = open_checkpoint(file, multi_grid=multi_grid, align_corners=aligned, form=form, classes=names)
    if out.resolve() == opened.path.resolve():
        raise AnalysisError(f"{out} is the file to convert; give another name")
    save_checkpoint(opened.model, out, opened.classes, _converted(opened), torch.float16 if half else None)
    print("\n".join([*_without_place(opened.path), f"written: {out} (from {opened.provenance['layout']})"]))


def history(path: Positional[Path], /, out: Path) -> None:
    """Make the history of someone else's training, from its checkpoints or its TensorBoard files.

    Both gates at each checkpoint, or as they were logged. Checkpoints are ordered by the numbers in their names. What
    the files don't hold is missing in the table.

    Example: attention-analysis history work_dirs/danet --out history.parquet

    Args:
        path: A folder of checkpoints (step_1000.pth, epoch_12.pth.tar, ...) or of event files, or one of these.
        out: The table to write (.parquet).
    """
    import sys

    from analysis.store import write_table
    from analysis.training.foreign_history import foreign_history

    found = foreign_history(path)
    origin = {"source": str(path), "files": list(found.sources), "columns": found.names, "step_counts": found.unit}
    write_table(found.table, out, {**origin, "notes": list(found.notes), **_stamp()})
    for note in found.notes:
        print(note, file=sys.stderr)
    print(f"{_ranges(found.table)}\n{len(found.table)} rows, by {found.unit}; written: {out}")


def publish(run: Positional[Path], out: Positional[Path], /, half: bool = False, series: bool = False) -> None:
    """Make a finished run small enough to ship: its last checkpoint, tables and a model card.

    Example: attention-analysis publish runs/camvid-scale data/demo/camvid-scale --half

    Args:
        run: A run directory.
        out: The folder to write; the dashboard lists those under data/demo.
        half: Store weights as float16.
        series: All checkpoints of the run, not only the last.
    """
    from analysis.training.publish import publish as write

    print(f"published: {write(run, out, half=half, series=series)}")


def _names(file: Path) -> list[str]:
    try:
        return [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise AnalysisError(f"{file} is no list of class names ({error}); write one name a line") from None


def _stamp() -> dict[str, str]:
    from analysis.store import command_line

    return {"version": version("attention-analysis"), "command": command_line()}


def _converted(opened: Checkpoint) -> dict[str, Any]:
    """The provenance of a converted file: that of its source, and which file and layout that was."""
    origin = dict(opened.provenance)
    source = {"file": opened.path.name, "sha256": origin.pop("sha256"), "layout": origin.pop("layout", None)}
    if "converted_from" in origin:
        source["converted_from"] = origin.pop("converted_from")
    del origin["file"]
    stamp = _stamp()
    source["command"] = stamp.pop("command")  # beside "command", which made the weights
    return {**origin, "converted_from": source, **stamp}


def _without_place(file: Path) -> list[str]:
    """What of a file was not converted, a line each."""
    from analysis.checkpoints.layouts import recognise
    from analysis.inspection.text import listed
    from analysis.reading import read_file

    lines = listed(recognise(read_file(file)).left_over)
    return ["no place in the model, not converted:", *(f"  {line}" for line in lines)] if lines else []


def _ranges(table: DataFrame) -> str:
    """Every gate of every run: its first and last value, least and greatest."""
    from pandas import DataFrame

    rows = [
        (run, name, values.iloc[0], values.iloc[-1], values.min(), values.max())
        for run, part in table.groupby("checkpoint", sort=False)
        for name in _GATES
        if len(values := part[name].dropna())
    ]
    frame = DataFrame(rows, columns=["run", "gate", "first", "last", "minimum", "maximum"])
    return frame.to_string(index=False, float_format=lambda value: f"{value:.4f}")
