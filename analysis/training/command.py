"""``attention-analysis train RECIPE``: every field of the recipe is a flag."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Annotated

import tyro

from analysis.datasets import open_dataset
from analysis.training.loop import train
from analysis.training.recipe import RECIPES, Recipe, find_recipe


@dataclasses.dataclass(frozen=True)
class Training:
    """Train a recipe.

    The run directory holds config.json, history.parquet, metrics.parquet and checkpoints/. Interrupt it at will: the
    same command with --resume goes on to the same weights.

    Several processes: torchrun --nproc-per-node N -m analysis train RECIPE ...
    """

    recipe: Annotated[Recipe, tyro.conf.arg(name="")]
    data: str
    """NAME[:PATH] of the data set, for example camvid:../shared/camvid."""
    out: Path
    """The run directory."""
    seed: int = 0
    """Seed of initial weights, order, augmentation and dropout."""
    resume: bool = False
    """Continue the run in --out."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N; mixed precision on CUDA."""
    workers: int = 2
    """Processes that load data; 0 loads in the training process."""


def run(program: str, arguments: list[str]) -> int:
    """Parse the flags of one recipe and train it; without a recipe, list them. Returns the exit status."""
    if not arguments or arguments[0].startswith("-"):
        print(_overview(program))
        return 0 if arguments[:1] in (["-h"], ["--help"]) else 2
    name, recipe = arguments[0], find_recipe(arguments[0])
    missing = {"data": tyro.MISSING, "out": tyro.MISSING}
    options = tyro.cli(
        Training,
        args=arguments[1:],
        prog=f"{program} train {name}",
        default=Training(recipe, **missing),
        config=(tyro.conf.AvoidSubcommands,),
    )
    splits = (open_dataset(options.data, options.recipe.split), open_dataset(options.data, options.recipe.validation))
    settings = {"seed": options.seed, "resume": options.resume, "device": options.device, "workers": options.workers}
    train(name, options.recipe, *splits, options.out, **settings)
    if int(os.environ.get("RANK", 0)) == 0:
        print(f"run: {options.out}")
    return 0


def _overview(program: str) -> str:
    lines = [f"usage: {program} train RECIPE --data NAME[:PATH] --out RUN [flags]", "", "recipes:"]
    for name, recipe in RECIPES.items():
        crop = " x ".join(map(str, recipe.crop))
        lines.append(f"  {name:28}{recipe.model.backbone}, {recipe.epochs} epochs of {crop}, {recipe.optimizer}")
    return "\n".join([*lines, "", f"The flags of a recipe: {program} train RECIPE --help"])
