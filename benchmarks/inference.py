"""What makes a forward faster, and what bf16 does to labels: one thread, networks of 512 x 512 pixels.

    python benchmarks/inference.py [--json] [--quick] [--data camvid:../shared/camvid]

The whole models, and each backbone compiled by torch's inductor with frozen weights (half a minute for every size of
image), which this package leaves out. ``chosen`` marks what it does by itself: a light backbone sees its images
channels last, a ResNet does not. Labels are those of the demo's checkpoints on CamVid's validation images, where the
data are there: mean IoU in both precisions and the share of pixels whose label changes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import numpy as np
import torch
from measuring import Work, paired
from reported import Goal, Row, options, report, rows_of
from torch import Tensor, nn
from tqdm import tqdm

from analysis.checkpoints import open_checkpoint
from analysis.datasets import Dataset, open_dataset
from analysis.errors import AnalysisError
from analysis.forms import with_precision
from analysis.measures import confusion, mean_iou
from analysis.models import DualAttention, ScaleAttention, predict
from analysis.models.backbones import set_precision
from analysis.studies.study import evenly_spaced

DEMO = Path(__file__).parents[1] / "data" / "demo"
MODELS: dict[str, tuple[Callable[..., nn.Module], float]] = {  # and the most of eager time that bf16 should take
    "ScaleAttention, lite0": (
        partial(ScaleAttention, classes=11, backbone="lite0", output_stride=16, skip=True, head_width=64),
        0.8,
    ),
    "DualAttention, resnet50": (partial(DualAttention, classes=19, backbone="resnet50"), 0.5),
}


def main() -> None:
    """Measure and print."""
    asked = options(__doc__, data="camvid:../shared/camvid")
    torch.set_num_threads(1)
    report([*forwards(asked), *labels(asked)], asked, "torch", "timm")


def forwards(asked: argparse.Namespace) -> Iterator[Row]:
    """Every model in every way."""
    contiguous = torch.randn(1, 3, 512, 512, generator=torch.Generator().manual_seed(0))
    last = contiguous.contiguous(memory_format=torch.channels_last)
    for name, (make, most) in MODELS.items():
        model, quick = drawn(make), drawn(make)
        set_precision(quick, "bf16")
        chosen = "channels last" if "lite0" in name else "contiguous"
        ways = {"contiguous": contiguous, "channels last": last}
        calls: dict[str, Work] = {way: partial(run, without_rule(model, way), image) for way, image in ways.items()}
        calls["inference mode"] = partial(run, model, contiguous, torch.inference_mode)
        calls["bf16"] = partial(run, quick, contiguous)
        table = paired(calls, 3 if asked.quick else 9)
        yield from rows_of(name, table, goals={"bf16": Goal("ratio", most)}, remarks={chosen: "chosen"})
        if not asked.quick:
            yield from compiled(name, drawn(make), contiguous)


def drawn(make: Callable[..., nn.Module]) -> nn.Module:
    """Random weights, the same for every way."""
    torch.manual_seed(0)
    return make().eval()


def without_rule(model: nn.Module, way: str) -> nn.Module:
    """A light backbone turns its images channels last by itself: for the other way its stem is given them back."""
    trunk = getattr(model.backbone, "trunk", None)
    if trunk is None or way == "channels last":
        return model
    return _Contiguous(model)


class _Contiguous(nn.Module):
    """A model whose backbone's trunk sees contiguous images."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> None:
        trunk = self.model.get_submodule("backbone.trunk")
        with trunk.register_forward_pre_hook(lambda _, given: (given[0].contiguous(),)):
            self.model(image)


def run(model: nn.Module, image: Tensor, mode: Callable[[], AbstractContextManager] = torch.no_grad) -> None:
    """One forward, nothing kept."""
    with mode():
        model(image)


def compiled(name: str, model: nn.Module, image: Tensor) -> Iterator[Row]:
    """The backbone alone, eager and compiled."""
    backbone = model.get_submodule("backbone")
    frozen = torch.compile(backbone.forward, dynamic=False, options={"freezing": True})

    def call() -> None:
        with torch.no_grad():
            frozen(image)

    table = paired({"eager": partial(run, backbone, image), "compiled, frozen": call}, 9)
    yield from rows_of(f"{name}: backbone", table, remarks={"compiled, frozen": "left out of the package"})


def labels(asked: argparse.Namespace) -> Iterator[Row]:
    """What bf16 does to the demo's checkpoints on CamVid, if it is there."""
    try:
        dataset = open_dataset(asked.data, "val")
    except AnalysisError as error:
        yield Row("labels in bf16", "CamVid", remark=f"left out: {error}")
        return
    for name in ("camvid-scale", "camvid-dual"):
        yield Row(
            "labels in bf16", name, remark=changes(DEMO / name, evenly_spaced(dataset, 8 if asked.quick else 101))
        )


def changes(path: Path, dataset: Dataset) -> str:
    """Mean IoU in float32 and in bf16, and the share of pixels that get another label, in per cent."""
    plain = open_checkpoint(path)
    models = [plain.model, with_precision(plain, "bf16").model]
    counts, changed = np.zeros((2, plain.spec.classes, plain.spec.classes), np.int64), []
    for i in tqdm(range(len(dataset)), desc=path.name, unit="image", leave=False, disable=None):
        sample = dataset[i]
        assert sample.label is not None
        found = [predict(model, sample.image).max(dim=0).indices.numpy() for model in models]
        counts += [confusion(one, sample.label, plain.spec.classes) for one in found]
        changed.append(np.mean(found[0] != found[1]))
    scores = [100 * mean_iou(one) for one in counts]
    return f"{len(dataset)} images: mIoU {scores[0]:.2f} and {scores[1]:.2f}, {100 * np.mean(changed):.2f} % change"


if __name__ == "__main__":
    main()
