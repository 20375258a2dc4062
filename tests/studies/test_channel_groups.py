"""The study of channel attention: planted groups, dead channels and known concentrations are found."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_channels import CLASSES, TRUTH, K, module, sums_table
from torch import Tensor, nn

from analysis import intervene, open_checkpoint
from analysis.checkpoints import Checkpoint
from analysis.datasets import Dataset, Item, open_dataset
from analysis.datasets.sample import read_files
from analysis.errors import AnalysisError
from analysis.models import DualAttention, DualSpec, build, predict
from analysis.models.spec import ChannelForm
from analysis.studies.channel_groups import bare_channels, channel_groups, class_channels
from analysis.studies.channel_groups.ablation import Ablation
from analysis.studies.channel_groups.agreement import adjusted_mutual_information
from analysis.studies.channel_groups.concentration import affinity_of, concentration, concentrations
from analysis.studies.channel_groups.groups import responsive, stable_groups
from analysis.studies.channel_groups.one_image import channels_of
from analysis.studies.channel_groups.resolution import crops, training_crop
from analysis.studies.channel_groups.selectivity import chosen_cells, class_auc, label_on_grid
from analysis.studies.channel_groups.sums import MAX_STRETCHES, Cells, members, stretches, sums_of
from analysis.studies.miou import miou

DEMO = Path(__file__).parents[2] / "data" / "demo"


def moments(tables: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    own = tables[tables["path"] == "channel"]
    c = len(TRUTH)
    moment = np.stack(list(own["moment_before"])).astype(float).reshape(-1, c, c)
    return moment, np.stack(list(own["mean_before"])).astype(float), own["images"].to_numpy(float)


def test_planted_groups_are_recovered_with_their_number() -> None:
    grouping = stable_groups(*moments(sums_table(0.2)))
    assert len(grouping) == K
    assert adjusted_mutual_information(grouping.group, TRUTH) == 1.0
    assert grouping.stability.min() > 0.95
    assert len(stable_groups(*moments(sums_table(0.2)), number=3)) == 3
    with pytest.raises(AnalysisError, match="ask for 2 to 23"):
        stable_groups(*moments(sums_table(0.2)), number=24)


def test_noise_and_few_blocks_have_no_stable_group() -> None:
    for sums in (sums_table(0.0), sums_table(0.2, blocks=5)):  # of few blocks nothing can be said
        grouping = stable_groups(*moments(sums))
        assert len(grouping) == 0 and grouping.alive.all() and (grouping.group == -1).all()


def test_dead_channels_belong_to_no_group() -> None:
    moment, mean, images = moments(sums_table(0.2))
    for dead in (3, 20):
        moment[:, dead], moment[:, :, dead], mean[:, dead] = 0, 0, 0
    grouping = stable_groups(moment, mean, images)
    assert np.flatnonzero(grouping.group < 0).tolist() == np.flatnonzero(~grouping.alive).tolist() == [3, 20]
    assert adjusted_mutual_information(grouping.group[grouping.alive], TRUTH[grouping.alive]) == 1.0


def test_a_channel_that_is_constant_is_dead_and_a_weak_one_is_not() -> None:
    mean = np.array([1.0, 5.0, 0.1])
    moment = np.diag([1.0, 0.0, 0.002]) + np.outer(mean, mean)
    assert responsive(moment, mean).tolist() == [True, False, True]
    with pytest.raises(AnalysisError, match="no channel of this path responds"):
        responsive(np.zeros((2, 2)), np.zeros(2))


LABELS = st.lists(st.integers(0, 4), min_size=2, max_size=40)


@given(LABELS, st.integers(0, 1000))
def test_adjusted_mutual_information_is_scikit_learns(a: list[int], seed: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    b = np.random.default_rng(seed).integers(0, 4, len(a))
    expected = metrics.adjusted_mutual_info_score(a, b)
    assert adjusted_mutual_information(np.array(a), b) == pytest.approx(expected, abs=1e-6)


def test_unrelated_partitions_agree_in_nothing_on_average() -> None:
    rng = np.random.default_rng(0)
    values = [adjusted_mutual_information(rng.integers(0, 8, 60), rng.integers(0, 5, 60)) for _ in range(200)]
    assert abs(np.mean(values)) < 0.01


@given(st.integers(0, 1000))
def test_area_under_the_curve_counts_pairs_and_knows_only_ranks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, classes = rng.integers(0, 5, (2, 30)).astype(float), rng.integers(0, 3, 30)
    auc, defined = class_auc(values, classes, 4)
    for c in np.flatnonzero(defined):
        x, y = values[:, classes == c, None], values[:, None, classes != c]
        assert auc[:, c] == pytest.approx(((x > y) + (x == y) / 2).mean(axis=(1, 2)))
    assert not defined[3] and not auc[:, 3].any()
    assert class_auc(np.exp(values), classes, 4)[0] == pytest.approx(auc)


def test_an_image_of_one_class_says_nothing() -> None:
    assert not class_auc(np.random.default_rng(0).random((3, 9)), np.zeros(9, int), 2)[1].any()


def test_cells_are_as_many_of_a_small_class_as_of_a_large_one_and_none_is_void() -> None:
    label = np.full((40, 40), 1, np.uint8)
    label[:3, :3], label[20:, 20:] = 2, 255
    cells = chosen_cells(label, "an image")
    assert np.bincount(label.ravel()[cells]).tolist() == [0, 64, 9]
    assert (cells == chosen_cells(label, "an image")).all()


def test_the_label_of_a_cell_is_that_under_its_middle() -> None:
    label = np.arange(9)[:, None] * np.ones(9, int)
    assert label_on_grid(label, (5, 5), align_corners=True)[:, 0].tolist() == [0, 2, 4, 6, 8]
    assert label_on_grid(label, (3, 3), align_corners=False)[:, 0].tolist() == [1, 4, 7]


def test_concentration_of_known_matrices() -> None:
    even = concentration(affinity_of(torch.zeros(8, 8), "paper"))
    assert (even.entropy, even.effective, even.own) == pytest.approx((np.log(8), 8, 1 / 8))
    own = concentration(affinity_of(torch.eye(8) * 1000, "paper"))
    assert (own.effective, own.own) == pytest.approx((1, 1))
    others = concentration(affinity_of(torch.eye(8) * 1000, "released"))
    assert (others.effective, others.own) == pytest.approx((7, 0))


def test_the_released_form_gives_all_to_a_dead_channel_and_the_papers_nothing() -> None:
    features = 5 * torch.rand(1, 6, 16, 16, generator=torch.Generator().manual_seed(0))
    features[:, 2] = 0
    table = concentrations(module("released", 1.0), features).set_index(["form", "factor"])
    assert table.loc[("released", 1.0), "received"][2] == pytest.approx((5 + 1 / 6) / 6)  # its own row is even
    assert table.loc[("released", 1.0), "effective_channels"] == pytest.approx((5 + 6) / 6)
    assert table.loc[("paper", 1.0), "received"][2] == pytest.approx(1 / 36)
    assert table["positions"].tolist() == [64, 64, 256, 256, 1024, 1024]
    assert table["in_force"].tolist() == [False, True] * 3


@pytest.mark.parametrize("form", ["paper", "released"])
def test_rows_sharpen_with_the_number_of_positions(form: ChannelForm) -> None:
    features = 0.1 * torch.rand(1, 12, 16, 16, generator=torch.Generator().manual_seed(0))
    table = concentrations(module(form, 1.0), features)
    effective = table[table["form"] == form]["effective_channels"].to_numpy()
    assert (np.diff(effective) < 0).all()


@settings(max_examples=20)
@given(st.integers(1, 150), st.integers(1, 3))
def test_stretches_are_whole_blocks_in_order_and_never_more_than_can_be_kept(blocks: int, images: int) -> None:
    items = tuple(Item(f"{b}-{i}", block=f"b{b:03d}") for b in range(blocks) for i in range(images))
    dataset = Dataset("made", "all", ("a",), frozenset(), np.zeros((1, 3), np.uint8), items, read_files)
    found = members(dataset)
    assert len(found) == len(stretches(dataset)) == min(blocks, MAX_STRETCHES)
    assert [i for one in found.values() for i in one] == list(range(len(items)))
    whole = [{items[i].block for i in one} for one in found.values()]
    assert sum(map(len, whole)) == blocks


def small_model(**fields: object) -> DualAttention:
    torch.manual_seed(0)
    model = build(DualSpec(classes=5, backbone="tiny", **fields))  # ty: ignore[invalid-argument-type]
    assert isinstance(model, DualAttention)
    for gate in (model.pam.gate, model.cam.gate) if fields.get("channel", True) else ():
        assert isinstance(gate, torch.nn.Parameter)
        torch.nn.init.constant_(gate, 0.3)
    return model.eval()


def test_ablation_is_the_intervention_on_the_modules_output() -> None:
    model, sample = small_model(form="paper"), open_dataset("shapes", "val")[0]
    group = np.arange(32) % 4
    group[5] = -1
    means = np.linspace(0, 1, 32)
    study = Ablation(model, CLASSES, group.tolist(), (group >= 0).tolist(), ["a"] * 4, means)
    whole, *ablated = study.logits(sample, study.replaced(sample))
    assert len(ablated) == 16
    torch.testing.assert_close(predict(model, sample.image), resized(whole, model))

    def without_third_group(x: Tensor) -> Tensor:
        x[:, group == 2] = x.new_tensor(means[group == 2]).view(1, -1, 1, 1)
        return x

    with intervene(model, {"cam": without_third_group}):
        expected = predict(model, sample.image)
    torch.testing.assert_close(expected, resized(ablated[8], model), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(expected, predict(model, sample.image), atol=1e-3)


def test_random_sets_are_outside_of_the_group_and_of_the_photographs_own() -> None:
    model, scenes = small_model(), open_dataset("shapes", "val")
    group = np.array([0] * 5 + [1] * 20 + [-1] * 7)
    study = Ablation(model, CLASSES, group.tolist(), [True] * 30 + [False] * 2, ["a", "b"], np.zeros(32))
    first, second = (study.replaced(scenes[i]) for i in (0, 1))
    assert [(g, draw) for g, draw, _ in first] == [(-1, 0), (0, 0), (0, 1), (0, 2), (0, 3), (1, 0)]
    for _, draw, channels in first[2:5]:
        assert draw > 0 and len(set(channels)) == 5 and set(channels) <= set(range(5, 30))
    assert any((one[2] != other[2]).any() for one, other in zip(first[2:5], second[2:5], strict=True))


def resized(logits: Tensor, model: DualAttention) -> Tensor:
    return torch.nn.functional.interpolate(logits, (256, 256), mode="bilinear", align_corners=True)[0]


def of(model: object, name: str = "made", **origin: str) -> Checkpoint:
    return Checkpoint(Path(name), model, model.spec, CLASSES, origin)  # ty: ignore


def test_a_model_without_channel_attention_is_an_error_in_one_line() -> None:
    dataset = open_dataset("shapes", "val")
    for checkpoint in (open_checkpoint(DEMO / "shapes-scale"), of(small_model(channel=False))):
        with pytest.raises(AnalysisError, match="has no channel attention to study") as error:
            channel_groups(checkpoint, dataset)
        assert "\n" not in str(error.value)


def test_other_classes_and_missing_labels_are_errors() -> None:
    checkpoint, dataset = open_checkpoint(DEMO / "shapes-dual"), open_dataset("shapes", "val")
    with pytest.raises(AnalysisError, match="5 classes"):
        channel_groups(checkpoint, dataclasses.replace(dataset, classes=("a", "b")))
    bare = dataclasses.replace(
        dataset, read=lambda data, item: dataclasses.replace(dataset.read(data, item), label=None)
    )
    with pytest.raises(AnalysisError, match="no label"):
        channel_groups(checkpoint, bare)


IDENTITY = {"checkpoint", "recipe", "seed", "dataset", "split", "block"}


def test_tables_of_the_demo_are_the_same_from_parts_and_in_memory(tmp_path: Path) -> None:
    checkpoint, dataset = open_checkpoint(DEMO / "shapes-dual"), first_scenes()
    result = channel_groups(checkpoint, dataset, groups=4)
    channels, groups = result["channels"], result["channel_groups"]
    named = {"channel", "group", "mean_activation", "dead", "top_class", "selectivity"}
    assert named | IDENTITY == set(channels) and len(channels) == 32
    selectivity = result["channel_selectivity"].groupby("channel")["selectivity"].max()
    assert channels["selectivity"].to_numpy() == pytest.approx(selectivity.to_numpy())
    named = {"group", "size", "stability", "class", "selectivity", "iou_drop", "iou_drop_random"}
    assert named | IDENTITY == set(groups) and len(groups) % 5 == 0
    assert groups.drop_duplicates("group")["size"].sum() == (~channels["dead"]).sum()
    pairs = result["channel_pairs"]
    assert pairs.groupby("channel")["affinity"].sum().to_numpy() == pytest.approx(1, abs=1e-5)
    again = channel_groups(checkpoint, dataset, tmp_path, groups=4)
    for name in result.tables:
        pd.testing.assert_frame_equal(again[name][result[name].columns], result[name], check_dtype=False)
    rows = class_channels(again["channel_sums"], again["channel_ablation"])
    ablated = {one.class_: one for one in rows if one.evidence == "intervention"}
    assert list(ablated) == ["all", *dataset.classes] and ablated["all"].effect is not None
    for name in set(dataset.classes) - set(again["channel_ablation"]["class"]):
        assert ablated[name].reason == f"no group of channels of {checkpoint.name} is most selective for {name}"


def test_a_photograph_is_studied_as_crops_of_the_trainings_size(tmp_path: Path) -> None:
    shutil.copytree(DEMO / "shapes-dual", tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    crop = config["fields"]["crop"]
    for size, positions in ((crop, (crop[0] // 8 + 1) * (crop[1] // 8 + 1)), ([400, 65], 33 * 9)):
        config["fields"]["crop"] = size
        (tmp_path / "run" / "config.json").write_text(json.dumps(config))
        checkpoint = open_checkpoint(tmp_path / "run")
        assert training_crop(checkpoint) == tuple(size)
        table = channel_groups(checkpoint, first_scenes(), groups=2)["channel_concentration"]
        assert table.set_index(["form", "factor"]).loc[("paper", 1.0), "positions"] == positions
    assert training_crop(of(small_model())) is None
    for broken in ("{", "{}", '{"fields": {"crop": 3}}'):
        (tmp_path / "run" / "config.json").write_text(broken)
        with pytest.raises(AnalysisError, match=r"config.json does not say what crop"):
            training_crop(checkpoint)


def test_crops_cover_the_image_and_keep_the_labels_with_the_features() -> None:
    image = torch.arange(11 * 20).view(1, 11, 20)
    found = list(crops(image, (6, 8)))
    assert [tuple(one.shape) for one in found] == [(1, 6, 8)] * 6
    assert torch.cat([one.flatten() for one in found]).unique().tolist() == image.flatten().tolist()
    assert torch.equal(next(crops(image, None)), image) and torch.equal(next(crops(image, (30, 30))), image)
    cam, features = module("paper", 0.5), torch.rand(2, len(TRUTH), 4, 4, generator=torch.Generator().manual_seed(0))
    label = np.arange(32).reshape(2, 4, 4) % 3
    both = sums_of(cam, features, Cells(np.arange(32), label.ravel(), 3))
    apart = [sums_of(cam, features[t : t + 1], Cells(np.arange(16), label[t].ravel(), 3)) for t in (0, 1)]
    for name in ("energy", "affinity", "moment_before", "mean_after"):
        mean = (getattr(apart[0], name) + getattr(apart[1], name)) / 2
        np.testing.assert_allclose(getattr(both, name), mean, rtol=1e-5)
    values = features.transpose(0, 1).flatten(1).numpy()
    assert both.images == 1 and both.auc_before == pytest.approx(class_auc(values, label.ravel(), 3)[0])


def first_scenes() -> Dataset:
    dataset = open_dataset("shapes", "val")
    return dataclasses.replace(dataset, items=dataset.items[:6])


def test_bare_channels_is_measured_on_checkpoints_with_and_without_projections() -> None:
    scenes = first_scenes()
    recipes = {False: "made", True: "made model.projections=True"}
    models = [of(small_model(projections=one), f"{one}.pth", recipe=label) for one, label in recipes.items()]
    bare, projected = (channel_groups(checkpoint, scenes) for checkpoint in models)
    assert projected["channel_sums"]["projections"].all()
    names = ("channel_sums", "channel_ablation")
    alone = bare_channels(*(bare[name] for name in names))
    assert [(one.evidence, one.effect) for one in alone] == [("observed", None), ("intervention", None)]
    assert alone[0].reason.endswith("here projections=False")
    both = (pd.concat([bare[name], projected[name]], ignore_index=True) for name in names)
    rows = {(one.class_, one.evidence): one for one in bare_channels(*both)}
    observed, retrained = rows["all", "observed"].effect, rows["all", "intervention"].effect
    assert observed and retrained and observed.n_blocks == retrained.n_blocks == 6
    iou = [100 * miou(one["channel_ablation"].query("group == -1"), np.ones((1, 6)))[0] for one in (bare, projected)]
    assert retrained.effect == pytest.approx(iou[0] - iou[1])
    assert list(bare["channel_groups"]) == list(projected["channel_groups"])


def test_channels_of_one_photograph() -> None:
    checkpoint = open_checkpoint(Path(__file__).parents[2] / "data/demo/shapes-dual")
    sample = open_dataset("shapes", "val")[0]
    model = checkpoint.model
    assert isinstance(model, DualAttention) and sample.label is not None
    seen = channels_of(model, sample.image)
    n = len(seen.alive)
    assert sorted(seen.order) == list(range(n)) and seen.before.shape == seen.after.shape
    flat = seen.before.flatten(1).numpy()[seen.alive]
    np.testing.assert_allclose(seen.correlation[np.ix_(seen.alive, seen.alive)], np.corrcoef(flat), atol=1e-3)
    group = seen.groups(4)
    sizes = np.bincount(group[seen.alive])
    assert len(sizes) == 4 and (np.diff(sizes) <= 0).all() and (group[~seen.alive] == -1).all()
    assert seen.maps(group).shape == (4, *seen.before.shape[1:])
    auc = seen.selectivity(sample.label, 5)
    assert auc.shape == (n, 5) and np.nanmin(auc) >= 0 and np.nanmax(auc) <= 1
    rows, classes = seen.described(group, sample.label, checkpoint.classes), np.asarray(checkpoint.classes)
    assert rows["channels"].tolist() == sizes.tolist()
    of_groups = [auc[group == g].mean(axis=0) for g in range(4)]
    assert rows["top_class"].tolist() == [classes[np.nanargmax(one)] for one in of_groups]
    np.testing.assert_allclose(rows["selectivity"], [np.nanmax(one) for one in of_groups])
    assert set(seen.described(group, np.full_like(sample.label, 255), classes)["top_class"]) == {""}


def test_selectivity_after_the_module_is_of_what_it_gives() -> None:
    torch.manual_seed(0)
    model, sample = DualAttention(5, backbone="tiny").eval(), open_dataset("shapes", "val")[0]
    assert sample.label is not None
    before, after = (channels_of(model, sample.image).selectivity(sample.label, 5, after=on) for on in (False, True))
    np.testing.assert_array_equal(before, after)  # at a gate of 0 the module is the identity
    model.cam.gate.data.fill_(-1.0)
    seen = channels_of(model, sample.image)
    np.testing.assert_array_equal(seen.selectivity(sample.label, 5), before)
    assert (seen.selectivity(sample.label, 5, after=True) != before).any()


def test_without_channels_is_what_a_changed_tap_predicts() -> None:
    model = open_checkpoint(Path(__file__).parents[2] / "data/demo/shapes-dual").model
    image = open_dataset("shapes", "val")[0].image
    assert isinstance(model, DualAttention)
    seen = channels_of(model, image)
    whole = predict(model, image).argmax(dim=0).numpy()
    assert (seen.without(np.zeros(0, int)) == whole).all() and (seen.paths.prediction == whole).all()
    channels = np.flatnonzero(seen.groups(3) == 0)

    def at_their_mean(module: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor]:
        changed = given[0].clone()
        changed[:, channels] = changed[:, channels].mean(dim=(2, 3), keepdim=True)
        return (changed,)

    hook = model.channel_out.register_forward_pre_hook(at_their_mean)
    replaced = predict(model, image).argmax(dim=0).numpy()
    hook.remove()
    assert (seen.without(channels) == replaced).mean() > 0.9999 and (replaced != whole).any()
