"""Scalars of TensorBoard event files, by run. A run is a folder of them, whatever files a restart has added to it."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from analysis.errors import AnalysisError

Scalars = dict[str, dict[int, float]]  # tag to value by step
_PATTERN = "*tfevents*"
_FLOATS = (1, 2)  # DT_FLOAT and DT_DOUBLE of TensorFlow's types.proto


def event_files(path: Path) -> list[Path]:
    """The event files of a folder, searched recursively, or the one that ``path`` is."""
    if path.is_dir():
        return sorted(p for p in path.rglob(_PATTERN) if p.is_file())
    return [path] if path.match(_PATTERN) else []


def read_runs(files: Sequence[Path]) -> tuple[dict[Path, Scalars], list[str]]:
    """The scalars of every run, and a note for every file that is damaged or unfinished (read up to there).

    Where a tag has two values at a step, the later file's counts. Images and histograms are passed over.
    """
    folders: dict[Path, Scalars] = {}
    notes = []
    total = sum(file.stat().st_size for file in files)
    with tqdm(total=total, desc="event files", unit="B", unit_scale=True, leave=False, delay=1) as bar:
        for file in files:
            scalars = folders.setdefault(file.parent, {})
            try:
                for record in _records(file):
                    _add(scalars, record)
                    bar.update(len(record) + 16)
            except ValueError as error:
                notes.append(f"{file} is damaged or unfinished ({error}); read up to there")
    return _joined(folders), notes


def _joined(folders: dict[Path, Scalars]) -> dict[Path, Scalars]:
    """``add_scalars("gates", {"alpha": 1})`` logs the tag gates in a folder gates_alpha: its run is the one above."""
    runs: dict[Path, Scalars] = {}
    for folder, scalars in folders.items():
        only = next(iter(scalars)) if len(scalars) == 1 else ""
        prefix = only.replace("/", "_") + "_"
        if only and folder.name.startswith(prefix):
            runs.setdefault(folder.parent, {})[f"{only}/{folder.name.removeprefix(prefix)}"] = scalars[only]
        elif scalars:
            runs.setdefault(folder, {}).update(scalars)
    return runs


def _records(file: Path) -> Generator[bytes]:
    """The records of a file, checksums verified. ValueError: damage, or an end inside a record."""
    try:
        from tensorboard.compat.tensorflow_stub import errors
        from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import PyRecordReader_New
    except ImportError:
        raise AnalysisError("reading event files needs tensorboard: pip install tensorboard") from None
    reader: Any = PyRecordReader_New(str(file))
    while True:
        try:
            reader.GetNext()
        except errors.OutOfRangeError:
            return
        except (errors.DataLossError, MemoryError, OverflowError):  # the latter two: a length of terabytes
            raise ValueError("a record's checksum or length is wrong") from None
        yield reader.record()


def _add(scalars: Scalars, record: bytes) -> None:
    from google.protobuf.message import DecodeError
    from tensorboard.compat.proto.event_pb2 import Event  # ty: ignore[missing-module-member]  (made at run time)
    from tensorboard.util.tensor_util import make_ndarray

    try:
        event = Event.FromString(record)
    except DecodeError:
        raise ValueError("a record is no event") from None
    for value in event.summary.value:
        if value.HasField("simple_value"):
            scalars.setdefault(value.tag, {})[event.step] = value.simple_value
        elif value.HasField("tensor") and value.tensor.dtype in _FLOATS and not value.tensor.tensor_shape.dim:
            scalars.setdefault(value.tag, {})[event.step] = make_ndarray(value.tensor).item()
