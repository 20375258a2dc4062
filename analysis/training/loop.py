"""The training loop of both papers' models.

A training is a function of (recipe, seed, data): what a step sees depends on the seed and its number alone, so a
training stopped anywhere and resumed gives the same weights, bit for bit on CPU.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from analysis.checkpoints.pretrained import load_pretrained
from analysis.datasets import Dataset
from analysis.errors import AnalysisError
from analysis.evaluation import evaluate
from analysis.models import Model, build, gates
from analysis.models.backbones import Light
from analysis.models.dual_attention import permuted_gates
from analysis.models.inference import normalise
from analysis.taps import capture
from analysis.training.batches import Augmented, Steps, loader, mix
from analysis.training.history import contribution_taps, gate_columns
from analysis.training.losses import class_weights, loss_parts
from analysis.training.processes import Processes, processes
from analysis.training.recipe import Recipe, learning_rate_factor
from analysis.training.run import Run, find_run

_CLASSIFIERS = ("classifier", "position_classifier", "channel_classifier")
_RAISED = "analysis.errors.AnalysisError: "


def train(
    name: str,
    recipe: Recipe,
    dataset: Dataset,
    validation: Dataset,
    out: Path,
    *,
    seed: int = 0,
    resume: bool = False,
    device: str = "auto",
    workers: int = 2,
) -> Path:
    """Train ``recipe`` (a variant of the recipe called ``name``) and return the run directory.

    Raises AnalysisError before anything is written where the data and the recipe do not fit, and during training where
    a loss part is not finite (naming step and part).
    """
    recipe = fitted(recipe, dataset, validation)
    with processes(device) as group:
        if recipe.batch_size % group.world:
            raise AnalysisError(f"batch_size {recipe.batch_size} cannot be shared by {group.world} processes")
        run = find_run(out, name, recipe, seed, dataset, resume)
        trainer = Trainer(recipe, dataset, validation, run, group, workers)
        group.wait()  # every process has looked at the folder before the first one writes into it
        if group.first:
            run.begin()
        trainer.run_all()
    return out


class Trainer:
    """One training on one process: model, optimizer, and the loop."""

    def __init__(
        self, recipe: Recipe, dataset: Dataset, validation: Dataset, run: Run, group: Processes, workers: int
    ) -> None:
        self.recipe, self.dataset, self.validation, self.run, self.group = recipe, dataset, validation, run, group
        self.seed, self.workers = run.config["seed"], workers
        self.per_epoch = len(dataset) // recipe.batch_size
        self.steps = self.per_epoch * recipe.epochs
        self.milestones = {round(i * self.steps / recipe.checkpoints) for i in range(recipe.checkpoints + 1)}
        torch.manual_seed(mix(self.seed))
        self.model = build(recipe.model).to(memory_format=torch.channels_last)  # depthwise gradients are twice as fast
        state = run.load_state()
        if state is None:
            load_pretrained(self.model.backbone, recipe.model.backbone, recipe.pretrained)
        self.network = group.wrap(self.model)
        self.optimizer = make_optimizer(self.model, recipe)
        self.weights = None if recipe.class_weights == "none" else class_weights(dataset).to(group.device)
        cuda = group.device.type == "cuda"
        self.half = (
            torch.bfloat16 if cuda and torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
        )
        self.scaler = torch.amp.GradScaler(group.device.type, enabled=cuda and self.half is torch.float16)
        self.miou: float | None = None
        self.start = 0 if state is None else self.restore(state)

    def run_all(self) -> None:
        """Train from the stored state, or from step 0, to the end."""
        if self.start == 0:
            self.milestone(0)
        try:
            self.run_steps()
        except AnalysisError as error:  # one from a loading process comes with that process's traceback
            raise AnalysisError(str(error).rstrip().splitlines()[-1].removeprefix(_RAISED)) from None

    def run_steps(self) -> None:
        """The loop."""
        share = Steps(
            len(self.dataset),
            self.recipe.batch_size,
            self.seed,
            self.start,
            self.steps,
            self.group.rank,
            self.group.world,
        )
        batches = loader(Augmented(self.dataset, self.recipe, self.seed), share, self.workers)
        save_every = self.recipe.save_every or self.per_epoch
        with (
            capture(self.model, *contribution_taps(self.model), max_bytes=None) as taps,
            tqdm(total=self.steps, initial=self.start, unit="step", disable=not self.group.first) as bar,
        ):
            for step, (image, label) in enumerate(batches, start=self.start):
                row = self.step(
                    step,
                    image.to(self.group.device, memory_format=torch.channels_last),
                    label.to(self.group.device),
                    taps,
                )
                self.run.history.append(row)
                if step + 1 in self.milestones:
                    self.milestone(step + 1)
                if step + 1 in self.milestones or (step + 1) % save_every == 0:
                    self.save(step + 1)
                bar.set_postfix(
                    loss=f"{row['loss']:.3f}", mIoU="-" if self.miou is None else f"{self.miou:.3f}", refresh=False
                )
                bar.update()

    def step(self, step: int, image: Tensor, label: Tensor, taps: Mapping[str, Tensor]) -> dict[str, float]:
        """One update; returns its row of the history."""
        torch.manual_seed(mix(self.seed, step, self.group.rank))  # dropout
        rate = self.set_rate(step)
        self.set_mode()
        with torch.autocast(self.group.device.type, self.half, enabled=self.group.device.type == "cuda"):
            output = self.network(normalise(image.float(), self.recipe.model.input))
        parts = loss_parts(output, label, self.recipe, self.weights, self.group.mean)
        values = {name: float(self.group.mean(part)) for name, part in parts.items()}
        check_finite(values, step)
        self.optimizer.zero_grad()
        self.scaler.scale(torch.stack(list(parts.values())).sum()).backward()
        self.scaler.unscale_(self.optimizer)
        row = {"step": step, "epoch": step // self.per_epoch, "loss": sum(values.values()), "learning_rate": rate}
        row |= {f"loss_{name}": value for name, value in values.items()} | gate_columns(self.model, taps)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return row

    def set_rate(self, step: int) -> float:
        """Set every group's learning rate; returns the base one."""
        rate = self.recipe.learning_rate * learning_rate_factor(self.recipe, step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        return rate

    def set_mode(self) -> None:
        """Training mode; batch norm in evaluation mode where the recipe freezes it."""
        self.network.train()
        if self.recipe.freeze_batch_norm:
            for module in self.model.modules():
                if isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm):
                    module.eval()

    def milestone(self, step: int) -> None:
        """Evaluate the model, unless it is untrained, and add a checkpoint to the series."""
        if self.group.first:
            if step:
                self.evaluate(step)
            self.run.save_model(self.model, self.dataset.classes, step)
        self.group.wait()

    def evaluate(self, step: int) -> None:
        """Add the scores on the validation split to the metrics."""
        evaluation = evaluate(self.model, self.validation, objects=False, progress=False)
        self.miou = evaluation.mean_iou
        split = {**self.run.identity, "split": self.validation.split}
        self.run.metrics.append(evaluation.table.assign(step=step, **split))

    def save(self, step: int) -> None:
        """Commit: what --resume continues from."""
        if self.group.first:
            state = {"model": self.model, "optimizer": self.optimizer, "scaler": self.scaler}
            self.run.save_state({"step": step, **{name: part.state_dict() for name, part in state.items()}})
        self.group.wait()

    def restore(self, state: Mapping[str, Any]) -> int:
        """Load a stored state; returns the number of steps done."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"]:  # empty where the run was not trained in float16
            self.scaler.load_state_dict(state["scaler"])
        return state["step"]


def fitted(recipe: Recipe, dataset: Dataset, validation: Dataset) -> Recipe:
    """The recipe with the data set's number of classes; raises AnalysisError where the two do not fit."""
    for name in ("epochs", "batch_size", "checkpoints", "step_every"):
        if getattr(recipe, name) < 1:
            raise AnalysisError(f"{name} must be at least 1, not {getattr(recipe, name)}")
    for part in (dataset, validation):
        if part[0].label is None:
            raise AnalysisError(
                f"{part.name} {part.split} has no labels to train on; add masks, or choose another split"
            )
    n = len(dataset.classes)
    if recipe.model.classes not in (0, n):
        raise AnalysisError(f"model.classes is {recipe.model.classes}, data set {dataset.name} has {n}; leave it at 0")
    if len(dataset) < recipe.batch_size:
        raise AnalysisError(f"{dataset.name} {dataset.split} has {len(dataset)} images, fewer than one batch")
    return dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, classes=n))


