"""Checkpoint files that no program writes, of every container, put together by hand. None of them may open."""

from __future__ import annotations

import json
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from torch import Tensor

from . import hostile_pickles as pickles

Write = Callable[[Path], object]


def crafted(marker: Path) -> Iterator[tuple[str, Write]]:
    yield from ((f"other: {label}", of_bytes(raw)) for label, raw in _others())
    yield from ((f"safetensors: {label}", write) for label, write in _safetensors())
    yield from ((f"torch zip: {label}", write) for label, write in _zips())
    yield from ((f"torch legacy: {label}", write) for label, write in _legacies())
    yield from ((f"caffemodel: {label}", of_bytes(raw)) for label, raw in _caffemodels())
    for label, value in pickles.objects(marker):
        yield f"torch zip: {label}", lambda path, value=value: torch_zip(path, value)
        yield f"torch legacy: {label}", lambda path, value=value: torch_legacy(path, value)
    for label, value in pickles.exploits(str(marker)):
        yield f"other: plain pickle, exploit by {label}", of_bytes(b"\x80\x02" + value + b".")


def of_bytes(raw: bytes) -> Write:
    return lambda path: path.write_bytes(raw)


def _others() -> Iterator[tuple[str, bytes]]:
    yield "empty", b""
    yield "a web page", b"<!DOCTYPE html><html><title>Quota exceeded</title></html>"
    yield "a git-lfs pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    yield "a prototxt", b'name: "DeepLab"\nlayer { name: "conv1" }\n'
    yield "gzip", b"\x1f\x8b\x08" + bytes(100)
    yield "tar", bytes(257) + b"ustar\x0000" + bytes(248)
    yield "HDF5", b"\x89HDF\r\n\x1a\n" + bytes(100)
    yield "an MXNet array", struct.pack("<QQ", 0x112, 0) + bytes(100)
    yield "a Paddle pickle", b"\x80\x04\x95\x05\0\0\0\0\0\0\0}\x94."
    yield "the magic of a zip alone", b"PK\3\4"
    yield "the magic of a legacy file alone", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
    for i in range(8):
        yield f"random bytes {i}", random.Random(i).randbytes(10 ** (i % 5))
        yield f"random bytes like protobuf {i}", b"\x0a" + random.Random(i).randbytes(10 ** (i % 5))
        yield f"random bytes like a pickle {i}", b"\x80\x02" + random.Random(i).randbytes(1000) + b"."


def safetensors(header: object, data: bytes = bytes(16), length: int | None = None) -> Write:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return of_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + data)


def _safetensors() -> Iterator[tuple[str, Write]]:
    entry = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
    for length in (2**60, 2**64 - 1, 2**31, 10, 0, 1):
        yield f"header of {length} bytes", safetensors({"w": entry}, length=length)
    for label, change in (
        ("shape of 2^80 numbers", {"shape": [2**40, 2**40]}),
        ("shape of 10^15 numbers", {"shape": [10**15]}),
        ("negative shape", {"shape": [-4]}),
        ("wrong shape", {"shape": [5]}),
        ("100,000 dimensions", {"shape": [1] * 100_000}),
        ("end before start", {"data_offsets": [16, 0]}),
        ("data behind the end", {"data_offsets": [0, 2**40], "shape": [2**38]}),
        ("hole", {"data_offsets": [8, 16], "shape": [2]}),
        ("unknown dtype", {"dtype": "F99"}),
        ("unsigned dtype", {"dtype": "U64", "shape": [2]}),
        ("complex dtype", {"dtype": "C64", "shape": [2]}),
        ("float8", {"dtype": "F8_E4M3", "shape": [16]}),
        ("no dtype", {"dtype": None}),
        ("shape that is no list", {"shape": {"0": 4}}),
    ):
        yield label, safetensors({"w": {**entry, **change}})
    yield "overlapping tensors", safetensors({"v": entry, "w": entry})
    yield "more data than tensors", safetensors({"w": entry}, bytes(64))
    yield "no tensors", safetensors({}, b"")
    yield "JSON 10,000 deep", safetensors(b'{"a":' * 10_000 + b"1" + b"}" * 10_000)
    yield "JSON cut off", safetensors(b'{"w": {"dtype"')
    yield "metadata that are no text", safetensors({"__metadata__": {"a": {"b": 1}}, "w": entry})
    yield "not UTF-8", safetensors(b'{"\xff\xfe": 1}')
    yield "a name of a million letters", safetensors({"module." * 150_000: entry})
    yield (
        "30,000 tensors",
        safetensors({f"w{i}": {**entry, "shape": [0], "data_offsets": [0, 0]} for i in range(30_000)}, b""),
    )
    for label, metadata in _nonsense().items():
        yield f"ours, {label}", safetensors({"__metadata__": metadata, "evil\n\x1b[31mname": entry})


