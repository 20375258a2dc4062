"""Recipes: a training's configuration without its seed. Every field is a flag of ``attention-analysis train``.

``shapes-*`` train the embedded demo from nothing in about a minute; ``camvid-*`` fine-tune EfficientNet-Lite0 on street
photographs; ``voc-scale-vgg16`` and ``cityscapes-dual-resnet101`` are the papers' own protocols as far as the papers
state them (Chen et al., section 4; Fu et al., section 4.1.1). What a paper leaves open is said beside the field.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from analysis.errors import AnalysisError, closest
from analysis.models import DualSpec, InputSpec, ScaleSpec, Spec

LITE0_INPUT = InputSpec(mean=(127 / 255, 127 / 255, 127 / 255), std=(128 / 255, 128 / 255, 128 / 255))


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a model is trained. Lengths in pixels, ``learning_rate`` per step, ``epochs`` over the training split."""

    model: Spec
    pretrained: str = "auto"  # auto, none, or a file (analysis.checkpoints.pretrained)
    split: str = "train"
    validation: str = "val"
    epochs: int = 8
    batch_size: int = 4  # over all processes
    crop: tuple[int, int] = (241, 321)  # 16 k + 1: with corners aligned, cells then lie over the pixels they see
    scale_range: tuple[float, float] = (1.0, 1.0)  # random factor on the model's short_side
    flip: bool = True
    jitter: float = 0.0  # brightness, contrast and saturation vary by this fraction
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4  # never on the gates
    momentum: float = 0.9
    schedule: Literal["one_cycle", "poly", "step"] = "one_cycle"
    step_every: int = 2000  # schedule step: x0.1 after so many steps
    warmup: float = 0.2  # schedule one_cycle: the rising fraction of the training
    new_layers_factor: float = 1.0  # learning rate of layers without pretrained weights, as a multiple
    classifier_factor: float = 1.0  # likewise of the classifiers that give the logits
    class_weights: Literal["none", "sqrt_median_frequency"] = "none"
    loss_grid: Literal["label", "logits"] = "label"  # logits brought to the label's size, or the label to theirs
    auxiliary_weight: float = 1.0  # of each auxiliary cross-entropy
    scale_classifier_weight: float = 0.1
    freeze_batch_norm: bool = False
    checkpoints: int = 8  # kept from the training, evenly spaced, besides the untrained one; each is evaluated
    save_every: int = 0  # steps between states that --resume continues from; 0 is one epoch


RECIPES: dict[str, Recipe] = {
    "shapes-scale": Recipe(
        ScaleSpec(
            classes=0, backbone="tiny", skip=True, head_width=32, input=InputSpec(short_side=256, size_multiple=32)
        ),
        pretrained="none",
        batch_size=8,
        crop=(161, 161),
        learning_rate=1e-2,
        class_weights="sqrt_median_frequency",
    ),
    "shapes-dual": Recipe(
        DualSpec(classes=0, backbone="tiny", input=InputSpec(short_side=256, size_multiple=32)),
        pretrained="none",
        batch_size=8,
        crop=(161, 161),
        learning_rate=1e-2,
        class_weights="sqrt_median_frequency",
    ),
    "camvid-scale": Recipe(
        ScaleSpec(
            classes=0,
            output_stride=16,
            skip=True,
            head_width=64,
            input=dataclasses.replace(LITE0_INPUT, short_side=360, size_multiple=32),
        ),
        jitter=0.3,
        scale_range=(0.75, 1.5),
        class_weights="sqrt_median_frequency",
    ),
    "camvid-dual": Recipe(
        DualSpec(
            classes=0,
            backbone="lite0",
            output_stride=16,
            skip=True,
            input=dataclasses.replace(LITE0_INPUT, short_side=360, size_multiple=32),
        ),
        crop=(193, 257),  # the cost of position attention grows with the square of the positions
        jitter=0.3,
        scale_range=(0.75, 1.5),
        class_weights="sqrt_median_frequency",
    ),
    # Chen et al. do not state crop, augmentation and length: 321 and mirror are the public Caffe net's.
    # 125 epochs of VOC's 1,464 images are 6,000 steps; the augmented set of 10,582, which they used, needs 17.
    "voc-scale-vgg16": Recipe(
        ScaleSpec(
            classes=0,
            backbone="vgg16",
            native_loss=True,
            input=InputSpec("BGR", 255.0, (104.008, 116.669, 122.675), (1.0, 1.0, 1.0), size_multiple=32),
        ),
        epochs=125,
        batch_size=30,
        crop=(321, 321),
        optimizer="sgd",
        learning_rate=1e-3,
        weight_decay=5e-4,
        schedule="step",
        classifier_factor=10.0,
        loss_grid="logits",
    ),
    # Fu et al.: 0.01 is the paper's base rate; the authors' command for PAM + CAM with three losses used 0.003.
    "cityscapes-dual-resnet101": Recipe(
        DualSpec(classes=0, multi_grid=(4, 8, 16), input=InputSpec(short_side=1024)),
        epochs=240,
        batch_size=8,
        crop=(768, 768),
        scale_range=(0.75, 2.0),
        optimizer="sgd",
        learning_rate=3e-3,
        weight_decay=1e-4,
        schedule="poly",
        new_layers_factor=10.0,
    ),
}


def find_recipe(name: str) -> Recipe:
    """The recipe of that name; an unknown name is an error that lists the closest."""
    if name not in RECIPES:
        raise AnalysisError(f"there is no recipe {name!r}{closest(name, RECIPES)}")
    return RECIPES[name]


def recipe_label(name: str, recipe: Recipe) -> str:
    """What tables carry as ``recipe``: name and fields that differ from it, as in ``camvid-scale model.fusion=max``."""
    base = find_recipe(name)
    same_classes = dataclasses.replace(recipe.model, classes=base.model.classes)  # the data set's number
    return " ".join([name, *_differences(base, dataclasses.replace(recipe, model=same_classes))])


def _differences(base: object, other: object, prefix: str = "") -> list[str]:
    found = []
    for field in dataclasses.fields(base):  # ty: ignore[invalid-argument-type]
        a, b = getattr(base, field.name), getattr(other, field.name)
        if dataclasses.is_dataclass(a) and dataclasses.is_dataclass(b):
            found += _differences(a, b, f"{prefix}{field.name}.")
        elif a != b:
            found.append(f"{prefix}{field.name}={b}")
    return found


def learning_rate_factor(recipe: Recipe, step: int, steps: int) -> float:
    """The schedule: the factor on the base learning rate at ``step`` of ``steps`` (0-based).

    ``poly`` is (1 - step/steps)^0.9 (Fu et al.), ``step`` is x0.1 every ``step_every`` steps (Chen et al.),
    ``one_cycle`` rises and falls along half cosines, from and to about zero.
    """
    if recipe.schedule == "poly":
        return (1 - step / steps) ** 0.9
    if recipe.schedule == "step":
        return 0.1 ** (step // recipe.step_every)
    progress = (step + 0.5) / steps
    if progress < recipe.warmup:
        return 0.5 - 0.5 * math.cos(math.pi * progress / recipe.warmup)
    return 0.5 + 0.5 * math.cos(math.pi * (progress - recipe.warmup) / (1 - recipe.warmup))
