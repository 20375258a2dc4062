"""Gates: what simulated histories and the demo's training are said to do, and what zeroing measures."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from analysis import intervene, open_checkpoint
from analysis.checkpoints import Checkpoint
from analysis.datasets import open_dataset
from analysis.datasets.sample import Dataset
from analysis.errors import AnalysisError
from analysis.models import predict
from analysis.statistics import judge
from analysis.store import read_table
from analysis.studies.gates import complementary, gates, gates_grow, gates_of_series, movements
from analysis.studies.miou import confusion_rows
from analysis.training.history import foreign_table

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


def walk(steps: int, seed: int, size: float = 1e-4) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, size, steps).cumsum()


def history(seed: int = 0, **columns: np.ndarray) -> pd.DataFrame:
    steps = len(next(iter(columns.values())))
    return pd.DataFrame({"checkpoint": f"run-{seed}", "seed": seed, "step": np.arange(steps), **columns})


def growing(at: int, to: float, steps: int = 300, seed: int = 0) -> np.ndarray:
    """Noise, then a ramp of 50 steps from step ``at`` on, then a plateau."""
    return walk(steps, seed) + to * np.clip((np.arange(steps) - at) / 50, 0, 1)


def test_a_gate_that_grows_leaves_and_settles_where_it_does() -> None:
    table = movements(history(alpha=growing(100, 0.5), beta=growing(200, -0.3, seed=1)))
    alpha, beta = (table[table.gate == gate].iloc[0] for gate in ("alpha", "beta"))
    assert 100 <= alpha.left_step <= 105 and 145 <= alpha.settled_step <= 150 and alpha.left_by == "value"
    assert 200 <= beta.left_step <= 205 and beta["last"] < 0 and alpha.moved and beta.moved
    assert alpha.says.startswith("alpha left at step 10") and np.isnan(alpha.last_contribution)


@pytest.mark.parametrize("value", [np.zeros(300), np.zeros(9), walk(300, 3)], ids=["zero", "series", "noise"])
def test_a_gate_that_never_moved_is_said_not_to_have(value: np.ndarray) -> None:
    row = movements(history(alpha=value)).iloc[0]
    assert not row.moved and np.isnan(row.left_step) and "never moved" in row.says and row.sign_changes == 0


def test_relative_contribution_decides_where_it_was_logged() -> None:
    contribution = np.where(np.arange(300) < 120, 0.002, 0.08)
    table = movements(history(alpha=growing(10, 0.5), alpha_contribution=contribution, alpha_grad=-np.ones(300)))
    row = table.iloc[0]
    assert (row.left_step, row.left_by, row.last_contribution, row.first_gradient) == (120, "contribution", 0.08, 1)
    small = movements(history(alpha=growing(10, 0.5), alpha_contribution=np.full(300, 0.002))).iloc[0]
    assert not small.moved and "0.2 % of its input" in small.says


def test_a_change_of_sign_counts_beyond_the_band() -> None:
    value = growing(50, -0.2) + growing(150, 0.5, seed=1)
    row = movements(history(beta=value)).iloc[0]
    assert row.sign_changes == 1 and "changed sign once" in row.says


def test_seeds_are_told_apart_and_foreign_histories_have_what_they_have() -> None:
    three = pd.concat([history(seed, alpha=growing(100, 0.5, seed=seed)) for seed in range(3)])
    assert movements(three).seed.tolist() == [0, 1, 2]
    series = foreign_table([{"checkpoint": "theirs", "step": s, "beta": -0.1 * s} for s in range(6)])
    row = movements(series).iloc[0]
    assert row.gate == "beta" and row.moved is None and "too few steps" in row.says
    with pytest.raises(AnalysisError, match="neither alpha nor beta"):
        movements(series.drop(columns=["alpha", "beta"]))


@given(st.floats(1e-3, 1e3), st.integers(30, 200), st.booleans())
def test_scale_and_sign_of_a_gate_change_no_step(scale: float, at: int, flipped: bool) -> None:
    value = growing(at, 0.5)
    one, other = (movements(history(alpha=v)).iloc[0] for v in (value, (-scale if flipped else scale) * value))
    assert (one.left_step, one.settled_step, one.sign_changes) == (
        other.left_step,
        other.settled_step,
        other.sign_changes,
    )


def test_the_demo_moved() -> None:
    table = movements(read_table(DEMO / "history.parquet"))
    assert table.moved.all() and (table.left_by == "contribution").all()
    assert (table.left_step < table.settled_step).all() and (table.last_gradient > 0).all()


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
    table = gates_of_series(DEMO, scenes(2))["gates"]
    assert table.step.unique().tolist() == list(range(0, 513, 64))
    untrained = table[table.step == 0]
    counts = [name for name in table.columns if name.startswith(("intersection_", "union_"))]
    for _, image in untrained.groupby("image"):
        assert (image[counts].nunique() == 1).all() and (image.alpha_contribution == 0).all()
    assert_frame_equal(table[table.step == 512].reset_index(drop=True), zeroed[zeroed.image.isin(table.image)])


def test_claims_of_the_demo(zeroed: pd.DataFrame) -> None:
    grown = gates_grow(zeroed)
    names = [(one.class_, one.evidence) for one in grown]
    assert names[:6] == [(name, kind) for kind in ("observed", "intervention") for name in ("all", "alpha", "beta")]
    assert [name for name, _ in names[6:]] == list(scenes(1).classes)
    observed = grown[0].effect
    assert observed and judge(observed, grown[0].smallest_effect)[0] == "supported" and grown[0].unit == "%"
    assert grown[0].control is None and "second gate" in grown[0].reason
    both = complementary(zeroed)
    assert both[0].effect and both[0].evidence == "observed"
    assert both[-1].effect is None and "none, PAM, CAM and both" in both[-1].reason


def planted(gain: float) -> pd.DataFrame:
    """Ten blocks in which one attention alone is worth 50 points of IoU and the other ``gain`` points more."""
    right = {"none": 50 + gain, "alpha": 50.0, "beta": 50.0, "both": 0.0}
    rows = [
        {"seed": 0, "block": f"{b}", "image": f"{b}", "zeroed": name, "intersection_x": int(100 * r), "union_x": 10_000}
        for b in range(10)
        for name, r in right.items()
    ]
    return pd.DataFrame(rows).assign(alpha_contribution=0.2)


@pytest.mark.parametrize(("gain", "verdict"), [(10, "supported"), (0, "negligible"), (-10, "contradicted")])
def test_reliance_on_both_is_what_was_planted(gain: float, verdict: str) -> None:
    table = planted(gain)
    found = complementary(table, table.rename(columns={"zeroed": "attention"}).replace(
        {"attention": {"none": "both", "alpha": "position", "beta": "channel", "both": "none"}}
    ))  # fmt: skip
    for one in found:
        assert one.effect and one.effect.effect == pytest.approx(gain) and judge(one.effect, 0.5)[0] == verdict


def test_a_model_with_one_gate_has_no_word_on_both() -> None:
    one = planted(10)[lambda t: t.zeroed.isin(["none", "alpha"])]
    found = {(m.class_, m.evidence): m for m in gates_grow(one)}
    assert found["alpha", "intervention"].effect and found["alpha", "observed"].effect
    assert found["all", "observed"].effect is None and found["all", "observed"].reason == "the model has no beta"


def test_what_has_no_gates_is_refused(last: Checkpoint) -> None:
    with pytest.raises(AnalysisError, match="open a DANet"):
        gates(open_checkpoint(ROOT / "data/demo/shapes-scale"), scenes(1))
    with pytest.raises(AnalysisError, match="5 classes"):
        gates(last, dataclasses.replace(scenes(1), classes=("a", "b")))
