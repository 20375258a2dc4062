"""Pickles that no program writes, put together by hand: absurd numbers, endless work, and code that would run."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

Numbers = tuple[int, ...]
STORED = {"0": struct.pack("<4f", 1, 2, 3, 4)}  # the storage that the tensors here are of


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def number(value: int) -> bytes:
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def many(values: Numbers) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + b"(" + b"".join(arguments) + b"tR"


def mapping(**values: bytes) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in values.items()) + b"u"


def storage(elements: int, kind: str = "FloatStorage", key: bytes = text("0")) -> bytes:
    return b"(" + text("storage") + name("torch", kind) + key + text("cpu") + number(elements) + b"tQ"


def tensor(stored: bytes, size: Numbers = (4,), stride: Numbers = (1,), offset: int = 0, last: bytes = b"") -> bytes:
    hooks = call(name("collections", "OrderedDict"))
    rebuild = name("torch._utils", "_rebuild_tensor_v2")
    return call(rebuild, stored, number(offset), many(size), many(stride), b"\x89", hooks, last)


SOUND = tensor(storage(4))


def beside(value: bytes) -> bytes:
    """A sound state dict with something else next to it."""
    return mapping(state_dict=mapping(weight=SOUND), extra=value)


def objects(marker: Path) -> Iterator[tuple[str, bytes]]:
    """Every kind of hostile pickle; the exploits would create the file ``marker``."""
    yield from _sizes()
    yield from _no_state_dicts()
    yield from _nested()
    yield from _work()
    for label, attack in exploits(str(marker)):
        yield f"exploit by {label}", attack
        yield f"exploit by {label}, beside weights", beside(attack)


def _sizes() -> Iterator[tuple[str, bytes]]:
    for elements in (10**15, 2**62, 2**63 - 1, 2**64, 10**600, -1, -(2**40)):
        yield f"storage of {str(elements)[:20]} elements", mapping(weight=tensor(storage(elements)))
    for size in ((10**15,), (2**32, 2**32), (5,), (-4,), (2, 2, 2), (10**300,)):
        yield f"shape {str(size)[:20]}", mapping(weight=tensor(storage(4), size, (1,) * len(size)))
    yield "100,000 dimensions", mapping(weight=tensor(storage(4), (1,) * 100_000, (1,) * 100_000))
    yield "fewer strides than sizes", mapping(weight=tensor(storage(4), (2, 2), (1,)))
    yield "stride out of the storage", mapping(weight=tensor(storage(4), (2, 2), (3, 1)))
    yield "negative stride", mapping(weight=tensor(storage(4), (4,), (-1,), 3))
    yield "offset out of the storage", mapping(weight=tensor(storage(4), (4,), (1,), 10**12))
    yield "expanded from one number", mapping(weight=tensor(storage(4), (10**9,), (0,)))
    yield "negated", mapping(weight=tensor(storage(4), last=mapping(neg=b"\x88")))
    yield "storage with a key that is no text", mapping(weight=tensor(storage(4, key=many((1, 2)))))
    yield "storage of no type", mapping(weight=tensor(storage(4, kind="Size")))


def _no_state_dicts() -> Iterator[tuple[str, bytes]]:
    utils, layout = "torch._utils", call(name("torch.serialization", "_get_layout"), text("torch.sparse_coo"))
    float32 = name("torch", "float32")
    yield "sparse", mapping(weight=call(name(utils, "_rebuild_sparse_tensor"), layout, SOUND))
    yield "quantised", mapping(weight=call(name(utils, "_rebuild_qtensor"), storage(4, kind="QInt8Storage")))
    yield "complex", mapping(weight=tensor(storage(2, kind="ComplexFloatStorage"), (2,)))
    meta = call(name(utils, "_rebuild_meta_tensor_no_storage"), float32, many((10**12,)), many((1,)), b"\x89")
    yield "meta", mapping(weight=meta)
    yield "subclass", mapping(weight=call(name("torch._tensor", "_rebuild_from_type_v2"), SOUND))
    yield "wrapper subclass", mapping(weight=call(name(utils, "_rebuild_wrapper_subclass"), float32))
    yield "integer names", b"}(" + number(0) + SOUND + b"u"
    yield "tuples as names", b"}(" + many((1, 2)) + SOUND + b"u"
    yield "no tensors", mapping(epoch=number(3))
    yield "bare tensor", SOUND
    yield "list of tensors", b"](" + SOUND + b"e"
    yield "None", b"N"
    yield "empty dict", b"}"
    yield "empty stack", b""
    yield "tensor changed after making", mapping(weight=SOUND + b"(" + storage(4) + number(0) + b"tb")


def _nested() -> Iterator[tuple[str, bytes]]:
    deep = b"}" + (text("a") + b"}") * 10_000 + b"s" * 10_000
    yield "10,000 dicts deep", deep
    yield "10,000 dicts deep beside weights", beside(deep)
    yield "10,000 lists deep", beside(b"]" * 10_000 + b"a" * 9_999)
    yield "90,000 tuples deep as a key", beside(b"}" + b")" + b"\x85" * 90_000 + b"Ns")
    yield "dict in itself", b"}q\x07" + text("state_dict") + b"h\x07s"
    yield "dict in itself beside weights", beside(b"}q\x07" + text("a") + b"h\x07s")
    yield "list in itself", beside(b"]q\x07h\x07a")
    lists, dicts, tuples = b"]", b"}", b")"
    for _ in range(60):  # each holds the one before twice
        lists = b"](" + lists + b"q\x07h\x07e"
        dicts = b"}(" + text("a") + dicts + b"q\x07" + text("b") + b"h\x07u"
        tuples += b"q\x07h\x07\x86"
    yield "2^60 shared lists", beside(lists)
    yield "2^60 shared dicts", beside(dicts)
    yield "2^60 shared tuples", beside(tuples)
    yield "2^60 shared tuples as a key", beside(b"}" + tuples + b"Ns")
    yield "2^60 shared tuples as a storage's key", mapping(weight=tensor(storage(4, key=tuples)))


def _work() -> Iterator[tuple[str, bytes]]:
    grown = call(name("_codecs", "encode"), text("a" * 4096), text("latin1"))
    for _ in range(60):
        grown = call(name("_codecs", "encode"), grown, text("hex"))
    yield "bytes doubled 60 times", beside(grown)
    yield "slow codec", beside(call(name("_codecs", "encode"), text("\u0100" * 1_000_000), text("punycode")))
    yield "allocation by bytearray", beside(call(name("__builtin__", "bytearray"), number(10**11)))
    yield "allocation by bytes", mapping(weight=call(name("__builtin__", "bytes"), number(10**11)))
    yield "allocation by Tensor", beside(call(name("torch", "Tensor"), number(10**11)))
    yield "allocation by UntypedStorage", beside(call(name("torch.storage", "UntypedStorage"), number(10**11)))
    yield "a million operations", beside(b"](" + b"N" * 1_000_000 + b"e")
    counted = name("collections", "Counter") + b"q\x08](" + number(1) * 50_000 + b"eq\x09"
    heavy = b"(" + number(1) * 4000 + b"tq\x09"
    sizes = name("torch", "Size") + b"q\x08" + heavy + b"h\x08h\x09\x85R" * 90_000
    yield "one tuple measured 90,000 times", beside(b"(" + sizes + b"t")
    made = name("argparse", "Namespace") + b")\x81"
    state = b"}q\x09(" + b"".join(text(f"{i:x}") + b"N" for i in range(40_000)) + b"u"
    yield "one state set 90,000 times", beside(b"(" + state + made + b"h\x09b" * 90_000 + b"t")
    yield "one tuple as 90,000 keys", beside(b"}(" + heavy + b"N" + b"h\x09N" * 90_000 + b"u")
    yield (
        "one tuple counted 90,000 times",
        beside(call(name("collections", "Counter"), b"](" + heavy + b"h\x09" * 90_000 + b"e")),
    )
    yield "one list counted 10,000 times", beside(b"(" + counted + b"h\x08h\x09\x85R" * 10_000 + b"t")


def exploits(marker: str) -> Iterator[tuple[str, bytes]]:
    """Values that create the file ``marker`` if anything of them runs."""
    shell, python = text(f"touch {marker}"), text(f"open({marker!r}, 'w').close()")
    yield "os.system", call(name("os", "system"), shell)
    yield "posix.system", call(name("posix", "system"), shell)
    yield "eval", call(name("__builtin__", "eval"), python)
    yield "exec", call(name("builtins", "exec"), python)
    yield "subprocess", call(name("subprocess", "check_output"), b"](" + text("touch") + text(marker) + b"e")
    yield "open", call(name("io", "open"), text(marker), text("w"))
    yield "runpy", call(name("runpy", "_run_code"), python, b"}")
    yield "torch.hub", call(name("torch.hub", "load"), text("/nowhere"), text("model"))
    yield "a pickle inside", call(name("torch.storage", "_load_from_bytes"), call(name("_codecs", "encode"), shell))
    yield "torch.jit", call(name("torch.jit", "script"), python)
    yield "getattr", call(call(name("__builtin__", "getattr"), name("os", "path"), text("os")), shell)
    yield "stand-in for getattr", call(call(name("__builtin__", "getattr"), name("torch", "Size"), text("a")), shell)
    yield "dotted name", call(name("torch", "serialization.os.system"), shell)
    yield "method of an allowed class", call(name("collections", "OrderedDict.__class__"), shell)
    yield "globals of an allowed function", name("torch._utils", "_rebuild_tensor_v2.__globals__")
    yield "NEWOBJ", name("subprocess", "Popen") + b"(" + shell + b"t\x81"
    yield "INST", b"(" + shell + b"ios\nsystem\n"
    yield "OBJ", b"(" + name("os", "system") + shell + b"o"
    yield "STACK_GLOBAL", b"\x8c\x05posix\x8c\x06system\x93(" + shell + b"tR"
    yield "STACK_GLOBAL of a dotted name", b"\x8c\x05torch\x8c\x17serialization.os.system\x93(" + shell + b"tR"
    yield "EXT1", b"\x82\x01(" + shell + b"tR"
    yield "EXT4", b"\x84\x01\0\0\0(" + shell + b"tR"
    yield "BUILD of a class", name("collections", "OrderedDict") + mapping(__reduce__=name("os", "system")) + b"b"
    made = call(name("collections", "OrderedDict"))
    yield "BUILD with a function", made + mapping(items=name("os", "system")) + b"b"
    yield "BUILD of slots", made + b"(N" + mapping(__class__=name("os", "system")) + b"tb"
    yield "call of what was made", call(call(name("argparse", "Namespace")), shell)
    yield "persistent id", b"(" + text("module") + name("os", "system") + text("") + text("") + b"tQ"
    yield "a class of torch", name("torch.nn.modules.linear", "Linear") + b")\x81" + mapping(training=b"\x88") + b"b"
