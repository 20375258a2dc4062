"""Views: what is kept is what the forward computed, and cells lie where the maps do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from analysis.datasets import open_dataset
from analysis.errors import AnalysisError
from analysis.figures.overlay import enlarge
from analysis.models import DualAttention, InputSpec, Model, ScaleAttention, gates, predict, to_input
from analysis.taps import capture
from analysis.views import branch_labels, cell_of, view

IMAGE = open_dataset("shapes", "val")[0].image[:200]


def scale_model(fusion: str) -> ScaleAttention:
    torch.manual_seed(0)
    model = ScaleAttention(classes=5, backbone="tiny", fusion=fusion, head_width=16).eval()
    model.classifier.weight.data.mul_(100)
    return model


def dual_model(**fields: object) -> DualAttention:
    torch.manual_seed(0)
    model = DualAttention(classes=5, backbone="tiny", **fields).eval()
    for gate in gates(model).values():
        gate.data.fill_(0.5)
    return model


def hooks(model: Model) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_attention_fusion() -> None:
    model = scale_model("attention")
    seen = view(model, IMAGE)
    assert seen.weights is not None and seen.winner is not None
    assert seen.branches == ("1.0x branch", "0.75x branch", "0.5x branch")
    np.testing.assert_allclose(seen.weights.sum(axis=0), 1, rtol=1e-5)
    assert (seen.winner == seen.weights.argmax(axis=0)).all()
    assert (seen.prediction == predict(model, IMAGE).argmax(dim=0).numpy()).all()
    assert seen.gates == {} and seen.query is None and seen.affinity is None and seen.form is None
    assert hooks(model) == 0


def test_average_fusion_has_no_winner() -> None:
    seen = view(scale_model("average"), IMAGE)
    assert seen.weights is not None and (seen.weights == np.float32(1 / 3)).all()
    assert seen.winner is None


def test_the_winner_of_max_fusion_is_the_branch_that_the_fused_score_comes_from() -> None:
    model = scale_model("max")
    seen = view(model, IMAGE)
    assert seen.weights is None and seen.winner is not None
    with capture(model, "scale.scores.*") as taps, torch.no_grad():
        fused = model(to_input(IMAGE, model.spec.input)).logits[0]
    scores = torch.stack([taps[f"scale.scores.{branch}"][0] for branch in model.branches])
    winner, predicted = torch.from_numpy(seen.winner), fused.argmax(dim=0)
    assert len(winner.unique()) > 1
    ys, xs = torch.meshgrid(*map(torch.arange, winner.shape), indexing="ij")
    assert (scores[winner, predicted, ys, xs] == fused.amax(dim=0)).all()


def test_dual_attention() -> None:
    model = dual_model(form="paper")
    seen = view(model, IMAGE)
    row = seen.row((100, 37))
    assert row.shape == (25, 32) and row.sum() == pytest.approx(1)
    assert seen.affinity is not None and seen.energy is not None and seen.form == "paper"
    np.testing.assert_allclose(seen.affinity.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(seen.affinity, torch.softmax(torch.from_numpy(seen.energy), dim=-1), atol=1e-6)
    with capture(model, "pam", "position.features", "cam", "channel.features") as taps, torch.no_grad():
        model(to_input(IMAGE, model.spec.input))
    for gate, module, path in (("alpha", "pam", "position"), ("beta", "cam", "channel")):
        features = taps[f"{path}.features"]
        added = (taps[module] - features).norm() / features.norm()
        assert seen.gates[gate].contribution == pytest.approx(added.item(), rel=1e-4)
        assert seen.gates[gate].value == 0.5
    assert hooks(model) == 0


def test_switched_off_paths_are_not_there() -> None:
    seen = view(dual_model(position=False), IMAGE)
    assert list(seen.gates) == ["beta"] and seen.form == "released"
    for look in (seen.row, seen.cell):
        with pytest.raises(AnalysisError, match="no position attention"):
            look((0, 0))
    seen = view(dual_model(channel=False), IMAGE)
    assert list(seen.gates) == ["alpha"] and seen.affinity is None and seen.form is None


def test_the_cell_of_a_pixel_belongs_to_the_photograph_not_to_the_resized_input() -> None:
    seen = view(dual_model(input=InputSpec(short_side=96)), IMAGE)
    assert seen.query is not None and seen.query.shape[1:] == (12, 16)
    assert seen.cell((0, 0)) == (0, 0) and seen.cell((199, 255)) == (11, 15)


@pytest.mark.parametrize("pixel", [(200, 0), (0, 256), (-1, 3)])
def test_a_pixel_outside_the_photograph_is_refused(pixel: tuple[int, int]) -> None:
    with pytest.raises(AnalysisError, match="outside the photograph of 200 x 256 pixels"):
        view(dual_model(), IMAGE).row(pixel)


@given(st.data(), st.integers(1, 60), st.integers(1, 60), st.booleans())
def test_a_pixel_lies_on_its_cell_as_the_maps_are_drawn(data: st.DataObject, h: int, w: int, align: bool) -> None:
    height, width = data.draw(st.integers(h, 8 * h + 5)), data.draw(st.integers(w, 8 * w + 5))
    pixel = data.draw(st.tuples(st.integers(0, height - 1), st.integers(0, width - 1)))
    cell = cell_of(pixel, (height, width), (h, w), align)
    only = np.zeros((h, w), np.float32)
    only[cell] = 1
    assert enlarge(only, (height, width), align)[pixel] >= 0.25 - 1e-4  # bilinear: at least a half along each axis


def test_branches_are_named_by_the_input_scale() -> None:
    assert branch_labels((1, 0.75, 0.5)) == ("1.0x branch", "0.75x branch", "0.5x branch")
