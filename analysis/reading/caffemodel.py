"""Caffe's weights (.caffemodel): a protobuf NetParameter, read along the wire format, without Caffe.

Field numbers are those of BVLC/caffe's ``caffe.proto``. The protobuf library would hold the file twice (286 MiB for
one of 143); here each blob goes from the file into its tensor.
"""

from __future__ import annotations

import io
import math
import mmap
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from analysis.errors import AnalysisError
from analysis.reading.pickles import MAX_NAME

_NET_NAME = 1
_LAYERS = {100: (1, 7), 2: (4, 6)}  # layer (LayerParameter), layers (V1LayerParameter): their fields name and blobs
_BLOB_AXES, _BLOB_DATA, _BLOB_SHAPE, _BLOB_DOUBLES = (1, 2, 3, 4), 5, 7, 8  # axes: num, channels, height, width
_SHAPE_SIZES = 1
_MAX_AXES, _MAX_FIELDS = 32, 500_000  # axes: Caffe's kMaxBlobAxes

_Places = list[tuple[int, int]]  # where the bytes of a field start and end, as often as it is there


def read_caffemodel(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors ``LAYER.weight``, ``LAYER.bias`` (blobs 0 and 1), ``LAYER.2`` ...; and the net's ``name``.

    float32 or float64. An old file's bias of shape ``[1, 1, 1, n]`` becomes ``[n]``, as in new files. AnalysisError,
    without the path: damaged bytes.
    """
    tensors: dict[str, Tensor] = {}
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        wire = _Wire(data)
        net = wire.message(0, len(data))
        for layers, (name_field, blobs_field) in _LAYERS.items():
            for place in net.get(layers, []):
                layer = wire.message(*place)
                layer_name = wire.text(layer.get(name_field, []))
                for i, blob in enumerate(layer.get(blobs_field, [])):
                    name = f"{layer_name}.{('weight', 'bias')[i] if i < 2 else i}"
                    if name in tensors:
                        raise AnalysisError(f"tensor {name!r} is there twice; the file is damaged")
                    tensors[name] = _tensor(file, wire, wire.message(*blob), name)
        return tensors, {"name": wire.text(net.get(_NET_NAME, []))}


def _tensor(file: io.BufferedReader, wire: _Wire, blob: dict[int, _Places], name: str) -> Tensor:
    shape = [wire.numbers(blob[axis])[-1] if axis in blob else 0 for axis in _BLOB_AXES]
    if _BLOB_SHAPE in blob:
        shape = wire.numbers(wire.message(*blob[_BLOB_SHAPE][-1]).get(_SHAPE_SIZES, []))
    elif name.endswith(".bias") and shape[:3] == [1, 1, 1]:
        shape = shape[3:]
    dtype = torch.float64 if _BLOB_DOUBLES in blob else torch.float32
    runs = blob.get(_BLOB_DOUBLES, blob.get(_BLOB_DATA, []))  # one where packed, else one for each number
    size = sum(end - start for start, end in runs)
    if len(shape) > _MAX_AXES or math.prod(shape) * dtype.itemsize != size:
        raise AnalysisError(f"blob {name!r} of shape {str(shape)[:100]} has {size:,} bytes; the file is damaged")
    tensor = torch.empty(shape, dtype=dtype)
    free = memoryview(tensor.view(-1).view(torch.uint8).numpy())
    for start, end in runs:
        file.seek(start)
        free = free[file.readinto(free[: end - start]) :]
    return tensor


class _Wire:
    """Protobuf messages in ``data``. Numbers are counted: a file of nothing but empty fields would take forever."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.left = _MAX_FIELDS

    def message(self, start: int, end: int) -> dict[int, _Places]:
        """The places of every field, by its number."""
        fields: dict[int, _Places] = {}
        while start < end:
            tag, start = self._number(start, end)
            stop = start + {1: 8, 5: 4}.get(tag & 7, 0)  # the lower bits: 0 number, 1 and 5 fixed, 2 bytes
            if tag & 7 == 0:
                _, stop = self._number(start, end)
            elif tag & 7 == 2:
                length, start = self._number(start, end)
                stop = start + length
            if stop > end or (stop == start and tag & 7 != 2):
                raise AnalysisError(f"not a sound .caffemodel near byte {start:,}; fetch it again")
            fields.setdefault(tag >> 3, []).append((start, stop))
            start = stop
        return fields

    def numbers(self, places: _Places) -> list[int]:
        """The integers of a field, repeated or packed."""
        found = []
        for start, end in places:
            while start < end:
                number, start = self._number(start, end)
                found.append(number)
        return found

    def text(self, places: _Places) -> str:
        start, end = places[-1] if places else (0, 0)
        if end - start > MAX_NAME:
            raise AnalysisError(f"has a name of {end - start:,} characters; the file is damaged")
        return self.data[start:end].decode()

    def _number(self, start: int, end: int) -> tuple[int, int]:
        """A varint, and where it ends."""
        self.left -= 1
        number = 0
        for i, byte in enumerate(self.data[start : min(start + 10, end)] if self.left > 0 else b""):
            number |= (byte & 127) << (7 * i)
            if byte < 128:
                return number, start + i + 1
        raise AnalysisError(f"not a sound .caffemodel near byte {start:,}; fetch it again")
