"""What inspect says of anybody's checkpoint: layout, fit, gates, dead channels, and every tensor, folded."""

import itertools
import json
import re
from collections.abc import Sequence
from pathlib import Path

import conformance
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from small_models import refused
from torch import Tensor, nn

from analysis.checkpoints import save_checkpoint
from analysis.inspection import Inspection, inspect
from analysis.inspection.dead import certain
from analysis.inspection.statistics import Statistics, merged, statistics
from analysis.inspection.tree import Entry, fold
from analysis.models import DualAttention

DEMO = Path(__file__).parents[1] / "data" / "demo"
CLASSES = ("sky", "ground", "circle", "square", "cross")


@pytest.fixture(scope="module", params=conformance.CASES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Inspection]:
    path = conformance.write(request.param, tmp_path_factory.mktemp(request.param))
    found = inspect(path)
    path.unlink()  # 190 MB
    return request.param, found


def tiny(**fields: object) -> DualAttention:
    torch.manual_seed(0)
    return DualAttention(5, backbone="tiny", **fields)


def saved(tensors: dict[str, Tensor], folder: Path) -> Path:
    torch.save(tensors, folder / "weights.pth")
    return folder / "weights.pth"


def tree(text: str) -> list[str]:
    """The lines of tensors."""
    lines = text.splitlines()
    return lines[next(i for i, line in enumerate(lines) if line.startswith("tensor ")) + 1 :]


def test_public_layouts(case: tuple[str, Inspection]) -> None:
    name, found = case
    original = conformance.state_dict(name)
    text, plain = found.text(), json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["layout"] == conformance.CASES[name]
    assert plain["complete"]
    assert plain["channel_form"] == {"form": "released", "known_from": "as in the layout's code; weights don't tell"}
    assert {t["name"]: t["shape"] for t in plain["tensors"]} == {n: list(t.shape) for n, t in original.items()}
    assert sorted(plain["matched"].values()) == sorted(original)
    assert plain["missing"] == plain["mismatched"] == plain["left_over"] == {}
    for gate in plain["gates"].values():
        assert gate["value"] == pytest.approx(original[gate["name"]].item())
        assert f"{gate['value']:+.4f}" in text
    assert len(tree(text)) <= 75
    assert max(map(len, text.splitlines())) <= 120


def test_statistics_of_a_public_file(case: tuple[str, Inspection]) -> None:
    name, found = case
    original = conformance.state_dict(name)
    for entry in found.tensors[::7]:
        values = original[entry.name].numpy().astype(np.float64)
        told = entry.statistics
        assert (told.mean, told.std) == pytest.approx((values.mean(), values.std()), abs=1e-9)
        assert (told.min, told.max, told.zeros) == (values.min(), values.max(), (values == 0).sum())


def test_a_hundred_layers_are_about_sixty_lines() -> None:
    with torch.device("meta"):
        model = DualAttention(19, backbone="resnet101", multi_grid=(4, 8, 16))
    entries = [Entry(name, tuple(t.shape), "float32", Statistics(), 0) for name, t in model.state_dict().items()]
    lines = {line.name: line for line in fold(entries)}
    assert len(entries) == 662
    assert len(lines) <= 60
    assert lines["backbone.layer3.1-22.conv1.weight"].alike == 22
    assert lines["backbone.layer3.0-22.bn1-2"].tensors == 23 * 2 * 5


def test_the_embedded_demo() -> None:
    runs = sorted(DEMO.glob("*/"))
    for run in runs:
        found = inspect(run)
        assert found.match.complete
        assert found.match.classes
        assert found.beside["recipe"].split()[0] == run.name
        assert "checkpoint" in found.text()
    assert len(runs) == 4


def test_gates_that_never_moved_and_the_stored_form(tmp_path: Path) -> None:
    save_checkpoint(tiny(form="paper"), tmp_path / "m.safetensors", CLASSES, {"step": 0})
    text = inspect(tmp_path).text()
    assert text.count("never moved, this layout starts it at 0") == 2
    assert "paper: softmax(energy); stored in the file" in text


