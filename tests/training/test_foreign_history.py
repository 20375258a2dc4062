"""A history from what someone else's training left: checkpoints in any naming, or TensorBoard event files."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.tensorboard import SummaryWriter

from analysis.errors import AnalysisError
from analysis.figures.curves import training
from analysis.models import DualAttention
from analysis.training.foreign_history import ForeignHistory, foreign_history, place
from analysis.training.gate_names import gate_column

COLUMNS = [
    *("step", "epoch", "loss", "learning_rate", "alpha", "beta", "alpha_grad", "beta_grad", "alpha_contribution"),
    *("beta_contribution", "checkpoint", "recipe", "seed", "dataset", "split", "block"),
]


def save(path: Path, alpha: float, beta: float, **beside: object) -> None:
    """A training script's file with nothing in it but the authors' gates and a batch norm's weight."""
    tensors = {
        "module.head.sa.gamma": torch.tensor([alpha]),
        "module.head.sc.gamma": torch.tensor([beta]),
        "module.head.conv51.1.weight": torch.ones(8),
    }
    torch.save({"state_dict": tensors, **beside}, path)


def values(found: ForeignHistory, *columns: str) -> list[list[float]]:
    return found.table[list(columns)].to_numpy().tolist()


def test_a_series_is_ordered_by_number(tmp_path: Path) -> None:
    for step in (1000, 200, 9):
        save(tmp_path / f"step_{step}.pth", step / 1000, -step / 1000)
    found = foreign_history(tmp_path)
    assert values(found, "step", "alpha", "beta") == [
        pytest.approx(row) for row in ([9, 0.009, -0.009], [200, 0.2, -0.2], [1000, 1.0, -1.0])
    ]
    assert found.names == {"alpha": "module.head.sa.gamma", "beta": "module.head.sc.gamma"}
    assert (found.unit, found.notes) == ("step", ())


def test_what_nobody_knows_is_missing(tmp_path: Path) -> None:
    save(tmp_path / "epoch_3.pth.tar", 0.5, 0.25)
    save(tmp_path / "epoch_12.pth.tar", 0.75, 0.5)
    found = foreign_history(tmp_path)
    table = found.table
    assert list(table) == COLUMNS
    assert found.unit == "epoch"
    assert table.epoch.tolist() == table.step.tolist() == [3, 12]
    assert table[[*COLUMNS[2:4], *COLUMNS[6:10], "seed"]].isna().all(axis=None)
    assert set(table.recipe) == set(table.dataset) == set(table.split) == {"unknown"}
    assert set(table.checkpoint) == {tmp_path.name}


def test_metadata_tell_what_names_do_not(tmp_path: Path) -> None:
    save(tmp_path / "a.pth", 0.5, 0.5, meta={"epoch": 2, "iter": 800})
    save(tmp_path / "b.pth", 0.25, 0.5, meta={"epoch": 1, "iter": 400})
    save(tmp_path / "iter_1200.pth", 0.75, 0.5, meta={"epoch": 3, "iter": 5})
    assert values(foreign_history(tmp_path), "step", "epoch", "alpha") == [
        [400, 1, 0.25],
        [800, 2, 0.5],
        [1200, 3, 0.75],
    ]


@pytest.mark.parametrize(
    ("name", "metadata", "known"),
    [
        ("step_1000.pth", {}, {"step": 1000}),
        ("iter_80000.pth", {}, {"step": 80000}),
        ("model-epoch=07-step=350.ckpt", {}, {"step": 350, "epoch": 7}),
        ("epoch_12.pth.tar", {"epoch": 13, "global_step": 77}, {"step": 77, "epoch": 12}),
        ("checkpoint_0300.safetensors", {}, {"step": 300}),
        ("0000.pt", {}, {"step": 0}),
        ("best_mIoU_iter_48000.pth", {}, {"step": 48000}),
        ("DANet101.pth.tar", {"epoch": 240}, {"epoch": 240}),
        ("best_0.75.pth", {}, {}),
        ("danet_r50-d8_512x1024_40k_cityscapes_20200605_191324-c0dbfa5f.pth", {}, {}),
        ("step_99999999999999999999999999.pth", {}, {}),
        ("last.safetensors", {"step": "512"}, {"step": 512}),
        ("last.pth", {"epoch": True, "step": -1}, {}),
    ],
)
def test_place(name: str, metadata: dict[str, object], known: dict[str, int]) -> None:
    assert place(name, metadata) == known


