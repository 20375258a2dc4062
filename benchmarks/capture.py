"""What a capture costs and whether it is right, beside the ways that others offer.

    python benchmarks/capture.py [--json] [--quick]

Four tensors of one forward of a 256 x 256 image, as a ratio to the plain forward of the same round; setting up is
included where it is needed for every forward. ``plain again`` is what the noise of the run gives. On one thread. Speed
does not tell the ways apart: values do. A tensor in front of an in-place ReLU is captured by each of them and compared
with what the batch norm before it really gave.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import cache, partial
from importlib.metadata import version

import torch
from measuring import Work, paired
from reported import Goal, Row, installed, options, peaks, report, rows_of
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names
from torchvision.models.segmentation import fcn_resnet50

from analysis.models import DualAttention, ScaleAttention
from analysis.taps import capture

GOAL = Goal("cpu_ratio", 1.02)
OURS, PLAIN = "capture", "plain"
LAYERS = tuple(f"backbone.layer{i}" for i in (1, 2, 3, 4))
NORM = "backbone.bn1"  # a ReLU that works in place follows
Tensors = dict[str, Tensor]
#: A model and names of its modules, to a function that runs an image and gives their outputs.
Way = Callable[[nn.Module, tuple[str, ...]], Callable[[Tensor], Tensors]]


def main() -> None:
    """Measure, compare and print."""
    asked = options(__doc__)
    torch.set_num_threads(1)  # CPU time of several threads counts their waiting for each other
    report(measure(asked), asked, "torch")


def measure(asked: argparse.Namespace) -> list[Row]:
    """Ratios of every way on a network of others, of our taps on our models, and values before an in-place ReLU."""
    rounds = 6 if asked.quick else 30
    versions = {name: version(package) for name, package in PACKAGES.items() if name in ways()}
    table = paired(calls(image(256)), rounds)
    mib = peaks(call, (PLAIN, *ways()), asked)
    rows = rows_of("four layers of fcn_resnet50, by module path", table, versions, {OURS: GOAL}, mib)
    for name, (make, taps) in CASES.items():
        rows += rows_of(name, paired(tapped(make().eval(), taps), rounds), goals={OURS: GOAL})
    return [*rows, *values(versions)]


def image(side: int) -> Tensor:
    """Noise ``[1, 3, side, side]``."""
    return torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))


def network() -> nn.Module:
    """A network that this project did not write, with random weights."""
    torch.manual_seed(0)
    return fcn_resnet50(weights=None, weights_backbone=None).eval()


def calls(x: Tensor) -> dict[str, Work]:
    """Every way on one network and image, the plain forward first and once more."""
    model = network()
    plain = partial(forward, model, x)
    return {
        PLAIN: plain,
        **{name: partial(way(model, LAYERS), x) for name, way in ways().items()},
        "plain again": plain,
    }


def call(name: str) -> Work:
    """One of them for a process of its own, warmed up on a small image."""
    model = network()
    run = partial(forward, model) if name == PLAIN else ways()[name](model, LAYERS)
    run(image(64))
    return partial(run, image(256))


def forward(model: nn.Module, x: Tensor) -> None:
    """One forward, nothing kept."""
    with torch.no_grad():
        model(x)


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[str, ...]]] = {
    "four taps of ScaleAttention lite0": (
        lambda: ScaleAttention(classes=11, backbone="lite0", output_stride=16, skip=True, head_width=64),
        ("scale.weights", "scale.logits", "scale.scores.x100", "scale.features.x100"),
    ),
    "four taps of DualAttention lite0": (
        lambda: DualAttention(classes=11, backbone="lite0", output_stride=16),
        ("position.query", "position.key", "channel.affinity", "fused"),
    ),
}


def tapped(model: nn.Module, names: tuple[str, ...]) -> dict[str, Work]:
    """Our taps of our models."""
    x = image(256)
    plain = partial(forward, model, x)
    return {PLAIN: plain, OURS: partial(_captured(model, names), x), "plain again": plain}


@cache
def ways() -> dict[str, Way]:
    """By name; those of packages that are not installed are left out."""
    found: dict[str, Way] = {
        OURS: _captured,
        "hooks that keep the output": partial(_hooked, keep=lambda output: output),
        "hooks that clone the output": partial(_hooked, keep=Tensor.clone),
        "torchvision feature extractor": _extracted,
        "nnsight trace": _traced,
        "captum LayerActivation": _activations,
    }
    if not installed("nnsight"):
        del found["nnsight trace"]
    return found


PACKAGES = {
    "hooks that keep the output": "torch",
    "hooks that clone the output": "torch",
    "torchvision feature extractor": "torchvision",
    "nnsight trace": "nnsight",
    "captum LayerActivation": "captum",
}


def _captured(model: nn.Module, names: tuple[str, ...]) -> Callable[[Tensor], Tensors]:
    def run(x: Tensor) -> Tensors:
        with capture(model, *names) as taps, torch.no_grad():
            model(x)
        return dict(taps)

    return run


def _hooked(model: nn.Module, names: tuple[str, ...], keep: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensors]:
    def run(x: Tensor) -> Tensors:
        kept: Tensors = {}

        def hook(name: str) -> Callable[[nn.Module, object, Tensor], None]:
            return lambda module, inputs, output: kept.update({name: keep(output)})

        handles = [model.get_submodule(name).register_forward_hook(hook(name)) for name in names]
        forward(model, x)
        for handle in handles:
            handle.remove()
        return kept

    return run


def _extracted(model: nn.Module, names: tuple[str, ...]) -> Callable[[Tensor], Tensors]:
    """The last node as well: else the extractor skips the rest of the network."""
    last = get_graph_node_names(model)[1][-1]
    extractor = create_feature_extractor(model, [*names, last]).eval()

    def run(x: Tensor) -> Tensors:
        with torch.no_grad():
            found = extractor(x)
        return {name: found[name] for name in names}

    return run


def _traced(model: nn.Module, names: tuple[str, ...]) -> Callable[[Tensor], Tensors]:
    from nnsight import NNsight  # ty: ignore[import-not-found]

    wrapped = NNsight(model)

    @torch.no_grad()
    def run(x: Tensor) -> Tensors:
        kept: Tensors = {}
        with wrapped.trace(x):  # nnsight takes these lines and runs them elsewhere: a name bound here would be lost
            for name in names:
                kept[name] = wrapped.get(name).output.save()
        return kept

    return run


def _activations(model: nn.Module, names: tuple[str, ...]) -> Callable[[Tensor], Tensors]:
    from captum.attr import LayerActivation

    layers = LayerActivation(lambda x: model(x)["out"], [model.get_submodule(name) for name in names])

    def run(x: Tensor) -> Tensors:
        with torch.no_grad():
            found = layers.attribute(x)
        return dict(zip(names, found, strict=True))

    return run


def values(versions: dict[str, str]) -> Iterator[Row]:
    """What each way gives of a batch norm in front of an in-place ReLU, alone and beside a later layer."""
    model, x = network(), image(64)
    backbone = model.get_submodule("backbone")
    with torch.no_grad():
        truth = backbone.get_submodule("bn1")(backbone.get_submodule("conv1")(x))
    for name, way in ways().items():
        found = way(model, (NORM, LAYERS[0]))(x)[NORM]
        true = torch.equal(found, truth)
        overwritten = torch.equal(found, truth.relu())
        remark = "true values" if true else "values after the ReLU" if overwritten else "other values"
        goal = ("true values", true) if name == OURS else ("", None)
        yield Row(f"{NORM} before an in-place ReLU", name, versions.get(name, ""), *([float("nan")] * 7), *goal, remark)


if __name__ == "__main__":
    main()