def _nonsense() -> dict[str, dict[str, str]]:
    """Metadata of this project's files that describe no model."""
    dual = {"kind": "dual_attention", "classes": 3, "backbone": "tiny"}
    scale = {**dual, "kind": "scale_attention"}
    specs: dict[str, object] = {
        "sound metadata": dual,
        "no spec": [],
        "a spec nested deeply": "[" * 100_000,
        "negative classes": {**dual, "classes": -1},
        "NaN classes": {**dual, "classes": float("nan")},
        "10^30 classes": {**dual, "classes": 10**30},
        "no backbone": {**dual, "backbone": None},
        "a flag of text": {**dual, "position": "x"},
        "20,000 scales": {**scale, "scales": [1 / (i + 1) for i in range(20_000)]},
        "scales of 10^9": {**scale, "scales": [1e9, 1.0]},
        "a head of 10^12": {**scale, "head_width": 10**12},
        "an input of text": {**dual, "input": "x"},
        "a size multiple of 0": {**dual, "input": {"size_multiple": 0}},
        "a mean of NaN": {**dual, "input": {"mean": [float("nan"), 0, 0]}},
        "a std of one number": {**dual, "input": {"std": 0.5}},
        "a side of 10^9": {**dual, "input": {"short_side": 10**9}},
    }
    texts = {label: spec if isinstance(spec, str) else json.dumps(spec) for label, spec in specs.items()}
    rest = {"layout": "attention-analysis/1", "classes": '["a", "b", "c"]', "provenance": "{}"}
    kinds = {label: {**rest, "spec": text} for label, text in texts.items()}
    deep = {"provenance nested deeply": "provenance", "classes nested deeply": "classes"}
    return kinds | {label: {**rest, "spec": json.dumps(dual), key: "[" * 100_000} for label, key in deep.items()}


