"""The control of the gates: a second one, in the same training, on the attended path in a wrong order."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from analysis import capture, open_checkpoint
from analysis.checkpoints import save_checkpoint
from analysis.datasets import open_dataset
from analysis.models import DualAttention, build, gates, spec_from_json, spec_to_json
from analysis.models.dual_attention import ChannelAttention, PositionAttention, gated, permuted, permuted_gates
from analysis.store import read_table
from analysis.studies.channel_groups.sums import Cells, sums_of
from analysis.training.loop import make_optimizer, train
from analysis.training.recipe import find_recipe, recipe_label

SECOND = {"pam.permuted_gate", "cam.permuted_gate"}


def tiny(**fields: object) -> DualAttention:
    torch.manual_seed(0)
    return DualAttention(classes=5, backbone="tiny", **{"permuted_gates": True, **fields}).eval()


def set_to(value: float, model: nn.Module) -> None:
    for gate in permuted_gates(model).values():
        nn.init.constant_(gate, value)


def run(module: PositionAttention | ChannelAttention, features: Tensor) -> tuple[Tensor, Tensor]:
    """What it gives, and what it attended to."""
    with torch.no_grad(), capture(module, "*.attended") as taps:
        return module(features), next(iter(taps.values()))


@pytest.mark.parametrize("n", [12, 128, 5000])
def test_the_permutation_is_one_for_each_length(n: int) -> None:
    there = permuted(torch.arange(n), 0)
    torch.rand(3)  # whatever else draws
    assert torch.equal(there, permuted(torch.arange(n), 0)) and torch.equal(there.sort().values, torch.arange(n))
    assert (there != torch.arange(n)).sum() > 0.8 * n and not torch.equal(there[:11], permuted(torch.arange(11), 0))


def test_checkpoints_rely_on_the_permutation() -> None:
    assert permuted(torch.arange(12), 0).tolist() == [3, 2, 4, 6, 5, 1, 9, 10, 8, 0, 7, 11]


def test_positions_are_permuted_alike_in_every_channel_and_channels_in_every_position() -> None:
    features = torch.randn(2, 16, 5, 7)
    for module, dim in ((PositionAttention(16, True), 2), (ChannelAttention(16, permuted_gate=True), 1)):
        nn.init.constant_(module.gate, 0.5)
        set_to(-0.25, module)
        given, attended = run(module, features)
        n = attended.flatten(2).shape[dim]
        other = attended.flatten(2).index_select(dim, permuted(torch.arange(n), 0)).view_as(attended)
        torch.testing.assert_close(given, 0.5 * attended - 0.25 * other + features)
        torch.testing.assert_close(other.norm(), attended.norm())
        torch.testing.assert_close(gated(module, attended, features, "gate"), features - 0.25 * other)
        torch.testing.assert_close(gated(module, attended, features, "permuted_gate"), features + 0.5 * attended)


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_at_zero_it_changes_nothing(value: float) -> None:
    plain, second = tiny(permuted_gates=False), tiny()
    assert second.state_dict().keys() - plain.state_dict().keys() == SECOND
    assert all(torch.equal(tensor, second.state_dict()[name]) for name, tensor in plain.state_dict().items())
    for model in (plain, second):
        for gate in gates(model).values():
            nn.init.constant_(gate, 0.5)
    set_to(value, second)
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        same = torch.equal(plain(image).logits, second(image).logits)
    assert same == (value == 0) and permuted_gates(plain) == {} and list(gates(second)) == ["alpha", "beta"]


def test_only_the_attentions_that_are_there_have_one() -> None:
    assert list(permuted_gates(tiny(position=False))) == ["beta_permuted"]
    assert list(permuted_gates(tiny(channel=False))) == ["alpha_permuted"]


def test_a_checkpoint_keeps_it(tmp_path: Path) -> None:
    model = tiny()
    set_to(0.3, model)
    save_checkpoint(model, tmp_path / "with.safetensors", [*"abcde"], {})
    opened = open_checkpoint(tmp_path / "with.safetensors").model
    assert isinstance(opened, DualAttention) and opened.spec.permuted_gates
    assert {name: gate.item() for name, gate in permuted_gates(opened).items()} == pytest.approx(
        {"alpha_permuted": 0.3, "beta_permuted": 0.3}
    )
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(opened(image).logits, model(image).logits)


def test_older_specs_are_without() -> None:
    spec = tiny(permuted_gates=False).spec
    assert spec_from_json(spec_to_json(spec).replace('"permuted_gates": false, ', "")) == spec
    assert build(spec).state_dict().keys().isdisjoint(SECOND)


def test_it_has_no_weight_decay_and_a_history(tmp_path: Path) -> None:
    base = find_recipe("shapes-dual")
    recipe = dataclasses.replace(
        base, model=dataclasses.replace(base.model, permuted_gates=True), epochs=1, batch_size=2, crop=(64, 64),
        checkpoints=1, class_weights="none",
    )  # fmt: skip
    assert recipe_label("shapes-dual", recipe).startswith("shapes-dual model.permuted_gates=True ")
    model = tiny()
    decay = {id(p): g["weight_decay"] for g in make_optimizer(model, recipe).param_groups for p in g["params"]}
    assert [decay[id(gate)] for gate in permuted_gates(model).values()] == [0, 0]
    assert decay[id(model.get_parameter("pam.query.weight"))] == recipe.weight_decay
    scenes = open_dataset("shapes", "train")
    few = dataclasses.replace(scenes, items=scenes.items[:8])
    out = train("shapes-dual", recipe, few, few, tmp_path / "run", device="cpu", workers=0)
    history = read_table(out / "history.parquet")
    for name in ("alpha", "beta"):
        second = history[[f"{name}_permuted{kind}" for kind in ("", "_grad", "_contribution")]]
        assert (second.iloc[0, [0, 2]] == 0).all() and (second.iloc[-1] != 0).all() and second.iloc[0, 1] != 0
        ratio = history[f"{name}_permuted_contribution"] / history[f"{name}_contribution"]
        np.testing.assert_allclose(ratio[1:], (history[f"{name}_permuted"] / history[name]).abs()[1:], rtol=1e-4)


def test_channel_groups_do_not_count_the_control_as_channel_attention() -> None:
    cam = ChannelAttention(8, permuted_gate=True)
    assert cam.permuted_gate is not None
    torch.nn.init.ones_(cam.permuted_gate)
    cells = Cells(np.arange(36), np.arange(36) % 3, 3)
    found = sums_of(cam, torch.randn(1, 8, 6, 6, generator=torch.Generator().manual_seed(0)), cells)
    np.testing.assert_array_equal(found.auc_before, found.auc_after)
