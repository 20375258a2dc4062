"""Losses and class weights: known answers."""

import dataclasses

import torch
from hypothesis import given
from hypothesis import strategies as st

from analysis.datasets import open_dataset
from analysis.models import Output
from analysis.training.batches import Augmented, Steps
from analysis.training.losses import class_weights, cross_entropy, loss_parts, scale_cross_entropy, shrink_label
from analysis.training.recipe import RECIPES


def same(value: torch.Tensor) -> torch.Tensor:
    return value


def test_uniform_logits_cost_log_k() -> None:
    label = torch.randint(0, 4, (2, 9, 9))
    for grid in ("label", "logits"):
        loss = cross_entropy(torch.zeros(2, 4, 3, 3), label, grid, True, None, same)
        torch.testing.assert_close(loss, torch.tensor(4.0).log())


def test_ignored_pixels_do_not_count() -> None:
    logits, label = torch.randn(1, 3, 4, 4), torch.randint(0, 3, (1, 4, 4))
    label[0, :2] = 255
    whole = cross_entropy(logits, label, "label", True, None, same)
    torch.testing.assert_close(whole, torch.nn.functional.cross_entropy(logits[:, :, 2:], label[:, 2:]))
    assert cross_entropy(logits, torch.full_like(label, 255), "label", True, None, same) == 0


def test_weighted_loss_is_torchs() -> None:
    logits, label, weights = torch.randn(2, 3, 5, 5), torch.randint(0, 3, (2, 5, 5)), torch.tensor([1.0, 2.0, 0.5])
    expected = torch.nn.functional.cross_entropy(logits, label, weights)
    torch.testing.assert_close(cross_entropy(logits, label, "label", True, weights, same), expected)


def test_paper_losses_are_one_plus_s_with_weight_one() -> None:
    recipe = RECIPES["shapes-scale"]
    logits = torch.randn(1, 5, 8, 8)
    output = Output(logits, {"x100": logits, "x75": logits, "x50": logits})
    parts = loss_parts(output, torch.randint(0, 5, (1, 16, 16)), recipe, None, same)
    assert list(parts) == ["fused", "x100", "x75", "x50"]
    assert len({round(float(part), 5) for part in parts.values()}) == 1


def test_scale_classifier_ids_are_fused_first() -> None:
    right = 20 * torch.eye(4)[None]
    assert scale_cross_entropy(right) < 1e-6
    assert scale_cross_entropy(right.roll(1, dims=2)) > 10


def test_shrink_label_takes_every_eighth_pixel() -> None:
    label = torch.arange(321 * 321).view(1, 321, 321)
    assert torch.equal(shrink_label(label, (41, 41)), label[:, ::8, ::8])


def test_class_weights_are_square_roots_of_median_frequency() -> None:
    dataset = open_dataset("shapes", "val")
    few = dataclasses.replace(dataset, items=dataset.items[:20])
    weights = class_weights(few)
    labels = [torch.as_tensor(sample.label).flatten().long() for sample in few]
    counts = torch.stack([torch.bincount(x[x != 255], minlength=5) for x in labels]).double()
    frequency = counts.sum(0) / ((counts > 0) * counts.sum(1, keepdim=True)).sum(0)
    torch.testing.assert_close(weights, (frequency.median() / frequency).sqrt().float())


@given(st.integers(0, 40), st.sampled_from([1, 2, 4]))
def test_shares_of_all_processes_are_the_global_batches(start: int, world: int) -> None:
    whole = list(Steps(21, 4, 7, start, 45))
    shares = [list(Steps(21, 4, 7, start, 45, rank, world)) for rank in range(world)]
    assert [[key for share in step for key in share] for step in zip(*shares, strict=True)] == whole
    assert whole == list(Steps(21, 4, 7, 0, 45))[start:]


def test_an_epoch_sees_no_image_twice() -> None:
    keys = [key for batch in Steps(21, 4, 0, 0, 5) for key in batch]
    assert len(set(keys)) == 20


def test_augmentation_depends_on_seed_epoch_and_index_alone() -> None:
    dataset, recipe = open_dataset("shapes", "train"), RECIPES["shapes-scale"]
    recipe = dataclasses.replace(recipe, jitter=0.3, scale_range=(0.5, 2.0), crop=(300, 200))
    one, two = Augmented(dataset, recipe, 1), Augmented(dataset, recipe, 1)
    _ = one[0, 3]
    torch.manual_seed(99)
    (image, label), (again, label2) = one[0, 5], two[0, 5]
    assert torch.equal(image, again)
    assert torch.equal(label, label2)
    assert image.shape == (3, 300, 200)
    assert label.shape == (300, 200)
    assert not torch.equal(one[1, 5][0], image)
