"""Gates: what zeroing measures, and what the claims make of planted and of real trainings."""

from __future__ import annotations

import dataclasses
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from pandas.testing import assert_frame_equal

from analysis import intervene, open_checkpoint
from analysis.checkpoints import Checkpoint, save_checkpoint
from analysis.claims import together
from analysis.datasets import open_dataset
from analysis.datasets.sample import Dataset
from analysis.errors import AnalysisError
from analysis.models import DualAttention, DualSpec, build, predict
from analysis.models import gates as gates_of
from analysis.models.dual_attention import permuted_gates
from analysis.statistics import judge
from analysis.studies.gates import complementary, gates, gates_grow, gates_of_series
from analysis.studies.gates.claims import ZEROED
from analysis.studies.miou import confusion_rows

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "data/demo/shapes-dual"


def scenes(n: int) -> Dataset:
    whole = open_dataset("shapes", "val")
    return dataclasses.replace(whole, items=whole.items[:n])


@pytest.fixture(scope="module")
def last() -> Checkpoint:
    return open_checkpoint(DEMO)


@pytest.fixture(scope="module")
def zeroed(last: Checkpoint) -> pd.DataFrame:
    return gates(last, scenes(8))["gates"]


@pytest.fixture(scope="module")
def second(last: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """The demo with a second gate on each permuted path."""
    assert isinstance(last.spec, DualSpec)
    model = build(dataclasses.replace(last.spec, permuted_gates=True))
    model.load_state_dict(last.model.state_dict(), strict=False)
    for gate, value in zip(permuted_gates(model).values(), (0.2, -0.3), strict=True):
        torch.nn.init.constant_(gate, value)
    file = tmp_path_factory.mktemp("second") / "model.safetensors"
    save_checkpoint(model, file, last.classes, {})
    return open_checkpoint(file)


def test_zeroing_is_the_intervention(last: Checkpoint, zeroed: pd.DataFrame) -> None:
    sample, model = scenes(1)[0], last.model
    assert sample.label is not None
    taps = {"none": [], "alpha": ["position.attended"], "beta": ["channel.attended"]}
    taps["both"] = [*taps["alpha"], *taps["beta"]]
    for name, row in zeroed[zeroed.image == sample.name].set_index("zeroed").iterrows():
        with intervene(model, dict.fromkeys(taps[str(name)], torch.zeros_like)):
            prediction = predict(model, sample.image).argmax(dim=0).numpy()
        counts = confusion_rows(prediction, sample.label, last.classes)
        assert row[list(counts)].to_dict() == counts
    assert set(zeroed.step) == {512} and (zeroed.alpha_contribution > 0.05).all() and (zeroed.beta < 0).all()


def test_a_series_has_every_checkpoint_and_untrained_gates_do_nothing(zeroed: pd.DataFrame) -> None:
    series = gates_of_series(DEMO, scenes(2))
    table = series["gates"]
    assert table.step.unique().tolist() == list(range(0, 513, 64))
    assert set(series["movements"].gate) == {"alpha", "beta"}
    untrained = table[table.step == 0]
    counts = [name for name in table.columns if name.startswith(("intersection_", "union_"))]
    for _, image in untrained.groupby("image"):
        assert (image[counts].nunique() == 1).all() and (image.alpha_contribution == 0).all()
    assert_frame_equal(table[table.step == 512].reset_index(drop=True), zeroed[zeroed.image.isin(table.image)])


def test_each_second_gate_is_zeroed_alone(second: Checkpoint) -> None:
    sample, model = scenes(1)[0], second.model
    assert sample.label is not None and isinstance(model, DualAttention)
    table = gates(second, scenes(1))["gates"].set_index("zeroed")
    assert list(table.index) == list(ZEROED) and table.alpha_permuted.to_numpy() == pytest.approx(0.2)
    ratio = table.alpha_permuted_contribution / table.alpha_contribution
    assert ratio.to_numpy() == pytest.approx((0.2 / table.alpha).to_numpy())
    everything = gates_of(model) | permuted_gates(model)
    for name, row in table.iterrows():
        kept = {gate: everything[gate].item() for gate in ZEROED[str(name)]}
        for gate in kept:
            torch.nn.init.zeros_(everything[gate])
        counts = confusion_rows(predict(model, sample.image).argmax(dim=0).numpy(), sample.label, second.classes)
        assert row[list(counts)].to_dict() == counts
        for gate, value in kept.items():
            torch.nn.init.constant_(everything[gate], value)


def test_a_model_without_attention_is_measured_for_comparison_only(last: Checkpoint, tmp_path: Path) -> None:
    assert isinstance(last.spec, DualSpec)
    model = build(dataclasses.replace(last.spec, position=False, channel=False))
    model.load_state_dict({k: v for k, v in last.model.state_dict().items() if not k.startswith(("pam.", "cam."))})
    save_checkpoint(model, tmp_path / "model.safetensors", last.classes, {})
    measured = gates(open_checkpoint(tmp_path), scenes(2))
    table = measured["gates"]
    assert set(table.zeroed) == {"none"} and "alpha" not in table and list(measured.tables) == ["gates"]
    with pytest.raises(AnalysisError, match="neither alpha nor beta"):
        gates_grow(table)


def test_trainings_with_other_attentions_are_compared(last: Checkpoint, tmp_path: Path) -> None:
    assert isinstance(last.spec, DualSpec)
    results = []
    for position, channel in product([True, False], repeat=2):
        model = build(dataclasses.replace(last.spec, position=position, channel=channel))
        known = model.state_dict().keys()
        model.load_state_dict({name: tensor for name, tensor in last.model.state_dict().items() if name in known})
        off = [f" model.{name}=False" for name, on in (("position", position), ("channel", channel)) if not on]
        file = tmp_path / f"{position}-{channel}" / "checkpoints" / "last.safetensors"
        save_checkpoint(model, file, last.classes, {"recipe": "shapes-dual" + "".join(off), "seed": 0, "step": 9})
        results.append(gates(open_checkpoint(file), scenes(6), tmp_path / "out"))
    found = {(one.claim, one.class_, one.evidence): one for one in complementary(together(results)["gates"])}
    benefit, reliance = (found["complementary", "all", kind] for kind in ("observed", "intervention"))
    assert benefit.effect and reliance.effect  # nothing was trained: the weights are the same, so both are too
    assert benefit.effect.effect == pytest.approx(reliance.effect.effect)
    assert found["complementary: CAM alone", "all", "observed"].effect


def test_what_cannot_be_studied_is_refused(last: Checkpoint) -> None:
    with pytest.raises(AnalysisError, match="open a DANet"):
        gates(open_checkpoint(ROOT / "data/demo/shapes-scale"), scenes(1))
    with pytest.raises(AnalysisError, match="5 classes"):
        gates(last, dataclasses.replace(scenes(1), classes=("a", "b")))


def test_the_second_gate_is_the_control(second: Checkpoint) -> None:
    found = {(one.class_, one.evidence): one for one in gates_grow(gates(second, scenes(8))["gates"])}
    for name in ("all", "alpha", "beta"):
        observed, relied = found[name, "observed"], found[name, "intervention"]
        assert observed.control and observed.control.low > 1 and relied.control and "no control" not in observed.reason
        assert observed.effect and judge(observed.effect, 1.0, observed.control)[0] == "control failed"
    controls = [one.control for key, one in found.items() if key[1] == "observed" and key[0] != "all" and one.control]
    assert found["all", "observed"].control == max(controls, key=lambda control: control.high)
    measured = [found[name, "intervention"] for name in second.classes if found[name, "intervention"].effect]
    assert len(measured) > 1 and all(one.control for one in measured)  # the others are in fewer than six blocks


def test_claims_of_the_demo(last: Checkpoint) -> None:
    measured = gates(last, scenes(8))
    grown = gates_grow(measured["gates"], measured["movements"])
    names = [(one.class_, one.evidence) for one in grown]
    assert names[:6] == [(name, kind) for kind in ("observed", "intervention") for name in ("all", "alpha", "beta")]
    assert [name for name, _ in names[6:]] == list(scenes(1).classes)
    observed = grown[0].effect
    assert observed and judge(observed, grown[0].smallest_effect)[0] == "supported" and grown[0].unit == "%"
    assert grown[0].control is None and "second gate" in grown[0].reason
    assert "of the two gates beta shows less" in grown[0].reason
    assert grown[2].reason.startswith("added more than 1 % in 1 of 1 trainings, first at step 31")
    both = {(one.claim, one.class_, one.evidence): one for one in complementary(measured["gates"])}
    reliance = both["complementary", "all", "intervention"]
    assert reliance.effect and "alone" in reliance.reason
    assert "trained with each of PAM alone, CAM alone, both" in both["complementary", "all", "observed"].reason


def planted(gain: float, seeds: int = 1) -> pd.DataFrame:
    """Ten blocks in which one attention alone is worth 50 points of IoU, at test time and trained so, the other
    ``gain`` more, and none 20.
    """
    right = {"none": 50 + gain, "alpha": 50.0, "beta": 50.0, "both": 20.0}
    trained = {"": "none", " model.channel=False": "beta", " model.position=False": "alpha"}
    trained[" model.position=False model.channel=False"] = "both"
    rows = [
        {
            "seed": seed, "dataset": "x", "split": "val", "block": f"{b}", "image": f"{b}", "recipe": f"dual{label}",
            "checkpoint": f"dual{label}{seed}", "zeroed": zeroed, "union_x": 10_000,
            "intersection_x": int(100 * (right[name] if label == "" else right[trained[label]])),
            "alpha": np.nan if "position" in label else 0.3, "beta": np.nan if "channel" in label else 0.3,
            "alpha_contribution": 0.2, "beta_contribution": 0.2,
        }
        for seed in range(seeds)
        for b in range(10)
        for label in trained
        for zeroed, name in {"none": "none", "alpha": "alpha", "beta": "beta", "both": "both"}.items()
        if (label == "" or zeroed == "none")
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize(("gain", "verdict"), [(10, "supported"), (0, "negligible"), (-10, "contradicted")])
def test_reliance_and_benefit_are_what_was_planted(gain: float, verdict: str) -> None:
    found = complementary(planted(gain, seeds=3))
    for one in found:
        expected = gain if one.claim == "complementary" else 30
        assert one.effect and one.effect.effect == pytest.approx(expected) and one.effect.n_seeds == 3
        assert judge(one.effect, 0.5)[0] == (verdict if expected == gain else "supported")
    assert [one.class_ for one in found] == ["all", "x"] * 4
    assert {one.reason for one in found if one.claim == "complementary: PAM alone"} == {"benefit, against neither"}


def test_only_trainings_that_differ_in_attention_alone_are_compared() -> None:
    table = planted(10)
    other = table.assign(recipe=table.recipe.where(table.alpha.notna(), table.recipe + " epochs=2"))
    reasons = {one.claim: one.reason for one in complementary(other) if one.evidence == "observed"}
    assert "no seed here was trained with each of PAM alone, CAM alone, both" in reasons["complementary"]
    paper = table.assign(recipe=table.recipe + " model.form=paper", checkpoint=table.checkpoint + "p")
    several = complementary(pd.concat([table, paper]))
    assert all(one.effect and one.reason.endswith("of dual") for one in several)


def test_a_model_with_one_gate_has_no_word_on_both() -> None:
    one = planted(10)[lambda t: t.alpha.notna() & t.zeroed.isin(["none", "alpha"])].assign(beta=np.nan)
    one = one[one.recipe == "dual"]
    found = {(m.class_, m.evidence): m for m in gates_grow(one)}
    assert found["alpha", "intervention"].effect and found["alpha", "observed"].effect
    assert found["x", "intervention"].effect and found["beta", "observed"].effect is None
    assert found["all", "observed"].effect is None and found["all", "observed"].reason == "the model has no beta"