def test_what_is_missing_of_another_shape_and_left_over(tmp_path: Path) -> None:
    tensors = tiny().state_dict()
    del tensors["pam.query.bias"]
    tensors["pam.value.bias"] = torch.zeros(7)
    tensors["ema.0.decay"] = tensors["ema.1.decay"] = torch.ones(2, 3)
    found = inspect(saved(tensors, tmp_path))
    plain, text = found.to_dict(), found.text()
    assert not plain["complete"]
    assert plain["missing"] == {"pam.query.bias": [4]}
    assert plain["mismatched"] == {"pam.value.bias": {"name": "pam.value.bias", "needed": [32], "found": [7]}}
    assert plain["left_over"] == {"ema.0.decay": [2, 3], "ema.1.decay": [2, 3]}
    assert "1 missing and 1 of another shape" in text
    assert "pam.value.bias is 7, the model needs 32" in text
    assert "ema.0-1.decay  2x3, 2 alike" in text


def test_a_file_of_no_known_layout_still_has_its_tree(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 2, 1))
    found = inspect(saved(model.state_dict(), tmp_path))
    plain, text = found.to_dict(), found.text()
    assert plain["layout"] is None
    assert plain["closest_layout"]
    assert plain["closest_layout"] in plain["why"]
    assert "none that is known" in text
    assert found.match.why.split()[0] in text
    assert "8x3x3x3" in text
    assert "bn 8" in text
    assert len(plain["tensors"]) == 9


def test_nan_inf_and_types(tmp_path: Path) -> None:
    odd = {
        "half": torch.tensor([1.0, float("nan"), float("inf"), -float("inf")]).half(),
        "none.left": torch.full((2, 2), float("nan")),
        "empty": torch.zeros(0, 3),
        "whole": torch.arange(4, dtype=torch.int8),
        "truth": torch.tensor([True, False]),
    }
    found = inspect(saved(odd, tmp_path))
    text = found.text()
    assert "half: 1 NaN and 2 Inf of 4" in text
    assert "none.left: 4 NaN and 0 Inf of 4" in text
    told = {t["name"]: t for t in found.to_dict()["tensors"]}
    assert (told["half"]["mean"], told["half"]["std"]) == (1.0, 0.0)
    assert told["none.left"]["mean"] is told["empty"]["max"] is None
    assert (told["whole"]["mean"], told["whole"]["zeros"], told["truth"]["mean"]) == (1.5, 1, 0.5)
    json.dumps(found.to_dict(), allow_nan=False)


def test_names_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    found = inspect(saved({"\x1b[31mred\r\nline": torch.ones(3), "x" * 500: torch.ones(1)}, tmp_path))
    assert all(line.isprintable() for line in found.text().splitlines())
    assert "x1b[31mred" in found.text()
    assert max(map(len, tree(found.text()))) <= 120


def test_dead_channels(tmp_path: Path) -> None:
    model = tiny()
    with torch.no_grad():
        norm = model.channel_in[1]
        norm.weight[:3] = torch.tensor([0.0, -1.0, 0.0])
        norm.bias[:3] = torch.tensor([-1.0, -1.0, 1.0])
    found = inspect(saved(model.state_dict(), tmp_path))
    dead = found.to_dict()["dead_channels"]
    assert dead["channel_in"] == {"layers": 1, "channels": 32, "certain": 1, "at_most_0": 2}
    assert dead["position_in"]["certain"] == dead["position_in"]["at_most_0"] == 0
    assert found.dead_anywhere.certain == 1
    assert found.dead_anywhere.at_most_0 == 2
    assert "1 of 32 for sure; 2 with scale and shift at most 0" in found.text()