@given(st.integers(0, 10**15 - 1), st.integers(0, 5), st.sampled_from(["step_", "iter-", "Iteration", "ckpt_", ""]))
def test_place_of_any_number(number: int, zeros: int, word: str) -> None:
    assert place(f"{word}{'0' * zeros}{number}.pth", {}) == {"step": number}


def test_our_own_run_and_a_bare_state_dict(tmp_path: Path) -> None:
    demo = Path(__file__).parents[2] / "data" / "demo" / "shapes-dual"
    found = foreign_history(demo)
    assert found.table.step.tolist() == list(range(0, 513, 64))
    assert set(found.table.recipe) == {"shapes-dual"}
    assert set(found.table.seed) == {0}
    trained = pd.read_parquet(demo / "history.parquet").set_index("step").alpha
    assert found.table.alpha[1:-1].tolist() == pytest.approx(trained[found.table.step[1:-1]].tolist())
    model = DualAttention(5, backbone="tiny", position=False)
    torch.save(model.state_dict(), tmp_path / "step_1.pth")
    only_beta = foreign_history(tmp_path).table
    assert only_beta.alpha.isna().all()
    assert only_beta.beta.tolist() == [0.0]


def test_one_bad_file_of_a_series_is_one_line(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save(tmp_path / f"step_{step}.pth", 0.5, 0.5)
    whole = (tmp_path / "step_2.pth").read_bytes()
    (tmp_path / "step_2.pth").write_bytes(whole[: len(whole) // 2])
    found = foreign_history(tmp_path)
    assert found.table.step.tolist() == [1, 3]
    assert len(found.notes) == 1
    assert "step_2.pth" in found.notes[0]
    assert "\n" not in found.notes[0]


def test_files_that_say_nothing_new_are_left_out(tmp_path: Path) -> None:
    save(tmp_path / "step_1.pth", 0.5, 0.5)
    save(tmp_path / "best_step_1.pth", 0.75, 0.75)
    save(tmp_path / "best.pth", 0.75, 0.75)
    (tmp_path / "latest.pth").symlink_to("step_1.pth")
    (tmp_path / "log.txt").write_text("epoch 1")
    found = foreign_history(tmp_path)
    assert values(found, "step", "alpha") == [[1, 0.5]]
    assert [Path(source).name for source in found.sources] == ["step_1.pth"]
    assert sorted(note.split()[2].rsplit("/")[-1] for note in found.notes) == ["best.pth", "best_step_1.pth"]


def test_what_has_no_history_is_one_line(tmp_path: Path) -> None:
    def refused(path: Path) -> str:
        with pytest.raises(AnalysisError) as error:
            foreign_history(path)
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "nothing at" in refused(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert "no checkpoint" in refused(tmp_path / "empty")
    (tmp_path / "scalars").mkdir()
    torch.save({"model.temperature": torch.tensor(0.5), "w": torch.ones(3)}, tmp_path / "scalars" / "step_1.pth")
    assert "model.temperature" in refused(tmp_path / "scalars")
    (tmp_path / "bad").mkdir()
    for step in (1, 2):
        (tmp_path / "bad" / f"step_{step}.pth").write_bytes(b"junk" * 25)
    assert "and 1 files more" in refused(tmp_path / "bad")
    (tmp_path / "unordered").mkdir()
    save(tmp_path / "unordered" / "best.pth", 1.0, 1.0)
    assert "nothing orders" in refused(tmp_path / "unordered")


def test_event_files(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        for step in range(0, 30, 10):
            writer.add_scalar("pam/gamma.scale", step / 10, step)
            writer.add_scalar("train/cam.gamma.scale", -step / 10, step, new_style=True)
            writer.add_scalar("val/loss", 9.0, step)
        for step in range(0, 30, 5):
            writer.add_scalar("train/loss", 1 / (1 + step), step)
            writer.add_scalar("learning_rate", 0.01, step)
    found = foreign_history(tmp_path)
    assert found.table.step.tolist() == list(range(0, 30, 5))
    assert found.table.alpha.dropna().tolist() == [0.0, 1.0, 2.0]
    assert found.table.beta.dropna().tolist() == [0.0, -1.0, -2.0]
    assert found.table.loss.tolist() == pytest.approx([1 / (1 + step) for step in range(0, 30, 5)])
    assert found.table.learning_rate.tolist() == pytest.approx([0.01] * 6)
    assert found.names["loss"] == "train/loss"
    assert training(found.table).axes


def test_groups_of_scalars_and_restarts(tmp_path: Path) -> None:
    for first in (
        0,
        3,
    ):  # the second training began again at step 3, and logged what the first had logged before it died
        with SummaryWriter(str(tmp_path), filename_suffix=f".{first}") as writer:
            for step in range(first, first + 5):
                writer.add_scalars("gates", {"alpha": first + 1, "beta": step}, step)
    found = foreign_history(tmp_path)
    assert values(found, "step", "beta") == [[step, step] for step in range(8)]
    assert found.table.alpha.tolist() == [1, 1, 1, 4, 4, 4, 4, 4]


def test_runs_of_one_folder_are_told_apart(tmp_path: Path) -> None:
    for run, value in (("seed0", 1.0), ("seed1", 2.0), ("fcn", None)):
        with SummaryWriter(str(tmp_path / run / "tf_logs")) as writer:
            writer.add_scalar("lr/backbone", 0.1, 5)
            if value is not None:
                writer.add_scalar("alpha", value, 5)
    found = foreign_history(tmp_path)
    assert values(found, "checkpoint", "alpha") == [["seed0/tf_logs", 1.0], ["seed1/tf_logs", 2.0]]
    assert len(found.notes) == 1
    assert "fcn" in found.notes[0]
    file = next((tmp_path / "seed1").rglob("*tfevents*"))
    assert foreign_history(file).table.alpha.tolist() == [2.0]


def test_damaged_event_files_are_read_up_to_the_damage(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        for step in range(10):
            writer.add_scalar("alpha", step, step)
    file = next(tmp_path.glob("*tfevents*"))
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) - 30])
    found = foreign_history(tmp_path)
    assert found.table.step.tolist() == list(range(9))
    assert len(found.notes) == 1
    assert file.name in found.notes[0]
    file.write_bytes(b"junk" * 125)
    with pytest.raises(AnalysisError, match="damaged"):
        foreign_history(tmp_path)


def test_event_files_without_a_gate(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_scalar("train/loss", 1.0, 0)
        writer.add_scalar("optimizer/beta", 0.9, 0)
    with pytest.raises(AnalysisError, match="its scalars: optimizer/beta, train/loss"):
        foreign_history(tmp_path)
    save(tmp_path / "step_1.pth", 0.5, 0.5)
    assert foreign_history(tmp_path).table.alpha.tolist() == [0.5]


def test_two_candidates_are_never_guessed_between(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        for tag in ("stage3/alpha", "stage4/alpha", "beta"):
            writer.add_scalar(tag, 1.0, 0)
    with pytest.raises(AnalysisError, match="could each be alpha"):
        foreign_history(tmp_path)


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("head.sa.gamma", "alpha"),
        ("head.sc.gamma", "beta"),
        ("decode_head.pam.gamma.scale", "alpha"),
        ("decode_head.cam.gamma.scale", "beta"),
        ("head.branch_ca.att.scale.alpha", "beta"),
        ("head.pam.alpha", "alpha"),
        ("position_attention/gamma", "alpha"),
        ("sc/gamma", "beta"),
        ("Gates/Alpha", "alpha"),
        ("gates/beta_grad", "beta_grad"),
        ("gamma", None),
        ("optimizer/beta", None),
        ("mixup/alpha", None),
        ("lr_alpha", None),
        ("pam.bn.weight", None),
        ("", None),
    ],
)
def test_names_of_gates(name: str, column: str | None) -> None:
    assert gate_column(name) == column