def make_optimizer(model: Model, recipe: Recipe) -> torch.optim.Optimizer:
    """Parameter groups by learning-rate factor; gates carry no weight decay."""
    scalars = {id(gate) for gate in (gates(model) | permuted_gates(model)).values()}
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        key = (_factor(name, model, recipe), id(parameter) not in scalars)
        groups.setdefault(key, []).append(parameter)
    options = [
        {"params": parameters, "factor": factor, "weight_decay": recipe.weight_decay if decayed else 0.0}
        for (factor, decayed), parameters in groups.items()
    ]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(options, lr=recipe.learning_rate, momentum=recipe.momentum)
    return torch.optim.AdamW(options, lr=recipe.learning_rate, fused=True)


def check_finite(parts: Mapping[str, float], step: int) -> None:
    """Stop at the first loss part that is NaN or infinite, naming it."""
    for name, value in parts.items():
        if not math.isfinite(value):
            raise AnalysisError(
                f"step {step}: loss part {name!r} is {value}; lower --learning-rate, or look for broken images"
            )


def _factor(name: str, model: Model, recipe: Recipe) -> float:
    if name.split(".")[0] in _CLASSIFIERS:
        return recipe.classifier_factor * recipe.new_layers_factor
    trained = "backbone.trunk." if isinstance(model.backbone, Light) else "backbone."
    return 1.0 if name.startswith(trained) else recipe.new_layers_factor