def torch_zip(path: Path, value: bytes, stored: dict[str, bytes] | None = None, **records: bytes) -> None:
    """What torch.save would write of a pickled value."""
    named = {"data.pkl": b"\x80\x02" + value + b".", "byteorder": b"little", "version": b"3\n", **records}
    named |= {f"data/{key}": raw for key, raw in (pickles.STORED if stored is None else stored).items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, raw in named.items():
            archive.writestr(f"archive/{name}", raw)


def _zips() -> Iterator[tuple[str, Write]]:
    weights = pickles.mapping(weight=pickles.SOUND)
    yield "without its storage", lambda path: torch_zip(path, weights, {})
    yield "short storage", lambda path: torch_zip(path, weights, {"0": bytes(15)})
    yield "long storage", lambda path: torch_zip(path, weights, {"0": bytes(32)})
    yield "big-endian", lambda path: torch_zip(path, weights, byteorder=b"big")
    yield "of no byte order", lambda path: torch_zip(path, weights, byteorder=b"middle")
    yield "TorchScript", lambda path: torch_zip(path, weights, **{"constants.pkl": b")."})
    yield "TorchScript code", lambda path: torch_zip(path, weights, **{"code/__torch__.py": b"import os"})
    yield "deflated weights", lambda path: _deflated(path, weights)
    yield "data.pkl twice", lambda path: _twice(path, weights)
    yield "data.pkl and DATA.PKL", lambda path: torch_zip(path, weights, **{"DATA.PKL": b"N."})
    yield "bytes in front", lambda path: _in_front(path, weights)
    yield "zip in a zip", lambda path: _nested(path, weights)
    yield "bomb of 10 GiB", _zip_bomb
    yield "2^60 bytes declared", lambda path: zip_of_one(path, "archive/data.pkl", weights, size=2**60)
    yield "2^40 bytes declared", lambda path: zip_of_one(path, "archive/data/0", weights, size=2**40)
    yield "without data.pkl", lambda path: zip_of_one(path, "archive/data/0", weights)
    yield "overlapping records", lambda path: _overlapping(path, weights)
    yield "one storage under 20 names", lambda path: torch_zip(path, _repeated(), {"0": bytes(400_000)})
    yield "records of other folders", lambda path: zip_of_one(path, "../../data.pkl", weights)


def _deflated(path: Path, value: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + value + b".")
        archive.writestr("archive/data/0", pickles.STORED["0"])


def _twice(path: Path, value: bytes) -> None:
    torch_zip(path, value)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/data.pkl ", b"")
    path.write_bytes(path.read_bytes().replace(b"archive/data.pkl ", b"archive/data.pkl\0"))


def _in_front(path: Path, value: bytes) -> None:
    torch_zip(path, value)
    path.write_bytes(b"PK\3\4" + bytes(60) + path.read_bytes())


def _nested(path: Path, value: bytes) -> None:
    torch_zip(path, value)
    zip_of_one(path, "weights.pth", path.read_bytes())


def _zip_bomb(path: Path) -> None:
    """10 GiB of zeros in 10 MiB."""
    block = zlib.compressobj(9, wbits=-15)
    raw = (block.compress(bytes(1 << 24)) + block.flush(zlib.Z_FULL_FLUSH)) * 640 + b"\x03\0"
    zip_of_one(path, "archive/data.pkl", raw, method=8, size=640 << 24)


def _overlapping(path: Path, value: bytes) -> None:
    """Two entries of the directory point at the same record."""
    torch_zip(path, value, {"0": bytes(16), "1": bytes(16)})
    raw = bytearray(path.read_bytes())
    second, first = raw.rfind(b"archive/data/1"), raw.rfind(b"archive/data/0")
    raw[second - 4 : second] = raw[first - 4 : first]
    path.write_bytes(raw)


def _repeated() -> bytes:
    view = pickles.tensor(pickles.storage(100_000), (100_000,))
    return pickles.mapping(**{f"w{i}": view for i in range(20)})


def zip_of_one(path: Path, name: str, raw: bytes, method: int = 0, size: int | None = None) -> None:
    """A zip64 file of one record, which declares ``size``."""
    extra = struct.pack("<HHQQ", 1, 16, len(raw) if size is None else size, len(raw))
    common = struct.pack("<HHHHHIIIHH", 45, 0, method, 0, 33, zlib.crc32(raw), 2**32 - 1, 2**32 - 1, len(name), 20)
    local = b"PK\3\4" + common + name.encode() + extra
    central = b"PK\1\2\x2d\0" + common + struct.pack("<HHHII", 0, 0, 0, 0, 0) + name.encode() + extra
    start, end = len(local) + len(raw), len(local) + len(raw) + len(central)
    wide = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, len(central), start)
    last = struct.pack("<4sIQI4sHHHHIIH", b"PK\6\7", 0, end, 1, b"PK\5\6", 0, 0, 1, 1, len(central), start, 0)
    path.write_bytes(local + raw + central + wide + last)


