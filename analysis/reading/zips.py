"""torch.save's zip files: where every record lies, and whether its bytes are those that were written."""

from __future__ import annotations

import io
import mmap
import struct
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from analysis.errors import AnalysisError
from analysis.reading.pickles import quoted

_MAX_DIRECTORY = 16 << 20  # zipfile reads it whole; 600 tensors take 70 KiB
_CHUNK = 1 << 18  # bytes read at a time


@dataclass(frozen=True)
class Record:
    """A file in a zip: where its bytes are, and their CRC-32 (None where torch wrote none: set_crc32_options)."""

    name: str
    start: int
    end: int
    crc: int | None

    @property
    def size(self) -> int:
        """In bytes."""
        return self.end - self.start


def read_records(path: Path, data: mmap.mmap) -> dict[str, Record]:
    """The records of a zip by name, in the order of the file, as torch.save writes them: stored one after the other.

    AnalysisError: a zip that is cut off, is TorchScript, or has compressed or overlapping records (a zip bomb).
    """
    _check_end(data)
    with zipfile.ZipFile(path) as archive:
        infos = sorted(archive.infolist(), key=lambda info: info.header_offset)
    if any("/code/" in info.filename or info.filename.endswith("constants.pkl") for info in infos):
        raise AnalysisError("a TorchScript archive, which is code; torch.save its model.state_dict() and open that")
    if len({info.filename.lower() for info in infos}) < len(infos):  # torch does not tell upper from lower case
        raise AnalysisError("has two records of one name; the zip is damaged, fetch it again")
    has_sums = any(info.CRC for info in infos)
    records: dict[str, Record] = {}
    free = 0
    for info in infos:
        start = info.header_offset + 30 + sum(struct.unpack_from("<HH", data, info.header_offset + 26))
        record = Record(info.filename, start, start + info.file_size, info.CRC if has_sums else None)
        if info.compress_type != zipfile.ZIP_STORED:
            raise AnalysisError(f"record {quoted(record.name)} is compressed, as torch.save never does; unpack the zip")
        if info.header_offset < free or record.end > len(data):
            raise AnalysisError(f"record {quoted(record.name)} overlaps others; the zip is damaged, fetch it again")
        records[record.name], free = record, record.end
    return records


def _check_end(data: mmap.mmap) -> None:
    """The directory is where the file's last bytes say: zipfile and torch search in different ways for another."""
    last = len(data) - 22
    if data[last : last + 4] != b"PK\x05\x06":
        raise AnalysisError("cut off: a zip without the directory at its end; fetch it again")
    size, start = struct.unpack_from("<II", data, last + 12)
    if data[last - 20 : last - 16] == b"PK\x06\x07":  # zip64, as torch writes
        (end,) = struct.unpack_from("<Q", data, last - 12)
        size, start = struct.unpack_from("<QQ", data, last - 36)
        last = end if end == last - 76 else -1
    if size > _MAX_DIRECTORY or start + size != last:
        raise AnalysisError("its zip directory is not where it should be; the file is damaged, fetch it again")


def check_sums(records: Iterable[Record], path: Path) -> None:
    """AnalysisError: a record whose bytes do not have its CRC-32. Read, not mapped: pages stay out of this process."""
    buffer = memoryview(bytearray(_CHUNK))
    with path.open("rb", buffering=0) as file:
        for record in records:
            if record.crc is not None and _crc32(file, record, buffer) != record.crc:
                raise AnalysisError(
                    f"record {quoted(record.name)} fails its checksum: the file is damaged; fetch it again"
                )


def _crc32(file: io.FileIO, record: Record, buffer: memoryview) -> int:
    file.seek(record.start)
    left, crc = record.size, 0
    while left and (n := file.readinto(buffer[: min(left, len(buffer))])):
        crc = zlib.crc32(buffer[:n], crc)
        left -= n
    return crc
