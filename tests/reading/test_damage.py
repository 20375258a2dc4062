"""Damaged checkpoint files end in one clear error.

Every input is tried in another process, so that a crash is seen and the input named. Some files that are changed at
random still open: bits of a zip that mean nothing (times, padding) leave the tensors as they were, and safetensors,
legacy files and Caffe's carry no checksum: a flipped bit of a weight cannot be told from a weight. "different" is
allowed in those three only.
"""

import json
import pickle
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from analysis.reading import read_file

from . import damage
from . import hostile_files as hostile
from . import hostile_pickles as pickles


def trial(count: int, folder: Path) -> list[dict[str, Any]]:
    """One outcome for each of ``count`` inputs."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("the limit of memory is set from /proc, which is Linux's")
    command = [sys.executable, "-W", "ignore", "-m", "reading.damage", str(count), str(folder)]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"{lines[-1:]} ended the process: {done.returncode} {done.stderr[-2000:]}"
    return [line for line in lines if "label" in line]


def check(outcomes: list[dict[str, Any]]) -> None:
    for one in outcomes:
        said = [one[key] for key in one if key.endswith("said")]
        assert "failed" not in one.values(), one
        assert all(line.isprintable() and len(line) < 1000 for line in said), one
        assert one["seconds"] < damage.SECONDS and not one["exploited"], one
        if "at random" not in one["label"]:
            assert one["open_checkpoint"] == "error", one
            # What only a model's metadata are wrong with is a sound file.
            assert one["read_file"] == "error" or "safetensors: ours, " in one["label"], one
        if one["read_file"] == "error":
            assert one["open_checkpoint"] == "error", one
        if one["read_file"] == "different":
            assert one["label"].startswith(("safetensors", "torch legacy", "caffemodel")), one
    assert max(one["peak"] for one in outcomes) - outcomes[0]["peak"] < damage.BYTES / 2
    print(summary(outcomes))


def summary(outcomes: list[dict[str, Any]]) -> str:
    counts = Counter(one["read_file"] for one in outcomes)
    different = Counter(one["label"].partition(":")[0] for one in outcomes if one["read_file"] == "different")
    slowest = max(outcomes, key=lambda one: one["seconds"])
    total = sum(one["seconds"] for one in outcomes)
    grown = (max(one["peak"] for one in outcomes) - outcomes[0]["peak"]) >> 20
    return (
        f"{len(outcomes)} inputs: {dict(counts)}, different: {dict(different)}; {total / len(outcomes) * 1000:.0f} ms "
        f"each, at most {slowest['seconds']:.2f} s ({slowest['label']}); memory grew by {grown} MiB"
    )


def test_200_damaged_files_end_in_one_clear_error(tmp_path: Path) -> None:
    outcomes = trial(200, tmp_path)
    assert len(outcomes) == 200
    check(outcomes)


@pytest.mark.slow
def test_4000_damaged_files_of_which_over_2000_cannot_be_opened(tmp_path: Path) -> None:
    outcomes = trial(4000, tmp_path)
    assert len(outcomes) == 4000
    assert sum("at random" not in one["label"] for one in outcomes) > 350  # every crafted kind
    assert sum(one["read_file"] == "error" for one in outcomes) > 2000
    check(outcomes)


def test_what_is_damaged_was_sound(tmp_path: Path) -> None:
    """Or the inputs would fail for another reason than the damage."""
    for container, path in damage.sound(tmp_path).items():
        assert read_file(path).container == container
    hostile.torch_zip(tmp_path / "a.pth", pickles.mapping(weight=pickles.SOUND))
    hostile.torch_legacy(tmp_path / "b.pth", pickles.beside(pickles.many((1, 2))))
    hostile.safetensors({"weight": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}})(tmp_path / "c")
    for file in ("a.pth", "b.pth", "c"):
        assert read_file(tmp_path / file).tensors["weight"].shape == (4,)


def test_the_exploit_is_real(tmp_path: Path) -> None:
    marker = tmp_path / "exploited"
    attacks = dict(pickles.exploits(str(marker)))
    for label in ("os.system", "eval", "open", "subprocess", "INST", "OBJ", "STACK_GLOBAL"):
        pickle.loads(b"\x80\x02" + attacks[label] + b".")
        assert marker.exists(), label
        marker.unlink()