@pytest.mark.parametrize("rectified", [True, False])
def test_certainly_dead_is_exactly_dead(rectified: bool) -> None:
    """A channel is called dead if and only if no input (of those that can come in) makes it positive."""
    generator = torch.Generator().manual_seed(3)
    choices = torch.tensor([-1.0, 0.0, 1.0])
    weight, scale, shift, mean = (
        choices[torch.randint(3, shape, generator=generator)] for shape in ((600, 2, 1, 1), (600,), (600,), (600,))
    )
    variance = torch.rand(600, generator=generator) + 0.5
    dead = certain(weight, scale, shift, mean, variance, rectified=rectified)
    levels = (0.0, 1.0, 100.0) if rectified else (-100.0, -1.0, 0.0, 1.0, 100.0)
    image = torch.tensor(list(itertools.product(levels, repeat=2))).T[None, :, :, None]
    norm = nn.functional.batch_norm(nn.functional.conv2d(image, weight), mean, variance, scale, shift)
    assert torch.equal(dead, norm.relu().amax((0, 2, 3)) == 0)
    assert 0 < dead.sum() < 600


@given(arrays.arrays(np.float32, st.integers(0, 40), elements=st.floats(width=32, allow_nan=True)), st.integers(0, 40))
def test_statistics_in_parts_are_those_of_the_whole(values: np.ndarray, cut: int) -> None:
    whole = statistics(torch.from_numpy(values))
    parts = merged(
        [statistics(torch.from_numpy(values[:cut].copy())), statistics(torch.from_numpy(values[cut:].copy()))]
    )
    finite = values[np.isfinite(values)].astype(np.float64)
    assert (whole.nan, whole.inf) == (np.isnan(values).sum(), np.isinf(values).sum())
    assert whole.zeros == (values == 0).sum()
    for told in (whole, parts):
        expected = (finite.mean(), finite.std(), finite.min(), finite.max()) if len(finite) else (np.nan,) * 4
        scale = 1e-12 * max(abs(finite).max(), 1e-300) if len(finite) else 0
        assert (told.mean, told.std, told.min, told.max) == pytest.approx(expected, rel=1e-9, abs=scale, nan_ok=True)


def test_a_tensor_that_is_no_row_of_memory() -> None:
    values = torch.arange(24.0).reshape(4, 6).T[::2]
    assert statistics(values).mean == values.mean().item()
    assert statistics(values).size == 12


NAMES = st.lists(st.sampled_from(["a", "layer", "conv1", "conv2", "0", "1", "2", "10", "w3x4"]), min_size=1, max_size=4)


@given(st.sets(NAMES.map(".".join), min_size=1, max_size=30))
def test_a_folded_name_stands_for_exactly_its_tensors(names: set[str]) -> None:
    lines = fold([Entry(name, (2,), "float32", Statistics(size=2), 2) for name in sorted(names)])
    unfolded = [name for line in lines for name in unfold(line.name)]
    assert sorted(unfolded) == sorted(names)
    assert [line.alike for line in lines] == [len(unfold(line.name)) for line in lines]
    assert sum(line.statistics.size for line in lines) == 2 * len(names)
    assert sum(line.parameters for line in lines) == 2 * len(names)


def unfold(name: str) -> list[str]:
    """``a1,3-5.b`` to a1.b, a3.b, a4.b, a5.b."""
    parts = re.split(r"(\d[\d,-]*)", name)
    return ["".join(choice) for choice in itertools.product(*(numbers(part) for part in parts))]


def numbers(part: str) -> Sequence[str]:
    if not part or not part[0].isdigit():
        return [part]
    ends = [run.split("-") for run in part.split(",")]
    return [str(n) for run in ends for n in range(int(run[0]), int(run[-1]) + 1)]


def test_what_is_no_checkpoint_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "notes.pth").write_text("not a checkpoint")
    (tmp_path / "empty.pth").write_bytes(b"")
    for name in ("notes.pth", "empty.pth", "none.pth"):
        with refused(name) as error:
            inspect(tmp_path / name)
        assert "\n" not in str(error.value)
