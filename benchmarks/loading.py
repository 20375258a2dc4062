"""Is loading ever the bottleneck of a CamVid epoch? Loading one batch, beside one update with it.

    python benchmarks/loading.py [--json] [--quick] [--data camvid:../shared/camvid]

Both are timed in turn in one process on one thread; below 1, one loading process keeps up with the training.
"""

from __future__ import annotations

import argparse
import itertools

import torch
from measuring import Work, paired
from reported import Goal, Row, options, report, rows_of
from torch import Tensor
from torch.utils.data import default_collate

from analysis.datasets import Dataset, open_dataset
from analysis.models import build
from analysis.models.inference import normalise
from analysis.training.batches import Augmented
from analysis.training.loop import fitted, make_optimizer
from analysis.training.losses import loss_parts
from analysis.training.recipe import find_recipe

UPDATE, LOADING = "one update", "loading its batch"


def main() -> None:
    """Measure both CamVid recipes and print."""
    asked = options(__doc__, data="camvid:../shared/camvid")
    torch.set_num_threads(1)
    report(measure(asked), asked, "torch", "pillow")


def measure(asked: argparse.Namespace) -> list[Row]:
    """Ratios of loading to updates."""
    dataset, rows = open_dataset(asked.data, "train"), []
    for recipe in ("camvid-scale", "camvid-dual"):
        table = paired(calls(recipe, dataset), 2 if asked.quick else 8)
        rows += rows_of(f"a batch of {recipe}", table, goals={LOADING: Goal("cpu_ratio", 1.0)})
    return rows


def calls(name: str, dataset: Dataset) -> dict[str, Work]:
    """An update on a batch, and loading the next batch of the epoch."""
    recipe = fitted(find_recipe(name), dataset, dataset)
    model = build(recipe.model).to(memory_format=torch.channels_last).train()
    optimizer, augmented = make_optimizer(model, recipe), Augmented(dataset, recipe, seed=0)
    crops = itertools.count()

    def load() -> tuple[Tensor, Tensor]:
        return default_collate([augmented[0, next(crops)] for _ in range(recipe.batch_size)])

    image, label = load()

    def update() -> None:
        output = model(normalise(image.float().contiguous(memory_format=torch.channels_last), recipe.model.input))
        torch.stack(list(loss_parts(output, label, recipe, None, Tensor.detach).values())).sum().backward()
        optimizer.step()

    return {UPDATE: update, LOADING: load}


if __name__ == "__main__":
    main()
