"""Opened from its own format, a foreign model computes what its own code computes."""

from pathlib import Path

import conformance
import numpy as np
import pytest
import torch
from conformance import CASES

from analysis import capture, open_checkpoint
from analysis.checkpoints import Checkpoint, save_checkpoint
from analysis.measures import attention_rows
from analysis.models.resize import resize


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Checkpoint]:
    path = conformance.write(request.param, tmp_path_factory.mktemp(request.param))
    return request.param, open_checkpoint(path)


def assert_close(name: str, ours: torch.Tensor, theirs: np.ndarray) -> None:
    worst = np.abs(ours.numpy() - theirs).max()
    print(f"{name}: maximum error {worst:.1e}")
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-4, atol=1e-4, err_msg=name)


def test_conformance(case: tuple[str, Checkpoint]) -> None:
    name, opened = case
    expected, image = conformance.expected(name), conformance.image(name)
    taps = ("backbone", "position.query", "position.key", "channel.affinity")
    with torch.no_grad(), capture(opened.model, *taps) as seen:
        output = opened.model(image)
    grid = seen["position.query"].shape[-2:]
    positions = [divmod(j, grid[1]) for j in range(0, grid[0] * grid[1], 9)]
    rows = attention_rows(seen["position.query"][0], seen["position.key"][0], positions)
    ours = {
        "features": seen["backbone"][:, ::32],
        "logits": output.logits,
        "logits_position": output.auxiliary["position"],
        "logits_channel": output.auxiliary["channel"],
        "logits_auxiliary": output.auxiliary.get("backbone"),
        "logits_upsampled": resize(output.logits, image.shape[-2:], opened.spec.input.align_corners),
        "position_attention_rows": rows.flatten(1)[None],
        "channel_attention_rows": seen["channel.affinity"][:, ::32],
        "gamma_position": opened.model.pam.gate.detach().reshape(expected["gamma_position"].shape),
        "gamma_channel": opened.model.cam.gate.detach().reshape(expected["gamma_channel"].shape),
    }
    assert set(output.auxiliary) == {"position", "channel"} | (
        {"backbone"} if "logits_auxiliary" in expected else set()
    )
    for key, theirs in expected.items():
        assert_close(f"{name} {key}", ours[key], theirs)


def test_what_is_said_of_it(case: tuple[str, Checkpoint]) -> None:
    name, opened = case
    assert opened.provenance["layout"] == CASES[name]
    assert len(opened.provenance["sha256"]) == 64
    assert opened.provenance["source"]
    assert opened.classes[0] == "road"
    assert opened.provenance["classes"] == "assumed from their number, 19"
    assert opened.spec.form == "released"
    assert opened.spec.multi_grid == ((4, 8, 16) if "junfu" in name else None)
    assert opened.spec.input.align_corners == ("mmseg" not in name)
    assert not any(tensor.is_meta for tensor in opened.model.state_dict().values())


def test_round_trip_keeps_every_bit(case: tuple[str, Checkpoint], tmp_path: Path) -> None:
    _, opened = case
    save_checkpoint(opened.model, tmp_path / "ours.safetensors", opened.classes, {})
    again = open_checkpoint(tmp_path / "ours.safetensors")
    assert again.spec == opened.spec
    for name, tensor in opened.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name
