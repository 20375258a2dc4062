"""Tables on disk: Parquet files that carry their provenance, written to a temporary name and renamed."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.errors import AnalysisError

_KEY = b"attention-analysis"


@contextmanager
def replacing(path: Path) -> Generator[Path]:
    """A temporary name beside ``path``, renamed to it when the block succeeds and removed when it does not."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AnalysisError(f"cannot write into {path.parent}: {error.strerror}; choose another folder") from None
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())  # or a power cut could leave the new name without its bytes
        temporary.replace(path)
    except OSError as error:
        raise AnalysisError(f"cannot write {path}: {error.strerror or error}; choose another place") from None
    finally:
        with suppress(OSError):  # of a folder that may not be written there is nothing to remove
            temporary.unlink(missing_ok=True)


def write_table(table: pd.DataFrame, path: Path, provenance: dict[str, Any]) -> None:
    """Write a table with its provenance (plain values that JSON can hold) in the schema metadata."""
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    metadata = {**(arrow.schema.metadata or {}), _KEY: json.dumps(provenance).encode()}
    with replacing(path) as temporary:
        pq.write_table(arrow.replace_schema_metadata(metadata), temporary, compression="zstd")


def read_table(path: Path) -> pd.DataFrame:
    """Read a table; a missing or damaged file is an error that names it."""
    return _open(path).read().to_pandas()


def read_provenance(path: Path) -> dict[str, Any]:
    """The provenance that :func:`write_table` stored; empty for a Parquet file of another origin."""
    return json.loads((_open(path).schema_arrow.metadata or {}).get(_KEY, b"{}"))


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except FileNotFoundError:
        raise AnalysisError(f"no table at {path}; look for a .parquet file in the run directory") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise AnalysisError(f"{path} is not a readable Parquet file ({str(error).splitlines()[0]})") from None


def command_line() -> str:
    """The command this process was started with, without the path of the program: part of every provenance."""
    program = Path(sys.argv[0])
    ours = program.stem == "attention-analysis" or program.parts[-2:] == ("analysis", "__main__.py")
    return shlex.join(["attention-analysis" if ours else program.name, *sys.argv[1:]])
