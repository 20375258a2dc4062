"""Tables on disk: Parquet files that carry their provenance, written to a temporary name and renamed.

A table is a frame in memory, one file, or many parts: :class:`Tables` holds them by name and loads a table when it is
first asked for, :func:`join_parts` makes one file of parts, and :func:`query` answers SQL, neither loading a table.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.errors import AnalysisError

#: The rows of a table: in memory, or in files, in this order.
Source = pd.DataFrame | Sequence[Path]
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


def read_parts(parts: Sequence[Path]) -> pd.DataFrame:
    """The rows of all parts, in their order. A column keeps the widest of its types: integers beside floats are floats.

    AnalysisError: a missing or damaged part.
    """
    schema = _common_schema(parts)
    return pa.concat_tables(_cast(_open(part).read(), schema) for part in parts).to_pandas()


def join_parts(parts: Sequence[Path], path: Path, provenance: dict[str, Any]) -> None:
    """Write the rows of all parts, in their order, as one table; in memory is one part at a time."""
    schema = _common_schema(parts)
    metadata = {**(schema.metadata or {}), _KEY: json.dumps(provenance).encode()}
    stored = schema.with_metadata(metadata)
    with replacing(path) as temporary, pq.ParquetWriter(temporary, stored, compression="zstd") as writer:
        for part in parts:
            writer.write_table(_cast(_open(part).read(), stored))


class Tables(Mapping[str, pd.DataFrame]):
    """Tables by name, as frames. One in files is loaded when it is first asked for, and then kept."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self.sources = dict(sources)
        self._loaded: dict[str, pd.DataFrame] = {}

    def __getitem__(self, name: str) -> pd.DataFrame:
        source = self.sources[name]
        if isinstance(source, pd.DataFrame):
            return source
        if name not in self._loaded:
            self._loaded[name] = read_parts(source)
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.sources)

    def __len__(self) -> int:
        return len(self.sources)

    def loaded(self) -> set[str]:
        """The names of those in files that have been loaded."""
        return set(self._loaded)


def joined(sources: Sequence[Source]) -> Source:
    """One table of several, in their order; in files as long as all of them are."""
    files = [source for source in sources if not isinstance(source, pd.DataFrame)]
    if len(files) == len(sources):
        return [path for source in files for path in source]
    frames = [source if isinstance(source, pd.DataFrame) else read_parts(source) for source in sources]
    return pd.concat(frames, ignore_index=True)


def write_source(source: Source, path: Path, provenance: dict[str, Any]) -> None:
    """Write a table as one file, whatever it is held in."""
    write = write_table if isinstance(source, pd.DataFrame) else join_parts
    write(source, path, provenance)  # ty: ignore[invalid-argument-type]


def query(sql: str, tables: Mapping[str, Source], threads: int = 1) -> pd.DataFrame:
    """The answer to a DuckDB query over tables by name.

        query("select class, avg(weight_inside) from objects group by class", {"objects": parts})

    Files are read in pieces, and only the columns that are asked for: memory is that of the answer. Two threads are
    faster, but add up in another order each time: the last digits of sums vary, which no stored table may.
    AnalysisError: SQL that DuckDB refuses, a file that is not readable.
    """
    import duckdb

    with duckdb.connect(config={"threads": threads}) as connection:
        try:
            for name, table in tables.items():
                if not isinstance(table, pd.DataFrame):
                    table = connection.read_parquet([str(part) for part in table], union_by_name=True)
                connection.register(name, table)
            return connection.sql(sql).df()
        except duckdb.Error as error:
            raise AnalysisError(f"the query failed: {str(error).splitlines()[0]}") from None


def _common_schema(parts: Sequence[Path]) -> pa.Schema:
    """One schema for all parts: an empty part, or one with values missing, has other types than the rest."""
    schemas = [_open(part).schema_arrow for part in parts]
    schema = pa.unify_schemas(schemas, promote_options="permissive")
    widest = next(
        (one for one in schemas if one.remove_metadata() == schema.remove_metadata()), schema.remove_metadata()
    )
    return schema.with_metadata(widest.metadata)


def _cast(table: pa.Table, schema: pa.Schema) -> pa.Table:
    missing = [field for field in schema if field.name not in table.column_names]
    for field in missing:
        table = table.append_column(field, pa.nulls(len(table), field.type))
    return table.select(schema.names).cast(schema)


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
    """The command this process was started with, part of every provenance; no folder of a machine is in its name."""
    program = Path(sys.argv[0])
    ours = program.stem == "attention-analysis" or program.parts[-2:] == ("analysis", "__main__.py")
    name = "attention-analysis" if ours else program.name if program.is_absolute() else str(program)
    return shlex.join([name, *sys.argv[1:]])
