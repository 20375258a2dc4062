"""capture and intervene leave a model as it was, and share nothing."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import Shared, hooks
from torch import Tensor, nn

from analysis.errors import AnalysisError
from analysis.taps import capture, intervene


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 4, generator=torch.Generator().manual_seed(0))


def live_tensors() -> int:
    return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())


def test_fifty_captures_leave_no_hook_and_flat_memory(x: Tensor) -> None:
    """Tensors go when the last name of them goes, without waiting for the garbage collector."""
    model = Shared()
    names = ("scale.*", "backbone.0.*", "splits")
    gc.collect()
    gc.disable()
    try:
        before = live_tensors()
        for _ in range(50):
            with capture(model, *names) as taps, intervene(model, {"backbone.0.linear@x75": torch.relu}):
                model(x)
        assert live_tensors() > before
        del taps
        assert live_tensors() == before
    finally:
        gc.enable()
    assert hooks(model) == []


def test_own_hooks_of_the_model_stay_as_they_were(x: Tensor) -> None:
    model = Shared()
    order: list[str] = []
    model.sum_tap.register_forward_hook(lambda *_: order.append("mine"))
    model.register_forward_pre_hook(lambda *_: order.append("before"))
    before = hooks(model)
    with intervene(model, {"scale.sum": torch.relu}), capture(model, "scale.sum"):
        model(x)
    assert hooks(model) == before and order == ["before", "mine"]


class Stop(Exception):
    """Raised on purpose, anywhere."""


def fail(_: Tensor) -> Tensor:
    raise Stop


VERBS: dict[str, Callable[[nn.Module], AbstractContextManager[object]]] = {
    "tap": lambda model: capture(model, "scale.sum"),
    "wild": lambda model: capture(model, "backbone.*", dtype=torch.float16),
    "poor": lambda model: capture(model, "scale.sum", max_bytes=1),
    "unknown": lambda model: capture(model, "scale.sum", "nowhere"),
    "bare": lambda model: capture(model, "backbone"),
    "uncalled": lambda model: capture(model, "unused"),
    "zero": lambda model: intervene(model, {"scale.sum": torch.zeros_like}),
    "fail": lambda model: intervene(model, {"block.inner@x50": fail}),
    "misfit": lambda model: intervene(model, {"backbone@*": lambda t: t[:1]}),
}


def nest(model: nn.Module, verbs: list[str], forwards: list[bool], stop: int) -> None:
    """Enter the verbs one inside the other, with a forward or not at each depth, and raise at depth ``stop``."""
    if stop == 0:
        raise Stop
    if not verbs:
        return
    with VERBS[verbs[0]](model):
        if forwards[0]:
            model(torch.ones(2, 4))
        nest(model, verbs[1:], forwards[1:], stop - 1)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(sorted(VERBS)), max_size=5),
    st.lists(st.booleans(), min_size=5, max_size=5),
    st.integers(0, 8),
)
def test_nested_failures_leave_no_hook(verbs: list[str], forwards: list[bool], stop: int) -> None:
    model = Shared()
    model.sum_tap.register_forward_hook(lambda *_: None)
    before = hooks(model)
    expected = model(torch.ones(2, 4))
    with suppress(Stop, AnalysisError):
        nest(model, verbs, forwards, stop)
    assert hooks(model) == before
    assert torch.equal(model(torch.ones(2, 4)), expected)


def test_nested_captures_do_not_share_counts(x: Tensor) -> None:
    model = Shared()
    with capture(model, "block.inner@x50") as outer:
        model(x)
        with capture(model, "block.inner@x50", "scale.sum") as inner:
            model(2 * x)
        kept = outer["block.inner@x50"]
        assert torch.equal(kept, inner["block.inner@x50"])
        model(x)
    assert torch.equal(inner["block.inner@x50"], kept)
    assert torch.equal(outer["block.inner@x50"], model.backbone(3 * x))


def test_threads_with_models_of_their_own() -> None:
    wrong: list[int] = []

    def work(seed: int) -> None:
        model = Shared()
        x = torch.full((2, 4), float(seed))
        expected = model.backbone(2 * x)
        for _ in range(20):
            with torch.no_grad(), capture(model, "block.inner@x75") as taps:
                model(x)
            if not torch.equal(taps["block.inner@x75"], expected):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_captums_layer_activation_gives_the_same_tensor(x: Tensor) -> None:
    from captum.attr import LayerActivation

    model = Shared(labels=("x100",)).eval()
    with capture(model, "block.inner") as taps:
        model(x)
        activation = LayerActivation(model, model.get_submodule("backbone.0.tap")).attribute(x)
    assert torch.equal(activation, taps["block.inner"])
    assert hooks(model) == []
