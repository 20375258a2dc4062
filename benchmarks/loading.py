"""Is loading ever the bottleneck of a CamVid epoch? Seconds of loading one batch as a ratio to seconds of one update.

    python benchmarks/loading.py [--data camvid:../shared/camvid] [--json]

Both are timed in turn in one process and on one core each; below 1, one loading process keeps up with the training.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import torch
from torch.utils.data import default_collate

from analysis.datasets import Dataset, open_dataset
from analysis.models import build
from analysis.models.inference import normalise
from analysis.training.batches import Augmented
from analysis.training.loop import fitted, make_optimizer
from analysis.training.losses import loss_parts
from analysis.training.recipe import find_recipe


def times(name: str, dataset: Dataset, rounds: int) -> dict[str, list[float]]:
    """Seconds of loading a batch and of an update on it, round by round."""
    recipe = fitted(find_recipe(name), dataset, dataset)
    model = build(recipe.model).to(memory_format=torch.channels_last).train()
    optimizer = make_optimizer(model, recipe)
    augmented = Augmented(dataset, recipe, seed=0)
    seconds: dict[str, list[float]] = {"load": [], "update": []}
    for i in range(rounds + 1):
        start = time.perf_counter()
        image, label = default_collate([augmented[0, i * recipe.batch_size + j] for j in range(recipe.batch_size)])
        loaded = time.perf_counter()
        output = model(normalise(image.float().contiguous(memory_format=torch.channels_last), recipe.model.input))
        torch.stack(list(loss_parts(output, label, recipe, None, torch.Tensor.detach).values())).sum().backward()
        optimizer.step()
        if i:  # the first round warms up
            seconds["load"].append(loaded - start)
            seconds["update"].append(time.perf_counter() - loaded)
    return seconds


def main() -> None:
    """Print the ratio for both CamVid recipes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="camvid:../shared/camvid", help="NAME[:PATH] of the data set")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    dataset = open_dataset(options.data, "train")
    for name in ("camvid-scale", "camvid-dual"):
        seconds = times(name, dataset, options.rounds)
        ratios = [a / b for a, b in zip(seconds["load"], seconds["update"], strict=True)]
        result = {
            "recipe": name,
            "load_s": statistics.median(seconds["load"]),
            "update_s": statistics.median(seconds["update"]),
            "ratio": statistics.median(ratios),
            "worst_ratio": max(ratios),
        }
        print(
            json.dumps(result)
            if options.json
            else "  ".join(f"{k} {v:.3g}" if k != "recipe" else f"{v:14}" for k, v in result.items())
        )


if __name__ == "__main__":
    main()
