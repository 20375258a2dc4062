"""Views: what is kept is what the forward computed, and cells lie where the maps do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import own_networks
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_models import refused
from torch import nn

from analysis import open_checkpoint, open_module
from analysis.datasets import open_dataset
from analysis.errors import AnalysisError
from analysis.figures.overlay import enlarge
from analysis.models import DualAttention, InputSpec, Model, ScaleAttention, gates, predict, to_input
from analysis.modules.opening import OwnCheckpoint
from analysis.taps import capture
from analysis.views import View, branch_labels, cell_of, innermost, view

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


# ----- users' own networks


def own_view(name: str, scales: tuple[float, ...] = (), **arguments: object) -> tuple[OwnCheckpoint, View]:
    checkpoint = open_module(f"own_networks:{name}", arguments=arguments, scales=scales, size=(64, 96))
    return checkpoint, view(checkpoint.model, IMAGE)


def test_an_own_danet_is_seen_as_ours_is() -> None:
    checkpoint, seen = own_view("dual", form="paper")
    assert seen.prediction.shape == IMAGE.shape[:2] and seen.form == "paper" and seen.note is None
    assert seen.row((100, 37)).sum() == pytest.approx(1)
    assert seen.affinity is not None and seen.affinity.shape == (8, 8)
    network = checkpoint.model
    with capture(network, "blocks.where", "blocks.which.0", "stem") as taps, torch.no_grad():
        network(to_input(IMAGE, InputSpec()))
    for gate, module in (("alpha", "blocks.where"), ("beta", "blocks.which.0")):
        added = (taps[module] - taps["stem"]).norm() / taps["stem"].norm()
        assert seen.gates[gate].contribution == pytest.approx(added.item(), rel=1e-4)
        assert seen.gates[gate].value == 0.5


def test_a_read_only_row_is_the_softmax_of_query_and_key_and_the_view_says_so() -> None:
    checkpoint, seen = own_view("dual", power=0.5)
    assert seen.note is not None
    assert "position attention at blocks.where is read-only" in seen.note
    assert "rows are drawn as softmax(query . key)" in seen.note
    assert list(seen.gates) == ["beta"] and seen.affinity is not None
    with capture(checkpoint.model, "blocks.where.query", "blocks.where.key") as taps, torch.no_grad():
        checkpoint.model(to_input(IMAGE, InputSpec()))
    query, key = (taps[f"blocks.where.{name}"][0].flatten(1) for name in ("query", "key"))
    y, x = seen.cell((100, 37))
    row = torch.softmax(query[:, y * 32 + x] @ key, dim=0)
    np.testing.assert_allclose(seen.row((100, 37)).ravel(), row.numpy(), rtol=1e-4)


def test_of_several_attentions_the_first_is_seen() -> None:
    torch.manual_seed(0)
    position = nn.Sequential(own_networks.Position(8, power=0.5), own_networks.Position(8, gate=0.25))
    channel = nn.Sequential(own_networks.Channel(8, "paper"), own_networks.Channel(8, gate=0.75))
    network = open_module(own_networks.Dual(nn.Sequential(position, own_networks.Position(8)), channel)).model
    seen = view(network, IMAGE)
    assert seen.note is not None
    assert "of 2 position attentions the first is shown, blocks.where.0.1" in seen.note
    assert "of 2 channel attentions the first is shown, blocks.which.0.0" in seen.note
    assert seen.gates["alpha"].value == 0.25 and seen.gates["beta"].value == 0.5 and seen.form == "paper"
    with refused("2 taps are called 'position.query'"), capture(network, "position.query"):
        pass


def test_of_several_calls_the_first_is_seen() -> None:
    torch.manual_seed(0)
    position = own_networks.Position(8)
    network = open_module(own_networks.Dual(nn.Sequential(position, position), nn.Identity())).model
    with capture(network, "position.query@0") as taps:
        seen = view(network, IMAGE)
    assert seen.query is not None and torch.equal(seen.query, taps["position.query@0"][0])


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "raw"])
def test_scale_weights_of_an_own_network(activation: str) -> None:
    checkpoint, seen = own_view("Scales", activation=activation, scales=(1, 0.75, 0.5))
    assert seen.weights is not None and seen.winner is not None and seen.note is not None
    assert seen.branches == ("1.0x branch", "0.75x branch", "0.5x branch")
    assert (seen.winner == seen.weights.argmax(axis=0)).all()
    with capture(checkpoint.model, "attention.2") as taps, torch.no_grad():
        checkpoint.model(to_input(IMAGE, InputSpec()))
    h = taps["attention.2"][0]
    wanted = {"softmax": h.softmax(dim=0), "sigmoid": h.sigmoid(), "raw": h}[activation]
    np.testing.assert_allclose(seen.weights, wanted, rtol=1e-5, atol=1e-6)
    assert ("do not sum to 1" in seen.note) == (activation != "softmax")


def test_branches_of_unknown_scales_are_numbered() -> None:
    assert own_view("Scales")[1].branches == ("branch 1", "branch 2", "branch 3")


def test_a_network_without_attention_still_predicts() -> None:
    seen = own_view("Dictionary")[1]
    assert seen.prediction.shape == IMAGE.shape[:2] and seen.query is None and seen.weights is None
    assert seen.gates == {} and seen.branches == () and seen.note is None


def test_columns_and_boxes_come_from_the_same_attention() -> None:
    seen = view(
        open_checkpoint(Path(__file__).parents[1] / "data/demo/shapes-dual").model,
        open_dataset("shapes", "val")[0].image,
    )
    height, width = seen.image.shape[:2]
    every = seen.cells_in((0, 0, height - 1, width - 1))
    assert seen.query is not None and len(every) == seen.query[0].numel()
    cells = seen.cells_in((40, 50, 90, 120))
    rows = np.stack([seen.mean_row([cell]) for cell in cells])
    np.testing.assert_allclose(seen.mean_row(cells), rows.mean(axis=0), rtol=1e-4, atol=1e-8)
    assert seen.mean_row(cells).sum() == pytest.approx(1, rel=1e-4)
    one, other = cells[0], cells[-1]
    assert seen.mean_column([other])[one] == pytest.approx(seen.mean_row([one])[other], rel=1e-3)
    assert seen.mean_column(every).sum() == pytest.approx(1, rel=1e-3)  # each row adds up to 1


def test_the_innermost_pixel_keeps_off_other_classes_and_the_border() -> None:
    labels = np.zeros((20, 30), np.uint8)
    labels[10:] = 1
    labels[12:17, 4:9] = 2
    assert innermost(labels, 2) == (14, 6)
    y, x = innermost(labels, 0)
    assert y in (4, 5) and 4 <= x <= 25
    labels[labels == 2] = 255
    with pytest.raises(AnalysisError, match="no pixel is of class 2; there are 0, 1, 255"):
        innermost(labels, 2)
