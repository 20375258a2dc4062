"""What a pickle would do, found out without doing it.

``torch.load(weights_only=True)`` runs no code of the file, but trusts its numbers: with the functions that it allows by
default a short pickle asks for a terabyte, a tensor can reach into its neighbours' bytes, and a legacy storage that the
file never fills is uninitialised memory. So each pickle is walked first, by opcodes, with placeholders for objects.
"""

from __future__ import annotations

import argparse
import math
import pickletools
import reprlib
from typing import IO, Any

import numpy as np
import torch

from analysis.errors import AnalysisError

MAX_NAME = 500  # characters of a tensor's name or a key: one that is repeated for each of many would be a bomb
MAX_BYTES = 64 << 20  # of one pickle; the longest logs that mmengine keeps take 30 MiB
_MAX_OPCODES = 500_000  # ResNet-101 with Adam's state: 51,000
_MAX_WORK = 2_000_000  # values that the calls of one pickle may go through; 64 letters count as one
_MAX_WEIGHT = 100_000  # of a tuple: its values, those of tuples in it twice, so that few levels are possible
_MAX_SHARING = 8  # the same weights under eight names

_ITEM_SIZES = {
    f"torch.{kind}Storage": size
    for size, kinds in {1: ("Bool", "Byte", "Char"), 2: ("Half", "BFloat16", "Short"), 4: ("Float", "Int")}.items()
    for kind in kinds
} | {"torch.DoubleStorage": 8, "torch.LongStorage": 8}
_TENSORS = {"torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"}
_PARAMETER = "torch._utils._rebuild_parameter"
_CONTAINERS = {"collections.OrderedDict", "collections.Counter"}  # Counter: the milestones of MultiStepLR
_DTYPES = {str(dtype) for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64)}
_REFUSED = {  # tensors that are no plain weights, by what makes them
    "torch._utils._rebuild_sparse_tensor": "sparse",
    "torch._utils._rebuild_qtensor": "quantised",
    "torch._utils._rebuild_meta_tensor_no_storage": "on the meta device, without values",
    "torch._utils._rebuild_nested_tensor": "nested",
    "torch._utils._rebuild_wrapper_subclass": "of a tensor subclass",
    "torch._tensor._rebuild_from_type_v2": "of a tensor subclass",
    "torch._utils._rebuild_tensor_v3": "of a dtype that no weights have",
    "torch.ComplexFloatStorage": "complex",
    "torch.ComplexDoubleStorage": "complex",
    **{f"torch.{kind}Storage": "quantised" for kind in ("QInt8", "QUInt8", "QInt32", "QUInt4x2", "QUInt2x4")},
}
_MARK, _TENSOR, _OBJECT = object(), object(), object()
_PUTS, _GETS = {"BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"}, {"BINGET", "LONG_BINGET", "GET"}
_CONSTANTS = {"MARK": _MARK, "NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_EMPTY = {"EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET"}
_QUOTED = reprlib.Repr()
_QUOTED.maxstring = _QUOTED.maxother = 100
_RESAVE = "torch.save(model.state_dict(), FILE) where it comes from, and open that"


class Ignored:
    """An object beside the weights that is not read: it takes any arguments and any state, and does nothing."""

    def __init__(self, *_: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...


class _Dtype(Ignored):
    """numpy.dtype of a number, as its code: ``f8``."""

    def __init__(self, code: str = "", *_: Any) -> None:
        self.code = code


def _number(dtype: _Dtype, raw: bytes) -> float | int | None:
    """A little-endian NumPy scalar as Python's own number; None for another kind of value."""
    numbers = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"}
    return np.frombuffer(raw, f"<{dtype.code}", count=1)[0].item() if dtype.code in numbers else None


class _Namespace(argparse.Namespace): ...


# What torch.load gets in place of globals that its default list lacks. Training scripts store metrics as NumPy numbers
# (junfu1115's best_pred) and their arguments as a Namespace; mmengine adds logs (HistoryBuffer: arrays, and its methods
# by getattr). No name reaches the object that it names: a call makes a placeholder or a number, and nothing else.
SUBSTITUTES = [
    (_Namespace, "argparse.Namespace"),
    (_Dtype, "numpy.dtype"),
    *((_number, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *((Ignored, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    *((Ignored, name) for name in ("numpy.ndarray", "builtins.bytes", "builtins.getattr")),
    (Ignored, "mmengine.logging.history_buffer.HistoryBuffer"),
]
_ALLOWED = {"_codecs.encode", "torch.Size", "torch.device", _PARAMETER, *_ITEM_SIZES, *_TENSORS, *_CONTAINERS, *_DTYPES}
_ALLOWED |= {name for _, name in SUBSTITUTES}


class _Global(str):
    __slots__ = ()


class _Tuple(tuple[Any, ...]):
    weight: int


class _Storage(int):
    """Its size in bytes."""

    item_size: int


class Survey:
    """What the pickles of one file declare: ``storages`` in bytes, by key. ``size`` is the file's, in bytes."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.storages: dict[str, int] = {}
        self._viewed = self._work = 0
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def read(self, stream: IO[bytes], newest: int = 3) -> Any:
        """Walk one pickle and stop behind it. Returns its value: containers as flat lists, placeholders for objects.

        AnalysisError: a global that is not allowed, a tensor that its storage does not hold, work without end, a
        protocol above ``newest`` (torch's reader lacks 4). Other errors of damaged pickles pass through.
        """
        self._stack, self._memo, protocol = [], {}, 0
        for count, (op, argument, _) in enumerate(pickletools.genops(stream)):
            if count > _MAX_OPCODES:
                raise AnalysisError(f"its pickle has over {_MAX_OPCODES:,} operations; {_RESAVE}")
            if op.name == "PROTO":
                protocol = int(argument or 0)
            self._step(op, argument)
        if protocol > newest:  # told last: a global that such a pickle asks for says more
            raise AnalysisError(f"pickled with protocol {protocol}; weights_only=True reads what torch.save writes, 2")
        return self._stack.pop()

    def _step(self, op: pickletools.OpcodeInfo, argument: Any) -> None:
        name, stack = op.name, self._stack
        if name in _PUTS:
            self._memo[len(self._memo) if argument is None else argument] = stack[-1]
        elif name in _GETS:
            stack.append(self._memo[argument])
        elif name in {"GLOBAL", "INST"}:
            stack.append(self._global(argument.replace(" ", ".", 1)))
        elif op.stack_before:
            stack.append(self._made(name, self._popped(op.stack_before)))
        elif op.stack_after:
            stack.append(_CONSTANTS.get(name, argument) if name not in _EMPTY else [])

    def _popped(self, before: list[pickletools.StackObject]) -> list[Any]:
        taken = []
        if pickletools.markobject in before:
            while (value := self._stack.pop()) is not _MARK:
                taken.append(value)
            before = before[: before.index(pickletools.markobject)]
        taken += [self._stack.pop() for _ in before]
        return taken[::-1]

    def _made(self, name: str, values: list[Any]) -> Any:
        if name.startswith("TUPLE"):
            return self._tuple(values)
        if name in {"REDUCE", "NEWOBJ"}:
            return self._called(*values)
        if name == "BINPERSID":
            return self._storage(*values[0])
        if name == "STACK_GLOBAL":
            return self._global(".".join(values))
        if name in {"APPEND", "APPENDS", "SETITEM", "SETITEMS"}:
            if name.startswith("SET"):  # the hash of a tuple goes through all of it
                self._spend([key for key in values[1::2] if isinstance(key, tuple)])
            values[0].extend(values[1:])
        elif name == "BUILD":
            if values[0] is _TENSOR:
                raise AnalysisError(f"its pickle changes tensor {self._name()} after making it; {_RESAVE}")
            self._spend(values[1])
        return values[0]

    def _tuple(self, values: list[Any]) -> _Tuple:
        made = _Tuple(values)
        made.weight = len(values) + 2 * sum(value.weight for value in values if isinstance(value, _Tuple))
        if made.weight > _MAX_WEIGHT:
            raise AnalysisError(f"its tuples are too long, or nested too often; {_RESAVE}")
        return made

    def _global(self, path: str) -> _Global:
        path = path.replace("__builtin__.", "builtins.", 1)
        if kind := _REFUSED.get(path):
            raise AnalysisError(f"tensor {self._name()} is {kind}; convert it to a plain one and save again")
        if path not in _ALLOWED:
            raise AnalysisError(f"asks for {quoted(path)}: unpickling that could run code, so it is refused; {_RESAVE}")
        return _Global(path)

    def _called(self, function: Any, arguments: Any) -> Any:
        if not isinstance(function, _Global) or not isinstance(arguments, tuple):
            raise AnalysisError("its pickle calls something that is no function; the file is damaged")
        self._spend([*arguments])
        if function in _TENSORS:
            self._check_tensor(*arguments)
            return _TENSOR
        if function == "_codecs.encode" and arguments[1:] != ("latin1",):  # other codecs can be made to grow the bytes
            raise AnalysisError(f"its pickle encodes text as {quoted(arguments[-1])}; {_RESAVE}")
        return arguments[0] if function == _PARAMETER else [] if function in _CONTAINERS else _OBJECT

    def _storage(self, _: str, kind: _Global, key: str, __: str, elements: int, view: Any = None) -> _Storage:
        """``("storage", type, key, location, elements)`` and, in legacy files, a view of another storage or None."""
        if view or not isinstance(kind, _Global) or not isinstance(key, str):
            raise AnalysisError(f"tensor {self._name()} has no plain storage (before torch 0.4?); {_RESAVE}")
        storage = _Storage(int(elements) * _ITEM_SIZES[kind])
        storage.item_size = _ITEM_SIZES[kind]
        if not 0 <= storage <= self.size or self.storages.setdefault(key, int(storage)) != storage:
            raise AnalysisError(f"tensor {self._name()} declares {_count(storage)} bytes in a file of {self.size:,}")
        return storage

    def _check_tensor(self, storage: _Storage, offset: int, size: Any, stride: Any, *rest: Any) -> None:
        numbers = (offset, *size, *stride)
        if len(size) != len(stride) or len(size) > 64 or not all(type(n) is int and n >= 0 for n in numbers):
            raise AnalysisError(f"tensor {self._name()} has no sound shape and strides; the file is damaged")
        reach = (offset + 1 + sum((n - 1) * step for n, step in zip(size, stride, strict=True))) * storage.item_size
        all_bytes = math.prod(size) * storage.item_size
        if all_bytes and max(reach, all_bytes) > storage:
            needs = f"of shape {quoted(list(size))} takes {_count(max(reach, all_bytes))} bytes"
            raise AnalysisError(f"tensor {self._name()} {needs}, its storage has {storage:,}; save a plain copy")
        self._viewed += all_bytes
        if self._viewed > _MAX_SHARING * self.size or any(rest[2:]):  # rest[2]: a negation that is still to be done
            raise AnalysisError(f"tensor {self._name()} is a repeated or lazy view; save a plain copy")

    def _spend(self, value: Any, levels: int = 3) -> None:
        """Count what going through a value takes, and through the lists in it."""
        self._work += 1 + (
            value.weight if isinstance(value, _Tuple) else len(value) >> 6 if isinstance(value, str) else 0
        )
        if self._work > _MAX_WORK:
            raise AnalysisError(f"its pickle goes through the same values again and again; {_RESAVE}")
        if levels and isinstance(value, list):
            for inner in value:
                self._spend(inner, levels - 1)

    def _name(self) -> str:
        """The key of what is being made on top of the stack."""
        return quoted(next((v for v in reversed(self._stack) if type(v) is str and v != "storage"), "?"))


def _count(number: int) -> str:
    return f"{number:,}" if number < 10**21 else "more than 10^21"


def quoted(value: object) -> str:
    """A value from a file, short, in printable characters of one line."""
    return _QUOTED.repr(value)
