"""The page Checkpoint: what is in a file, of any layout or none, and the lines that give the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from dashboards import dual, fine, one_line, opened, said, save, scale
from safetensors.torch import save_file
from streamlit.testing.v1 import AppTest

from analysis.checkpoints import save_checkpoint


def tables(test: AppTest) -> dict[str, list[str]]:
    """Every table's columns by what its section is called."""
    heads = [m.value.removeprefix("#### ") for m in test.main.markdown if m.value.startswith("#### ")]
    return dict(zip(heads, (list(one.value.columns) for one in test.dataframe), strict=True))


def test_what_is_in_a_dual_checkpoint(folder: Path) -> None:
    save(dual(), folder / "runs" / "one", steps=(0, 10))
    test = opened("checkpoint", step="step_000010")
    assert fine(test)
    assert list(tables(test)) == ["Gates", "Dead channels", "Where it comes from", "Tensors"]
    gates, dead, origin, tensors = (one.value for one in test.dataframe)
    assert gates[["gate", "value", "start"]].to_numpy().tolist() == [["α", 0.25, 0.0], ["β", 0.25, 0.0]]
    assert list(dead["layer"])[-1] == "all batch norms" and (dead["dead for sure"] <= dead["channels"]).all()
    assert dict(zip(origin["what"], origin["value"], strict=True))["recipe"] == "shapes-test"
    assert {"pam.gate", "cam.gate"} <= set(tensors["name"]) and "1x1" in set(tensors["shape"].str[-3:])
    captions = said(test.caption)
    assert "Channel attention in the released form: stored in the file" in captions
    assert "All gates have left" in captions and "none holds NaN or Inf" in captions


def test_the_code_of_the_page_gives_what_it_shows(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(scale(), folder / "runs" / "one")
    test = opened("checkpoint")
    (shown,) = test.code
    exec(shown.value, {})
    printed = capsys.readouterr().out
    assert "Attention to Scale on tiny" in printed and "attention-analysis/1" in printed
    assert "**Attention to Scale**" in said(test.markdown)


def test_a_file_of_no_known_layout_is_shown_all_the_same(folder: Path) -> None:
    (folder / "runs").mkdir()
    save_file({"<b>odd</b>": torch.tensor([1.0, torch.nan]), "other": torch.zeros(2, 3)}, "runs/theirs.safetensors")
    test = opened("checkpoint", checkpoint="runs/theirs.safetensors")
    assert fine(test) and "**not known**" in said(test.markdown)
    assert set(test.dataframe[-1].value["name"]) == {"<b>odd</b>", "other"}
    assert "1 hold NaN or Inf, <b>odd</b> first" in said(test.caption)
    assert "What does not fit" in tables(test)


def test_a_tensor_that_is_missing_is_listed(folder: Path) -> None:
    model = scale()
    save_checkpoint(model, folder / "runs/one/a.safetensors", ["a"] * 5, {})
    from safetensors import safe_open

    with safe_open("runs/one/a.safetensors", "pt") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    del tensors["classifier.bias" if "classifier.bias" in tensors else "classifier.1.bias"]
    save_file(tensors, "runs/one/a.safetensors", metadata)
    test = opened("checkpoint")
    assert fine(test) and "1 missing, 0 of another shape, 0 left over" in said(test.caption)


def test_no_file_is_one_line(folder: Path) -> None:
    assert "no checkpoint under data/demo or runs" in one_line(opened("checkpoint"))
    (folder / "runs").mkdir()
    Path("runs/cut.safetensors").write_bytes(b"\x10\x00")
    assert "runs/cut.safetensors" in one_line(opened("checkpoint", checkpoint="runs/cut.safetensors"))
