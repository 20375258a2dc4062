"""How capture and intervene find what a name means, and which names they refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest
import torch
from small_models import Reused, Shared, Wrapper, hooks, refused
from torch import Tensor, nn

from analysis.models.tap import Tap
from analysis.taps import capture, intervene


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 4, generator=torch.Generator().manual_seed(0))


def test_taps_and_paths_and_wildcards(x: Tensor) -> None:
    model = Shared()
    with capture(model, "scale.sum", "splits", "scale.*") as taps:
        out = model(x)
    assert set(taps) == {"scale.sum", "splits"}
    assert torch.equal(taps["scale.sum"] * 2, out)
    with capture(model, "sum_*", "backbone.?") as taps:  # no tap has such a name: module paths
        model(x)
    assert set(taps) == {"sum_tap", "backbone.0@x100", "backbone.0@x75", "backbone.0@x50"}


def test_wildcard_over_taps_does_not_reach_paths(x: Tensor) -> None:
    with capture(model := Shared(), "*") as taps:
        model(x)
    assert set(taps) == {"scale.sum"} | {f"block.inner@{label}" for label in ("x100", "x75", "x50")}


def test_unknown_name_lists_the_closest() -> None:
    with refused(r"no tap or module of Shared .*'scale.sun'; closest: scale.sum"), capture(Shared(), "scale.sun"):
        pass
    with refused(r"'scael.\*'"), intervene(Shared(), {"scael.*": torch.relu}):
        pass


def test_two_taps_of_one_name_are_told_apart_by_path(x: Tensor) -> None:
    model = nn.Sequential(Tap("same"), nn.ReLU(), Tap("same"))
    with refused("2 taps are called 'same'; name one by its path: 0, 2"), capture(model, "same"):
        pass
    with capture(model, "2") as taps:
        model(x)
    assert torch.equal(taps["2"], x.relu())


def test_calls_of_a_shared_root_are_named_by_branch(x: Tensor) -> None:
    model = Shared()
    with capture(model, "backbone@x75", "block.inner@x50", "backbone.0.linear@x100") as taps:
        model(x)
    assert torch.equal(taps["backbone@x75"], model.backbone(2 * x))
    assert torch.equal(taps["block.inner@x50"], model.backbone(3 * x))
    assert torch.equal(
        taps["backbone.0.linear@x100"],
        nn.functional.linear(x.relu(), *model.get_submodule("backbone.0.linear").parameters()),
    )


def test_reuse_within_a_branch(x: Tensor) -> None:
    model = Shared()
    with capture(model, "backbone.0.relu@x75@0", "backbone.0.relu@x75@1") as taps:
        model(x)
    assert torch.equal(taps["backbone.0.relu@x75@0"], (2 * x).relu())
    assert torch.equal(taps["backbone.0.relu@x75@1"], model.backbone(2 * x))
    with capture(model, "backbone.0.*@x75") as taps:
        model(x)
    names = ("linear@x75", "relu@x75@0", "relu@x75@1", "tap@x75")
    assert set(taps) == {f"backbone.0.{name}" for name in names}
    with refused("name one of backbone.0.relu@x75@0, backbone.0.relu@x75@1"), capture(model, "backbone.0.relu@x75"):
        model(x)


def test_label_patterns_do_not_match_the_count(x: Tensor) -> None:
    with capture(model := Shared(), "backbone.0.linear@*0") as taps:
        model(x)
    assert set(taps) == {"backbone.0.linear@x100", "backbone.0.linear@x50"}


@pytest.mark.parametrize("name", ["backbone", "backbone.0.linear", "block.inner"])
def test_bare_path_under_a_shared_root_is_refused_at_once(name: str) -> None:
    with refused(rf"'{name}' is not .* name one of {name}@x100, {name}@x75, {name}@x50"), capture(Shared(), name):
        pass
    with refused(f"{name}@x100, {name}@x75, {name}@x50"), intervene(Shared(), {f"{name}@x33": torch.relu}):
        pass


def test_one_scale_needs_no_label_and_takes_one(x: Tensor) -> None:
    model = Shared(labels=("x100",))
    with capture(model, "backbone.0.linear", "backbone.0.linear@x100", "backbone.0.tap*", "block.inner@*") as taps:
        model(x)
    assert set(taps) == {"backbone.0.linear", "backbone.0.linear@x100", "backbone.0.tap", "block.inner@x100"}


def test_undeclared_repeated_calls_are_counted(x: Tensor) -> None:
    model = Reused()
    for pattern in ("relu@*", "rel*"):
        with capture(model, pattern, "linear") as taps:
            out = model(x)
        assert set(taps) == {"relu@0", "relu@1", "linear"}
        assert torch.equal(taps["relu@0"], x.relu()) and torch.equal(taps["relu@1"], out)
    with refused("'relu' is not .* relu@0, relu@1"), capture(model, "relu"):
        model(x)
    with refused("did not reach 'relu@5'; its calls: relu@0, relu@1"), intervene(model, {"relu@5": torch.relu}):
        model(x)
    assert hooks(model) == []


def test_path_that_is_not_called_is_an_error_after_the_forward(x: Tensor) -> None:
    with (
        refused("did not reach 'unused': the model does not call it"),
        capture(model := Shared(), "unused", "scale.sum"),
    ):
        model(x)


def test_reading_before_any_forward(x: Tensor) -> None:
    with capture(Shared(), "scale.sum") as taps, refused("no forward reached 'scale.sum'"):
        _ = taps["scale.sum"]
    with capture(model := Shared(), "scale.sum") as taps:
        model(x)
    with refused("no forward reached 'scale.sun' .*closest: scale.sum"):
        _ = taps["scale.sun"]


def test_second_forward_overwrites_and_a_failed_one_leaves_nothing(x: Tensor) -> None:
    model = Shared()
    with capture(model, "scale.sum") as taps:
        model(x)
        first = taps["scale.sum"]
        model(x + 1)
        assert not torch.equal(first, taps["scale.sum"])
        with pytest.raises(RuntimeError, match="shapes"):
            model(torch.randn(2, 5))
        assert "scale.sum" not in taps
        model(x)  # the failed forward left no count behind
        assert torch.equal(first, taps["scale.sum"])


@pytest.mark.parametrize("wrap", [Wrapper, nn.DataParallel])
def test_wrapped_models_keep_their_tap_and_call_names(wrap: Callable[[nn.Module], nn.Module], x: Tensor) -> None:
    model = wrap(Shared())
    with capture(model, "scale.sum", "block.inner@x75", "module.backbone.0.linear@x50") as taps:
        out = model(x)
    assert torch.equal(taps["scale.sum"] * 2, out) and len(taps) == 3


def test_model_called_twice_by_its_wrapper(x: Tensor) -> None:
    model = Wrapper(Shared(), calls=2)
    with capture(model, "block.inner@x75*", "scale.sum@1") as taps:
        model(x)
    assert set(taps) == {"block.inner@x75@0", "block.inner@x75@1", "scale.sum@1"}
    assert torch.equal(taps["block.inner@x75@0"], taps["block.inner@x75@1"])


def test_module_at_two_paths_answers_to_both(x: Tensor) -> None:
    linear = nn.Linear(4, 4)
    model = nn.ModuleDict({"a": nn.Sequential(linear), "b": nn.Sequential(linear)})
    wrapped = Wrapper(model["b"])
    wrapped.other = model["a"]
    with capture(wrapped, "module.0", "other.0") as taps:
        wrapped(x)
    assert torch.equal(taps["module.0"], taps["other.0"])


def test_calls_outside_the_models_forward(x: Tensor) -> None:
    model = Shared()
    with capture(model, "block.inner@x75", "splits") as taps, intervene(model, {"splits": lambda t: t}):
        model.backbone(x)  # a piece alone: not a forward of the model, and no branch
    assert taps == {}
    with (
        refused(r"cannot tell which call is 'backbone.0.linear@x75'"),
        intervene(model, {"backbone.0.linear@x75": torch.relu}),
    ):
        model.backbone(x)


def compiled_in_place() -> nn.Module:
    model = Reused()
    model.linear.compile(backend="eager")
    return model


@pytest.mark.parametrize(
    ("make", "where"),
    [
        (lambda: torch.compile(Reused(), backend="eager"), "the model"),
        (lambda: nn.Sequential(cast(nn.Module, torch.compile(nn.ReLU(), backend="eager"))), "'0' in the model"),
        (compiled_in_place, "'linear' in the model"),
        (lambda: torch.jit.trace(Reused(), torch.zeros(2, 4)), "the model"),
        (lambda: nn.Sequential(torch.jit.script(nn.ReLU())), "'0' in the model"),
    ],
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_compiled_models_are_refused(make: Callable[[], nn.Module], where: str) -> None:
    model = make()
    for verb in (capture(model, "relu"), intervene(model, {"relu": torch.relu})):
        with refused(f"^{where} is compiled, and compiled code skips hooks"):
            verb.__enter__()
