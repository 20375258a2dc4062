"""The embedded demo: what a first start of the dashboard opens."""

import re
from pathlib import Path

import pytest

from analysis.checkpoints import checkpoint_files, open_checkpoint
from analysis.datasets import open_dataset
from analysis.evaluation import evaluate
from analysis.store import read_table

DEMO = Path(__file__).parents[1] / "data" / "demo"
CAMVID = Path(__file__).parents[2] / "shared" / "camvid"
NAMES = ["shapes-scale", "shapes-dual", "camvid-scale", "camvid-dual"]


@pytest.mark.parametrize("name", NAMES)
def test_every_model_has_its_card_and_tables(name: str) -> None:
    card = (DEMO / name / "README.md").read_text()
    opened = open_checkpoint(DEMO / name)
    last = read_table(DEMO / name / "metrics.parquet").query("step == step.max()")
    assert opened.provenance["step"] == last.step.iloc[0] == len(read_table(DEMO / name / "history.parquet"))
    assert f"mIoU **{last.iou.mean():.3f}**" in card
    assert f"attention-analysis train {name} --data" in card
    assert ("research use" in card) == name.startswith("camvid")


def test_sizes() -> None:
    series = checkpoint_files(DEMO / "shapes-dual")
    assert len(series) >= 8
    assert all(file.stat().st_size <= 500_000 for file in series)
    for name in ("camvid-scale", "camvid-dual"):
        assert sum(file.stat().st_size for file in checkpoint_files(DEMO / name)) <= 11_000_000


@pytest.mark.parametrize("name", ["shapes-scale", "shapes-dual"])
def test_shapes_models_score_what_their_card_says(name: str) -> None:
    stated = re.search(r"mIoU \*\*(0\.\d+)\*\*", (DEMO / name / "README.md").read_text())
    assert stated is not None
    score = evaluate(open_checkpoint(DEMO / name).model, open_dataset("shapes", "val"), objects=False, progress=False)
    assert score.mean_iou == pytest.approx(float(stated[1]), abs=0.002)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["camvid-scale", "camvid-dual"])
def test_camvid_models_score_what_their_card_says(name: str) -> None:
    if not CAMVID.is_dir():
        pytest.skip("shared/camvid is not beside the project: these scores are on its real photographs")
    stated = re.search(r"mIoU \*\*(0\.\d+)\*\*", (DEMO / name / "README.md").read_text())
    assert stated is not None
    dataset = open_dataset(f"camvid:{CAMVID}", "val")
    score = evaluate(open_checkpoint(DEMO / name).model, dataset, objects=False, progress=False)
    assert score.mean_iou == pytest.approx(float(stated[1]), abs=0.002)
