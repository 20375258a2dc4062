"""Checkpoint files as tensors and plain values: safetensors, torch's zip and legacy files, Caffe's .caffemodel.

The container is found from the bytes, never from the name. No code of a file runs: torch's files go through ``Survey``
and then ``torch.load(weights_only=True)``, and there is no other way in. Tensors are memory-mapped where the container
allows it (safetensors, torch zip). A torch zip has a CRC-32 of each record, which is checked; the others have none.
"""

from __future__ import annotations

import argparse
import io
import mmap
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from analysis.errors import AnalysisError, closest
from analysis.reading.caffemodel import read_caffemodel
from analysis.reading.pickles import MAX_BYTES, MAX_NAME, SUBSTITUTES, Ignored, Survey, quoted
from analysis.reading.zips import Record, check_sums, read_records

_LEGACY = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."  # torch.save's magic number before 1.6, pickled
_NET_PARAMETER = (b"\x0a", b"\x12", b"\x1a", b"\xa2")  # protobuf tags of its name, layers, input, layer
_PLACES = {"state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "params", "weights"}
_DTYPES = {torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool, torch.uint8}
_DTYPES |= {torch.int8, torch.int16, torch.int32, torch.int64}
_MAX_DEPTH, _MAX_VALUES, _MAX_TENSORS, _MAX_HEADER = 64, 200_000, 20_000, 16 << 20
_ACCEPTED = "give a .safetensors, what torch.save wrote (.pth, .pt, .pth.tar), or a .caffemodel"
_LOOKS = (  # first bytes of what people have in place of a checkpoint
    (b"version https://git-lfs", "a git-lfs pointer; run git lfs pull"),
    (b"<", "a web page; get the file itself"),
    (b"\x1f\x8b", "gzip; unpack it"),
    (b"\x89HDF", "HDF5 (Keras, or Caffe's .h5)"),
    (b"\x12\x01\0\0\0\0\0\0", "MXNet's .params"),
    (b"\x80", "a plain pickle (Paddle's .pdparams, say), which is not opened, because unpickling can run code"),
    (b"name:", "a Caffe prototxt, a net without its weights"),
)
_LOADING = threading.Lock()  # safe_globals changes one set for all threads


@dataclass(frozen=True, eq=False)
class Stored:
    """What a file holds.

    ``container``: "safetensors", "torch zip", "torch legacy" or "caffemodel". ``tensors``: dense, on the CPU, floating,
    integer or bool, named as in the file. ``metadata``: the plain values beside them (what a training script saved with
    the state dict; safetensors' ``str -> str``). ``inside``: where they were, "" if bare, "model.state_dict", ...
    """

    path: Path
    container: str
    tensors: dict[str, Tensor]
    metadata: dict[str, Any]
    inside: str


def read_file(path: Path) -> Stored:
    """Open a checkpoint file of any of the four containers. AnalysisError, in one line, for anything else."""
    try:
        _check_file(path)
        return _reader(path)(path)
    except AnalysisError as error:
        reason = str(error)
    except OSError as error:
        reason = f"cannot be read ({error.strerror or error})"
    except Exception as error:
        # Damaged bytes make the parsers of torch, zipfile and safetensors fail in any way there is (KeyError,
        # struct.error, RuntimeError, RecursionError, MemoryError, ...); each means that the file cannot be read.
        said = str(error).rpartition("WeightsUnpickler error:")[2]  # before it torch advises to turn its safety off
        reason = f"damaged, or no checkpoint ({type(error).__name__}: {said[:200]}); fetch it again"
    line = " ".join(f"{path}: {reason}".split())
    raise AnalysisError("".join(letter if letter.isprintable() else "?" for letter in line))


def _check_file(path: Path) -> None:
    if not path.exists():
        known = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise AnalysisError(f"no such file{closest(path.name, known)}")
    if not path.is_file():  # a pipe would block
        raise AnalysisError(f"is {'a folder' if path.is_dir() else 'no regular file'}; give a checkpoint file")


def _reader(path: Path) -> Callable[[Path], Stored]:
    with path.open("rb") as file:
        head = file.read(512)
        if head.startswith(b"PK\x03\x04"):
            return _read_zip
        if head[8:10] in (b'{"', b"{}"):
            return _read_safetensors
        if _LEGACY in head[:20]:
            return _read_legacy
        if head[:1] == b"\x80":  # a global that it asks for says more than that it is refused anyway
            file.seek(0)
            Survey(path.stat().st_size).read(file, newest=5)
    looks = "a tar archive; unpack it" if head[257:262] == b"ustar" else "" if head else "empty; fetch it again"
    looks = looks or next((what for start, what in _LOOKS if head.lstrip().startswith(start)), "")
    if not looks and head[:1] in _NET_PARAMETER:
        return lambda path: _stored(path, "caffemodel", *read_caffemodel(path), "")
    raise AnalysisError(f"is {looks or f'of an unknown kind (it begins with {head[:8].hex()})'}; {_ACCEPTED}")


def _read_safetensors(path: Path) -> Stored:
    with path.open("rb") as file:
        header, size = int.from_bytes(file.read(8), "little"), path.stat().st_size
    if header > min(size - 8, _MAX_HEADER):
        raise AnalysisError(f"its safetensors header declares {header:,} bytes, the file has {size:,}; fetch it again")
    with safe_open(path, framework="pt") as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        return _stored(path, "safetensors", tensors, opened.metadata() or {}, "")


def _read_legacy(path: Path) -> Stored:
    """Five pickles (magic number, version, system, the object, the keys of its storages), then the storages' bytes."""
    survey = Survey(path.stat().st_size)
    with path.open("rb") as file:
        *_, keys = [survey.read(file) for _ in range(5)]
        needed = file.tell() + sum(8 + size for size in survey.storages.values())
        if sorted(keys) != sorted(survey.storages):  # a storage that is never filled would be uninitialised memory
            raise AnalysisError("the storages that it fills are not those of its tensors; the file is damaged")
        if needed > survey.size:
            raise AnalysisError(f"cut off: {needed - survey.size:,} of {needed:,} bytes are missing; fetch it again")
        file.seek(0)
        return _stored(path, "torch legacy", *_state_dict(_load(file, mmap=False)))


def _load(source: Any, mmap: bool) -> Any:
    with _LOADING, torch.serialization.safe_globals([*SUBSTITUTES]):
        return torch.load(source, map_location="cpu", mmap=mmap, weights_only=True)


def _read_zip(path: Path) -> Stored:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        records = read_records(path, data)
        root = next(iter(records)).partition("/")[0]
        pickled, order = records.get(f"{root}/data.pkl"), records.get(f"{root}/byteorder")
        if pickled is None or pickled.size > MAX_BYTES:
            raise AnalysisError(f"a zip {'with too long a' if pickled else 'without'} data.pkl; {_ACCEPTED}")
        if order and data[order.start : order.end] == b"big":
            raise AnalysisError("its weights are big-endian; save them again on a little-endian machine")
        by_size = sorted(records.values(), key=lambda record: -record.size)
        with ThreadPoolExecutor(2) as pool:  # crc32 lets go of the interpreter lock
            sums = [pool.submit(check_sums, half, path) for half in (by_size[::2], by_size[1::2])]
            check_sums([pickled], path)
            survey = Survey(len(data))
            survey.read(io.BytesIO(data[pickled.start : pickled.end]))
            _check_storages(survey.storages, records, root)
            by_path = path.suffix != ".safetensors"  # torch.load goes by that name; it maps only what has a path
            tree = _load(path if by_path else file, mmap=by_path)
            for half in sums:
                half.result()
    return _stored(path, "torch zip", *_state_dict(tree))


def _check_storages(needed: dict[str, int], records: dict[str, Record], root: str) -> None:
    for key, size in needed.items():
        record = records.get(f"{root}/data/{key}")
        if record is None or record.size != size:
            found = f"{quoted(f'data/{key}')} {f'has {record.size:,} bytes' if record else 'is missing'}"
            raise AnalysisError(f"record {found}, its tensors need {size:,}; fetch the file again")


def _state_dict(tree: Any) -> tuple[dict[str, Tensor], dict[str, Any], str]:
    """The likeliest state dict in what was saved; the plain values beside tensors; the state dict's place."""
    if not isinstance(tree, dict):
        raise AnalysisError(f"holds a {type(tree).__name__}; save a state dict, which maps names to tensors")
    metadata = _plain(tree, count(), 0)  # first, as it refuses what is endless
    found = dict(_mappings(tree, ""))
    if not found:
        raise AnalysisError(f"holds no named tensors; its keys are {quoted(list(tree))}")
    inside = max(found, key=lambda place: _likelihood(place, found[place]))
    return found[inside], metadata, inside


def _mappings(tree: Any, place: str) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Every mapping with named tensors, four levels down, except an optimiser's."""
    if not isinstance(tree, dict) or place.count(".") > 3 or "optim" in place:
        return
    if tensors := {name: value for name, value in tree.items() if isinstance(name, str) and isinstance(value, Tensor)}:
        yield place, tensors
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _mappings(value, f"{place}.{name}" if place else str(name))


def _likelihood(place: str, tensors: dict[str, Tensor]) -> tuple[bool, int]:
    return place.split(".")[-1] in _PLACES, sum(tensor.numel() for tensor in tensors.values())


def _plain(value: Any, visited: Iterator[int], depth: int) -> Any:
    """A copy of plain values, without tensors and what holds nothing else; what contains itself is refused."""
    if depth > _MAX_DEPTH or next(visited) > _MAX_VALUES:
        raise AnalysisError("its values are nested without end, or contain themselves; save the state dict alone")
    if isinstance(value, argparse.Namespace):
        value = vars(value)
    if isinstance(value, dict):
        if longest := next((key for key in value if len(str(key)) > MAX_NAME), None):
            raise AnalysisError(f"has a key of {len(str(longest)):,} characters ({quoted(longest)}); save less")
        items = ((str(key), _plain(kept, visited, depth + 1)) for key, kept in value.items() if not _is_left_out(kept))
        return {key: kept for key, kept in items if kept != {}}
    if isinstance(value, list | tuple):
        return [_plain(kept, visited, depth + 1) for kept in value if not _is_left_out(kept)]
    return value if value is None or isinstance(value, str | int | float) else str(value)[:200]


def _is_left_out(value: Any) -> bool:
    return isinstance(value, Tensor | Ignored)


def _stored(path: Path, container: str, tensors: dict[str, Tensor], metadata: dict[str, Any], inside: str) -> Stored:
    if not tensors:
        raise AnalysisError(f"holds no tensors; {_ACCEPTED}")
    if len(tensors) > _MAX_TENSORS:
        raise AnalysisError(f"holds {len(tensors):,} tensors; networks have less than {_MAX_TENSORS:,}")
    for name, tensor in tensors.items():
        if len(name) > MAX_NAME:
            raise AnalysisError(f"tensor {quoted(name)} has a name of {len(name):,} characters; the file is damaged")
        if tensor.dtype not in _DTYPES:
            raise AnalysisError(f"tensor {quoted(name)} is {tensor.dtype}; save floating-point or integer weights")
    return Stored(path, container, {name: tensor.detach() for name, tensor in tensors.items()}, metadata, inside)
