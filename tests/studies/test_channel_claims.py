"""``class-channels`` and ``bare-channels`` find what was planted, and nothing where nothing was."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from planted_channels import CLASSES, TRUTH, ablation_table, sums_table

from analysis.statistics import Estimate, estimate, verdict
from analysis.studies.channel_groups import bare_channels, class_channels
from analysis.studies.channel_groups.claims import group_ablations
from analysis.studies.channel_groups.effects import OfSums, excess, relation
from analysis.studies.measured import Measured


def measured(sums: pd.DataFrame) -> list[Measured]:
    return class_channels(sums, ablation_table(0.1))


def words(rows: list[Measured]) -> dict[tuple[str, str], str]:
    """The verdicts, without controls, by claim and class."""
    known = {(one.claim, one.class_): one for one in rows if one.evidence == "observed"}
    return {
        key: verdict(one.effect.low, one.effect.high, one.smallest_effect) if one.effect else one.reason
        for key, one in known.items()
    }


def by_claim(rows: list[Measured]) -> dict[str, Measured]:
    """What was observed over all classes."""
    return {one.claim: one for one in rows if one.class_ == "all" and one.evidence == "observed"}


def test_relation_of_known_matrices() -> None:
    tops = np.array([0, 0, 1, 1, -1])
    within = np.array([[0, 1, 0, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 1, 0], [0, 0, 1, 0, 0], [1, 0, 0, 0, 0]], float)
    nan = float("nan")
    assert excess(within, tops) == pytest.approx([0.75] * 4 + [nan], nan_ok=True)  # all, less chance's one in four
    assert excess(np.eye(5), tops) == pytest.approx([0] * 4 + [nan], nan_ok=True)  # all on itself relates nothing
    assert excess(np.full((5, 5), 0.2), tops) == pytest.approx([0] * 4 + [nan], nan_ok=True)
    on_dead = np.zeros((5, 5))
    on_dead[:, 4] = 1
    assert excess(on_dead, tops) == pytest.approx([-0.25] * 4 + [nan], nan_ok=True)
    assert np.isnan(excess(within, np.full(5, -1))).all()


def test_affinity_that_follows_classes_is_supported() -> None:
    rows = measured(sums_table(0.2))
    found = words(rows)
    for claim in ("class-channels", "class-channels: affinity"):
        mine = {name: word for (one, name), word in found.items() if one == claim}
        assert mine == dict.fromkeys(["all", *CLASSES], "supported")
    control = by_claim(rows)["class-channels: affinity"].control
    assert control is not None and abs(control.effect) < 0.02
    assert rows[0].reason.endswith("of an untrained branch's") and not rows[0].unmet


def test_the_released_form_relates_channels_of_other_classes() -> None:
    found = words(measured(sums_table(0.2, "released")))
    assert found["class-channels", "all"] == found["class-channels: affinity", "all"] == "contradicted"


def test_features_that_know_classes_without_training_fail_the_control() -> None:
    rows = measured(sums_table(0.2, control=0.2))
    control = by_claim(rows)["class-channels: affinity"].control
    assert control is not None and control.low > 0.05
    assert words(rows)["class-channels", "all"] == "negligible"


def test_controls_on_either_side_of_the_effect_are_a_rival_explanation() -> None:
    high, low = sums_table(0.2), sums_table(0.1)
    sums = pd.concat([low[low["path"] == "channel"], high[high["path"] == "channel"].assign(path="position")])
    sums = pd.concat([sums, sums_table(0.0).query("path == 'untrained'")], ignore_index=True)
    row = measured(sums)[0]
    assert row.unmet.startswith("less the other control ")


def test_less_than_the_base_rate_is_no_support_however_little_the_controls_have() -> None:
    low, lower = (sums_table(signal, "released").query("path == 'channel'") for signal in (0.1, 0.3))
    sums = pd.concat([low, *(lower.assign(path=path) for path in ("position", "untrained"))], ignore_index=True)
    row = measured(sums)[0]
    assert row.effect is not None and row.effect.low > 0.05
    assert row.unmet.startswith("its own share of affinity is -")


def test_noise_relates_nothing() -> None:
    found = words(measured(sums_table(0.0)))
    assert "supported" not in found.values() and found["class-channels", "all"] == "negligible"


@pytest.mark.slow
def test_false_positives_are_rare_and_planted_relations_are_found() -> None:
    """Weak signal: affinities of a class exceed their base rate by about twice the smallest effect."""
    noise, weak = ([related(sums_table(signal, seed=seed, blocks=10)) for seed in range(100)] for signal in (0.0, 0.1))
    assert sum(one.low > 0 or one.high < 0 for one in noise) <= 11  # P < 1 % where it is 5 %
    assert np.mean([one.low > 0.05 for one in weak]) >= 0.8


def test_a_module_that_gathers_its_class_raises_selectivity_and_a_closed_gate_changes_nothing() -> None:
    gathering = by_claim(measured(sums_table(0.1, gate=3.0, scale=1.5)))
    raised = gathering["class-channels: selectivity"].effect
    assert raised is not None and raised.low > 0.03
    closed = by_claim(measured(sums_table(0.1, gate=0.0)))
    for claim in ("class-channels: selectivity", "class-channels: agreement"):
        effect = closed[claim].effect
        assert effect is not None and (effect.effect, effect.low, effect.high) == (0, 0, 0)


def test_a_group_that_only_its_class_needs_is_found_by_ablation() -> None:
    rows = {one.class_: one for one in group_ablations(ablation_table(0.1), ["all", *CLASSES])}
    for name in ("all", *CLASSES):
        effect = rows[name].effect
        assert effect is not None and (effect.effect, effect.low, effect.n_blocks) == pytest.approx((10, 10, 8))
    table = pd.concat([ablation_table(0.1), ablation_table(0.1, "other").query("`class` != 'b'")], ignore_index=True)
    rows = {one.class_: one for one in group_ablations(table, ["all", *CLASSES])}
    assert rows["all"].effect and rows["a"].effect and rows["b"].effect is None
    assert rows["b"].reason == "no group of channels of other is most selective for b"


def related(table: pd.DataFrame) -> Estimate:
    return estimate(table[table["path"] == "channel"], OfSums(relation).of(0))


def test_two_folds_of_a_training_are_measured_apart() -> None:
    even, odd = sums_table(0.2), sums_table(0.2, seed=1)
    odd = odd.assign(checkpoint="other", block="odd " + odd["block"])
    for name in ("affinity", "moment_before", "auc_before"):  # the other training numbers its channels otherwise
        shape = (len(TRUTH), -1)
        odd[name] = [one.reshape(shape)[::-1] for one in odd[name]]
        odd[name] = [one[:, ::-1].ravel() if name != "auc_before" else one.ravel() for one in odd[name]]
    one, both = (related(table) for table in (even, pd.concat([even, odd], ignore_index=True)))
    assert both.n_blocks == 16 and both.effect == pytest.approx(one.effect, abs=0.05)


def test_too_few_blocks_say_so() -> None:
    row = measured(sums_table(0.2, blocks=4))[0]
    assert row.effect is None and "blocks" in row.reason


def test_bare_channels_compares_trainings_with_and_without_projections() -> None:
    bare = sums_table(0.2)
    ablation = pd.concat([ablation_table(0.1), ablation_table(0.1, "projected")], ignore_index=True)
    alone = bare_channels(bare, ablation)
    assert all(one.effect is None and "projections=False" in one.reason for one in alone)
    names = {"checkpoint": "projected", "recipe": "made model.projections=True"}
    projected = sums_table(0.0, seed=1).assign(**names, projections=True)
    rows = bare_channels(pd.concat([bare, projected], ignore_index=True), ablation)
    assert rows[0].effect is not None and rows[0].effect.low > 0.05
    reverse = pd.concat([bare.assign(projections=True), projected.assign(projections=False)], ignore_index=True)
    other = bare_channels(reverse, ablation)[0].effect
    assert other is not None and other.effect == pytest.approx(-rows[0].effect.effect)
    unpaired = pd.concat([bare, projected.assign(seed=1), sums_table(0.2, "released")], ignore_index=True)
    assert bare_channels(unpaired, ablation)[0].reason.endswith("here projections=False, projections=True")
    deeper = projected.assign(recipe="made model.backbone=resnet50 model.projections=True")
    assert bare_channels(pd.concat([bare, deeper], ignore_index=True), ablation)[0].effect is None