def torch_legacy(
    path: Path, value: bytes, stored: dict[str, bytes] | None = None, keys: bytes | None = None, view: bytes = b"N"
) -> None:
    """What torch.save before 1.6 would write of a pickled value, whose storages it wrote with one more entry."""
    value = value.replace(b"tQ", view + b"tQ")
    stored = pickles.STORED if stored is None else stored
    keys = b"](" + b"".join(map(pickles.text, stored)) + b"e" if keys is None else keys
    magic, system = pickles.number(0x1950A86A20F9469CFC6C), pickles.mapping(little_endian=b"\x88")
    parts = (magic, pickles.number(1001), system, value, keys)
    runs = b"".join(struct.pack("<q", len(raw) // 4) + raw for raw in stored.values())
    path.write_bytes(b"".join(b"\x80\x02" + pickle + b"." for pickle in parts) + runs)


def _legacies() -> Iterator[tuple[str, Write]]:
    weights = pickles.mapping(weight=pickles.SOUND)
    yield "storage never filled", lambda path: torch_legacy(path, weights, keys=b"]")
    yield "another storage filled", lambda path: torch_legacy(path, weights, keys=b"](" + pickles.text("7") + b"e")
    yield "storages that are no list", lambda path: torch_legacy(path, weights, keys=pickles.number(3))
    yield "short storage", lambda path: torch_legacy(path, weights, {"0": bytes(12)})
    yield "without its storage", lambda path: torch_legacy(path, weights, {}, b"](" + pickles.text("0") + b"e")
    view = pickles.many((1, 0, 4))
    yield "storage that is a view", lambda path: torch_legacy(path, weights, view=view)


def field(number: int, value: bytes | int) -> bytes:
    """A protobuf field."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    low, rest = value & 127, (value & (2**64 - 1)) >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def caffe_net(tensors: dict[str, Tensor]) -> bytes:
    """A NetParameter with one layer for each tensor."""
    net = field(1, b"net")
    for name, tensor in tensors.items():
        shape = b"".join(map(varint, tensor.shape))
        blob = field(7, field(1, shape)) + field(5, tensor.float().contiguous().numpy().tobytes())
        net += field(100, field(1, name.encode()) + field(2, b"Convolution") + field(7, blob))
    return net


def _caffemodels() -> Iterator[tuple[str, bytes]]:
    def net(blob: bytes, name: bytes = b"conv") -> bytes:
        return field(1, b"net") + field(100, field(1, name) + field(7, blob))

    numbers = field(5, bytes(16))
    for shape in ((2**62,), (2**32, 2**32), (-4,), (5,), (2,) * 40, (), (0,)):
        yield f"shape {shape}"[:40], net(field(7, field(1, b"".join(map(varint, shape)))) + numbers)
    yield "old shape of 2^62", net(field(1, 2**62) + field(2, 1) + field(3, 1) + field(4, 1) + numbers)
    yield "a million sizes", net(field(7, field(1, b"\1" * 1_000_000)) + numbers)
    yield "a million empty fields", field(1, b"net") + b"\x12\0" * 1_000_000
    yield "a million unpacked numbers", net(b"\x2d\0\0\0\0" * 1_000_000)
    yield "half a number", net(field(7, field(1, b"\4")) + field(5, bytes(15)))
    yield "no shape", net(numbers)
    yield "name that is not UTF-8", net(field(7, field(1, b"\4")) + numbers, b"\xff\xfe")
    yield "no weights", field(1, b"net") + field(100, field(1, b"conv"))
    empty = field(7, field(7, field(1, b"\0")))
    yield "a long name of many blobs", field(1, b"net") + field(100, field(1, b"n" * 100_000) + empty * 30_000)
    yield "the same layer twice", net(field(7, field(1, b"\4")) + numbers) * 2
    yield "field of 2^60 bytes", field(1, b"net") + varint(100 << 3 | 2) + varint(2**60) + bytes(16)
    yield "number without end", field(1, b"net") + b"\xff" * 100
    yield "group", field(1, b"net") + varint(100 << 3 | 3) + bytes(16)
