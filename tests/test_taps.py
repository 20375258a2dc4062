"""What capture keeps and what intervene replaces."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import torch
from small_models import Pair, Shared, hooks, refused
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision.models import resnet18

from analysis.models.tap import Tap
from analysis.taps import capture, intervene


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 4, generator=torch.Generator().manual_seed(0))


def test_value_before_an_in_place_relu() -> None:
    model = resnet18(weights=None).eval()
    image = torch.randn(1, 3, 64, 64)
    with capture(model, "bn1", "relu", "layer1.0.relu@0") as taps, torch.no_grad():
        model(image)
    expected = model.bn1(model.conv1(image)).detach()
    assert expected.min() < 0
    assert torch.equal(taps["bn1"], expected)
    assert torch.equal(taps["relu"], expected.relu())


def test_nested_outputs_keep_their_types(x: Tensor) -> None:
    model = Shared()
    with capture(model, "splits", dtype=torch.float16) as taps:
        model(x.requires_grad_())
    splits = taps["splits"]
    assert isinstance(splits["pair"], Pair) and isinstance(splits["pair"].rest, list)
    assert splits["nothing"] is None and splits["count"] == 3
    assert splits["pair"].first.dtype == torch.float16 and not splits["pair"].rest[1].requires_grad
    assert splits["steps"].dtype == torch.int64


def test_outputs_that_hold_tensors_out_of_reach_are_refused(x: Tensor) -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> object:
            return {"box": threading.Lock(), "x": x}

    with refused(r"cannot capture '0\['box'\]': a lock"), capture(model := nn.Sequential(Odd()), "0"):
        model(x)


def test_detached_and_copied_unless_a_tap(x: Tensor) -> None:
    model = nn.Sequential(nn.Flatten(), Tap("flat"), nn.ReLU(inplace=True))
    with capture(model, "0", "flat") as taps:
        model(given := x.clone())
    assert not taps["flat"].requires_grad
    assert torch.equal(taps["0"], x) and taps["0"].data_ptr() != given.data_ptr()
    assert taps["flat"].data_ptr() == given.data_ptr()  # so no module writes in place after a tap


def test_device_and_half(x: Tensor) -> None:
    model = Shared()
    with capture(model, "scale.sum", device="meta") as taps:
        model(x)
    assert taps["scale.sum"].is_meta
    with capture(model, "scale.sum", "backbone.0.linear@x75", device="cpu", dtype=torch.float16) as taps:
        model(x)
    assert {tensor.dtype for tensor in taps.values()} == {torch.float16}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_moved_from_a_cuda_device(x: Tensor) -> None:
    model = Shared().cuda()
    with capture(model, "scale.sum", "splits", device="cpu", dtype=torch.float16) as taps:
        out = model(x.cuda())
    assert taps["scale.sum"].device.type == taps["splits"]["steps"].device.type == "cpu"
    assert torch.allclose(taps["scale.sum"].float() * 2, out.cpu(), rtol=1e-2)
    with refused(r"must keep the device: cuda:0 became cpu"), intervene(model, {"scale.sum": Tensor.cpu}):
        model(x.cuda())


def test_half_that_overflows_names_the_tensor(x: Tensor) -> None:
    model = nn.Sequential(nn.Identity(), Tap("channel.energy"))
    with refused("'0' has values beyond the range of torch.float16"), capture(model, "0", dtype=torch.float16):
        model(x * 1e6)
    with capture(model, "channel.energy", dtype=torch.float16) as taps:  # always at least float32
        model(x * 1e6)
    assert torch.equal(taps["channel.energy"], x * 1e6) and taps["channel.energy"].dtype == torch.float32
    with capture(model, "0", dtype=torch.float16) as taps:
        model(x / 0)  # infinite before: not lost by the conversion
    assert taps["0"].isinf().all()
    with refused(r"dtype cannot be torch.int8"), capture(model, "0", dtype=torch.int8):
        pass


def test_budget_names_the_tensor_its_shape_and_size() -> None:
    model = nn.Sequential(nn.ReLU(), nn.Tanh())
    image = torch.zeros(1, 1, 512, 512)  # 1 MiB
    with (
        refused(r"'1' \(1, 1, 512, 512\) takes 1.0 MiB, with 1.0 MiB kept: .* of 1.5 MiB"),
        capture(model, "0", "1", max_bytes=3 * 2**19),
    ):
        model(image)
    with capture(model, "0", "1", max_bytes=3 * 2**19, dtype=torch.float16) as taps:
        model(image)
        model(image)  # a budget of one forward, not of the block
    assert len(taps) == 2
    with capture(model, "0", "1", max_bytes=None):
        model(image)


def test_modes(x: Tensor) -> None:
    model = Shared()
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode, capture(model, "scale.sum") as taps, intervene(model, {"backbone.0.linear@x75": lambda t: t * 0}):
            out = model(x)
            assert torch.equal(taps["scale.sum"] * 2, out)
    with torch.autocast("cpu", torch.bfloat16), capture(model, "backbone.0.linear@*") as taps:
        model(x)
    assert {tensor.dtype for tensor in taps.values()} == {torch.bfloat16}


def gradients(model: nn.Module) -> list[Tensor]:
    return [p.grad for p in model.parameters() if p.grad is not None]


def test_training_is_unchanged_by_a_capture(x: Tensor) -> None:
    model = Shared().train()
    model(x).sum().backward()
    plain = gradients(model)
    model.zero_grad()
    with capture(model, "scale.sum", "backbone.0.*"):
        model(x).sum().backward()
    assert plain
    assert all(torch.equal(a, b) for a, b in zip(plain, gradients(model), strict=True))


def test_checkpointed_modules_are_captured_once_and_intervened_on_twice(x: Tensor) -> None:
    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.Sequential(nn.Linear(4, 4), nn.Tanh())

        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(self.block, x, use_reentrant=False)

    model = Checkpointed()
    with capture(model, "block.0") as taps, intervene(model, {"block.0": lambda t: t * 0.5}):
        model(x).sum().backward()
    assert torch.equal(taps["block.0"], model.block[0](x).detach() * 0.5)
    captured = gradients(model)
    model.zero_grad()
    torch.tanh(model.block[0](x) * 0.5).sum().backward()
    assert all(torch.allclose(a, b) for a, b in zip(captured, gradients(model), strict=True))


def test_intervention_changes_one_branch_and_gradients_flow(x: Tensor) -> None:
    model = Shared()
    scale = torch.tensor(0.0, requires_grad=True)
    with intervene(model, {"backbone@x75": lambda t: t * scale}):
        out = model(x)
    expected = 2 * (model.backbone(x) + model.backbone(3 * x))
    assert torch.allclose(out, expected)
    out.sum().backward()
    assert scale.grad is not None and torch.allclose(scale.grad, 2 * model.backbone(2 * x).sum())


@pytest.mark.parametrize("outer", ["capture", "intervene"])
@pytest.mark.parametrize("name", ["scale.sum", "sum_tap", "backbone@x75", "scale.*"])
def test_capture_sees_what_flows_on(outer: str, name: str, x: Tensor) -> None:
    model = Shared()
    if outer == "capture":
        with capture(model, name) as taps, intervene(model, {name: torch.zeros_like}):
            model(x)
    else:
        with intervene(model, {name: torch.zeros_like}), capture(model, name) as taps:
            model(x)
    assert all(not tensor.any() for tensor in taps.values()) and len(taps) == 1


def test_order_of_interventions_on_one_tensor(x: Tensor) -> None:
    model = nn.Sequential(Tap("t"))
    inner = {"t": lambda t: t + 1, "0": lambda t: t * 10, "t*": lambda t: t - 3}
    with intervene(model, {"t": lambda t: t * 2}), intervene(model, inner):
        assert torch.allclose(model(x), ((x + 1 - 3) * 10) * 2)


def test_function_may_write_in_place(x: Tensor) -> None:
    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tap = Tap("t")

        def forward(self, x: Tensor) -> Tensor:
            return x + self.tap(x)

    model, before = Skip(), x.clone()
    with intervene(model, {"t": Tensor.zero_}):
        assert torch.equal(model(x), before)


def test_patched_in_tensor_is_not_written_to(x: Tensor) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True))
    patch = -torch.ones(2, 4)
    with intervene(model, {"0": lambda _: patch}), torch.no_grad():
        assert not model(x).any()
    assert torch.equal(patch, -torch.ones(2, 4))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda t: t[:1], r"must keep the shape: torch.Size\(\[2, 4\]\) became torch.Size\(\[1, 4\]\)"),
        (Tensor.double, "must keep the dtype: torch.float32 became torch.float64"),
        (lambda t: t.to("meta"), "must keep the device: cpu became meta"),
        (lambda t: None, "returned a NoneType"),
        (lambda t: t.sum().item(), "returned a float"),
    ],
)
def test_replacements_that_do_not_fit(function: Callable[[Tensor], Tensor], message: str, x: Tensor) -> None:
    model = Shared()
    with refused(f"the function for 'scale.sum' {message}"), intervene(model, {"scale.sum": function}):
        model(x)
    assert hooks(model) == []


def test_only_tensors_are_intervened_on(x: Tensor) -> None:
    model = Shared()
    with (
        refused("cannot intervene on 'splits': its output is a dict"),
        intervene(model := Shared(), {"splits": lambda t: t}),
    ):
        model(x)
